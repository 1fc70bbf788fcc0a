"""ops.films_needing_enrichment: what is missing or too old, what may be asked, how much is covered."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from almanac_pipeline.warehouse.cohorts import create_cohort
from almanac_pipeline.warehouse.enrichment import films_due
from almanac_pipeline.warehouse.films import FilmKey, resolve_films
from almanac_pipeline.warehouse.histograms import histograms_due
from almanac_pipeline.warehouse.upkeep import FIELDS, coverage, films_needing_enrichment, prepare_view


@pytest.fixture
def complete(connection: psycopg.Connection) -> int:
    """A film that lacks nothing."""
    with connection.transaction():
        [film_id] = resolve_films(connection, [FilmKey("cure", "film:1", "L1", "Cure", 1997)])
    connection.execute(
        "update raw.films set tmdb_media_type = 'movie', tmdb_id = 36095, poster_url = 'p', overview = 'o',"
        " runtime_minutes = 111 where film_id = %s",
        [film_id],
    )
    connection.execute(
        "update ops.film_metadata_sync set status = 'fetched', page_fetched_at = now(),"
        " tmdb_fetched_at = now(), histogram_url = '/csi/film/cure/', histogram_fetched_at = now()"
        " where film_id = %s",
        [film_id],
    )
    connection.execute("insert into raw.people (name, tmdb_person_id) values ('K', 5)")
    connection.execute(
        "insert into raw.film_people select %s, person_id, 'director', 0 from raw.people", [film_id]
    )
    return film_id


def row(connection: psycopg.Connection) -> tuple[Any, ...] | None:
    """(reasons, whether its page, its title, its histogram may be asked for) of the only film."""
    return connection.execute(
        "select reasons, is_page_due, is_title_due, is_histogram_due from ops.films_needing_enrichment"
    ).fetchone()


def test_a_film_that_lacks_nothing_is_not_there(connection: psycopg.Connection, complete: int) -> None:
    assert row(connection) is None


def test_a_new_film_lacks_everything_but_what_names_it(connection: psycopg.Connection) -> None:
    with connection.transaction():
        resolve_films(connection, [FilmKey("cure", "film:1", "L1", "Cure", 1997)])
    assert row(connection) == (
        ["page", "tmdb_id", "poster", "overview", "runtime", "director_id", "histogram"], True, True, False
    )  # fmt: skip


MONTH = "now() - interval '31 days'"
SYNC, FILMS = "update ops.film_metadata_sync set ", "update raw.films set "


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (FILMS + "tmdb_id = null, tmdb_media_type = null", (["tmdb_id"], False, True, False)),
        (FILMS + "poster_url = null", (["poster"], False, False, False)),
        (FILMS + "overview = null", (["overview"], False, False, False)),
        (FILMS + "release_year = null", (["year"], False, False, False)),
        (FILMS + "runtime_minutes = null", (["runtime"], False, False, False)),
        ("update raw.people set tmdb_person_id = null", (["director_id"], False, False, False)),
        ("delete from raw.film_people", (["director_id"], False, False, False)),
        (SYNC + "page_fetched_at = null", (["page"], True, False, False)),
        (SYNC + "tmdb_fetched_at = null", (["title"], False, True, False)),
        (SYNC + "tmdb_fetched_at = now() - interval '151 days'", (["title"], False, True, False)),
        (SYNC + "histogram_fetched_at = null", (["histogram"], False, False, True)),
        (SYNC + f"histogram_fetched_at = {MONTH}", (["histogram"], False, False, True)),
        # Its page said a month ago that it has none; there may be one now.
        (
            SYNC + f"histogram_url = null, histogram_fetched_at = null, page_fetched_at = {MONTH}",
            (["histogram"], True, False, False),
        ),
        (SYNC + f"page_fetched_at = {MONTH}, tmdb_fetched_at = {MONTH}", None),
        (SYNC + "status = 'not_found'", (["tmdb_id"], False, True, False)),
        (SYNC + "status = 'pending'; " + SYNC + "status = 'failed'", (["title"], False, True, False)),
    ],
)
def test_each_thing_that_is_missing_or_too_old_has_its_reason(
    connection: psycopg.Connection, complete: int, change: str, expected: tuple[Any, ...] | None
) -> None:
    connection.execute(change)
    assert row(connection) == expected


def test_a_gap_that_nobody_could_fill_is_asked_about_again_after_a_month(
    connection: psycopg.Connection, complete: int
) -> None:
    connection.execute(FILMS + "overview = null")
    connection.execute(SYNC + f"page_fetched_at = {MONTH}, tmdb_fetched_at = {MONTH}")
    assert row(connection) == (["overview"], True, True, False)


def test_a_film_that_a_person_called_no_title_lacks_no_tmdb_id(
    connection: psycopg.Connection, complete: int
) -> None:
    connection.execute(SYNC + "page_fetched_at = now()")
    connection.execute("select ops.choose_title(%s, null, null)", [complete])
    found = row(connection)
    assert found is not None
    assert "tmdb_id" not in found[0]
    assert not found[2]


def test_queue_histograms_and_coverage_read_the_same_view(
    connection: psycopg.Connection, complete: int
) -> None:
    with connection.transaction():
        resolve_films(connection, [FilmKey("pulse", "film:2", "L2", "Pulse", 2001), FilmKey(lid="L3")])
        create_cohort(connection, "circle", "Circle", {"kind": "usernames", "usernames": ["ann"]})
        connection.execute("insert into raw.users (username) values ('ann')")
        connection.execute(
            "insert into raw.cohort_members (cohort_id, user_id) select 1, user_id from raw.users"
        )
        connection.execute(
            "insert into raw.ratings (user_id, film_id, rating, source)"
            " select user_id, film_id, 3, 'pages' from raw.users, raw.films where films.lid <> 'L3'"
        )
    prepare_view(connection, histogram_max_age_days=30)
    assert [film.slug for film in films_due(connection, 1, with_tmdb=True)] == ["pulse"]
    assert histograms_due(connection, 1) == []
    assert [film.title for film in films_needing_enrichment(connection, 1)] == ["Pulse"]
    assert len(films_needing_enrichment(connection)) == 2
    found = coverage(connection, 1)
    assert {field: found.share(field) for field in FIELDS} == dict.fromkeys(FIELDS, 0.5) | {"year": 1.0}
    connection.commit()
    prepare_view(connection, histogram_max_age_days=0)
    assert [film.film_id for film in histograms_due(connection, 1)] == [complete]
    assert coverage(connection, 1).covered["histogram"] == 0
