"""sync_likes against a site in memory: likes without stars, un-likes, favourites."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import psycopg
import pytest

from almanac_pipeline.errors import BlockedError
from almanac_pipeline.flows.likes import LikesReport, sync_likes
from almanac_pipeline.flows.ratings import sync_ratings
from almanac_pipeline.settings import Settings
from tests.flows.conftest import Query
from tests.flows.world import World, film

Sync = Callable[..., LikesReport]

FLAGS = """
    select slug, rating is not null as rated, liked, favorite
    from raw.ratings join raw.users using (user_id) join raw.films using (film_id)
    where username = 'ada' and removed_at is null and (liked or favorite) order by slug
"""


@pytest.fixture
def sync(database_url: str, settings: Settings, world: World, cohort: str) -> Sync:
    sync_ratings(database_url, settings, world, cohort)

    def run(full: bool = False) -> LikesReport:
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
        ("likes_unrated", "ada"): 1, ("profile", "ada"): 1,
        ("likes_unrated", "bea"): 1, ("profile", "bea"): 1,
    }  # fmt: skip
    assert (report.full_count, report.profiles_count, report.added_count, report.changed_count) == (
        2,
        2,
        2,
        1,
    )


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


def test_favourites_are_read_again_only_when_the_profile_is_old(
    sync: Sync, world: World, query: Query, database_url: str
) -> None:
    sync()
    world.person("ada").favorites = [film(1), film(31)]
    sync()
    assert ("profile", "ada") not in world.calls
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "update ops.user_scrape_state set last_success_at = now() - interval '2 days'"
            " where subject = 'profile'"
        )
    report = sync()
    assert report.profiles_count == 2
    assert flags(query) == {"film-1": "rlf", "film-20": "l", "film-31": "f"}
    assert report.removed_count == 1


def test_a_profile_without_favourites_unsets_none(
    sync: Sync, world: World, query: Query, database_url: str
) -> None:
    sync()
    world.person("ada").favorites = []
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "update ops.user_scrape_state set last_success_at = null where subject = 'profile'"
        )
    report = sync()
    assert report.failures_count == 1
    assert flags(query)["film-30"] == "f"


def test_five_favourites_are_a_changed_layout(sync: Sync, world: World, query: Query) -> None:
    world.person("ada").favorites = [film(number) for number in range(5)]
    report = sync()
    assert (report.failures_count, report.profiles_count) == (1, 1)
    assert "5 favourites" in report.failures[0]


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


def test_a_block_on_the_profile_stops_the_run(sync: Sync, world: World) -> None:
    def block(kind: str, key: str, page: int) -> None:
        if kind == "profile":
            raise BlockedError("403")

    world.on_call = block
    with pytest.raises(BlockedError):
        sync()


def test_everything_failed_is_an_error(sync: Sync, world: World) -> None:
    world.people.clear()
    with pytest.raises(Exception, match="None of the 2 members"):
        sync()
