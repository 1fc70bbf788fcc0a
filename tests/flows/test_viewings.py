"""Diaries and watchlists from pages: complete once, then the newest; nothing is taken away on doubt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date

import psycopg
import pytest

from almanac_pipeline.errors import (
    LayoutChangedError,
    LayoutDriftError,
    NotFoundError,
    PausedError,
    RetriableError,
)
from almanac_pipeline.flows.members import sync_members
from almanac_pipeline.flows.viewings import ViewingsReport, sync_diary, sync_watchlist
from almanac_pipeline.settings import Settings
from almanac_pipeline.sources.records import DiaryRow
from almanac_pipeline.warehouse.cohorts import create_cohort
from almanac_pipeline.warehouse.films import FilmKey
from almanac_pipeline.warehouse.viewings import DiaryEntry, merge_diary
from tests.flows.conftest import Query
from tests.flows.world import World, film

Sync = Callable[..., ViewingsReport]
DIARY = """
    select source_key as key, slug, diary_entries.rating::float8 as rating, watched_on
    from raw.diary_entries join raw.users using (user_id) left join raw.films using (film_id)
    where username = 'ada' and removed_at is null
"""
WATCHLIST = """
    select slug from raw.watchlist_entries join raw.users using (user_id) join raw.films using (film_id)
    where username = 'ada' and removed_at is null
