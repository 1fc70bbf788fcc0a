"""Which page a path asks for. Pure: no world, no rendering."""

from __future__ import annotations

from dataclasses import dataclass

MEMBER_PAGES: dict[tuple[str, ...], str] = {
    (): "profile",
    ("films",): "films",
    ("films", "rated", ".5-5"): "rated",
    ("films", "rated", ".5-5", "by", "rated-date"): "rated_by_date",
    ("likes", "films"): "likes",
    ("likes", "films", "rated", "none"): "likes_unrated",
    ("following",): "following",
    ("followers",): "followers",
    ("watchlist",): "watchlist",
    ("diary",): "diary",
    ("diary", "films"): "diary",
    ("rss",): "rss",
}
FILM_PEOPLE = frozenset({"members", "fans"})
UNPAGED = frozenset({"profile", "rss", "film", "film_json", "histogram", "director", "robots", "import"})
HISTOGRAM_FRAGMENTS = frozenset({"rating-histogram", "ratings-summary"})
SITE_WORDS = frozenset(
    {"film", "films", "csi", "director", "tmdb", "imdb", "static", "lists", "members", "3"}
)
"""First segments that are never a member's name."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a path asks for. `kind` is "unknown" where nothing is."""

    kind: str
    member: str | None = None
    name: str | None = None
    """Slug of the film, list or director, or the foreign id."""
    page: int = 1


def route(path: str) -> Target:
    """The page behind a path of the site."""
    segments = tuple(path.strip("/").split("/"))
    page = 1
    if len(segments) > 2 and segments[-2] == "page" and segments[-1].isdigit():
        page, segments = int(segments[-1]), segments[:-2]
    target = _site_page(segments, page) if segments[0] in SITE_WORDS else _member_page(segments, page)
    if segments == ("robots.txt",):
        target = Target("robots")
    if page < 1 or (page > 1 and target.kind in UNPAGED):
        return Target("unknown")
    return target


def member_path(target: Target, name: str) -> str:
    """The path of the same page of a member of another name."""
    if target.kind == "list":
        segments: tuple[str, ...] = ("list", target.name or "")
    else:
        segments = next(path for path, kind in MEMBER_PAGES.items() if kind == target.kind)
    if target.page > 1:
        segments += (*(("films",) if target.kind == "diary" else ()), "page", str(target.page))
    return "/" + "/".join((name, *segments)) + "/"


def _site_page(segments: tuple[str, ...], page: int) -> Target:
    match segments:
        case ("film", slug, people) if people in FILM_PEOPLE:
            return Target(people, name=slug, page=page)
        case ("film", slug):
            return Target("film", name=slug)
        case ("film", slug, "json"):
            return Target("film_json", name=slug)
        case ("csi", "film", slug, fragment) if fragment in HISTOGRAM_FRAGMENTS:
            return Target("histogram", name=slug)
        case ("director", slug):
            return Target("director", name=slug)
        case (("tmdb" | "imdb") as site, number):
            return Target("import", name=f"{site}/{number}")
    return Target("unknown")


def _member_page(segments: tuple[str, ...], page: int) -> Target:
    username, rest = segments[0], segments[1:]
    if not username:
        return Target("unknown")
    if len(rest) == 2 and rest[0] == "list":
        return Target("list", username.lower(), rest[1], page)
    kind = MEMBER_PAGES.get(rest)
    return Target("unknown") if kind is None else Target(kind, username.lower(), None, page)
