"""sync_likes against a site in memory: likes without stars, un-likes, and when nobody is asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import psycopg
import pytest

from almanac_pipeline.errors import RetriableError
from almanac_pipeline.flows.likes import sync_likes
from almanac_pipeline.flows.members import sync_members
from almanac_pipeline.flows.opinions import OpinionsReport
from almanac_pipeline.flows.ratings import sync_ratings
from almanac_pipeline.settings import Settings
from almanac_pipeline.warehouse.cohorts import create_cohort
from tests.flows.conftest import Query
from tests.flows.world import World, film

Sync = Callable[..., OpinionsReport]

FLAGS = """
    select slug, rating is not null as rated, liked, favorite
    from raw.ratings join raw.users using (user_id) join raw.films using (film_id)
    where username = 'ada' and removed_at is null and (liked or favorite) order by slug
"""


@pytest.fixture
def sync(database_url: str, settings: Settings, world: World, cohort: str) -> Sync:
    sync_ratings(database_url, settings, world, cohort)

    def run(full: bool = False) -> OpinionsReport:
        world.calls.clear()
        return sync_likes(database_url, settings, world, cohort, full=full)

    return run


def flags(query: Query) -> dict[str, str]:
    """{slug: letters}: r for rated, l for liked, f for favourite."""
    return {
        row["slug"]: "r" * row["rated"] + "l" * row["liked"] + "f" * row["favorite"] for row in query(FLAGS)
    }


def test_likes_without_stars_and_favourites_are_stored(sync: Sync, world: World, query: Query) -> None:
    report = sync()
    assert flags(query) == {"film-1": "rlf", "film-20": "l", "film-30": "f"}
    assert world.calls == {
        ("likes_unrated", "ada"): 1,
        ("likes_unrated", "bea"): 1,
    }
    assert (report.full_count, report.added_count) == (2, 1)


def test_one_name_that_leads_nowhere_fails_no_run_in_which_nobody_else_has_news(
    sync: Sync, world: World, settings: Settings, database_url: str
) -> None:
    sync()
    with psycopg.connect(database_url) as connection:
        create_cohort(
            connection, "typo", "Typo", {"kind": "usernames", "usernames": ["ada", "bea", "nobody"]}
        )
    sync_members(database_url, settings, world, "typo")
    sync_ratings(database_url, settings, world, "typo")
    daily = settings.model_copy(update={"likes_max_age_hours": 24.0})
    report = sync_likes(database_url, daily, world, "typo")
    assert (report.skipped_count, report.failures_count) == (2, 1)


def test_a_member_without_news_costs_one_request_and_no_row(
    sync: Sync, world: World, written: Callable[[], int]
) -> None:
    sync()
    before = written()
    report = sync()
    assert report.unchanged_count == 2
    assert world.calls == {("likes", "ada"): 1, ("likes", "bea"): 1}
    assert written() == before


def test_a_new_like_is_found_on_the_first_page(sync: Sync, world: World, query: Query) -> None:
    sync()
    world.person("ada").like(film(2))
    world.person("ada").like(film(21))
    report = sync()
    assert (report.incremental_count, report.added_count, report.changed_count) == (1, 1, 1)
    assert world.calls["likes", "ada"] == 1 + (len(world.person("ada").likes) > 3 and report.rows_seen > 3)
    assert flags(query) == {"film-1": "rlf", "film-2": "rl", "film-20": "l", "film-21": "l", "film-30": "f"}


def test_a_like_taken_back_leaves_the_rating_and_removes_the_rest(
    sync: Sync, world: World, query: Query
) -> None:
    world.person("ada").likes = [film(22), *world.person("ada").likes]
    sync()
    world.person("ada").unlike(film(20))
    report = sync()
    assert report.removed_count == 1
    assert flags(query) == {"film-1": "rlf", "film-22": "l", "film-30": "f"}
    world.person("ada").like(film(20))
    assert sync().restored_count == 1
    world.person("ada").unlike(film(1))
    assert sync().changed_count == 1
    assert flags(query)["film-1"] == "rf"


@pytest.mark.parametrize("left", [0, 1])
def test_a_shrunken_list_of_likes_takes_nothing_away(
    sync: Sync, world: World, query: Query, left: int
) -> None:
    world.person("ada").likes = [film(number) for number in (20, 1, 21, 22)]
    sync()
    sync()  # the likes of rated films are counted, too
    before = flags(query)
    world.person("ada").likes = world.person("ada").likes[:left]
    assert sync().failures_count == 1
    assert flags(query) == before


def test_an_empty_page_without_a_total_is_not_taken_for_no_news(
    sync: Sync, world: World, query: Query
) -> None:
    sync()
    before = flags(query)
    world.change_page = lambda page, number: replace(page, items=(), total=None, next_page=None)
    report = sync()
    assert (report.failures_count, report.unchanged_count) == (1, 1)  # bea likes nothing
    assert flags(query) == before


def test_a_page_that_states_the_number_of_all_likes_is_complete(
    sync: Sync, world: World, query: Query
) -> None:
    world.change_page = lambda page, number: replace(page, total=2) if page.owner == "Ada" else page
    assert sync().failures_count == 0
    assert flags(query)["film-20"] == "l"


def test_a_rating_given_to_a_liked_film_joins_its_row(
    sync: Sync, world: World, query: Query, database_url: str, settings: Settings, cohort: str
) -> None:
    sync()
    world.person("ada").rate(film(20), 5.0)
    sync_ratings(database_url, settings, world, cohort)
    assert flags(query)["film-20"] == "rl"
    assert sync().unchanged_count == 2


def test_everything_failed_is_an_error(sync: Sync, world: World) -> None:
    def fail(kind: str, key: str, page: int) -> None:
        raise RetriableError("Later.")

    world.on_call = fail
    with pytest.raises(RetriableError, match="None of the 2 members"):
        sync()
