"""Favourites come with the profile, which is read when it is due and before a full reading."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from almanac_pipeline.errors import BlockedError
from almanac_pipeline.flows.opinions import OpinionsReport
from almanac_pipeline.flows.ratings import sync_ratings
from almanac_pipeline.settings import Settings
from tests.flows.conftest import Query
from tests.flows.world import World, film

Sync = Callable[..., OpinionsReport]

FAVORITES = """
    select slug, rating is not null as rated
    from raw.ratings join raw.users using (user_id) join raw.films using (film_id)
    where username = 'ada' and removed_at is null and favorite order by slug
"""


@pytest.fixture
def sync(database_url: str, settings: Settings, world: World, cohort: str) -> Sync:
    def run(full: bool = False) -> OpinionsReport:
        world.calls.clear()
        return sync_ratings(database_url, settings, world, cohort, full=full)

    return run


@pytest.fixture
def profiles_are_old(database_url: str) -> Callable[[], None]:
    def age() -> None:
        with psycopg.connect(database_url) as connection:
            connection.execute(
                "update ops.user_scrape_state set last_success_at = now() - interval '2 days'"
                " where subject = 'profile'"
            )

    return age


def favorites(query: Query) -> dict[str, bool]:
    """{slug: whether it is rated too}."""
    return {row["slug"]: row["rated"] for row in query(FAVORITES)}


def test_favourites_are_stored_rated_or_not(sync: Sync, query: Query) -> None:
    report = sync()
    assert (report.profiles_count, report.full_count) == (2, 2)
    assert favorites(query) == {"film-1": True, "film-30": False}


def test_a_profile_is_read_again_only_when_it_is_old(
    sync: Sync, world: World, query: Query, profiles_are_old: Callable[[], None]
) -> None:
    sync()
    world.person("ada").favorites = [film(1), film(31)]
    sync()
    assert ("profile", "ada") not in world.calls
    profiles_are_old()
    report = sync()
    assert (report.profiles_count, report.unchanged_count, report.removed_count) == (2, 2, 1)
    assert favorites(query) == {"film-1": True, "film-31": False}


def test_a_full_reading_reads_the_profile_too(sync: Sync, world: World) -> None:
    sync()
    assert sync(full=True).profiles_count == 2


def test_a_profile_without_favourites_unsets_none(
    sync: Sync, world: World, query: Query, profiles_are_old: Callable[[], None]
) -> None:
    sync()
    world.person("ada").favorites = []
    profiles_are_old()
    assert sync().failures_count == 1
    assert favorites(query) == {"film-1": True, "film-30": False}


def test_five_favourites_are_a_changed_layout_and_the_ratings_are_read_nevertheless(
    sync: Sync, world: World
) -> None:
    world.person("ada").favorites = [film(number) for number in range(5)]
    report = sync()
    assert (report.failures_count, report.profiles_count, report.full_count) == (1, 1, 2)
    assert "5 favourites" in report.failures[0]


def test_a_block_on_the_profile_stops_the_run(sync: Sync, world: World) -> None:
    def block(kind: str, key: str, page: int) -> None:
        if kind == "profile":
            raise BlockedError("403")

    world.on_call = block
    with pytest.raises(BlockedError):
        sync()
    assert not any(kind == "rated" for kind, _ in world.calls)


def test_of_a_member_who_is_gone_nothing_more_is_asked(sync: Sync, world: World) -> None:
    del world.people["ada"]
    assert sync().failures_count == 1
    assert {kind for kind, key in world.calls if key == "ada"} == {"profile"}
