"""Migrations: complete, repeatable, safe to run twice at once; and what the reader may see."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import errors

from almanac_pipeline.warehouse.migrate import current_revision, head_revision, migrate
from tests.conftest import new_database

TABLES = {
    "raw": "users films film_aliases people film_people genres film_genres countries film_countries ratings"
    " rating_events diary_entries watchlist_entries cohorts cohort_members follows film_histograms"
    " tmdb_payloads",
    "ops": "scrape_runs enrichment_runs scrape_failures user_scrape_state film_metadata_sync http_requests"
    " publications",
}


@pytest.fixture
def empty_url(server_url: str) -> Iterator[str]:
    """A database that was never migrated."""
    with new_database(server_url) as url:
        yield url


def test_every_table_of_the_plan_is_there(connection: psycopg.Connection) -> None:
    for schema, names in TABLES.items():
        rows = connection.execute(
            "select table_name from information_schema.tables where table_schema = %s", [schema]
        )
        assert set(names.split()) <= {name for (name,) in rows}


def test_migrating_again_changes_nothing(database_url: str) -> None:
    assert migrate(database_url) == head_revision() == current_revision(database_url)


def test_a_fresh_database_says_that_it_was_never_migrated(empty_url: str) -> None:
    assert current_revision(empty_url) is None
    migrate(empty_url)
    assert current_revision(empty_url) == head_revision()


def test_two_processes_migrating_at_once_both_succeed(empty_url: str) -> None:
    results: list[object] = []

    def run() -> None:
        try:
            results.append(migrate(empty_url))
        except BaseException as error:
            results.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert results == [head_revision()] * 2


def test_the_reader_sees_the_marts_and_nothing_else(connection: psycopg.Connection) -> None:
    connection.execute("create table almanac.shown as select 1 as one")
    connection.commit()
    connection.execute("set role almanac_reader")
    assert connection.execute("select one from almanac.shown").fetchone() == (1,)
    connection.commit()
    for forbidden in (
        "select * from raw.ratings",
        "select * from ops.http_requests",
        "insert into almanac.shown values (2)",
        "create table almanac.mine (x int)",
        "create table public.mine (x int)",
    ):
        connection.execute("set role almanac_reader")
        with pytest.raises(errors.InsufficientPrivilege):
            connection.execute(forbidden)
        connection.rollback()


@pytest.mark.parametrize(
    ("statement", "error"),
    [
        ("insert into raw.users (username) values ('Upper')", errors.CheckViolation),
        ("insert into raw.films (title) values ('Nameless')", errors.CheckViolation),
        ("insert into raw.films (slug, title, tmdb_id) values ('x', 'X', 1)", errors.CheckViolation),
    ],
)
def test_the_tables_refuse_what_cannot_be(
    connection: psycopg.Connection, statement: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        connection.execute(statement)


def test_a_cohorts_slug_never_changes(connection: psycopg.Connection) -> None:
    connection.execute("insert into raw.cohorts (slug, label, definition) values ('c', 'C', '{}')")
    with pytest.raises(errors.RaiseException, match="immutable"):
        connection.execute("update raw.cohorts set slug = 'd'")


@pytest.mark.parametrize("rating", ["0", "0.3", "5.5", "-1"])
def test_only_half_stars_are_ratings(connection: psycopg.Connection, rating: str) -> None:
    connection.execute("insert into raw.users (username) values ('ada')")
    connection.execute("insert into raw.films (slug, title) values ('x', 'X')")
    with pytest.raises(errors.CheckViolation):
        connection.execute(
            "insert into raw.ratings (user_id, film_id, rating, source)"
            " select user_id, film_id, %s::numeric, 'pages' from raw.users, raw.films",
            [rating],
        )