"""


def viewing(number: int, day: int, rating: float | None = 4.0) -> DiaryRow:
    return DiaryRow(
        str(number), date(2026, 1, day), film(number, rating=rating), rewatch=False, has_review=False
    )


@pytest.fixture
def relaxed(settings: Settings) -> Settings:
    """Nothing is too fresh to be read again."""
    return settings.model_copy(update={"fresh_minutes": 0.0})


@pytest.fixture
def diary(database_url: str, relaxed: Settings, cohort: str, world: World) -> Sync:
    """ada logged films 1 to 8, the eighth last."""
    world.person("ada").diary = [viewing(number, number) for number in range(8, 0, -1)]
    return lambda **options: sync_diary(database_url, relaxed, world, cohort, **options)


@pytest.fixture
def watchlist(database_url: str, relaxed: Settings, cohort: str, world: World) -> Sync:
    """ada wants to see films 1 to 8, the eighth most recently."""
    world.person("ada").watchlist = [film(number) for number in range(8, 0, -1)]
    return lambda **options: sync_watchlist(database_url, relaxed, world, cohort, **options)


def logged(query: Query) -> set[str]:
    return {row["key"] for row in query(DIARY)}


def wanted(query: Query) -> set[str]:
    return {row["slug"] for row in query(WATCHLIST)}


def slugs(*numbers: int) -> set[str]:
    return {f"film-{number}" for number in numbers}


def test_a_diary_is_read_whole_and_then_costs_one_request(
    diary: Sync, query: Query, written: Callable[[], int]
) -> None:
    report = diary()
    assert (report.full_count, report.added_count, report.requests_count) == (2, 8, 3 + 1)
    assert logged(query) == {str(number) for number in range(1, 9)}
    before = written()
    report = diary()
    assert (report.unchanged_count, report.requests_count) == (2, 1 + 1)
    assert written() == before
    [run] = query(
        "select outcome, requests_count from ops.scrape_run_members order by scrape_run_id desc limit 1"
    )
    assert run == {"outcome": "unchanged", "requests_count": 1}


def test_a_new_evening_is_found_on_the_first_page(diary: Sync, world: World, query: Query) -> None:
    diary()
    world.person("ada").diary.insert(0, viewing(9, 9))
    report = diary()
    assert (report.incremental_count, report.added_count, report.requests_count) == (1, 1, 1 + 1)
    assert "9" in logged(query)


def test_an_evening_of_long_ago_is_found_because_the_count_disagrees(
    diary: Sync, world: World, query: Query
) -> None:
    diary()
    world.person("ada").diary.append(viewing(30, 1))
    assert diary().added_count == 1
    assert "30" in logged(query)


def test_a_viewing_that_was_deleted_is_gone_and_its_row_stays(
    diary: Sync, world: World, query: Query
) -> None:
    diary()
    del world.person("ada").diary[5]
    assert diary().removed_count == 1
    assert logged(query) == {str(number) for number in range(1, 9)} - {"3"}
    assert query("select count(*) as n from raw.diary_entries where removed_at is not null") == [{"n": 1}]


def test_a_rating_of_that_evening_never_becomes_the_opinion(
    diary: Sync, world: World, ratings_of: Callable[[str], dict[str, float | None]], query: Query
) -> None:
    diary()
    world.person("ada").diary[0] = viewing(8, 8, rating=0.5)
    assert diary().changed_count == 1
    assert ratings_of("ada") == {}
    assert query("select count(*) as n from raw.rating_events") == [{"n": 0}]


@pytest.mark.parametrize("left", [0, 3])
def test_a_shrunken_diary_takes_nothing_away(diary: Sync, world: World, query: Query, left: int) -> None:
    diary()
    world.person("ada").diary = world.person("ada").diary[:left]
    assert diary().failures_count == 1
    assert len(logged(query)) == 8
    suspicious = "select subject from ops.user_scrape_state where suspicious_at is not null"
    assert query(suspicious) == [{"subject": "diary"}]
    assert query("select from ops.staged_items") == []
    assert query("select kind from ops.alerts where resolved_at is null") == [{"kind": "suspicious"}]


@pytest.mark.parametrize("mark", ["rating", "liked"])
def test_a_diary_whose_stars_or_hearts_are_gone_clears_none(
    diary: Sync, world: World, query: Query, mark: str
) -> None:
    gone = {"rating": None, "liked": False}[mark]
    rows = [replace(row, film=row.film._replace(liked=True)) for row in world.person("ada").diary]
    world.person("ada").diary = rows
    diary()
    stored = query("select source_key, rating, liked from raw.diary_entries order by source_key")
    world.person("ada").diary = [replace(row, film=row.film._replace(**{mark: gone})) for row in rows]
    assert "Of 8 viewings that are stored with" in diary().failures[0]
    assert query("select source_key, rating, liked from raw.diary_entries order by source_key") == stored
    assert query("select kind from ops.alerts where resolved_at is null") == [{"kind": "suspicious"}]
    world.person("ada").diary = [replace(rows[0], film=rows[0].film._replace(**{mark: gone})), *rows[1:]]
    assert diary().changed_count == 1


def test_a_killed_reading_goes_on_at_its_page(diary: Sync, world: World, query: Query) -> None:
    def stop(kind: str, key: str, page: int) -> None:
        if (kind, page) == ("diary", 3):
            raise PausedError("Switched off.")

    world.on_call = stop
    with pytest.raises(PausedError):
        diary()
    assert logged(query) == set()
    world.on_call = lambda kind, key, page: None
    world.calls.clear()
    diary()
    assert world.calls["diary", "ada"] == 1
    assert len(logged(query)) == 8


def test_a_diary_whose_stated_total_differs_is_still_one_request_without_news(
    diary: Sync, world: World
) -> None:
    world.stated_offset = 5
    assert diary().failures_count == 0
    assert diary().unchanged_count == 2


def test_a_diary_that_an_export_told_of_costs_one_request_and_is_stored_once(
    diary: Sync, database_url: str, query: Query
) -> None:
    with psycopg.connect(database_url) as connection:
        row = connection.execute("select user_id, now() from raw.users where username = 'ada'").fetchone()
        assert row is not None
        known = [viewing(number, number) for number in range(1, 9)]
        entries = [
            DiaryEntry(
                f"entry-{each.viewing_id}", each.film.title or "", each.film.release_year,
                FilmKey(slug=each.film.slug, lid=each.film.lid), watched_on=each.watched_on, rating=4.0,
            )
            for each in known
        ]  # fmt: skip
        merge_diary(
            connection, row[0], entries,
            complete=True, source="export", as_of=row[1], shrink_guard_share=0.5,
        )  # fmt: skip
    report = diary()
    assert (report.unchanged_count, report.added_count) == (1, 0)
    assert query("select count(*) as n from raw.diary_entries") == [{"n": 8}]


def test_a_page_that_shows_a_viewing_twice_is_refused(diary: Sync, world: World, query: Query) -> None:
    world.person("ada").diary[7] = replace(world.person("ada").diary[7], viewing_id="8")
    assert diary().failures_count == 1
    assert logged(query) == set()


def test_one_members_failure_leaves_the_others_alone_and_all_failing_is_an_error(
    diary: Sync, world: World, query: Query
) -> None:
    world.person("bea").is_private = True
    assert diary().failures_count == 1
    assert query("select status from raw.users where username = 'bea'") == [{"status": "private"}]
    assert len(logged(query)) == 8
    world.stated_offset, world.people["ada"].diary = 0, []
    with pytest.raises(RetriableError, match="None of the 1"):
        diary()


def test_private_members_are_an_answer_and_are_not_asked_again_for_a_day(diary: Sync, world: World) -> None:
    diary()
    for person in world.people.values():
        person.is_private = True
    assert diary().failures_count == 2
    report = diary()
    assert (report.failures_count, report.requests_count, report.skipped_count) == (0, 0, 2)
    assert diary(full=True).requests_count == 2


def test_a_page_that_is_gone_deletes_nobody_whose_profile_is_there(
    diary: Sync, world: World, query: Query
) -> None:
    gone = {2}

    def lose(kind: str, key: str, page: int) -> None:
        if (kind, key) == ("diary", "ada") and page in gone:
            gone.discard(2)
            raise NotFoundError("Gone.")

    world.on_call = lose
    assert diary().failures_count == 0
    assert len(logged(query)) == 8
    gone.add(1)
    assert diary().failures_count == 1
    assert query("select status from raw.users where username = 'ada'") == [{"status": "active"}]


def test_three_members_in_a_row_with_odd_pages_end_the_run(
    database_url: str, relaxed: Settings, query: Query
) -> None:
    world = World()
    names = [f"member{number}" for number in range(12)]
    for name in names:
        world.person(name)
    with psycopg.connect(database_url) as connection:
        create_cohort(connection, "many", "Many", {"kind": "usernames", "usernames": names})
    sync_members(database_url, relaxed, replace(world, permitted=set()), "many")

    def change(kind: str, key: str, page: int) -> None:
        raise LayoutChangedError("The table is gone.")

    world.on_call = change
    with pytest.raises(LayoutDriftError, match="3 members in a row"):
        sync_diary(database_url, relaxed.model_copy(update={"http_workers": 1}), world, "many")
    assert world.total_calls() <= 5
    assert query("select subject from ops.alerts where kind = 'layout'") == [{"subject": "diary"}]


def test_a_renamed_member_is_read_under_the_new_name(diary: Sync, world: World, query: Query) -> None:
    world.people["countess"] = world.people.pop("ada")
    world.renamed["ada"] = "countess"
    assert diary().failures_count == 0
    rows = query("select distinct username from raw.diary_entries join raw.users using (user_id)")
    assert rows == [{"username": "countess"}]


def test_what_was_read_a_moment_ago_is_not_read_again(
    diary: Sync, database_url: str, settings: Settings, cohort: str, world: World
) -> None:
    diary()
    patient = settings.model_copy(update={"fresh_minutes": 10.0})
    report = sync_diary(database_url, patient, world, cohort)
    assert (report.skipped_count, report.requests_count) == (2, 0)
    assert sync_diary(database_url, patient, world, cohort, full=True).full_count == 2


def test_where_diaries_may_not_be_read_nothing_is_asked(diary: Sync, world: World) -> None:
    world.permitted = set()
    world.calls.clear()
    report = diary()
    assert (report.skipped_count, world.total_calls()) == (2, 0)


def test_a_watchlist_is_read_whole_and_then_costs_one_request(
    watchlist: Sync, query: Query, written: Callable[[], int]
) -> None:
    report = watchlist()
    assert (report.full_count, report.added_count, report.requests_count) == (2, 8, 3 + 1)
    assert wanted(query) == slugs(*range(1, 9))
    before = written()
    assert (watchlist().requests_count, written()) == (1 + 1, before)


def test_wishes_come_and_go(watchlist: Sync, world: World, query: Query) -> None:
    watchlist()
    wishes = world.person("ada").watchlist
    wishes.insert(0, film(9))
    report = watchlist()
    assert (report.incremental_count, report.added_count, report.requests_count) == (1, 1, 1 + 1)
    # One comes and one goes: the number stays, and still both are noticed.
    del wishes[4]
    wishes.insert(0, film(10))
    report = watchlist()
    assert (report.added_count, report.removed_count) == (1, 1)
    assert wanted(query) == {each.slug for each in wishes}
    wishes.insert(0, film(5))
    assert watchlist().restored_count == 1


@pytest.mark.parametrize("left", [0, 3])
def test_a_shrunken_watchlist_takes_nothing_away(
    watchlist: Sync, world: World, query: Query, left: int
) -> None:
    watchlist()
    world.person("ada").watchlist = world.person("ada").watchlist[:left]
    assert watchlist().failures_count == 1
    assert wanted(query) == slugs(*range(1, 9))
