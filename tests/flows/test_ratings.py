"""sync_ratings against a site in memory: what is asked, what is written, and what is never lost."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from almanac_pipeline.errors import (
    BlockedError,
    ConfigurationError,
    LayoutChangedError,
    LayoutDriftError,
    NotFoundError,
    PausedError,
    RetriableError,
)
from almanac_pipeline.flows.grids import audit
from almanac_pipeline.flows.members import sync_members
from almanac_pipeline.flows.opinions import OpinionsReport
from almanac_pipeline.flows.ratings import sync_ratings
from almanac_pipeline.settings import Settings
from almanac_pipeline.sources.records import FilmGrid
from almanac_pipeline.warehouse.cohorts import create_cohort
from almanac_pipeline.warehouse.staging import StagedSummary
from tests.flows.conftest import Query
from tests.flows.world import World, film

RatingsOf = Callable[[str], dict[str, float | None]]
Sync = Callable[..., OpinionsReport]

SNAPSHOT = """
    select username, slug, uid, films.lid, rating, liked, favorite, removed_at is null as is_current
    from raw.ratings join raw.users using (user_id) join raw.films using (film_id)
    order by username, slug
"""


@pytest.fixture
def sync(database_url: str, settings: Settings, world: World, cohort: str) -> Sync:
    world.person("ada").favorites = []

    def run(full: bool = False) -> OpinionsReport:
        world.calls.clear()
        return sync_ratings(database_url, settings, world, cohort, full=full)

    return run


def test_the_first_sync_reads_everything(sync: Sync, ratings_of: RatingsOf, query: Query) -> None:
    report = sync()
    assert (report.full_count, report.added_count, report.failures_count) == (2, 13, 0)
    assert ratings_of("ada") == {f"film-{n}": 3.0 for n in range(1, 9)}
    assert ratings_of("bea") == {f"film-{n}": 4.5 for n in range(5, 10)}
    assert report.requests_count == 1 + 3 + 1 + 2  # each profile, then the pages
    assert report.rating_counts == (0, 0, 0, 0, 0, 8, 0, 0, 5, 0)
    assert report.new_films_count == 9
    assert query("select count(*) as n from ops.film_metadata_sync where status = 'pending'") == [{"n": 9}]
    assert query("select count(*) as n from ops.staged_items") == [{"n": 0}]
    [run] = query("select * from ops.scrape_runs where subject = 'ratings'")
    assert (run["status"], run["rows_changed"], run["requests_count"]) == ("succeeded", 13, 7)


def test_a_member_without_news_costs_one_request_and_no_row(
    sync: Sync, world: World, written: Callable[[], int], query: Query
) -> None:
    sync()
    before = written()
    report = sync()
    assert (report.unchanged_count, report.requests_count) == (2, 2)
    assert world.calls == {("rated_by_date", "ada"): 1, ("rated_by_date", "bea"): 1}
    assert written() == before
    assert query("select count(*) as n from raw.rating_events where kind <> 'added'") == [{"n": 0}]


def test_a_full_repeat_writes_nothing(sync: Sync, written: Callable[[], int]) -> None:
    sync()
    before = written()
    assert sync(full=True).full_count == 2
    assert written() == before


def test_only_what_is_new_is_read(sync: Sync, world: World, ratings_of: RatingsOf, query: Query) -> None:
    sync()
    world.person("ada").rate(film(40), 5.0)
    world.person("ada").rate(film(2), 0.5)
    report = sync()
    assert (report.incremental_count, report.unchanged_count) == (1, 1)
    assert (report.added_count, report.changed_count, report.requests_count) == (1, 1, 2)
    assert ratings_of("ada")["film-40"] == 5.0
    assert ratings_of("ada")["film-2"] == 0.5
    events = query(
        "select kind, old_rating::float8, new_rating::float8 from raw.rating_events"
        " where kind <> 'added' or new_rating = 5 order by kind"
    )
    assert events == [
        {"kind": "added", "old_rating": None, "new_rating": 5.0},
        {"kind": "changed", "old_rating": 3.0, "new_rating": 0.5},
    ]
    observed = query("select rated_at_source from raw.ratings where rated_at is not null")
    assert observed == [{"rated_at_source": "observed"}] * 2
    assert {change.title for change in report.preview} == {"Film 2", "Film 40"}


def test_news_over_several_pages_is_read_to_its_end(sync: Sync, world: World, ratings_of: RatingsOf) -> None:
    sync()
    for number in range(50, 57):
        world.person("ada").rate(film(number), 2.0)
    report = sync()
    assert report.added_count == 7
    assert world.calls["rated_by_date", "ada"] == 3
    assert len(ratings_of("ada")) == 15


def test_the_same_stars_given_again_do_not_hide_what_lies_behind_them(
    sync: Sync, world: World, ratings_of: RatingsOf
) -> None:
    sync()
    # Three new and one taken back: after the first page, with two of the new, the total would fit.
    for number in (60, 61, 62):
        world.person("ada").rate(film(number), 2.0)
    world.person("ada").rate(film(4), 3.0)
    world.person("ada").unrate(film(2))
    sync()
    assert ratings_of("ada").keys() == {f"film-{n}" for n in (1, 3, 4, 5, 6, 7, 8, 60, 61, 62)}


@pytest.mark.parametrize(("overlap", "without_news", "with_news"), [(0, 1, 1), (1, 2, 2), (9, 3, 3)])
def test_an_overlap_is_read_beyond_the_first_known_rating(
    sync: Sync,
    world: World,
    ratings_of: RatingsOf,
    settings: Settings,
    database_url: str,
    cohort: str,
    overlap: int,
    without_news: int,
    with_news: int,
    query: Query,
) -> None:
    sync()
    overlapping = settings.model_copy(update={"overlap_pages": overlap})
    for news, expected in ((False, without_news), (True, with_news)):
        if news:
            world.person("ada").rate(film(40), 5.0)
        world.calls.clear()
        report = sync_ratings(database_url, overlapping, world, cohort)
        assert (world.calls["rated_by_date", "ada"], report.failures_count) == (expected, 0)
    assert len(ratings_of("ada")) == 9
    assert query("select count(*) as n from ops.staged_items") == [{"n": 0}]


def test_a_rating_taken_back_is_found_by_the_total(
    sync: Sync, world: World, ratings_of: RatingsOf, query: Query
) -> None:
    sync()
    world.person("ada").unrate(film(2))
    report = sync()
    assert report.removed_count == 1
    assert "film-2" not in ratings_of("ada")
    [row] = query("select rating, removed_at from raw.ratings where removed_at is not null")
    assert row["rating"] is None
    [event] = query(
        "select kind, old_rating::float8, new_rating from raw.rating_events where kind = 'removed'"
    )
    assert event == {"kind": "removed", "old_rating": 3.0, "new_rating": None}

    world.person("ada").rate(film(2), 1.0)
    assert sync().restored_count == 1
    assert ratings_of("ada")["film-2"] == 1.0
    assert sync().unchanged_count == 2


def test_a_film_liked_but_no_longer_rated_stays(sync: Sync, world: World, ratings_of: RatingsOf) -> None:
    world.person("ada").like(film(3))
    sync()
    world.person("ada").unrate(film(3))
    report = sync()
    assert (report.changed_count, report.removed_count) == (1, 0)
    assert ratings_of("ada")["film-3"] is None
    assert sync().unchanged_count == 2


def test_a_like_on_a_newly_rated_film_comes_along(sync: Sync, world: World, query: Query) -> None:
    sync()
    world.person("ada").like(film(41))
    world.person("ada").rate(film(41), 4.0)
    sync()
    assert query("select liked from raw.ratings join raw.films using (film_id) where slug = 'film-41'") == [
        {"liked": True}
    ]


@pytest.mark.parametrize("shrunk", [0, 1, 3])
def test_an_empty_or_shrunken_snapshot_takes_nothing_away(
    sync: Sync, world: World, ratings_of: RatingsOf, query: Query, shrunk: int
) -> None:
    sync()
    everything = ratings_of("ada")
    kept = world.person("ada").rated
    world.person("ada").rated = kept[:shrunk]
    report = sync()
    assert (report.failures_count, report.removed_count) == (1, 0)
    assert ratings_of("ada") == everything
    assert query("select count(*) as n from ops.user_scrape_state where suspicious_at is not null") == [
        {"n": 1}
    ]
    assert query("select count(*) as n from ops.staged_items") == [{"n": 0}]
    world.person("ada").rated = kept
    assert sync().failures_count == 0
    assert query("select count(*) as n from ops.user_scrape_state where suspicious_at is not null") == [
        {"n": 0}
    ]
    assert query("select count(*) as n from ops.scrape_failures where resolved_at is null") == [{"n": 0}]


def test_a_truncated_grid_is_refused(sync: Sync, world: World, ratings_of: RatingsOf) -> None:
    sync()
    world.change_page = lambda page, number: replace(page, items=page.items[:1]) if number == 2 else page
    report = sync(full=True)
    assert report.failures_count == 1  # bea's second page has two films, so one less is tolerated
    assert "the page states 8" in report.failures[0]
    assert len(ratings_of("ada")) == 8


def test_a_film_shown_twice_is_refused(sync: Sync, world: World) -> None:
    def repeat(page: FilmGrid, number: int) -> FilmGrid:
        return replace(page, items=(*page.items[:-1], page.items[0])) if number == 1 else page

    world.change_page = repeat
    with pytest.raises(RetriableError, match="twice"):
        sync()


def test_another_members_page_changes_nothing(sync: Sync, world: World, ratings_of: RatingsOf) -> None:
    sync()
    world.person("ada").rate(film(42), 5.0)

    def wrong(page: FilmGrid, number: int) -> FilmGrid:
        return replace(page, owner="zoe") if page.owner == "Ada" else page

    world.change_page = wrong
    report = sync()
    assert (report.failures_count, report.unchanged_count) == (1, 1)
    assert "film-42" not in ratings_of("ada")


def test_a_page_without_owner_is_refused(sync: Sync, world: World) -> None:
    world.change_page = lambda page, number: replace(page, owner=None)
    with pytest.raises(Exception, match="nobody"):
        sync()


def test_a_rated_grid_without_stars_is_a_changed_layout(sync: Sync, world: World) -> None:
    def bare(page: FilmGrid, number: int) -> FilmGrid:
        return replace(page, items=tuple(item._replace(rating=None) for item in page.items))

    world.change_page = bare
    with pytest.raises(Exception, match="without stars"):
        sync()


def test_one_failing_member_does_not_stop_the_others(
    sync: Sync, world: World, ratings_of: RatingsOf, query: Query
) -> None:
    def fail(kind: str, key: str, page: int) -> None:
        if (kind, key) == ("rated", "ada"):
            raise LayoutChangedError("The grid is gone.")

    world.on_call = fail
    report = sync()
    assert (report.full_count, report.failures_count) == (1, 1)
    assert len(ratings_of("bea")) == 5
    [failure] = query(
        "select page_kind, error_kind, message, scrape_run_id is null as lost from ops.scrape_failures"
    )
    assert failure == {
        "page_kind": "ratings",
        "error_kind": "LayoutChangedError",
        "message": "The grid is gone.",
        "lost": False,
    }


def test_a_deleted_member_keeps_ratings_and_membership(
    sync: Sync, world: World, ratings_of: RatingsOf, query: Query
) -> None:
    sync()
    gone = world.people.pop("ada")
    report = sync()
    assert report.failures_count == 1
    assert len(ratings_of("ada")) == 8
    status = "select status from raw.users where username = 'ada'"
    assert query(status) == [{"status": "deleted"}]
    assert query("select count(*) as n from raw.cohort_members where until is null") == [{"n": 2}]
    world.people["ada"] = gone
    sync(full=True)
    assert query(status) == [{"status": "active"}]


def test_private_members_are_an_answer_and_are_not_asked_again_for_a_day(
    sync: Sync, world: World, database_url: str
) -> None:
    sync()
    for person in world.people.values():
        person.is_private = True
    report = sync()
    assert (report.failures_count, report.requests_count) == (2, 2)
    report = sync()
    assert (report.failures_count, report.requests_count, report.skipped_count) == (0, 0, 2)
    assert sync(full=True).requests_count == 2
    with psycopg.connect(database_url) as connection:
        connection.execute("update raw.users set updated_at = now() - interval '25 hours'")
        connection.execute("update ops.user_scrape_state set last_success_at = now() - interval '26 hours'")
    world.person("ada").is_private = False
    report = sync()
    assert (report.failures_count, report.unchanged_count) == (1, 1)


def create_raters(database_url: str, world: World, cohort: str, count: int) -> list[str]:
    """A cohort of so many members with one rating each; returns their names."""
    names = [f"m{number}" for number in range(count)]
    for name in names:
        world.person(name).rate(film(1), 3.5)
    with psycopg.connect(database_url) as connection:
        create_cohort(connection, cohort, cohort.title(), {"kind": "usernames", "usernames": names})
    return names


def test_that_most_members_are_gone_at_once_is_not_believed(
    database_url: str, settings: Settings, world: World, query: Query
) -> None:
    names = create_raters(database_url, world, "six", 6)
    sync_members(database_url, settings, world, "six")
    sync_ratings(database_url, settings, world, "six")
    for name in names[:5]:
        world.people.pop(name)
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "update raw.users set status = 'private', updated_at = now() - interval '25 hours'"
            " where username = 'm1'"
        )
    with pytest.raises(LayoutDriftError, match=r"of [4-6] members do not exist"):
        sync_ratings(database_url, settings, world, "six")
    statuses = query("select status from raw.users order by username")
    assert [row["status"] for row in statuses] == ["active", "private", *["active"] * 4]
    assert query("select kind from ops.alerts where resolved_at is null") == [{"kind": "layout"}]
    believing = settings.model_copy(update={"shrink_guard_share": 0.0})
    assert sync_ratings(database_url, believing, world, "six", full=True).failures_count == 5
    assert query("select count(*) as n from raw.users where status = 'deleted'") == [{"n": 5}]


def test_that_a_few_of_many_are_gone_is_believed_though_they_come_first(
    database_url: str, settings: Settings, world: World, query: Query
) -> None:
    names = create_raters(database_url, world, "eight", 8)
    one_by_one = settings.model_copy(update={"http_workers": 1})
    sync_members(database_url, one_by_one, world, "eight")
    for name in names[:3]:
        world.people.pop(name)
    assert sync_ratings(database_url, one_by_one, world, "eight").full_count == 5
    assert query("select count(*) as n from raw.users where status = 'deleted'") == [{"n": 3}]


@pytest.mark.parametrize("is_gone_for_good", [False, True])
def test_a_later_page_that_is_gone_is_a_list_that_moved_and_nobodys_end(
    sync: Sync, world: World, query: Query, ratings_of: RatingsOf, is_gone_for_good: bool
) -> None:
    def lose_page_2(kind: str, key: str, page: int) -> None:
        times = world.calls["rated", "ada"]
        if (kind, key, page) == ("rated", "ada", 2) and (is_gone_for_good or times == 2):
            raise NotFoundError("Gone.")

    world.on_call = lose_page_2
    assert sync().failures_count == is_gone_for_good
    assert len(ratings_of("ada")) == (0 if is_gone_for_good else 8)
    assert query("select status from raw.users where username = 'ada'") == [{"status": "active"}]


def test_a_first_page_that_is_gone_deletes_nobody_whose_profile_is_there(
    sync: Sync, world: World, query: Query
) -> None:
    sync()

    def lose(kind: str, key: str, page: int) -> None:
        if (kind, key) == ("rated_by_date", "ada"):
            raise NotFoundError("Gone.")

    world.on_call = lose
    report = sync()
    assert (report.failures_count, report.requests_count) == (1, 3)
    assert "their profile is there" in report.failures[0]
    assert query("select status from raw.users where username = 'ada'") == [{"status": "active"}]


def test_three_members_in_a_row_with_odd_pages_end_the_run_with_one_alert(
    database_url: str, settings: Settings, query: Query
) -> None:
    world = World()
    names = [f"member{number}" for number in range(12)]
    for name in names:
        world.person(name).rate(film(1), 4.0)
    world.change_page = lambda page, number: replace(page, owner=None)
    with psycopg.connect(database_url) as connection:
        create_cohort(connection, "many", "Many", {"kind": "usernames", "usernames": names})
    sync_members(database_url, settings, replace(world, permitted=set()), "many")
    with pytest.raises(LayoutDriftError, match="3 members in a row"):
        sync_ratings(database_url, settings.model_copy(update={"http_workers": 1}), world, "many")
    assert sum(world.calls["rated", name] for name in names) <= 5
    assert query("select subject from ops.alerts where kind = 'layout'") == [{"subject": "ratings"}]


def test_a_member_never_seen_is_a_failure_not_a_deletion(sync: Sync, world: World, query: Query) -> None:
    del world.people["ada"]
    assert sync().failures_count == 1
    assert query("select status from raw.users where username = 'ada'") == [{"status": "active"}]


@pytest.mark.parametrize("error", [BlockedError, PausedError, ConfigurationError, LayoutDriftError])
def test_what_concerns_the_whole_source_stops_the_run(
    sync: Sync, world: World, query: Query, error: type[Exception]
) -> None:
    def refuse(kind: str, key: str, page: int) -> None:
        raise error("No more.")

    world.on_call = refuse
    with pytest.raises(error, match="No more"):
        sync()
    assert world.total_calls() <= 2
    [run] = query("select status, error_sample from ops.scrape_runs where subject = 'ratings'")
    assert run == {"status": "failed", "error_sample": "No more."}
    assert query("select count(*) as n from ops.scrape_failures") == [{"n": 0}]


def test_a_layout_that_drifts_half_way_through_a_grid_merges_nothing_of_it(
    sync: Sync, world: World, query: Query
) -> None:
    def drift(kind: str, key: str, page: int) -> None:
        if page == 2:
            raise LayoutDriftError("Titles are gone.")

    world.on_call = drift
    with pytest.raises(LayoutDriftError):
        sync()
    merged = "select count(*) as n from raw.ratings join raw.users using (user_id) where username = 'ada'"
    assert query(merged) == [{"n": 0}]


def without_hearts(page: FilmGrid, number: int) -> FilmGrid:
    return replace(page, items=tuple(item._replace(liked=False) for item in page.items))


@pytest.mark.parametrize("full", [False, True])
def test_pages_whose_hearts_cannot_be_read_any_more_take_no_like_away(
    sync: Sync, world: World, query: Query, full: bool
) -> None:
    world.page_size = 10
    world.person("ada").likes = [film(number) for number in range(1, 9)]
    world.person("bea").likes = [film(8), film(9)]
    sync()
    liked = """
        select username, slug from raw.ratings join raw.users using (user_id) join raw.films using (film_id)
        where liked order by 1, 2
    """
    before = query(liked)
    assert len(before) == 10
    world.person("ada").rate(film(40), 4.0)
    world.person("bea").rate(film(41), 4.0)
    world.change_page = without_hearts
    report = sync(full=full)
    # With two likes each member might have taken them back: their list of likes will tell.
    assert report.failures_count == 1
    assert "films that are stored as liked show a heart" in report.failures[0]
    assert query(liked) == before
    assert query("select count(*) as n from ops.alerts where kind = 'suspicious'") == [{"n": 1}]
    assert query("select count(*) as n from raw.rating_events where old_liked and not new_liked") == [
        {"n": 0}
    ]
    world.change_page = lambda page, number: page
    world.person("ada").unlike(film(8))
    assert sync().failures_count == 0
    assert len(query(liked)) == 9


def test_everything_failed_is_an_error(sync: Sync, world: World) -> None:
    def fail(kind: str, key: str, page: int) -> None:
        raise NotFoundError("Gone.")

    world.on_call = fail
    with pytest.raises(Exception, match="None of the 2 members"):
        sync()


def test_where_newest_first_is_forbidden_the_grid_is_read_again_on_a_long_cadence(
    sync: Sync, world: World, query: Query, database_url: str
) -> None:
    world.permitted = {"rated"}
    assert sync().full_count == 2
    world.person("ada").rate(film(43), 1.5)
    report = sync()
    assert (report.skipped_count, report.requests_count) == (2, 0)
    with psycopg.connect(database_url) as connection:
        connection.execute("update ops.user_scrape_state set last_full_at = now() - interval '8 days'")
    report = sync()
    assert (report.full_count, report.added_count) == (2, 1)


def test_a_count_that_is_always_one_off_does_not_cost_a_full_read_each_time(sync: Sync, world: World) -> None:
    world.stated_offset = 1
    sync()
    sync(full=True)
    report = sync()
    assert (report.unchanged_count, report.requests_count) == (2, 2)
    world.person("ada").unrate(film(2))
    assert sync().removed_count == 1


def test_a_list_that_changes_while_it_is_read_is_read_again(
    sync: Sync, world: World, ratings_of: RatingsOf
) -> None:
    def rate_meanwhile(kind: str, key: str, page: int) -> None:
        if key == "ada" and page == 2 and len(world.person("ada").rated) == 8:
            world.person("ada").rate(film(0), 5.0)

    world.on_call = rate_meanwhile
    report = sync()
    assert report.failures_count == 0
    assert ratings_of("ada") == {**{f"film-{n}": 3.0 for n in range(1, 9)}, "film-0": 5.0}


# -- killed in the middle ---------------------------------------------------------------------


@pytest.mark.parametrize("killer", [KeyboardInterrupt, SystemExit])
def test_a_killed_read_goes_on_at_the_next_page(
    sync: Sync, world: World, ratings_of: RatingsOf, query: Query, killer: type[BaseException]
) -> None:
    def kill(kind: str, key: str, page: int) -> None:
        if key == "ada" and page == 3:
            raise killer

    world.on_call = kill
    with pytest.raises(killer):
        sync()
    assert ratings_of("ada") == {}
    assert query("select status from ops.scrape_runs where subject = 'ratings'") == [{"status": "failed"}]
    asked: list[tuple[str, int]] = []
    world.on_call = lambda kind, key, page: asked.append((key, page))
    sync()
    assert [page for key, page in asked if key == "ada"] == [3]
    assert ratings_of("ada") == {f"film-{n}": 3.0 for n in range(1, 9)}


def test_a_checkpoint_is_dropped_when_the_total_has_changed(
    sync: Sync, world: World, ratings_of: RatingsOf
) -> None:
    def kill(kind: str, key: str, page: int) -> None:
        if key == "ada" and page == 3:
            raise KeyboardInterrupt

    world.on_call = kill
    with pytest.raises(KeyboardInterrupt):
        sync()
    world.person("ada").rate(film(44), 2.5)
    asked: list[int] = []
    world.on_call = lambda kind, key, page: asked.append(page) if key == "ada" else None
    sync()
    assert asked == [3, 1, 2, 3]
    assert len(ratings_of("ada")) == 9


def test_an_old_checkpoint_is_not_gone_on_with(sync: Sync, world: World, database_url: str) -> None:
    def kill(kind: str, key: str, page: int) -> None:
        if key == "ada" and page == 3:
            raise KeyboardInterrupt

    world.on_call = kill
    with pytest.raises(KeyboardInterrupt):
        sync()
    with psycopg.connect(database_url) as connection:
        connection.execute("update ops.user_scrape_state set pages_started_at = now() - interval '2 hours'")
    asked: list[int] = []
    world.on_call = lambda kind, key, page: asked.append(page) if key == "ada" else None
    sync()
    assert asked == [1, 2, 3]


def test_a_killed_look_for_news_goes_on_where_it_was(sync: Sync, world: World, ratings_of: RatingsOf) -> None:
    sync()
    for number in range(50, 60):
        world.person("ada").rate(film(number), 2.0)

    def kill(kind: str, key: str, page: int) -> None:
        if key == "ada" and page == 3:
            raise KeyboardInterrupt

    world.on_call = kill
    with pytest.raises(KeyboardInterrupt):
        sync()
    asked: list[int] = []
    world.on_call = lambda kind, key, page: asked.append(page) if key == "ada" else None
    assert sync().added_count == 10
    assert asked == [3, 4]
    assert len(ratings_of("ada")) == 18


def test_kill_9_loses_nothing(
    sync: Sync, world: World, database_url: str, cohort: str, query: Query, tmp_path: Path
) -> None:
    """A process killed in the middle of ada's second page; the next one ends up as if undisturbed."""
    script = tmp_path / "killed.py"
    script.write_text(
        "import os, signal, sys\n"
        "from almanac_pipeline.flows.ratings import sync_ratings\n"
        "from almanac_pipeline.settings import Settings\n"
        "from tests.flows.world import World, film\n"
        "world = World()\n"
        "for number in range(1, 9): world.person('ada').rate(film(number), 3.0)\n"
        "for number in range(5, 10): world.person('bea').rate(film(number), 4.5)\n"
        "def kill(kind, key, page):\n"
        "    if key == 'ada' and page == 3: os.kill(os.getpid(), signal.SIGKILL)\n"
        "world.on_call = kill\n"
        "sync_ratings(sys.argv[1], Settings(_env_file=None, http_workers=1), world, 'circle')\n"
    )
    root = Path(__file__).resolve().parents[2]
    killed = subprocess.run(
        [sys.executable, str(script), database_url],
        env={**os.environ, "PYTHONPATH": str(root)},
        cwd=root,
        timeout=60,
    )
    assert killed.returncode == -9
    assert query("select status from ops.scrape_runs where subject = 'ratings'") == [{"status": "running"}]
    world.person("ada").likes = []
    sync()
    assert world.calls["rated", "ada"] == 1
    resumed = query(SNAPSHOT)
    assert [(row["username"], row["slug"]) for row in resumed] == [
        *(("ada", f"film-{n}") for n in range(1, 9)),
        *(("bea", f"film-{n}") for n in range(5, 10)),
    ]
    assert query("select count(*) as n from raw.rating_events") == [{"n": 13}]
    statuses = query("select status from ops.scrape_runs where subject = 'ratings' order by scrape_run_id")
    assert [row["status"] for row in statuses] == ["failed", "succeeded"]


