"""Notices when the site's markup changes under us, by what its pages no longer say.

A parser refuses a page that it cannot read at all. A change that leaves pages readable but thinner
(no years, no hearts) passes every parser, and would be merged as if members had changed their minds.
The canary counts, per kind of page, how many items have what such items always have, and stops the
run when that share falls below what chance explains. Pure counting: no markup, no request, no table.
"""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass

from almanac_pipeline.errors import LayoutDriftError
from almanac_pipeline.sources.records import DiaryPage, FilmGrid, FilmItem, FilmPage, PeoplePage, ProfilePage

Watched = FilmGrid | DiaryPage | FilmPage | ProfilePage | PeoplePage
"""The pages whose items are counted."""
Keep = Callable[[str, bytes], object]
"""Stores a page of a kind for inspection and says where."""

REQUIRED_SHARE = 0.99
DATED_REQUIRED_SHARE = 0.9
"""For years of films that were seen. A circle may like films that never got a date; a year that stands in
the title unread, as `REQUIRED_SHARE` has it, is what a change of the markup looks like."""
UNDATED_REQUIRED_SHARE = 0.5
"""For years where undated films are ordinary: a person's films (6 of 68 seen), watchlists, lists."""
UNLINKED_REQUIRED_SHARE = 0.5
"""For TMDB ids on film pages: new and obscure films are linked late."""
MAX_CHANCE = 0.005
"""How unlikely a gap must be before it counts as a change. Of 72 items, one page, four may lack a field
by chance and five may not; of one or two items, only both."""

# Somebody may have rated two films, both undated, or called like a year.
_YEARS_LEAST_SEEN = 20
_UNREAD_YEAR = re.compile(r"[0-9]{4}\W*$|[(\[]\W*$")

_DATED_KINDS = frozenset(("films", "likes", "diary"))
_UNRATED = frozenset(("", "none"))


@dataclass(frozen=True, slots=True)
class _Field:
    """How many items of one page have one thing."""

    name: str
    present_count: int
    required_share: float = REQUIRED_SHARE
    page_required_share: float = REQUIRED_SHARE
    """As `required_share` of each single page, where films that lack it may come together."""
    least_seen: int = 1
    """Fewer items say nothing."""


class Canary:
    """The counts of one run. Thread-safe."""

    def __init__(self, keep: Keep | None = None) -> None:
        """`keep` is called with the page at fault, once, before the run is stopped."""
        self._keep = keep
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, str], tuple[int, int]] = {}

    def check(self, page: Watched, body: bytes) -> None:
        """Count a page that was found to be the one asked for; `body` is what it was parsed from.

        Raises:
            LayoutDriftError: items lack a field, in this page or over the run so far, more often than
                chance explains; the message names kind, field and share.
        """
        kind, item_count, fields = _observe(page)
        if not item_count:
            return
        for field in fields:
            present, seen = self._add(kind, field.name, field.present_count, item_count)
            if seen >= field.least_seen and _is_below(present, seen, field.required_share):
                self._stop(kind, field, present, seen, body, "so far")
            if item_count < field.least_seen:
                continue
            is_gone = field.page_required_share == REQUIRED_SHARE and not field.present_count
            if is_gone or _is_below(field.present_count, item_count, field.page_required_share):
                self._stop(kind, field, field.present_count, item_count, body, "on one page")

    def counts(self, kind: str, name: str) -> tuple[int, int]:
        """(items that had a field, items seen) of a kind of page so far."""
        with self._lock:
            return self._counts.get((kind, name), (0, 0))

    def _add(self, kind: str, name: str, present_count: int, item_count: int) -> tuple[int, int]:
        with self._lock:
            present, seen = self._counts.get((kind, name), (0, 0))
            total = self._counts[kind, name] = (present + present_count, seen + item_count)
        return total

    def _stop(self, kind: str, field: _Field, present: int, seen: int, body: bytes, where: str) -> None:
        kept = self._keep(kind, body) if self._keep is not None else None
        advice = f"the page is kept at {kept}" if kept is not None else "save such a page"
        raise LayoutDriftError(
            f"the layout has changed: {field.name} on {present} of {seen} items of {kind} pages {where} "
            f"({present / seen:.1%}, needed {field.required_share:.0%}); nothing more is read, {advice} "
            "and mend the parser with it"
        )


