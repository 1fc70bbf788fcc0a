"""Forgetting a person: nothing of theirs is left, nothing of others goes, and they stay out."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from psycopg.types.json import Jsonb

from almanac_pipeline.errors import ConfigurationError, ForgottenError
from almanac_pipeline.warehouse.cohorts import add_named_members, create_cohort, get_cohort
from almanac_pipeline.warehouse.connection import connect_to
from almanac_pipeline.warehouse.dbt import BUILD_LOCK
from almanac_pipeline.warehouse.forgetting import (
    PERSONAL_ROWS,
    Forgotten,
    allow,
    forget,
    forgotten,
    is_forgotten_lid,
    require_not_forgotten,
)
from almanac_pipeline.warehouse.members import ensure_users
from almanac_pipeline.warehouse.runs import member_lock


@pytest.fixture
def auto(database_url: str) -> Iterator[psycopg.Connection]:
    """An autocommit connection, as forgetting wants it."""
    with connect_to(database_url, autocommit=True) as opened:
        yield opened


def add(connection: psycopg.Connection, username: str, lid: str | None = None) -> int:
    row = connection.execute(
        "insert into raw.users (username, lid) values (%s, %s) returning user_id", [username, lid]
    ).fetchone()
    assert row is not None
    return int(row[0])


def cohort(connection: psycopg.Connection, slug: str, definition: object, **columns: object) -> int:
    row = connection.execute(
        "insert into raw.cohorts (slug, label, definition, seed_user_id) values (%s, %s, %s, %s)"
        " returning cohort_id",
        [slug, columns.get("label", slug), Jsonb(definition), columns.get("seed")],
    ).fetchone()
    assert row is not None
    return int(row[0])


def fill(connection: psycopg.Connection, user_id: int, other_id: int) -> None:
    """A row of this person in every table that can have one."""
    connection.execute(
        """
        with film as (insert into raw.films (slug, title) values ('f' || %(u)s, 'F') returning film_id),
        diary as (
            insert into raw.diary_entries (user_id, film_id, source, source_key, film_title)
            select %(u)s, film_id, 'rss', 'k', 'F' from film returning diary_entry_id
        ), rating as (
            insert into raw.ratings (user_id, film_id, rating, source, diary_entry_id)
            select %(u)s, film_id, 4, 'pages', diary_entry_id from film, diary
        ), event as (
            insert into raw.rating_events (user_id, film_id, kind, new_rating, source)
            select %(u)s, film_id, 'added', 4, 'pages' from film
        ), watchlist as (
            insert into raw.watchlist_entries (user_id, film_id, source)
            select %(u)s, film_id, 'pages' from film
        ), list as (
            insert into raw.lists (user_id, source, source_key, name) values (%(u)s, 'export', 'l', 'L')
            returning list_id
        )
        insert into raw.list_entries (list_id, film_id, list_position)
        select list_id, film_id, 1 from list, film
        """,
        {"u": user_id},
    )
    for statement in (
        "insert into raw.follows (follower_id, followed_id) values (%(u)s, %(o)s)",
        "insert into raw.user_aliases (username, user_id) values ('former' || %(u)s, %(u)s)",
        "insert into raw.cohort_members (cohort_id, user_id) select cohort_id, %(u)s from raw.cohorts",
        "insert into ops.staged_items (user_id, subject, page_number, position, slug, liked)"
        " values (%(u)s, 'ratings', 1, 1, 's', false)",
        "insert into ops.user_scrape_state (user_id, subject) values (%(u)s, 'ratings')",
        "insert into ops.scrape_failures (user_id, page_kind, error_kind, message)"
        " values (%(u)s, 'ratings', 'E', 'm')",
        "insert into ops.scrape_run_members (scrape_run_id, user_id, outcome)"
        " select scrape_run_id, %(u)s, 'full' from ops.scrape_runs",
        "insert into ops.imports (content_sha256, user_id, as_of) values ('x', %(u)s, now())",
        "insert into ops.alerts (kind, subject, message, user_id) values ('k', %(u)s::text, 'm', %(u)s)",
        "insert into intermediate.circle_members"
        " (cohort_id, user_id, ratings_count, strictness, spread, noise)"
        " select cohort_id, %(u)s, 1, 0, 1, 1 from raw.cohorts",
        "insert into intermediate.circle_pairs (cohort_id, user_a, user_b, overlap)"
        " select cohort_id, least(%(u)s, %(o)s), greatest(%(u)s, %(o)s), 1 from raw.cohorts"
        " on conflict do nothing",
        "insert into ops.rank_stretches"
        " (cohort_id, strategy, film_id, publication_id, published_at, rank, score, raters)"
        " select cohort_id, 'almanac', 1, 1, now(), 1, 4, 1 from raw.cohorts on conflict do nothing",
        "insert into ops.publications (cohort_id, input_version, members_count, films_count, ratings_count)"
        " select cohort_id, 'v', 2, 1, 1 from raw.cohorts",
        "insert into ops.quality_measurements (publication_id, cohort_id, measures)"
        " select publication_id, cohort_id, '{}' from ops.publications on conflict do nothing",
    ):
        connection.execute(statement, {"u": user_id, "o": other_id})


def rows_of(connection: psycopg.Connection, user_id: int) -> dict[str, int]:
    """How many rows each table has of the person."""
    found = {}
    for table, column in PERSONAL_ROWS:
        row = connection.execute(f"select count(*) from {table} where {column} = %s", [user_id]).fetchone()
        assert row is not None
        found[f"{table}.{column}"] = int(row[0])
    return found


def test_every_table_that_can_hold_a_person_is_known_to_forgetting(connection: psycopg.Connection) -> None:
    """A table that is added later fails here until forgetting knows it."""
    named = connection.execute(
        """
        select table_schema || '.' || table_name, column_name
        from information_schema.columns join information_schema.tables using (table_schema, table_name)
        where table_type = 'BASE TABLE' and column_name = 'user_id' and table_schema <> 'intermediate'
        union
        select conrelid::regclass::text, attname::text
        from pg_constraint join pg_attribute on attrelid = conrelid and attnum = any(conkey)
        where contype = 'f' and confrelid = 'raw.users'::regclass
        """
    ).fetchall()
    # The seed is set null; what intermediate holds goes with the cohort it belongs to.
    expected = {*PERSONAL_ROWS, ("raw.cohorts", "seed_user_id"), ("intermediate.circle_members", "user_id")}
    assert set(named) == expected


def test_everything_of_the_person_goes_and_nothing_of_anybody_else(auto: psycopg.Connection) -> None:
    cohort(auto, "circle", {"kind": "usernames", "usernames": ["nn_forget", "nn_keep"]})
    auto.execute("insert into ops.scrape_runs (subject) values ('ratings')")
    gone, kept = add(auto, "nn_forget", "LID1"), add(auto, "nn_keep")
    fill(auto, gone, kept)
    fill(auto, kept, gone)
    before = rows_of(auto, kept)
    assert 0 not in rows_of(auto, gone).values()
    report = forget(auto, "NN_Forget")
    assert set(rows_of(auto, gone).values()) == {0}
    after = rows_of(auto, kept)
    # The two followed each other.
    assert after == before | {"raw.follows.follower_id": 0, "raw.follows.followed_id": 0}
    assert auto.execute("select count(*) from raw.films").fetchone() == (2,)
    assert auto.execute("select count(*) from intermediate.circle_members").fetchone() == (0,)
    assert auto.execute("select count(*) from intermediate.circle_pairs").fetchone() == (0,)
    assert auto.execute("select count(*) from ops.rank_stretches").fetchone() == (0,)
    assert auto.execute("select count(*) from ops.quality_measurements").fetchone() == (0,)
    assert report.rows_by_table["raw.ratings"] == report.rows_by_table["raw.users"] == 1
    assert report.hashes_count == 3  # name, former name, LID
    assert auto.execute("select definition -> 'usernames' from raw.cohorts").fetchone() == (["nn_keep"],)


def test_the_samples_that_the_planner_keeps_of_columns_lose_the_name(auto: psycopg.Connection) -> None:
    user_id, _ = add(auto, "quirin", "quirinlid"), add(auto, "otto")
    cohort(auto, "friends", {"kind": "usernames", "usernames": ["quirin", "otto"]})
    cohort(auto, "others", {"kind": "usernames", "usernames": ["otto"]})
    for former in ("quirin-a", "quirin-b"):
        auto.execute("insert into raw.user_aliases (username, user_id) values (%s, %s)", [former, user_id])
    auto.execute(
        "create table intermediate.int_cohort_members (cohort_id bigint, user_id bigint, username text)"
    )
    auto.execute(
        "insert into intermediate.int_cohort_members select 1, user_id, username from raw.users"
        " union all select 2, user_id, username from raw.user_aliases"
    )
    auto.execute("analyze")
    sampled = """
        select distinct tablename::text from pg_stats
        where most_common_vals::text ~ 'quirin' or histogram_bounds::text ~ 'quirin'
    """
    assert {table for (table,) in auto.execute(sampled)} >= {"users", "user_aliases", "int_cohort_members"}

    forget(auto, "quirin")
    assert auto.execute(sampled).fetchall() == []
    assert auto.execute("select username from raw.users").fetchall() == [("otto",)]


def test_a_forgotten_person_stays_out_under_every_name_and_id(auto: psycopg.Connection) -> None:
    user_id = add(auto, "nn_now", "LidX")
    auto.execute("insert into raw.user_aliases (username, user_id) values ('nn_then', %s)", [user_id])
    forget(auto, "nn_then")
    assert forgotten(auto, ["NN_now", "nn_then", "bob"]) == {"nn_now", "nn_then"}
    assert list(ensure_users(auto, ["bob", "NN_Now", "nn_then"])) == ["bob"]
    assert is_forgotten_lid(auto, "LidX")
    assert not is_forgotten_lid(auto, "lidx")
    with pytest.raises(ForgottenError, match="asked to be forgotten") as refused:
        require_not_forgotten(auto, "NN_NOW")
    assert "nn_now" not in str(refused.value).lower()
    require_not_forgotten(auto, "bob")
    stored = auto.execute(
        "select string_agg(encode(identity_hash, 'escape'), ' ') from ops.forgotten_members"
    )
    assert "nn_" not in str(stored.fetchone())


def test_allowing_takes_all_names_and_ids_back(auto: psycopg.Connection) -> None:
    user_id = add(auto, "nn_now", "LidX")
    auto.execute("insert into raw.user_aliases (username, user_id) values ('nn_then', %s)", [user_id])
    add(auto, "other")
    forget(auto, "nn_now")
    forget(auto, "other")
    assert allow(auto, "NN_then")
    assert not allow(auto, "nn_now")
    assert forgotten(auto, ["nn_now", "nn_then", "other"]) == {"other"}
    assert not is_forgotten_lid(auto, "LidX")


def test_forgetting_twice_or_somebody_unknown_only_keeps_them_out(auto: psycopg.Connection) -> None:
    add(auto, "nn_now")
    forget(auto, "nn_now")
    for name in ("nn_now", "nn_never"):
        assert forget(auto, name) == Forgotten({}, (), (), 1)
    assert forgotten(auto, ["nn_now", "nn_never"]) == {"nn_now", "nn_never"}


def test_a_name_that_was_passed_on_means_its_present_owner(auto: psycopg.Connection) -> None:
    first, second = add(auto, "nn_renamed"), add(auto, "nn_name")
    auto.execute("insert into raw.user_aliases (username, user_id) values ('nn_name', %s)", [first])
    forget(auto, "nn_renamed")
    assert forgotten(auto, ["nn_renamed", "nn_name"]) == {"nn_renamed"}
    auto.execute("insert into raw.users (username) values ('nn_again')")
    auto.execute(
        "insert into raw.user_aliases select 'nn_name', user_id from raw.users where username = 'nn_again'"
    )
    forget(auto, "nn_name")
    assert auto.execute("select username from raw.users").fetchall() == [("nn_again",)]
    assert rows_of(auto, second)["raw.users.user_id"] == 0


def test_a_circle_made_from_whom_they_follow_ends_and_others_lose_the_name(auto: psycopg.Connection) -> None:
    seed, friend = add(auto, "nn_seed"), add(auto, "friend")
    followed = cohort(
        auto, "nn_seed-friends", {"kind": "following", "seed": "nn_seed", "include_self": False}, seed=seed,
        label="Friends of NN_Seed",
    )  # fmt: skip
    auto.execute("insert into raw.cohort_members (cohort_id, user_id) values (%s, %s)", [followed, friend])
    cohort(auto, "picked", {"kind": "usernames", "usernames": ["friend"], "exclude": ["nn_seed"]})
    cohort(auto, "far", {"kind": "usernames", "usernames": ["nn_seed2", "friend"]}, label="nn_seedling")
    report = forget(auto, "nn_seed")
    assert report.ended_cohorts == report.named_cohorts == ("nn_seed-friends",)
    found = auto.execute(
        "select slug, label, status, seed_user_id, definition from raw.cohorts order by cohort_id"
    ).fetchall()
    assert found == [
        (
            "nn_seed-friends",
            "nn_seed-friends",
            "archived",
            None,
            {"kind": "following", "seed": None, "include_self": False},
        ),
        ("picked", "picked", "active", None, {"kind": "usernames", "usernames": ["friend"], "exclude": []}),
        ("far", "nn_seedling", "active", None, {"kind": "usernames", "usernames": ["nn_seed2", "friend"]}),
    ]
    assert auto.execute("select count(*) from raw.cohort_members").fetchone() == (0,)


@pytest.mark.parametrize(
    ("definition", "ends"),
    [
        ({"kind": "following", "seed": "nn_x"}, True),
        ({"kind": "followers", "seed": "bob", "exclude": ["nn_x"]}, False),
        ({"kind": "usernames", "usernames": ["nn_x", "bob"]}, False),
        ({"kind": "usernames", "usernames": ["nn_x"]}, True),
        ({"kind": "list", "owner": "nn_x", "list": "best"}, True),
        ({"kind": "film", "film": "nn", "exclude": ["nn_x"]}, False),
    ],
)
def test_no_kind_of_definition_keeps_the_name(
    auto: psycopg.Connection, definition: dict[str, object], ends: bool
) -> None:
    create_cohort(auto, "circle", "Circle", definition)
    forget(auto, "nn_x")
    found = get_cohort(auto, "circle")
    assert "nn_x" not in str(found.definition)
    assert (found.status == "archived") is ends
    if ends:
        with pytest.raises(ConfigurationError, match="has ended"):
            create_cohort(auto, "circle", "Circle", found.definition)


@pytest.mark.parametrize(
    "definition", [["nn_x"], "nn_x", {"usernames": "NN_x"}, {"kind": "following", "seed": "NN_x"}]
)
def test_a_definition_that_somebody_wrote_by_hand_does_not_keep_the_name_either(
    auto: psycopg.Connection, definition: object
) -> None:
    cohort(auto, "by-hand", definition)
    forget(auto, "nn_x")
    assert "nn_x" not in str(get_cohort(auto, "by-hand").definition).lower()


def test_a_film_that_is_called_like_a_member_stays_in_a_definition(auto: psycopg.Connection) -> None:
    create_cohort(auto, "circle", "Circle", {"kind": "film", "film": "nn_x"})
    forget(auto, "nn_x")
    assert get_cohort(auto, "circle").definition["film"] == "nn_x"


def test_messages_of_an_earlier_release_lose_the_name(auto: psycopg.Connection) -> None:
    add(auto, "nn_x")
    for message in ("Asked for a page of NN_x, got one of bob.", "A page of nn_xy came late."):
        auto.execute("insert into ops.scrape_runs (subject, error_sample) values ('ratings', %s)", [message])
    forget(auto, "nn_x")
    samples = auto.execute("select error_sample from ops.scrape_runs order by scrape_run_id").fetchall()
    assert samples == [("removed: it named a forgotten member",), ("A page of nn_xy came late.",)]


def test_a_forgetting_that_breaks_off_has_changed_nothing(auto: psycopg.Connection) -> None:
    cohort(auto, "circle", {"kind": "usernames", "usernames": ["nn_forget"]})
    auto.execute("insert into ops.scrape_runs (subject) values ('ratings')")
    user_id, other = add(auto, "nn_forget"), add(auto, "other")
    fill(auto, user_id, other)
    before = rows_of(auto, user_id)
    # The row in raw.users is the last to go.
    auto.execute(
        "create function pg_temp.refuse() returns trigger language plpgsql as"
        " $$ begin raise exception 'the power went'; end $$"
    )
    auto.execute("create trigger t before delete on raw.users for each row execute function pg_temp.refuse()")
    with pytest.raises(psycopg.errors.RaiseException):
        forget(auto, "nn_forget")
    assert rows_of(auto, user_id) == before
    assert forgotten(auto, ["nn_forget"]) == set()
    auto.execute("drop trigger t on raw.users")
    forget(auto, "nn_forget")
    assert set(rows_of(auto, user_id).values()) == {0}


# -- others at work at the same time --------------------------------------------------------------


def wait_until_somebody_waits(connection: psycopg.Connection) -> None:
    """Until another session of this database waits for a lock."""
    for _ in range(1000):
        row = connection.execute(
            "select count(*) from pg_locks where not granted and database ="
            " (select oid from pg_database where datname = current_database())"
        ).fetchone()
        if row is not None and row[0]:
            return
        time.sleep(0.01)
    raise AssertionError("nobody came to wait")


def forget_in_thread(url: str, username: str) -> Forgotten:
    with connect_to(url, autocommit=True) as connection:
        return forget(connection, username)


def test_a_sync_under_way_is_waited_for_and_what_it_stored_goes_too(
    auto: psycopg.Connection, database_url: str
) -> None:
    cohort(auto, "circle", {"kind": "usernames", "usernames": []})
    auto.execute("insert into ops.scrape_runs (subject) values ('ratings')")
    user_id, other = add(auto, "nn_busy"), add(auto, "other")
    with ThreadPoolExecutor(1) as threads, connect_to(database_url, autocommit=True) as syncing:
        with member_lock(syncing, "likes", user_id, wait=True):
            forgetting = threads.submit(forget_in_thread, database_url, "nn_busy")
            wait_until_somebody_waits(auto)
            fill(syncing, user_id, other)
        report = forgetting.result(timeout=30)
    assert report.rows_by_table["raw.ratings"] == 1
    assert set(rows_of(auto, user_id).values()) == {0}


def test_a_sync_that_comes_later_with_the_old_id_is_refused(auto: psycopg.Connection) -> None:
    user_id = add(auto, "nn_busy")
    forget(auto, "nn_busy")
    for wait in (True, False):
        with (
            pytest.raises(ForgottenError),
            member_lock(auto, "ratings", user_id, wait=wait),
        ):
            raise AssertionError("the lock of somebody who is gone was given")


def test_somebody_inserted_while_we_wait_is_forgotten_too(
    auto: psycopg.Connection, database_url: str
) -> None:
    with ThreadPoolExecutor(1) as threads, connect_to(database_url, autocommit=True) as building:
        building.execute("select pg_advisory_lock(%s)", [BUILD_LOCK])
        forgetting = threads.submit(forget_in_thread, database_url, "nn_new")
        wait_until_somebody_waits(auto)
        assert list(ensure_users(auto, ["nn_new"])) == ["nn_new"]
        building.execute("select pg_advisory_unlock(%s)", [BUILD_LOCK])
        forgetting.result(timeout=30)
    assert auto.execute("select count(*) from raw.users").fetchone() == (0,)


def test_an_insertion_that_meets_a_forgetting_sees_it(auto: psycopg.Connection, database_url: str) -> None:
    """Both begin before either has ended; whichever comes first, the person is out in the end."""
    for round_number in range(10):
        name = f"nn_race{round_number}"
        start = threading.Barrier(2)

        def insert(name: str = name, start: threading.Barrier = start) -> None:
            with connect_to(database_url, autocommit=True) as connection:
                start.wait()
                with connection.transaction():
                    ensure_users(connection, [name])

        with ThreadPoolExecutor(1) as threads:
            inserting = threads.submit(insert)
            start.wait()
            forget(auto, name)
            inserting.result(timeout=30)
    assert auto.execute("select username from raw.users").fetchall() == []


def test_statistics_that_are_being_written_are_waited_for_and_go_too(
    auto: psycopg.Connection, database_url: str
) -> None:
    cohort_id = cohort(auto, "circle", {"kind": "usernames", "usernames": ["nn_x", "bob"]})
    auto.execute(
        "insert into raw.cohort_members (cohort_id, user_id) values (%s, %s)", [cohort_id, add(auto, "nn_x")]
    )
    with ThreadPoolExecutor(1) as threads, connect_to(database_url) as computing:
        # As the circle model does: its old rows go first, the new ones hold everybody's opinions.
        computing.execute("delete from intermediate.circle_parameters where cohort_id = %s", [cohort_id])
        forgetting = threads.submit(forget_in_thread, database_url, "nn_x")
        wait_until_somebody_waits(auto)
        computing.execute(
            "insert into intermediate.circle_films"
            " (cohort_id, film_id, raters, estimate, estimate_sd, information, prior)"
            " values (%s, 1, 1, 5, 1, 1, 3)",
            [cohort_id],
        )
        computing.commit()
        assert forgetting.result(timeout=30).rows_by_table["intermediate.circle_films"] == 1
    assert auto.execute("select count(*) from intermediate.circle_films").fetchone() == (0,)


def test_a_forgotten_name_is_not_written_into_a_cohort_again(auto: psycopg.Connection) -> None:
    forget(auto, "ann")
    picked = {"kind": "usernames", "usernames": ["Ann", "bob"]}
    assert create_cohort(auto, "picked", "Picked", picked).definition["usernames"] == ["bob"]
    assert add_named_members(auto, "picked", ["ann", "cat"]).definition["usernames"] == ["bob", "cat"]
    circle = {"kind": "following", "seed": "bob", "exclude": ["ann", "dan"]}
    assert create_cohort(auto, "circle", "Circle", circle).definition["exclude"] == ["dan"]
    with pytest.raises(ConfigurationError, match="Everybody named"):
        add_named_members(auto, "nobody", ["ann"])
    assert "ann" not in str(auto.execute("select definition from raw.cohorts").fetchall())
