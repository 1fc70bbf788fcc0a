"""TMDB's lists of what changed: reads a page of one, and plans which pages to ask for. No I/O of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta

from almanac_pipeline.errors import LayoutChangedError
from almanac_pipeline.tmdb.titles import whole_number

# TMDB answers windows of at most 14 days, and pages 1 to 500 of each.
WINDOW_DAYS = 14
MAX_PAGE = 500


@dataclass(frozen=True, slots=True)
class ChangesPage:
    """One page of the titles of a kind that were edited within some days."""

    tmdb_ids: tuple[int, ...]
    pages_count: int
    """How many pages the list has."""


ReadChanges = Callable[[date, date, int], ChangesPage]
"""Asks for a page of the changes of some days, both of them included."""


def parse_changes(payload: str) -> ChangesPage:
    """The titles in an answer to `movie/changes` or `tv/changes`; what is no id is left out.

    Raises:
        LayoutChangedError: not such an answer.
    """
    try:
        document = json.loads(payload)
    except (ValueError, RecursionError):
        document = None
    results = document.get("results") if isinstance(document, dict) else None
    pages_count = whole_number(document.get("total_pages")) if isinstance(document, dict) else None
    if not isinstance(results, list) or pages_count is None:
        raise LayoutChangedError("TMDB's answer about changes has no results or no number of pages")
    ids = (whole_number(result.get("id")) for result in results if isinstance(result, dict))
    return ChangesPage(tuple(number for number in ids if number is not None), pages_count)


def changed_titles(read: ReadChanges, since: date, until: date, *, at_most_pages: int) -> set[int] | None:
    """The ids of the titles that were edited from `since` to `until`, both days included.

    None where the lists cannot tell, or not within so many pages: then whoever holds fewer titles
    than that asks for each of them more cheaply. At least one page of each window is read.

    Raises whatever `read` raises.
    """
    changed: set[int] = set()
    first_pages: list[tuple[date, date, ChangesPage]] = []
    windows = list(_windows(since, until))
    while windows:
        start, end = windows.pop()
        page = read(start, end, 1)
        if page.pages_count <= MAX_PAGE:
            first_pages.append((start, end, page))
        elif start == end:
            return None
        else:
            middle = start + (end - start) // 2
            windows += [(start, middle), (middle + timedelta(days=1), end)]
        if sum(page.pages_count for _, _, page in first_pages) > max(at_most_pages, len(first_pages)):
            return None
    for start, end, page in first_pages:
        changed.update(page.tmdb_ids)
        for number in range(2, page.pages_count + 1):
            changed.update(read(start, end, number).tmdb_ids)
    return changed


def _windows(since: date, until: date) -> Iterator[tuple[date, date]]:
    """Spans of at most 14 days that cover all days, the latest last."""
    while since <= until:
        end = min(since + timedelta(days=WINDOW_DAYS - 1), until)
        yield since, end
        since = end + timedelta(days=1)
