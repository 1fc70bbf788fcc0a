"""sync_members: memberships begin and end, and never on doubt."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import psycopg
import pytest

from almanac_pipeline.errors import (
    ConfigurationError,
    LayoutChangedError,
    LayoutDriftError,
    NotFoundError,
    RetriableError,
    WrongPageError,
)
from almanac_pipeline.flows.members import MembersReport, sync_members
from almanac_pipeline.settings import Settings
from almanac_pipeline.sources.records import PeoplePage
from almanac_pipeline.warehouse.cohorts import (
    add_named_members,
    create_cohort,
    get_cohort,
    list_cohorts,
    validated_definition,
)
from almanac_pipeline.warehouse.forgetting import forget
from almanac_pipeline.warehouse.members import ensure_users, learn_profile
from tests.flows.conftest import Query
from tests.flows.world import World, film

Sync = Callable[[], MembersReport]
Graph = Callable[..., dict[str, int]]

CURRENT = """
    select username, depth from raw.cohort_members join raw.users using (user_id)
    where until is null order by username
"""
NAMES = [f"friend{number}" for number in range(7)]


@pytest.fixture
def sync(database_url: str, settings: Settings, world: World) -> Sync:
    world.person("seed").following = [name.title() for name in NAMES]
    for name in NAMES:
        world.person(name).lid = f"lid-{name}"
    with psycopg.connect(database_url) as connection:
        create_cohort(connection, "friends", "Friends", {"kind": "following", "seed": "Seed"})
    return lambda: sync_members(database_url, settings, world, "friends")


def members(query: Query) -> list[str]:
    return [row["username"] for row in query(CURRENT)]


def test_whom_the_seed_follows_are_the_members(sync: Sync, query: Query, world: World) -> None:
    report = sync()
    assert members(query) == NAMES
    assert (report.members_count, report.added_count) == (7, 7)
    assert (report.requests_count, report.profiles_count) == (3 + 7, 7)
    assert query("select count(*) as n from raw.follows where until is null") == [{"n": 7}]
    [run] = query("select status, members_count from ops.scrape_runs")
    assert run == {"status": "succeeded", "members_count": 7}


def test_that_most_whom_a_page_has_just_shown_do_not_exist_is_not_believed(
    sync: Sync, world: World, query: Query
) -> None:
    gone = {name: world.people.pop(name) for name in NAMES[:5]}
    with pytest.raises(LayoutDriftError, match="members do not exist"):
        sync()
    assert query("select username from raw.users where status = 'deleted'") == []
    assert members(query) == []
    world.people |= gone
    sync()
    assert members(query) == NAMES


def test_a_repeat_writes_nothing(sync: Sync, written: Callable[[], int]) -> None:
    sync()
    before = written()
    report = sync()
    assert (report.added_count, report.ended_count, report.requests_count) == (0, 0, 3)
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
    assert query("select kind from ops.alerts where resolved_at is null") == [{"kind": "suspicious"}]
    assert query("select subject from ops.user_scrape_state where suspicious_at is not null") == [
        {"subject": "following"}
    ]
    assert query("select page_kind from ops.scrape_failures") == [{"page_kind": "following"}]
    assert report.failures_count == 1


def test_nobody_leaves_by_pages_that_state_no_total(
    sync: Sync, world: World, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync()
    read = world.read_following
    without_total = lambda username: (replace(page, total=None) for page in read(username))  # noqa: E731
    monkeypatch.setattr(world, "read_following", without_total)
    world.person("seed").following = [*world.person("seed").following[1:], "Newcomer"]
    assert not sync().is_suspicious
    assert members(query) == [*NAMES, "newcomer"]
    world.person("seed").following = world.person("seed").following[:5]
    assert sync().is_suspicious
    assert members(query) == [*NAMES, "newcomer"]


@pytest.mark.parametrize(("stated_offset", "is_complete"), [(1, True), (-1, True), (2, False)])
def test_the_count_must_agree_with_the_stated_total_within_one(
    sync: Sync, world: World, query: Query, stated_offset: int, is_complete: bool
) -> None:
    world.stated_offset = stated_offset
    if is_complete:
        assert sync().members_count == 7
    else:
        with pytest.raises(RetriableError, match="state 9 people, but 7 were shown"):
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
    with pytest.raises(WrongPageError, match="another member's"):
        sync()


def test_a_cohort_that_was_inserted_as_a_row_has_its_circle_found_and_its_seed_named(
    sync: Sync, database_url: str, settings: Settings, world: World, query: Query
) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "insert into raw.cohorts (slug, label, definition)"
            """ values ('row', 'Row', '{"kind": "following", "seed": "Seed"}')"""
        )
    assert sync_members(database_url, settings, world, "row").members_count == len(NAMES)
    [row] = query(
        "select username from raw.cohorts join raw.users on user_id = seed_user_id where slug = 'row'"
    )
    assert row["username"] == "seed"


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


def test_a_cohort_of_names_asks_nobody_where_no_page_is_permitted(
    database_url: str, settings: Settings, cohort: str, world: World
) -> None:
    world.permitted, world.calls = set(), Counter()
    report = sync_members(database_url, settings, world, cohort)
    assert (report.members_count, report.requests_count, world.total_calls()) == (2, 0, 0)


def test_the_profile_of_somebody_never_read_tells_favourites_and_lid_once(
    database_url: str, settings: Settings, cohort: str, world: World, query: Query
) -> None:
    world.person("ada").lid = "LidA"
    assert sync_members(database_url, settings, world, cohort).profiles_count == 2
    assert query("select username, lid from raw.users where lid is not null") == [
        {"username": "ada", "lid": "LidA"}
    ]
    assert query("select count(*) as n from raw.ratings where favorite") == [{"n": 2}]
    assert sync_members(database_url, settings, world, cohort).requests_count == 0


def test_a_profile_that_does_not_exist_is_not_asked_for_again_at_once(
    database_url: str, settings: Settings, world: World
) -> None:
    make(database_url, {"kind": "usernames", "usernames": ["nobody"]})
    first = sync_members(database_url, settings, world, "circle")
    assert (first.members_count, first.failures_count, first.requests_count) == (1, 1, 1)
    assert sync_members(database_url, settings, world, "circle").requests_count == 0


# -- kinds and filters --------------------------------------------------------------------------


def make(database_url: str, definition: dict[str, object], slug: str = "circle") -> None:
    with psycopg.connect(database_url) as connection:
        create_cohort(connection, slug, "Circle", definition)


@pytest.fixture
def graph(world: World, database_url: str, settings: Settings, query: Query) -> Graph:
    """seed follows a and b; a follows c and the seed; b follows c and d; c follows e."""
    world.people = {}
    for name, following in {"seed": "ab", "a": "cs", "b": "cd", "c": "e", "d": "", "e": "", "s": ""}.items():
        world.person(name).following = ["seed" if other == "s" else other for other in following]

    def build(slug: str = "circle", **definition: object) -> dict[str, int]:
        if definition:
            make(database_url, definition, slug)
        sync_members(database_url, settings, world, slug)
        rows = query(
            """
            select username, depth from raw.cohort_members join raw.users using (user_id)
            join raw.cohorts using (cohort_id) where slug = %s and until is null
            """,
            slug,
        )
        return {row["username"]: row["depth"] for row in rows}

    return build


@pytest.mark.parametrize(
    ("depth", "circle"),
    [
        (1, {"a": 1, "b": 1}),
        (2, {"a": 1, "b": 1, "c": 2, "d": 2}),
        (3, {"a": 1, "b": 1, "c": 2, "d": 2, "e": 3}),
    ],
)
def test_a_circle_reaches_as_deep_as_it_is_defined(
    graph: Graph, world: World, depth: int, circle: dict[str, int]
) -> None:
    assert graph(kind="following", seed="seed", depth=depth) == circle
    read = {name for kind, name in world.calls if kind == "following"}
    assert read == {"seed"} | {name for name, at in circle.items() if at < depth}


def test_deeper_levels_are_read_again_only_when_they_are_due(graph: Graph, world: World) -> None:
    graph(kind="following", seed="seed", depth=2)
    world.calls.clear()
    graph()
    assert world.calls == {("following", "seed"): 1}


def test_circles_from_one_seed_read_it_once_within_the_freshness_window(
    graph: Graph, world: World, database_url: str, settings: Settings
) -> None:
    graph(kind="following", seed="seed")
    make(database_url, {"kind": "following", "seed": "seed", "min_films": 1}, "other")
    world.calls.clear()
    patient = settings.model_copy(update={"fresh_minutes": 10.0})
    report = sync_members(database_url, patient, world, "other")
    assert (report.members_count, report.requests_count, world.total_calls()) == (2, 0, 0)


def test_one_persons_private_page_does_not_end_a_circle(graph: Graph, world: World, query: Query) -> None:
    world.person("b").is_private = True
    circle = graph(kind="following", seed="seed", depth=2)
    assert circle == {"a": 1, "b": 1, "c": 2}
    assert query("select status from raw.users where username = 'b'") == [{"status": "private"}]


def test_whom_a_private_member_followed_stays(
    graph: Graph, world: World, database_url: str, settings: Settings, query: Query
) -> None:
    before = graph(kind="following", seed="seed", depth=2)
    world.person("b").is_private = True
    always = settings.model_copy(update={"profile_max_age_hours": 0.0})
    assert sync_members(database_url, always, world, "circle").failures_count == 1
    assert {row["username"]: row["depth"] for row in query(CURRENT)} == before


def test_a_depth_changes_with_the_way_that_leads_there(graph: Graph, world: World, query: Query) -> None:
    assert graph(kind="following", seed="seed", depth=2)["c"] == 2
    world.person("seed").following = ["a", "b", "c"]
    assert graph()["c"] == 1
    assert query("select count(*) as n from raw.cohort_members where until is not null") == [{"n": 0}]


def test_nobody_comes_in_through_somebody_who_is_excluded(graph: Graph) -> None:
    assert graph(kind="following", seed="seed", depth=2, exclude=["B"]) == {"a": 1, "c": 2}


def test_the_closest_come_first_where_there_is_room_for_few(graph: Graph) -> None:
    circle = graph(kind="following", seed="seed", depth=3, include_self=True, max_members=4)
    assert circle == {"seed": 0, "a": 1, "b": 1, "c": 2}


def test_who_has_seen_too_little_stays_out_until_they_have_seen_enough(graph: Graph, world: World) -> None:
    world.states_counts = True
    world.person("a").rate(film(1), 3.0)
    world.person("a").rate(film(2), 3.0)
    assert graph(kind="following", seed="seed", min_films=2) == {"a": 1}
    world.person("b").rated = list(world.person("a").rated)
    assert graph() == {"a": 1, "b": 1}


def test_who_follows_a_member_is_a_circle_too(graph: Graph, world: World) -> None:
    assert graph(kind="followers", seed="c") == {"a": 1, "b": 1}
    world.person("a").following = []
    assert graph() == {"b": 1}


def test_the_fans_of_a_film_are_read_as_far_as_there_is_room(graph: Graph, world: World) -> None:
    fans = world.film_people["alien", "fans"] = list("edcba")
    assert graph(kind="film", film="alien", max_members=4) == dict.fromkeys("edcb", 1)
    assert world.calls["fans", "alien"] == 2
    world.film_people["alien", "fans"] = fans[::-1]
    assert graph() == dict.fromkeys("edcb", 1)  # who is in stays, though others are shown first now


def test_all_fans_of_a_film_shrunk_to_one_end_no_membership(graph: Graph, world: World, query: Query) -> None:
    world.film_people["alien", "fans"] = list("abcd")
    graph(kind="film", film="alien")
    world.film_people["alien", "fans"] = ["a"]
    assert graph() == dict.fromkeys("abcd", 1)
    assert query("select kind from ops.alerts where resolved_at is null") == [{"kind": "suspicious"}]
    world.film_people["alien", "fans"] = list("abc")
    assert graph() == dict.fromkeys("abc", 1)
    assert query("select from ops.alerts where resolved_at is null") == []


def test_the_people_of_a_lists_films_are_a_circle_with_those_of_most_films_first(
    graph: Graph, world: World
) -> None:
    world.person("seed").lists["best"] = [film(1), film(2), film(3)]
    world.film_people["film-1", "members"] = ["a", "b"]
    world.film_people["film-2", "members"] = ["b", "c"]
    circle = graph(
        kind="list",
        owner="seed",
        list="best",
        relation="members",
        max_films=2,
        max_members=2,
        include_self=True,
    )
    assert circle == {"seed": 0, "b": 1}
    assert world.calls["members", "film-3"] == 0


def test_a_lists_owner_alone_is_a_circle_without_any_page(graph: Graph, world: World) -> None:
    world.permitted = set()
    assert graph(kind="list", owner="seed", list="best", relation="owner") == {"seed": 0}
    assert world.total_calls() == 0


def test_circles_that_share_people_are_synced_at_the_same_time_without_a_clash(
    world: World, database_url: str, settings: Settings, query: Query
) -> None:
    crowd = [f"p{number}" for number in range(12)]
    for name in crowd:
        world.person(name).lid = f"Lid{name}"
        world.person(name).following = crowd[::-1]
    world.states_counts = True
    for slug, seed in (("one", "p0"), ("two", "p1"), ("three", "p0")):
        make(database_url, {"kind": "following", "seed": seed, "depth": 2, "include_self": True}, slug)
    with ThreadPoolExecutor() as threads:
        syncs = [
            threads.submit(sync_members, database_url, settings, world, slug)
            for slug in ("one", "two", "three", "one", "two", "three")
        ]
    assert [sync.result().members_count for sync in syncs] == [12] * 6
    counts = query("select count(*) as n from raw.cohort_members group by cohort_id")
    assert counts == [{"n": 12}] * 3
    assert query("select count(*) as n from raw.follows where follower_id <> followed_id") == [{"n": 12 * 11}]


@pytest.mark.parametrize("private", ["", "b"])
def test_circles_synced_at_the_same_time_read_each_persons_page_once(
    graph: Graph, world: World, database_url: str, settings: Settings, query: Query, private: str
) -> None:
    if private:
        world.person(private).is_private = True
    for slug in ("one", "two"):
        make(database_url, {"kind": "following", "seed": "seed", "depth": 2, "include_self": True}, slug)

    def wait_until_both_run(kind: str, key: str, page: int) -> None:
        deadline = time.monotonic() + 10
        while kind == "following" and time.monotonic() < deadline:
            if len(query("select from ops.scrape_runs")) == 2:
                return
            time.sleep(0.01)

    world.on_call = wait_until_both_run
    with ThreadPoolExecutor() as threads:
        list(threads.map(lambda slug: sync_members(database_url, settings, world, slug), ("one", "two")))
    read = {name: count for (kind, name), count in world.calls.items() if kind == "following"}
    assert read == {"seed": 1, "a": 1, "b": 1}


# -- renamed, gone, given away ------------------------------------------------------------------


def users(query: Query) -> dict[str, tuple[str, str | None]]:
    rows = query("select username, status, lid from raw.users")
    return {row["username"]: (row["status"], row["lid"]) for row in rows}


def test_a_renamed_member_is_known_by_the_lid_and_stays_with_all_history(
    sync: Sync, world: World, query: Query
) -> None:
    sync()
    [before] = query("select user_id from raw.users where username = 'friend0'")
    world.people["newname"] = world.people.pop("friend0")
    world.person("seed").following[0] = "NewName"
    sync()
    assert members(query) == [*NAMES[1:], "newname"]
    assert query("select user_id from raw.users where username = 'newname'") == [before]
    assert query("select username, user_id from raw.user_aliases") == [
        {"username": "friend0", "user_id": before["user_id"]}
    ]
    assert query("select count(*) as n from raw.cohort_members") == [{"n": 7}]
    assert query("select count(*) as n from raw.follows where until is null") == [{"n": 7}]


def test_a_member_whose_old_name_leads_to_the_new_one_is_renamed_without_any_lid(
    sync: Sync, world: World, query: Query
) -> None:
    for name in NAMES:
        world.person(name).lid = None
    sync()
    world.people["newname"] = world.people.pop("friend0")
    world.renamed["friend0"] = "newname"
    world.person("seed").following[0] = "newname"
    sync()
    assert members(query) == [*NAMES[1:], "newname"]
    assert query("select count(*) as n from raw.cohort_members") == [{"n": 7}]
    assert "friend0" not in users(query)


def test_who_is_excluded_stays_out_under_another_name(graph: Graph, world: World) -> None:
    world.person("a").lid = "LidA"
    assert graph(kind="following", seed="seed", depth=1, include_self=True) == {"seed": 0, "a": 1, "b": 1}
    world.people["z"] = world.people.pop("a")
    world.person("seed").following = ["z", "b"]
    assert graph() == {"seed": 0, "z": 1, "b": 1}
    assert graph(kind="following", seed="seed", exclude=["a"], slug="without") == {"b": 1}


def test_a_renamed_seed_is_followed_to_the_new_name(sync: Sync, world: World, query: Query) -> None:
    sync()
    world.people["root"] = world.people.pop("seed")
    world.renamed["seed"] = "root"
    assert sync().members_count == 7
    assert users(query)["root"][0] == "active"


def test_a_name_that_was_given_to_somebody_else_is_another_person(
    database_url: str, settings: Settings, world: World, query: Query
) -> None:
    world.person("ada").lid = "LidA"
    make(database_url, {"kind": "usernames", "usernames": ["ada"]})
    sync_members(database_url, settings, world, "circle")
    [old] = query("select user_id from raw.users where username = 'ada'")
    with psycopg.connect(database_url) as connection:
        new_id = learn_profile(connection, old["user_id"], "Ada", "LidOther")
    assert new_id != old["user_id"]
    assert users(query)["ada"] == ("active", "LidOther")
    assert users(query)[f"ada~{old['user_id']}"] == ("renamed", "LidA")
    # The stranger does not slip into the circle under the old name.
    sync_members(database_url, settings, world, "circle")
    assert [row["username"] for row in query(CURRENT)] == [f"ada~{old['user_id']}"]
    with psycopg.connect(database_url) as connection:
        found = ensure_users(connection, ["zoe"])["zoe"]
        assert learn_profile(connection, found, "zoe", "LidA") == old["user_id"]
    assert users(query)["zoe"] == ("active", "LidA")


def test_what_was_stored_under_a_new_name_becomes_the_old_persons(
    database_url: str, settings: Settings, world: World, query: Query, cohort: str
) -> None:
    with psycopg.connect(database_url) as connection:
        ids = ensure_users(connection, ["ada", "bea"])
        connection.execute(
            """
            insert into raw.films (slug, title) values ('f1', 'F1'), ('f2', 'F2');
            insert into raw.ratings (user_id, film_id, rating, source, updated_at)
            select %(ada)s, film_id, 2.0, 'pages', timestamptz '2020-01-01' from raw.films where slug = 'f1'
            union all select %(bea)s, film_id, 4.0, 'pages', timestamptz '2021-01-01' from raw.films;
            insert into raw.follows (follower_id, followed_id) values (%(ada)s, %(bea)s);
            insert into ops.user_scrape_state (user_id, subject) values (%(bea)s, 'ratings')
            """.replace("%(ada)s", str(ids["ada"])).replace("%(bea)s", str(ids["bea"]))
        )
        learn_profile(connection, ids["ada"], "ada", "LidA")
        assert learn_profile(connection, ids["bea"], "bea", "LidA") == ids["ada"]
    rows = query(
        """
        select username, slug, rating::float8 as rating
        from raw.ratings join raw.users using (user_id) join raw.films using (film_id) order by slug
        """
    )
    assert rows == [
        {"username": "bea", "slug": "f1", "rating": 4.0}, {"username": "bea", "slug": "f2", "rating": 4.0}
    ]  # fmt: skip
    assert query("select from raw.follows") == []
    assert query("select count(*) as n from raw.cohort_members") == [{"n": 1}]


def test_a_member_who_left_is_deleted_only_if_their_page_is_gone(
    sync: Sync, world: World, query: Query
) -> None:
    sync()
    del world.people["friend0"]
    world.person("seed").following = world.person("seed").following[2:]
    report = sync()
    assert (report.ended_count, report.requests_count) == (2, 2 + 2)
    assert users(query)["friend0"][0] == "deleted"
    assert users(query)["friend1"][0] == "active"
    assert sync().requests_count == 2


def test_a_forgotten_person_does_not_come_back_under_another_name(
    sync: Sync, database_url: str, world: World, query: Query
) -> None:
    sync()
    with psycopg.connect(database_url, autocommit=True) as connection:
        forget(connection, "friend0")
    sync()
    assert "friend0" not in users(query)
    world.people["newname"] = world.people.pop("friend0")
    world.person("seed").following[0] = "newname"
    sync()
    assert "newname" not in users(query)
    assert members(query) == NAMES[1:]


# -- cohorts ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        ({}, "kind"),
        ({"kind": "friends"}, "one of following, followers, usernames, list, film"),
        ({"kind": "following"}, "not a user name"),
        ({"kind": "following", "seed": "a b"}, "not a user name"),
        ({"kind": "following", "seed": "a", "include_self": "yes"}, "true or false"),
        ({"kind": "following", "seed": "a", "depth": 4}, "depth is a whole number from 1 to 3"),
        ({"kind": "following", "seed": "a", "depth": True}, "depth is a whole number"),
        ({"kind": "followers", "seed": "a", "depth": 2}, "not depth"),
        ({"kind": "following", "seed": "a", "max_members": 0}, "max_members"),
        ({"kind": "following", "seed": "a", "min_films": "many"}, "min_films"),
        ({"kind": "following", "seed": "a", "exclude": "bea"}, "exclude is a list"),
        ({"kind": "list", "owner": "a", "list": "x/y"}, "not the last part"),
        ({"kind": "list", "owner": "a", "list": "x", "relation": "friends"}, "owner, fans, members"),
        ({"kind": "film", "film": ""}, "not the last part"),
        ({"kind": "film", "film": "x", "relation": "owner"}, "fans, members"),
        ({"kind": "usernames", "usernames": []}, "at least one name"),
        ({"kind": "usernames", "usernames": "ada"}, "at least one name"),
    ],
)
def test_a_malformed_definition_is_refused_by_name(definition: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        validated_definition(definition)


def test_a_malformed_slug_or_definition_makes_no_cohort(connection: psycopg.Connection) -> None:
    for slug in ("", "Upper", "-dash", "ä", "a" * 64, "a b"):
        with pytest.raises(ConfigurationError, match="slug"):
            create_cohort(connection, slug, "C", {"kind": "usernames", "usernames": ["a"]})
    with pytest.raises(ConfigurationError, match="at least one name"):
        create_cohort(connection, "c", "C", {"kind": "usernames"})
    assert list_cohorts(connection) == []


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


def test_a_cohort_of_an_earlier_release_is_the_same_cohort(connection: psycopg.Connection) -> None:
    connection.execute(
        """
        insert into raw.cohorts (slug, label, definition)
        values ('c', 'C', '{"kind": "following", "seed": "ada", "include_self": false}')
        """
    )
    create_cohort(connection, "c", "C", {"kind": "following", "seed": "Ada"})
    with pytest.raises(ConfigurationError, match="another definition"):
        create_cohort(connection, "c", "C", {"kind": "following", "seed": "Ada", "depth": 2})


def test_names_are_added_to_a_cohort_of_names_only(connection: psycopg.Connection) -> None:
    add_named_members(connection, "c", ["Ada"])
    cohort = add_named_members(connection, "c", ["bea", "ada"])
    assert cohort.definition == {"kind": "usernames", "usernames": ["ada", "bea"]}
    create_cohort(connection, "other", "Other", {"kind": "following", "seed": "ada"})
    with pytest.raises(ConfigurationError, match="not found by names"):
        add_named_members(connection, "other", ["bea"])
