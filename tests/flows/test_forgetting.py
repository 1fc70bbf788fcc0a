"""Forgetting somebody while the flows are reading: nothing of them comes back, and the others are read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from almanac_pipeline.errors import ConfigurationError, ForgottenError
from almanac_pipeline.flows.forgetting import forget_member
from almanac_pipeline.flows.members import sync_members
from almanac_pipeline.flows.ratings import sync_ratings
from almanac_pipeline.settings import Settings
from almanac_pipeline.warehouse.cohorts import create_cohort
from tests.flows.conftest import Query
from tests.flows.world import World

Forget = Callable[[str], None]


@pytest.fixture
def forget(database_url: str, settings: Settings) -> Forget:
    def run(username: str) -> None:
        forget_member(database_url, settings, username)

    return run


@pytest.fixture
def circle(database_url: str, settings: Settings, world: World) -> Callable[[], Any]:
    """Syncs the members of the circle of those whom the seed follows: ada and bea."""
    with psycopg.connect(database_url) as connection:
        create_cohort(connection, "friends", "Friends", {"kind": "following", "seed": "seed"})
    return lambda: sync_members(database_url, settings, world, "friends")


def names(query: Query) -> list[str]:
    return [row["username"] for row in query("select username from raw.users order by username")]


def once(kind: str, key: str, action: Callable[[], None]) -> Callable[[str, str, int], None]:
    """A hook of the world that acts when that page is asked for the first time."""
    waiting = [action]

    def on_call(called: str, who: str, page: int) -> None:
        if (called, who) == (kind, key) and waiting:
            waiting.pop()()

    return on_call


def test_somebody_who_is_followed_is_left_out_from_the_next_page_on(
    circle: Callable[[], Any], world: World, forget: Forget, query: Query
) -> None:
    circle()
    world.on_call = once("following", "seed", lambda: forget("ada"))
    assert circle().members_count == 1
    assert names(query) == ["bea", "seed"]
    circle()
    assert names(query) == ["bea", "seed"]


def test_a_seed_that_is_forgotten_while_its_circle_is_read_stays_forgotten(
    circle: Callable[[], Any], world: World, forget: Forget, query: Query
) -> None:
    circle()
    world.on_call = once("following", "seed", lambda: forget("seed"))
    with pytest.raises(ForgottenError):
        circle()
    assert names(query) == ["ada", "bea"]
    for table in ("raw.follows", "raw.cohort_members"):
        assert query(f"select * from {table}") == []
    with pytest.raises(ConfigurationError, match="has ended"):
        circle()


def test_a_member_forgotten_while_profiles_are_read_is_in_no_circle(
    circle: Callable[[], Any], world: World, forget: Forget, query: Query
) -> None:
    world.on_call = once("profile", "bea", lambda: forget("ada"))
    circle()
    assert names(query) == ["bea", "seed"]
    assert query("select count(*) as n from raw.cohort_members") == [{"n": 1}]


def test_a_member_forgotten_before_their_turn_is_skipped_and_the_others_are_read(
    circle: Callable[[], Any], world: World, forget: Forget, query: Query, database_url: str
) -> None:
    circle()
    world.on_call = once("rated", "ada", lambda: forget("bea"))
    report = sync_ratings(
        database_url,
        Settings(_env_file=None, http_workers=1),  # type: ignore[call-arg]
        world,
        "friends",
    )
    assert report.failures_count == 0
    assert names(query) == ["ada", "seed"]
    assert query("select count(rating) as n from raw.ratings") == [{"n": 8}]


def test_somebody_who_comes_back_under_a_new_name_is_recognised_and_forgotten_again(
    circle: Callable[[], Any], world: World, forget: Forget, query: Query
) -> None:
    world.person("ada").lid = "LidA"
    circle()
    forget("ada")
    world.people["eve"] = world.people.pop("ada")
    world.person("seed").following = ["Eve", "Bea"]
    assert circle().members_count == 1
    assert names(query) == ["bea", "seed"]
    world.calls.clear()
    circle()
    assert ("profile", "eve") not in world.calls
