"""Which pages of TMDB's lists of changes are read, and what is made of them."""

from __future__ import annotations

import json
from datetime import date, timedelta

import pytest

from almanac_pipeline.errors import LayoutChangedError
from almanac_pipeline.tmdb.changes import MAX_PAGE, ChangesPage, changed_titles, parse_changes

TODAY = date(2026, 11, 21)


class Lists:
    """TMDB's lists in memory: so many pages a day, page p of a day holding one title."""

    def __init__(self, pages_per_day: int) -> None:
        self.pages_per_day = pages_per_day
        self.asked: list[tuple[date, date, int]] = []

    def read(self, since: date, until: date, page: int) -> ChangesPage:
        self.asked.append((since, until, page))
        days = (until - since).days + 1
        assert 1 <= days <= 14
        assert 1 <= page <= MAX_PAGE
        day = since + timedelta(days=(page - 1) // self.pages_per_day)
        number = day.toordinal() * 10_000 + (page - 1) % self.pages_per_day
        return ChangesPage((number,), days * self.pages_per_day)

    def changed(self, since: date) -> set[int]:
        return {
            (since + timedelta(days=day)).toordinal() * 10_000 + page
            for day in range((TODAY - since).days + 1)
            for page in range(self.pages_per_day)
        }


@pytest.mark.parametrize(("days", "pages_per_day"), [(0, 1), (13, 1), (14, 2), (31, 3), (40, 60), (5, 500)])
def test_every_day_of_the_silence_is_read_once(days: int, pages_per_day: int) -> None:
    lists, since = Lists(pages_per_day), TODAY - timedelta(days=days)
    assert changed_titles(lists.read, since, TODAY, at_most_pages=10**6) == lists.changed(since)
    assert len(lists.asked) == len(set(lists.asked))


def test_lists_longer_than_the_titles_that_we_hold_are_not_read_to_their_end() -> None:
    lists = Lists(30)
    assert changed_titles(lists.read, TODAY - timedelta(days=31), TODAY, at_most_pages=400) is None
    assert len(lists.asked) <= 3


def test_a_page_for_each_window_is_always_read() -> None:
    lists = Lists(1)
    since = TODAY
    assert changed_titles(lists.read, since, TODAY, at_most_pages=0) == lists.changed(since)


def test_a_day_with_more_pages_than_tmdb_gives_cannot_be_told() -> None:
    lists = Lists(MAX_PAGE + 1)
    assert changed_titles(lists.read, TODAY - timedelta(days=3), TODAY, at_most_pages=10**6) is None


def test_the_ids_are_read_whatever_else_stands_there() -> None:
    odd: list[object] = [{"id": None}, {"id": True}, {"id": 2**63}, {"id": 10**30}, {"id": -1}, 7]
    payload = json.dumps({"results": [{"id": 5, "adult": None}, *odd], "total_pages": 2, "page": 1})
    assert parse_changes(payload) == ChangesPage((5,), 2)


@pytest.mark.parametrize(
    "payload",
    ["<html>", "[]", '{"results": []}', '{"total_pages": 1}', '{"results": [], "total_pages": true}'],
)
def test_what_is_no_list_of_changes_is_not_an_empty_one(payload: str) -> None:
    with pytest.raises(LayoutChangedError):
        parse_changes(payload)
