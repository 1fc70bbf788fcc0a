"""sync_members: memberships begin and end, and never on doubt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import psycopg
import pytest

from almanac_pipeline.errors import (
    ConfigurationError,
    LayoutChangedError,
    NotFoundError,
    RetriableError,
    WrongPageError,
)
from almanac_pipeline.flows.members import MembersReport, sync_members
from almanac_pipeline.settings import Settings
from almanac_pipeline.sources.records import PeoplePage
from almanac_pipeline.warehouse.cohorts import create_cohort, get_cohort, list_cohorts
from tests.flows.conftest import Query
from tests.flows.world import World

Sync = Callable[[], MembersReport]

CURRENT = """
    select username, depth from raw.cohort_members join raw.users using (user_id)
    where until is null order by username
"""
NAMES = [f"friend{number}" for number in range(7)]


@pytest.fixture
def sync(database_url: str, settings: Settings, world: World) -> Sync:
    world.person("seed").following = [name.title() for name in NAMES]
    with psycopg.connect(database_url) as connection:
        create_cohort(connection, "friends", "Friends", {"kind": "following", "seed": "Seed"})
    return lambda: sync_members(database_url, settings, world, "friends")


def members(query: Query) -> list[str]:
    return [row["username"] for row in query(CURRENT)]


def test_whom_the_seed_follows_are_the_members(sync: Sync, query: Query, world: World) -> None:
    report = sync()
    assert members(query) == NAMES
    assert (report.members_count, report.added_count, report.requests_count) == (7, 7, 3)
    assert report.preview == tuple(NAMES)
    assert query("select count(*) as n from raw.follows where until is null") == [{"n": 7}]
    [run] = query("select status, members_count from ops.scrape_runs")
    assert run == {"status": "succeeded", "members_count": 7}


def test_a_repeat_writes_nothing(sync: Sync, written: Callable[[], int]) -> None:
    sync()
    before = written()
    report = sync()
    assert (report.added_count, report.ended_count) == (0, 0)
    assert written() == before


def test_a_membership_ends_and_begins_anew_without_losing_its_history(
    sync: Sync, world: World, query: Query
) -> None:
    sync()
    everyone = world.person("seed").following
    world.person("seed").following = everyone[1:]
    assert sync().ended_count == 1
    assert members(query) == NAMES[1:]
    world.person("seed").following = everyone
    assert sync().added_count == 1
    assert query("select count(*) as n from raw.cohort_members") == [{"n": 8}]
    assert query("select count(*) as n from raw.follows") == [{"n": 8}]
    assert query("select count(*) as n from raw.users where username <> 'seed'") == [{"n": 7}]


@pytest.mark.parametrize("left", [0, 1, 3])
def test_an_empty_or_halved_answer_ends_no_membership(
    sync: Sync, world: World, query: Query, left: int
) -> None:
    sync()
    world.person("seed").following = world.person("seed").following[:left]
    report = sync()
    assert report.is_suspicious
    assert members(query) == NAMES
    assert query("select subject from ops.user_scrape_state where suspicious_at is not null") == [
        {"subject": "following"}
    ]
    assert query("select page_kind from ops.scrape_failures") == [{"page_kind": "following"}]


@pytest.mark.parametrize(("stated_offset", "is_complete"), [(1, True), (-1, True), (2, False)])
def test_the_count_must_agree_with_the_stated_total_within_one(
    sync: Sync, world: World, query: Query, stated_offset: int, is_complete: bool
) -> None:
    world.stated_offset = stated_offset
    if is_complete:
        assert sync().members_count == 7
    else:
        with pytest.raises(RetriableError, match="follows 9 people, but 7 were shown"):
            sync()
        assert members(query) == []
        assert query("select status from ops.scrape_runs") == [{"status": "failed"}]


def test_a_page_that_comes_again_is_refused(
    sync: Sync, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = world.read_following

    def same_page_for_ever(username: str):  # type: ignore[no-untyped-def]
        first: PeoplePage = next(iter(read(username)))
        while True:
            yield first

    monkeypatch.setattr(world, "read_following", same_page_for_ever)
    with pytest.raises(LayoutChangedError, match="nobody new"):
        sync()


def test_somebody_elses_following_is_refused(
    sync: Sync, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = world.read_following
    monkeypatch.setattr(world, "read_following", lambda name: (replace(p, owner="zoe") for p in read(name)))
    with pytest.raises(WrongPageError, match="zoe"):
        sync()


def test_a_deleted_seed_is_remembered_and_ends_no_membership(sync: Sync, world: World, query: Query) -> None:
    sync()
    del world.people["seed"]
    with pytest.raises(NotFoundError):
        sync()
    assert members(query) == NAMES
    assert query("select status from raw.users where username = 'seed'") == [{"status": "deleted"}]


def test_the_seed_may_be_a_member_too(
    database_url: str, settings: Settings, world: World, query: Query
) -> None:
    with psycopg.connect(database_url) as connection:
        create_cohort(connection, "us", "Us", {"kind": "following", "seed": "seed", "include_self": True})
    sync_members(database_url, settings, world, "us")
    assert query(CURRENT) == [
        {"username": "ada", "depth": 1}, {"username": "bea", "depth": 1}, {"username": "seed", "depth": 0}
    ]  # fmt: skip


def test_a_cohort_of_names_asks_nobody(
    database_url: str, settings: Settings, cohort: str, world: World
) -> None:
    world.calls.clear()
    report = sync_members(database_url, settings, world, cohort)
    assert (report.members_count, report.requests_count, world.total_calls()) == (2, 0, 0)


# -- cohorts ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        ({}, "kind"),
        ({"kind": "followers"}, "one of following, usernames"),
        ({"kind": "following"}, "not a user name"),
        ({"kind": "following", "seed": "a b"}, "not a user name"),
        ({"kind": "following", "seed": "a", "include_self": "yes"}, "true or false"),
        ({"kind": "following", "seed": "a", "depth": 2}, "not depth"),
        ({"kind": "usernames", "usernames": []}, "at least one name"),
        ({"kind": "usernames", "usernames": "ada"}, "at least one name"),
    ],
)
def test_a_malformed_definition_is_refused_by_name(
    connection: psycopg.Connection, definition: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        create_cohort(connection, "c", "C", definition)


@pytest.mark.parametrize("slug", ["", "Upper", "-dash", "ä", "a" * 64, "a b"])
def test_a_malformed_slug_is_refused(connection: psycopg.Connection, slug: str) -> None:
    with pytest.raises(ConfigurationError, match="slug"):
        create_cohort(connection, slug, "C", {"kind": "usernames", "usernames": ["a"]})


def test_creating_a_cohort_again_is_no_error_unless_it_means_something_else(
    connection: psycopg.Connection,
) -> None:
    definition = {"kind": "usernames", "usernames": ["Ada", "ada", "bea"]}
    first = create_cohort(connection, "c", "C", definition)
    assert first.definition["usernames"] == ["ada", "bea"]
    again = create_cohort(connection, "c", "A new label", definition)
    assert (again.cohort_id, again.label) == (first.cohort_id, "A new label")
    with pytest.raises(ConfigurationError, match="another definition"):
        create_cohort(connection, "c", "C", {"kind": "usernames", "usernames": ["zoe"]})
    assert [cohort.slug for cohort in list_cohorts(connection)] == ["c"]
    with pytest.raises(ConfigurationError, match="no cohort d"):
        get_cohort(connection, "d")
