"""Viewings, watchlists and lists when several sources tell of them: one row each, the newest word counts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from itertools import product
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from almanac_pipeline.errors import RetriableError, ShrunkenError
from almanac_pipeline.warehouse.films import FilmKey, resolve_films
from almanac_pipeline.warehouse.members import ensure_users
from almanac_pipeline.warehouse.opinions import Changes
from almanac_pipeline.warehouse.viewings import (
    DiaryEntry,
    FilmList,
    WatchlistEntry,
    merge_diary,
    merge_lists,
    merge_watchlist,
)

NOW = datetime.now(UTC)
LATER = NOW + timedelta(hours=1)
FILM = FilmKey(lid="L1", slug="film-1", title="Film 1", release_year=1951)
OTHER = FilmKey(lid="L2", slug="film-2", title="Film 1", release_year=1951)
DAY = date(2026, 1, 1)


def entry(key: str, film: FilmKey | None = FILM, **changes: Any) -> DiaryEntry:
    match = "id" if film is not None else "ambiguous"
    return DiaryEntry(key, "Film 1", 1951, film, **{"film_match": match, "watched_on": DAY, **changes})


@pytest.fixture
def user_id(connection: psycopg.Connection) -> int:
    return ensure_users(connection, ["ann"])["ann"]


@pytest.fixture
def log(connection: psycopg.Connection, user_id: int) -> Callable[..., Changes]:
    """Merge diary entries; from an export, complete and new, unless said otherwise."""

    def merge(*entries: DiaryEntry, **options: Any) -> Changes:
        given = {"complete": True, "source": "export", "as_of": NOW, "shrink_guard_share": 0.5, **options}
        return merge_diary(connection, user_id, entries, **given)

    return merge


@pytest.fixture
def diary(connection: psycopg.Connection) -> Callable[[], list[dict[str, Any]]]:
    """The present rows, in the order in which they came."""

    def read() -> list[dict[str, Any]]:
        with connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(
                """
                select source, source_key, slug, film_match, rating::float8 as rating, liked, rewatch,
                       has_review, logged_on
                from raw.diary_entries left join raw.films using (film_id)
                where removed_at is null order by diary_entry_id
                """
            ).fetchall()

    return read


def test_a_viewing_that_two_sources_tell_of_is_one_row(log: Any, diary: Any) -> None:
    pairs = list(product(("rss", "pages", "export"), repeat=2))
    for number, (first, second) in enumerate(pairs):
        day, again = DAY + timedelta(days=number), "a" if first == second else "b"
        log(entry(f"a{number}", rating=3.0, watched_on=day), source=first, complete=False)
        told = entry(f"{again}{number}", rating=3.5, watched_on=day)
        changes = log(told, source=second, complete=False, as_of=LATER)
        assert (changes.added, changes.changed) == (0, 1)
    assert [(row["source"], row["rating"]) for row in diary()] == [(first, 3.5) for first, _ in pairs]


def test_the_third_word_of_a_viewing_is_still_about_the_same_row(log: Any, diary: Any) -> None:
    log(entry("guid"), source="rss", complete=False)
    log(entry("eA"))
    assert log(entry("eA")).total == 0
    assert log(entry("guid"), source="rss", complete=False).total == 0
    assert len(diary()) == 1


def test_two_viewings_on_one_day_stay_two(log: Any, diary: Any) -> None:
    log(entry("eA", rating=3.0), entry("eB", rating=4.0))
    assert log(entry("1"), entry("2"), source="pages", complete=False).added == 0
    assert log(entry("1"), entry("2"), entry("3"), source="pages", complete=False).added == 1
    assert len(diary()) == 3


def test_two_viewings_on_one_day_are_told_apart_by_their_ratings(log: Any, diary: Any) -> None:
    log(entry("eA", rating=2.0), entry("eB", rating=3.0))
    newest_first = [entry("71", rating=3.0), entry("70", rating=2.0)]
    assert log(*newest_first, source="rss", complete=False).total == 0


@pytest.mark.parametrize("feed_first", [True, False])
def test_a_viewing_whose_day_was_corrected_stays_one_row(log: Any, diary: Any, feed_first: bool) -> None:
    corrected = DAY - timedelta(days=2)
    log(entry("900"), source="rss", complete=False)
    log(entry("eA"), as_of=LATER)
    tell: list[dict[str, Any]] = [
        {"key": "900", "source": "rss", "complete": False},
        {"key": "eA", "as_of": LATER + timedelta(hours=1)},
    ]
    for _ in range(2):
        for told in tell if feed_first else reversed(tell):
            options = {name: value for name, value in told.items() if name != "key"}
            log(entry(told["key"], watched_on=corrected), **options)
    assert len(diary()) == 1


def test_an_export_without_reviews_leaves_them_as_they_are(log: Any, connection: psycopg.Connection) -> None:
    log(entry("eA", has_review=True), entry("eB", OTHER, has_review=None))
    log(entry("eA", has_review=None), entry("eB", OTHER, has_review=None), as_of=LATER)
    rows = connection.execute("select has_review from raw.diary_entries order by source_key").fetchall()
    assert rows == [(True,), (False,)]


def test_a_feed_names_the_film_that_the_export_could_not_tell(log: Any, diary: Any) -> None:
    log(entry("eA", film=None))
    assert [row["film_match"] for row in diary()] == ["ambiguous"]
    log(entry("guid", OTHER), source="rss", complete=False)
    assert [(row["slug"], row["film_match"]) for row in diary()] == [("film-2", "id")]
    # The next export still cannot tell; what is known stays.
    assert log(entry("eA", film=None), as_of=LATER).total == 0
    assert [(row["slug"], row["film_match"]) for row in diary()] == [("film-2", "id")]


def test_a_film_known_by_its_id_is_not_replaced_by_one_found_by_name(log: Any, diary: Any) -> None:
    log(entry("1", OTHER), source="pages", complete=False)
    log(entry("1", FILM, film_match="name_year"), source="pages", complete=False)
    assert [(row["slug"], row["film_match"]) for row in diary()] == [("film-2", "id")]


def test_what_a_source_does_not_say_is_kept(log: Any, diary: Any) -> None:
    log(entry("eA", logged_on=DAY))
    log(entry("guid", liked=True, rewatch=True), source="rss", complete=False)
    log(entry("eA", rewatch=True))
    [row] = diary()
    assert (row["logged_on"], row["liked"], row["rewatch"]) == (DAY, True, True)


def test_a_snapshot_takes_nothing_away_that_was_logged_after_it(log: Any, diary: Any) -> None:
    yesterday = NOW - timedelta(days=1)
    log(entry("new", OTHER), source="rss", complete=False)
    assert log(entry("eA"), as_of=yesterday).removed == 0
    assert log(entry("eA"), as_of=LATER).removed == 1
    assert [row["source_key"] for row in diary()] == ["eA"]


def test_a_diary_says_nothing_of_an_undated_review_of_another_source(log: Any, diary: Any) -> None:
    log(entry("777", OTHER, watched_on=None), source="rss", complete=False)
    log(entry("eA"), entry("eB", watched_on=None), as_of=LATER)
    assert log(entry("eA"), as_of=LATER + timedelta(hours=1), shrink_guard_share=0).removed == 1
    assert [row["source_key"] for row in diary()] == ["777", "eA"]


def test_an_older_snapshot_changes_nothing(log: Any, diary: Any) -> None:
    log(entry("eA", rating=4.0), as_of=LATER)
    assert log(entry("eA", rating=1.0), entry("eB", OTHER), as_of=NOW).total == 0
    assert [row["rating"] for row in diary()] == [4.0]


def test_an_older_export_leaves_what_a_feed_has_said_of_a_viewing_since(log: Any, diary: Any) -> None:
    fed = entry("900", rating=4.5, rewatch=True, has_review=True)
    log(fed, source="rss", complete=False)
    month_ago = {"as_of": NOW - timedelta(days=30)}
    log(entry("eA", rating=3.0, logged_on=DAY), **month_ago)
    [row] = diary()
    assert (row["rating"], row["rewatch"], row["has_review"], row["logged_on"]) == (4.5, True, True, DAY)
    assert log(fed, source="rss", complete=False).total == 0
    assert log(entry("eA", rating=3.0, logged_on=DAY), **month_ago).total == 0


def test_no_stars_said_later_stay_no_stars(log: Any, diary: Any) -> None:
    log(entry("900", rating=3.0), source="rss", complete=False)
    log(entry("900"), source="rss", complete=False, as_of=LATER)
    log(entry("eA", rating=3.0), complete=False)
    assert [row["rating"] for row in diary()] == [None]


def test_of_two_sources_that_speak_of_one_moment_the_higher_counts(log: Any, diary: Any) -> None:
    told = {"rss": 1.0, "export": 4.0, "pages": 2.0}
    for source, rating in told.items():
        log(entry(source, rating=rating), source=source, complete=False)
    assert [row["rating"] for row in diary()] == [4.0]


def test_an_older_snapshot_does_not_take_away_what_was_told_of_since(log: Any, diary: Any) -> None:
    log(entry("eA"), as_of=NOW - timedelta(days=9))
    log(entry("900", rating=4.0), source="rss", complete=False)
    assert log(as_of=NOW - timedelta(days=5), shrink_guard_share=0).removed == 0
    assert len(diary()) == 1


def test_the_day_of_logging_is_what_the_source_of_the_row_says(log: Any, diary: Any) -> None:
    fed, exported = entry("900", logged_on=DAY + timedelta(days=1)), entry("eA", logged_on=DAY)
    log(fed, source="rss", complete=False)
    assert log(exported, as_of=LATER).total == 0
    assert log(fed, source="rss", complete=False, as_of=LATER + timedelta(hours=1)).total == 0
    assert [row["logged_on"] for row in diary()] == [DAY + timedelta(days=1)]


def test_two_viewings_on_one_day_with_equal_stars_keep_their_marks_whatever_the_order(
    log: Any, diary: Any
) -> None:
    log(
        entry("104", rewatch=True), entry("102", has_review=True),
        entry("204", OTHER, has_review=True), entry("202", OTHER),
        source="rss", complete=False,
    )  # fmt: skip
    stored = diary()
    oldest_first = [
        entry("eA", has_review=True), entry("eB", rewatch=True),
        entry("eC", OTHER), entry("eD", OTHER, has_review=True),
    ]  # fmt: skip
    assert log(*oldest_first, as_of=LATER).total == 0
    assert log(*reversed(oldest_first), source="pages", as_of=LATER + timedelta(hours=1)).total == 0
    assert diary() == stored


def test_namesakes_seen_on_one_day_do_not_take_over_what_an_export_says_of_either(
    log: Any, diary: Any
) -> None:
    log(
        entry("2", OTHER, rating=3.0, rewatch=True), entry("1", rating=4.0), source="rss", complete=False
    )  # fmt: skip
    stored = diary()
    told = [entry("eA", None, rating=4.0), entry("eB", None, rating=3.0, rewatch=True)]
    assert log(*told, as_of=LATER).total == 0
    # Both were changed: now nothing but the place tells which is which.
    corrected = [entry("eA", None, rating=2.0), entry("eB", None, rating=2.5)]
    assert log(*corrected, as_of=LATER + timedelta(hours=1)).total == 0
    assert diary() == stored


def test_a_viewing_that_only_a_feed_could_place_goes_with_the_feeds_film_when_its_guess_was_wrong(
    connection: psycopg.Connection, log: Any, diary: Any
) -> None:
    exported = FilmKey(lid="L1", title="Film 1", release_year=1951)
    fed = entry("900", FilmKey("film-1", title="Film 1", release_year=1951))
    resolve_films(connection, [exported], "export")
    log(entry("eX", None))
    log(fed, source="rss", complete=False, as_of=LATER)
    known = resolve_films(connection, [exported], "export")
    assert connection.execute("select film_id from raw.diary_entries").fetchall() == [(known[0],)]
    page = FilmKey("film-1", lid="L2", title="Film 1", release_year=1951)
    parted = resolve_films(connection, [page], "pages")
    assert parted != known
    for hours in range(2, 4):
        moment = LATER + timedelta(hours=hours)
        assert log(fed, source="rss", complete=False, as_of=moment).total == 0
        assert log(entry("eX", None), as_of=moment).total == 0
    assert connection.execute("select film_id from raw.diary_entries").fetchall() == [(parted[0],)]


@pytest.mark.parametrize("mark", ["rewatch", "has_review", "liked"])
@pytest.mark.parametrize("shown", [True, False])
def test_a_mark_that_most_viewings_gain_or_lose_at_once_is_not_believed(
    log: Any, diary: Any, mark: str, shown: bool
) -> None:
    def read(changed_count: int) -> Changes:
        """A diary of 12 of which the first few have changed their mark."""
        told = []
        for n in range(12):
            marks: dict[str, Any] = {mark: (n < changed_count) == shown}
            told.append(entry(f"{n}", watched_on=DAY + timedelta(days=n), **marks))
        changes: Changes = log(*told, source="pages", as_of=LATER)
        return changes

    read(0)
    with pytest.raises(ShrunkenError, match="Of 12 viewings that are stored"):
        read(12)
    assert {row[mark] for row in diary()} == {not shown}
    assert read(2).changed == 2


def test_an_empty_diary_is_not_believed(log: Any, diary: Any) -> None:
    entries = [entry(f"e{n}", watched_on=DAY + timedelta(days=n)) for n in range(10)]
    log(*entries)
    with pytest.raises(RetriableError, match="from 10 to 0"):
        log(as_of=LATER)
    assert len(diary()) == 10
    # One or two may well have been taken back, but an empty page is no answer.
    assert log(*entries[:1], as_of=LATER).removed == 9
    with pytest.raises(RetriableError, match="from 1 to 0"):
        log(as_of=LATER + timedelta(hours=1), source="pages")
    assert log(as_of=LATER + timedelta(hours=1)).removed == 1


def test_a_watchlist_keeps_days_and_takes_films_back(connection: psycopg.Connection, user_id: int) -> None:
    def want(*entries: WatchlistEntry, **options: Any) -> Changes:
        given = {"complete": True, "source": "export", "as_of": NOW, "shrink_guard_share": 0.5, **options}
        return merge_watchlist(connection, user_id, entries, **given)

    assert want(WatchlistEntry(FILM, DAY), WatchlistEntry(OTHER, DAY)).added == 2
    # A page shows no days.
    both = (WatchlistEntry(FILM), WatchlistEntry(OTHER))
    assert want(*both, source="pages", as_of=LATER).total == 0
    assert want(WatchlistEntry(FILM), source="pages", as_of=LATER).removed == 1
    assert want(*both, source="pages", as_of=LATER).restored == 1
    assert want(WatchlistEntry(FILM, date(2026, 1, 2)), complete=False, as_of=LATER).changed == 1
    assert want(WatchlistEntry(FILM), as_of=NOW).total == 0
    with pytest.raises(RetriableError, match="watchlist"):
        want(source="pages", as_of=LATER)
    days = connection.execute("select added_on from raw.watchlist_entries order by 1").fetchall()
    assert days == [(DAY,), (date(2026, 1, 2),)]


def test_lists_change_only_where_they_differ(connection: psycopg.Connection, user_id: int) -> None:
    def make(*lists: FilmList, as_of: datetime = NOW) -> Changes:
        return merge_lists(
            connection, user_id, lists, complete=True, source="export", as_of=as_of, shrink_guard_share=0.5
        )

    first, second = FilmList("lA", "One", (FILM, OTHER), DAY), FilmList("lB", "Two", ())
    assert make(first, second).added == 2
    assert make(first, second).total == 0
    assert make(FilmList("lA", "One", (OTHER, FILM), DAY), second).changed == 1
    assert make(FilmList("lA", "Uno", (OTHER, FILM), None, is_ranked=True), second).changed == 1
    assert make(second).removed == 1
    assert make(first, second).restored == 1
    rows = connection.execute(
        """
        select name, published_on, is_ranked, array_agg(slug order by list_position)
        from raw.lists join raw.list_entries using (list_id) join raw.films using (film_id)
        group by list_id
        """
    ).fetchall()
    assert rows == [("One", DAY, True, ["film-1", "film-2"])]
    make(first, second, *(FilmList(f"l{n}", "Many", ()) for n in range(3)))
    with pytest.raises(RetriableError, match="lists"):
        make(as_of=LATER)
