"""People who are found to be one, and who is still to be found."""

from __future__ import annotations

import psycopg
import pytest

from almanac_pipeline.tmdb.titles import Role
from almanac_pipeline.warehouse.film_sets import Credit, FilmSets, identify_person, store_sets
from almanac_pipeline.warehouse.films import FilmKey, resolve_films


@pytest.fixture
def films(connection: psycopg.Connection) -> list[int]:
    with connection.transaction():
        return resolve_films(connection, [FilmKey("one", title="One"), FilmKey("two", title="Two")])


def credit(connection: psycopg.Connection, film_id: int, role: Role, person: Credit) -> None:
    with connection.transaction():
        store_sets(connection, {film_id: FilmSets(credits={role: (person,)})})


def people(connection: psycopg.Connection) -> list[tuple[object, ...]]:
    return connection.execute(
        "select title, role, name, tmdb_person_id, letterboxd_slug from raw.film_people"
        " join raw.people using (person_id) join raw.films using (film_id) order by 1, 2"
    ).fetchall()


def page_person(connection: psycopg.Connection) -> int:
    row = connection.execute("select person_id from raw.people where tmdb_person_id is null").fetchone()
    assert row is not None
    return int(row[0])


def test_a_director_gets_the_id_that_their_page_names(
    connection: psycopg.Connection, films: list[int]
) -> None:
    credit(connection, films[0], "director", Credit("Agnes Field", letterboxd_slug="agnes-field"))
    identify_person(connection, page_person(connection), 8)
    assert people(connection) == [("One", "director", "Agnes Field", 8, "agnes-field")]


def test_a_director_known_as_an_actor_elsewhere_becomes_that_person(
    connection: psycopg.Connection, films: list[int]
) -> None:
    credit(connection, films[0], "director", Credit("Agnes Field", letterboxd_slug="agnes-field"))
    credit(connection, films[1], "actor", Credit("A. Field", tmdb_person_id=8, character_name="Herself"))
    identify_person(connection, page_person(connection), 8)
    assert people(connection) == [
        ("One", "director", "A. Field", 8, "agnes-field"),
        ("Two", "actor", "A. Field", 8, "agnes-field"),
    ]
    assert connection.execute("select count(*) from raw.people").fetchone() == (1,)


def test_a_page_without_an_id_is_remembered_as_read(connection: psycopg.Connection, films: list[int]) -> None:
    credit(connection, films[0], "director", Credit("Agnes Field", letterboxd_slug="agnes-field"))
    person_id = page_person(connection)
    identify_person(connection, person_id, None)
    assert connection.execute(
        "select tmdb_person_id, page_fetched_at is not null from raw.people"
    ).fetchone() == (None, True)
