"""A cohort of two members who rate films in the in-memory site, and ways to look at the database."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from almanac_pipeline.settings import Settings
from almanac_pipeline.warehouse.cohorts import create_cohort
from tests.conftest import database_name, new_database
from tests.flows.world import World, film

Query = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def settings() -> Settings:
    """Nothing is too fresh to be read again, and likes are always looked at."""
    return Settings(_env_file=None, http_workers=2, fresh_minutes=0, likes_max_age_hours=0)  # type: ignore[call-arg]


@pytest.fixture
def query(database_url: str) -> Query:
    """Rows of a select, as dictionaries, seen from a connection of its own."""

    def run(sql: str, *parameters: object) -> list[dict[str, Any]]:
        with psycopg.connect(database_url, row_factory=dict_row) as connection:
            return connection.execute(sql, parameters).fetchall()

    return run


def two_people() -> World:
    """ada rated films 1 to 8 and likes 1 and (unrated) 20; bea rated 5 to 9."""
    world = World()
    for number in range(1, 9):
        world.person("ada").rate(film(number), 3.0)
    world.person("ada").likes = [film(20), film(1)]
    world.person("ada").favorites = [film(1), film(30)]
    for number in range(5, 10):
        world.person("bea").rate(film(number), 4.5)
    world.person("seed").following = ["Ada", "Bea"]
    return world


@pytest.fixture
def world() -> World:
    """The site of `two_people`, for this test to change."""
    return two_people()


@pytest.fixture(scope="session")
def circle_template(server_url: str, template_database: str) -> Iterator[str]:
    """The name of a database with a cohort of ada and bea, who are its members already."""
    from almanac_pipeline.flows.members import sync_members

    with new_database(server_url, template_database) as url:
        with psycopg.connect(url) as connection:
            names = {"kind": "usernames", "usernames": ["Ada", "bea"]}
            create_cohort(connection, "circle", "The circle", names)
        # Nobody's profile is read here, so that tests see who is read when.
        closed = replace(two_people(), permitted=set())
        sync_members(url, Settings(_env_file=None), closed, "circle")  # type: ignore[call-arg]
        yield database_name(url)


@pytest.fixture
def database_url(request: pytest.FixtureRequest, server_url: str) -> Iterator[str]:
    """The URL of a database that only this test uses: empty, or with the cohort if the test asks for it."""
    has_cohort = "cohort" in request.fixturenames
    template = request.getfixturevalue("circle_template" if has_cohort else "template_database")
    with new_database(server_url, template) as url:
        yield url


@pytest.fixture
def cohort(database_url: str) -> str:
    """The cohort of ada and bea."""
    return "circle"


@pytest.fixture
def ratings_of(query: Query) -> Callable[[str], dict[str, float | None]]:
    """{slug: rating} of a member's present opinions."""

    def read(username: str) -> dict[str, float | None]:
        rows = query(
            """
            select slug, rating::float8 as rating
            from raw.ratings join raw.users using (user_id) join raw.films using (film_id)
            where username = %s and removed_at is null
            """,
            username,
        )
        return {row["slug"]: row["rating"] for row in rows}

    return read


@pytest.fixture
def written(query: Query) -> Callable[[], int]:
    """How many rows of schema raw were ever inserted, updated or deleted in this database."""

    def count() -> int:
        # A session hands in its counts at the latest when it ends, which the server does a moment later.
        patience = time.monotonic() + 3
        while time.monotonic() < patience and query(
            """
            select from pg_stat_activity
            where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'
            """
        ):
            time.sleep(0.02)
        with_flush = query(
            """
            select sum(n_tup_ins + n_tup_upd + n_tup_del)::int as writes
            from (select pg_stat_force_next_flush()) as flush, pg_stat_user_tables where schemaname = 'raw'
            """
        )
        return int(with_flush[0]["writes"] or 0)

    return count