# -- several runs at a time -------------------------------------------------------------------


def test_runs_that_share_members_read_each_of_them_once(
    database_url: str, settings: Settings, world: World, cohort: str, query: Query
) -> None:
    from almanac_pipeline.flows.members import sync_members

    for number in range(6):
        for rated in range(number, number + 20):
            world.person(f"m{number}").rate(film(rated), 3.5)
    usernames = [*(f"m{number}" for number in range(6)), "ada", "bea"]
    for slug in ("one", "two", "three"):
        with psycopg.connect(database_url) as connection:
            create_cohort(connection, slug, slug, {"kind": "usernames", "usernames": usernames})
        sync_members(database_url, settings, world, slug)
    barrier = threading.Barrier(3)
    reports: list[OpinionsReport] = []
    errors: list[BaseException] = []

    def run(slug: str) -> None:
        barrier.wait()
        try:
            reports.append(sync_ratings(database_url, settings, world, slug))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=[slug]) for slug in ("one", "two", "three")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not errors
    # Read in full by one of the runs; another that began later may have looked once more.
    assert sum(report.full_count for report in reports) == 8
    assert world.calls["rated", "m0"] == 7
    assert query("select count(rating) as n from raw.ratings") == [{"n": 6 * 20 + 8 + 5}]
    assert query("select count(*) as n, count(distinct slug) as d from raw.films") == [{"n": 26, "d": 26}]


# -- the audit as a function ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("staged", "stated", "stored", "reason"),
    [
        (StagedSummary(10, 10, 1, 1), 10, 10, None),
        (StagedSummary(10, 10, 1, 1), 11, 10, None),
        (StagedSummary(10, 10, 1, 1), 12, 10, "states 12"),
        (StagedSummary(10, 9, 1, 1), 10, 10, "twice"),
        (StagedSummary(10, 10, 2, 3), 10, 10, "missing"),
        (StagedSummary(4, 4, 1, 1), 4, 10, "only 4"),
        (StagedSummary(5, 5, 1, 1), 5, 10, None),
        (StagedSummary(0, 0, 1, 1), 0, 1, "only 0"),
        (StagedSummary(0, 0, 1, 1), 0, 0, None),
        (StagedSummary(5, 5, 1, 1), None, 5, None),
    ],
)
def test_the_audit_believes_only_what_adds_up(
    staged: StagedSummary, stated: int | None, stored: int, reason: str | None
) -> None:
    found = audit(staged, stated, stored, 0.5)
    assert (found is None) if reason is None else (found is not None and reason in found)
