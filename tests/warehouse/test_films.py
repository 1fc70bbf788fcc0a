"""Which film an item means, across eras, renames and films given the same address."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg
import pytest

from almanac_pipeline.warehouse.films import FilmKey, resolve_films


def resolve(connection: psycopg.Connection, *items: FilmKey) -> list[int]:
    """The films of the items, as a merge finds them."""
    with connection.transaction():
        return resolve_films(connection, items)


def films(connection: psycopg.Connection) -> Sequence[tuple[object, ...]]:
    return connection.execute("select slug, uid, lid, title from raw.films order by film_id").fetchall()


def writes(connection: psycopg.Connection) -> list[tuple[object, ...]]:
    """The version (xmin) of every film and alias row."""
    return connection.execute(
        "select film_id::text, xmin::text from raw.films"
        " union all select kind || value, xmin::text from raw.film_aliases order by 1"
    ).fetchall()


CURE = FilmKey("cure", "film:1", "L1", "Cure", 1997)


def test_a_new_film_is_created_once_with_its_aliases(connection: psycopg.Connection) -> None:
    [first] = resolve(connection, CURE)
    before = writes(connection)
    assert resolve(connection, CURE) == [first]
    assert writes(connection) == before
    aliases = connection.execute("select kind, value from raw.film_aliases order by kind").fetchall()
    assert aliases == [("lid", "L1"), ("slug", "cure"), ("uid", "film:1")]
    assert connection.execute("select status from ops.film_metadata_sync").fetchall() == [("pending",)]


@pytest.mark.parametrize(
    "later",
    [
        FilmKey("cure", uid="film:1"),
        FilmKey("cure", lid="L1"),
        FilmKey("cure"),
        FilmKey("cure-1997", "film:1", "L1", "Cure", 1997),
        FilmKey("cure-1997", uid="film:1"),
        FilmKey("cure-1997", lid="L1"),
    ],
)
def test_any_id_finds_the_film(connection: psycopg.Connection, later: FilmKey) -> None:
    assert resolve(connection, CURE) == resolve(connection, later)
    assert len(films(connection)) == 1


def test_a_slug_of_an_old_page_gets_its_ids_from_a_new_one(connection: psycopg.Connection) -> None:
    [first] = resolve(connection, FilmKey("cure"))
    assert films(connection) == [("cure", None, None, "cure")]
    assert resolve(connection, FilmKey("cure", "film:1", None, "Cure", 1997)) == [first]
    assert resolve(connection, CURE) == [first]
    assert films(connection) == [("cure", "film:1", "L1", "Cure")]


def test_a_renamed_slug_is_taken_up_and_the_old_one_still_leads_here(connection: psycopg.Connection) -> None:
    [first] = resolve(connection, CURE)
    connection.execute("update ops.film_metadata_sync set status = 'fetched', page_fetched_at = now()")
    resolve(connection, FilmKey("cure-1997", "film:1", "L1", "Cure!", 1997))
    assert films(connection) == [("cure-1997", "film:1", "L1", "Cure!")]
    assert resolve(connection, FilmKey("cure")) == [first]
    # Its page is read again; a stale page with the old name renames nothing.
    assert connection.execute("select status, page_fetched_at from ops.film_metadata_sync").fetchall() == [
        ("pending", None)
    ]
    resolve(connection, CURE)
    assert films(connection)[0][0] == "cure-1997"


def test_a_slug_given_to_another_film_does_not_join_the_two(connection: psycopg.Connection) -> None:
    [first] = resolve(connection, CURE)
    [second] = resolve(connection, FilmKey("cure", "film:2", "L2", "Cure", 2024))
    assert first != second
    assert films(connection) == [(None, "film:1", "L1", "Cure"), ("cure", "film:2", "L2", "Cure")]
    [again] = resolve(connection, FilmKey("cure-1997", "film:1", "L1", "Cure", 1997))
    assert again == first
    assert films(connection)[0] == ("cure-1997", "film:1", "L1", "Cure")
    assert resolve(connection, FilmKey("cure")) == [second]


def test_two_rows_that_turn_out_to_be_one_film_are_joined(connection: psycopg.Connection) -> None:
    """Seen by uid under its old name and, on an old page, by its new name alone."""
    [by_uid] = resolve(connection, FilmKey("cure", "film:1", None, "Cure", 1997))
    [by_slug] = resolve(connection, FilmKey("cure-1997"))
    user, other = (
        connection.execute(
            "insert into raw.users (username) values (%s) returning user_id", [name]
        ).fetchone()
        for name in ("ada", "bea")
    )
    assert user is not None
    assert other is not None
    connection.execute(
        """
        insert into raw.ratings (user_id, film_id, rating, liked, source)
        values (%(a)s, %(uid)s, null, true, 'pages'), (%(a)s, %(slug)s, 4, false, 'pages'),
               (%(b)s, %(slug)s, 3, false, 'pages')
        """,
        {"a": user[0], "b": other[0], "uid": by_uid, "slug": by_slug},
    )
    connection.execute(
        "insert into raw.rating_events (user_id, film_id, kind, source) values (%s, %s, 'added', 'pages')",
        [user[0], by_slug],
    )
    assert resolve(connection, FilmKey("cure-1997", "film:1", "L1", "Cure", 1997)) == [by_uid]
    assert films(connection) == [("cure-1997", "film:1", "L1", "Cure")]
    ratings = connection.execute(
        "select user_id, film_id, rating::float8, liked from raw.ratings order by user_id"
    ).fetchall()
    assert ratings == [(user[0], by_uid, 4.0, True), (other[0], by_uid, 3.0, False)]
    assert connection.execute("select film_id from raw.rating_events").fetchall() == [(by_uid,)]
    aliases = connection.execute("select value from raw.film_aliases order by 1").fetchall()
    assert aliases == [("L1",), ("cure",), ("cure-1997",), ("film:1",)]


def test_an_export_film_known_by_lid_meets_the_page_film_known_by_uid(connection: psycopg.Connection) -> None:
    resolve(connection, FilmKey("cure", "film:1", None, "Cure", 1997))
    connection.execute("insert into raw.films (lid, title) values ('L1', 'Cure (export)')")
    connection.execute(
        "insert into raw.film_aliases (kind, value, film_id)"
        " select 'lid', 'L1', film_id from raw.films where lid = 'L1'"
    )
    resolve(connection, CURE)
    assert films(connection) == [("cure", "film:1", "L1", "Cure")]


def test_many_items_are_resolved_in_one_go(connection: psycopg.Connection) -> None:
    items = [FilmKey(f"f{n}", f"film:{n}", f"L{n}", f"F {n}", 2000) for n in range(300)]
    found = resolve(connection, *items)
    assert len(set(found)) == 300
    before = writes(connection)
    assert resolve(connection, *reversed(items)) == found[::-1]
    assert writes(connection) == before