def chance_of_gap(missing_count: int, item_count: int, usual_share: float) -> float:
    """At most how likely it is that so many of `item_count` items lack what `usual_share` of all lack.

    Chernoff's bound of the binomial tail: exp(-n KL(missing share, usual share)). It has a closed form
    and errs towards calling a gap likely; normal intervals err the other way at shares this small.
    """
    share = missing_count / item_count
    if share <= usual_share:
        return 1.0
    divergence = share * math.log(share / usual_share)
    if share < 1.0:
        divergence += (1.0 - share) * math.log((1.0 - share) / (1.0 - usual_share))
    return math.exp(-item_count * divergence)


def _is_below(present: int, seen: int, required_share: float) -> bool:
    return chance_of_gap(seen - present, seen, 1.0 - required_share) < MAX_CHANCE


def _observe(page: Watched) -> tuple[str, int, list[_Field]]:
    """(kind, number of items, what they have) of a page."""
    if isinstance(page, FilmPage):
        values = (("id", page.uid, REQUIRED_SHARE), ("LID", page.lid, REQUIRED_SHARE))
        tmdb = ("TMDB id", page.tmdb_id, UNLINKED_REQUIRED_SHARE)
        return (
            "film",
            1,
            [
                _Field(name, int(value is not None), share, UNLINKED_REQUIRED_SHARE)
                for name, value, share in (*values, tmdb)
            ],
        )
    if isinstance(page, PeoplePage):
        read = len(page.people)
        return page.page, read + page.unread_count, [_Field("member", read)]
    if isinstance(page, ProfilePage):
        kind, films = "profile", list(page.favorites)
    elif isinstance(page, DiaryPage):
        kind, films = "diary", [row.film for row in page.rows]
    else:
        kind, films = page.page, list(page.items)
    fields = [
        _Field("title", sum(film.title is not None for film in films)),
        _Field("id", sum(film.uid is not None for film in films)),
    ]
    if isinstance(page, ProfilePage):
        return kind, len(films), fields
    if not page.is_old_markup:
        required_share = DATED_REQUIRED_SHARE if kind in _DATED_KINDS else UNDATED_REQUIRED_SHARE
        years = sum(film.release_year is not None for film in films)
        # Grids by release date show their undated films together, on the last page.
        page_share = UNDATED_REQUIRED_SHARE if page.next_page is not None else 0.0
        fields.append(_Field("release year", years, required_share, page_share, _YEARS_LEAST_SEEN))
        unread_count = sum(_has_unread_year(film) for film in films)
        name, read_count = "title without a year in it", len(films) - unread_count
        fields.append(_Field(name, read_count, least_seen=_YEARS_LEAST_SEEN))
        fields.append(_Field("LID", sum(film.lid is not None for film in films)))
    if page.marked_count is not None:
        fields.append(_Field("place for every mark", page.marked_count))
    if isinstance(page, FilmGrid):
        if _shows_rated_films_only(page):
            fields.append(_Field("rating", sum(film.rating is not None for film in films)))
        if page.page == "likes" and not page.is_old_markup and page.hearted_count is not None:
            fields.append(_Field("heart", page.hearted_count))
    return kind, len(films), fields


def _has_unread_year(film: FilmItem) -> bool:
    return film.release_year is None and _UNREAD_YEAR.search(film.title or "") is not None


def _shows_rated_films_only(grid: FilmGrid) -> bool:
    """Whether the page was asked for by rating, such as /films/rated/.5-5/, so that each item shows one."""
    _, found, rest = (grid.canonical_url or "").lower().partition("/films/rated/")
    return bool(found) and rest.partition("/")[0] not in _UNRATED
