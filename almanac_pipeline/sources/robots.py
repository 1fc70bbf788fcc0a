"""What a robots.txt says, summed up for people: its groups, sitemaps, and which of our pages it allows.

Only a summary for `almanac parse`; the client that fetches asks protego itself before each request.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from protego import Protego

from almanac_pipeline.errors import WrongPageError
from almanac_pipeline.sources.pages.parsers.document import require_text
from almanac_pipeline.sources.pages.parsers.text import clean

PAGE_PATHS = {
    "profile": "/someone/",
    "following": "/someone/following/",
    "followers": "/someone/followers/",
    "films": "/someone/films/",
    "rated": "/someone/films/rated/.5-5/",
    "rated_by_date": "/someone/films/rated/.5-5/by/rated-date/",
    "likes": "/someone/likes/films/",
    "likes_unrated": "/someone/likes/films/rated/none/",
    "diary": "/someone/diary/",
    "watchlist": "/someone/watchlist/",
    "list": "/someone/list/some-list/",
    "rss": "/someone/rss/",
    "film": "/film/some-film/",
    "film_json": "/film/some-film/json/",
    "histogram": "/csi/film/some-film/rating-histogram/",
    "director": "/director/some-person/",
}
"""An example path of every kind of page that we may want to read."""

_HAS_GROUP = re.compile(rb"^[ \t]*user-agent[ \t]*:", re.IGNORECASE | re.MULTILINE)
_FIELD = re.compile(r"^\s*([A-Za-z-]+)\s*:\s*(.*?)\s*$")


@dataclass(frozen=True, slots=True)
class RobotsGroup:
    """The agents of a group and its rules in order, as ("disallow", "/path")."""

    agents: tuple[str, ...]
    rules: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Robots:
    """A robots.txt. `allowed` tells for each kind of page whether `agent` may fetch it."""

    agent: str
    groups: tuple[RobotsGroup, ...]
    sitemaps: tuple[str, ...]
    crawl_delay_seconds: float | None
    allowed: dict[str, bool]


def looks_like_robots(body: bytes) -> bool:
    """Whether a text has a `User-agent:` line and is no markup."""
    return not body.lstrip().startswith(b"<") and _HAS_GROUP.search(body) is not None


def parse_robots(body: bytes, agent: str = "CohortAlmanac") -> Robots:
    """Sum up a robots.txt as it applies to `agent`.

    Raises:
        RetriableError: empty or damaged.
        WrongPageError: no group of rules in it.
    """
    require_text(body)
    if not looks_like_robots(body):
        raise WrongPageError("not a robots.txt: it has no User-agent line")
    text = body.decode("utf-8", errors="replace")
    rules = Protego.parse(text)
    return Robots(
        agent=agent,
        groups=_groups(text),
        sitemaps=tuple(clean(url) for url in rules.sitemaps),
        crawl_delay_seconds=rules.crawl_delay(agent),
        allowed={kind: bool(rules.can_fetch(path, agent)) for kind, path in PAGE_PATHS.items()},
    )


def _groups(text: str) -> tuple[RobotsGroup, ...]:
    """Consecutive `User-agent` lines open a group; the rules up to the next such line belong to it."""
    groups: list[tuple[list[str], list[tuple[str, str]]]] = []
    for line in text.splitlines():
        match = _FIELD.match(line.split("#", 1)[0])
        if match is None:
            continue
        field, value = match[1].lower(), clean(match[2])
        if field == "user-agent":
            if not groups or groups[-1][1]:
                groups.append(([], []))
            groups[-1][0].append(value)
        elif field in ("allow", "disallow") and groups:
            groups[-1][1].append((field, value))
    return tuple(RobotsGroup(tuple(agents), tuple(rules)) for agents, rules in groups)
