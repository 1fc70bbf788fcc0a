"""A database of an earlier release, with what such a release held in every table, under this one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from almanac_pipeline.settings import Settings
from almanac_pipeline.warehouse.backup import restore_backup, write_backup
from almanac_pipeline.warehouse.migrate import current_revision, head_revision, migrate
from tests.conftest import new_database

FIRST_RELEASE = "0002"
# Computed anew when the project's checksum differs, which it does with a new release.
OF_THE_RELEASE = {"ops.schema_version", "ops.dbt_bootstraps"}

ROWS = """
insert into raw.users (username, lid, joined_on, status, renamed_to, stated_ratings_count) values
    ('ann', 'a1', '2015-03-01', 'active', null, 3), ('bob', null, null, 'private', null, null),
    ('cat', 'c1', null, 'renamed', 'cleo', 1), ('cleo', null, null, 'active', null, null);
insert into raw.films (lid, uid, slug, title, release_year, tmdb_media_type, tmdb_id, imdb_id, field_sources)
values ('f1', 'film:1', 'dusk', 'Dusk', 1999, 'movie', 11, 'tt11', '{"title": "page"}'),
    (null, null, 'noon-1951', 'Noon', 1951, null, null, null, '{}'),
    ('f3', null, null, 'Dawn', null, 'tv', 33, null, '{}');
insert into raw.film_aliases (kind, value, film_id) values ('slug', 'dusk', 1), ('slug', 'dusk-1999', 1),
    ('lid', 'f1', 1), ('uid', 'film:1', 1), ('tmdb', 'movie/11', 1),
    ('slug', 'noon-1951', 2), ('lid', 'f3', 3);
insert into raw.people (tmdb_person_id, letterboxd_slug, name) values (7, 'agnes-varda', 'Agnès Varda');
insert into raw.film_people values (1, 1, 'director', 0, null), (1, 1, 'actor', 3, 'Herself');
insert into raw.genres (name) values ('Drama');
insert into raw.film_genres values (1, 1);
insert into raw.countries (iso_code, name) values ('FR', 'France');
insert into raw.film_countries values (1, 1);
insert into raw.diary_entries (user_id, film_id, source, source_key, film_title, film_year, watched_on,
    rating) values (1, 1, 'export', 'https://boxd.it/x1', 'Dusk', 1999, '2024-05-01', 4.5),
    (1, null, 'rss', 'letterboxd-watch-9', 'Nothing Known', null, '2024-06-01', null);
insert into raw.ratings (user_id, film_id, rating, liked, favorite, rated_at, rated_at_source, diary_entry_id,
    source, removed_at) values (1, 1, 4.5, true, true, '2024-05-01', 'diary', 1, 'export', null),
    (1, 2, null, true, false, null, null, null, 'pages', null),
    (3, 1, 0.5, false, false, '2024-07-01', 'observed', null, 'pages', '2024-08-01');
insert into raw.rating_events (user_id, film_id, kind, old_rating, new_rating, new_liked, source) values
    (1, 1, 'added', null, 4, false, 'pages'), (1, 1, 'changed', 4, 4.5, true, 'export'),
    (3, 1, 'removed', 0.5, null, null, 'pages');
insert into raw.watchlist_entries (user_id, film_id, added_on, source) values (2, 1, '2024-01-01', 'export');
insert into raw.cohorts (slug, label, seed_user_id, definition, ranking_parameters) values
    ('friends', 'Friends', 1, '{"kind": "manual", "usernames": ["ann", "cat"]}', '{"min_raters": 2}');
insert into raw.cohort_members (cohort_id, user_id, depth, until) values (1, 1, 0, null), (1, 3, 1, null),
    (1, 2, 1, now());
insert into raw.follows (follower_id, followed_id) values (1, 2), (1, 3);
insert into raw.film_histograms (film_id, source, count_4_5, stated_ratings) values (1, 'letterboxd', 9, 9);
insert into raw.tmdb_payloads (media_type, tmdb_id, payload, status, etag, expires_at) values
    ('movie', 11, '{"id": 11, "title": "Dusk"}', 200, 'W/"1"', now() + interval '5 months');
insert into ops.scrape_runs (dagster_run_id, cohort_id, subject, status, requests_count) values
    ('r1', 1, 'ratings', 'succeeded', 4), ('r2', 1, 'import', 'failed', 0);
insert into ops.enrichment_runs (cohort_id, subject, films_count) values (1, 'films', 2);
insert into ops.scrape_failures (scrape_run_id, user_id, page_kind, error_kind, message) values
    (1, 2, 'ratings', 'PrivateError', 'The member is private.');
insert into ops.user_scrape_state (user_id, subject, mode, next_page, last_success_at) values
    (1, 'ratings', 'incremental', null, now()), (2, 'ratings', 'full', 3, null);
insert into ops.staged_items (user_id, subject, page_number, position, slug, liked) values
    (2, 'ratings', 1, 1, 'dusk', false);
insert into ops.film_metadata_sync (film_id, status, attempts, tmdb_matched_by) values
    (1, 'fetched', 1, 'page'), (2, 'pending', 0, null), (3, 'failed', 2, null);
insert into ops.http_requests (run_id, host, path_class, status, milliseconds) values
    ('r1', 'letterboxd.com', 'ratings', 200, 210), ('r1', 'letterboxd.com', 'ratings', 429, 20);
insert into ops.http_hosts (host, robots_txt, robots_fetched_at) values
    ('letterboxd.com', 'User-agent: *', now());
update ops.switches set enabled = false;
insert into ops.cohort_build_requests (cohort_id, input_version) values (1, 'v1');
insert into ops.publications (cohort_id, input_version, members_count, films_count, ratings_count) values
    (1, 'v1', 2, 2, 3);
"""

Content = dict[str, tuple[list[str], list[tuple[object, ...]]]]


@pytest.fixture
def url(server_url: str) -> Iterator[str]:
    """A database without a table."""
    with new_database(server_url) as empty:
        yield empty


def content(connection: psycopg.Connection, only: Content | None = None) -> Content:
    """Columns and sorted rows of every table of raw and ops; with `only`, of its tables and columns."""
    columns: dict[str, list[str]] = {}
    for table, column in connection.execute(
        """
        select table_schema || '.' || table_name, column_name
        from information_schema.columns join information_schema.tables using (table_schema, table_name)
        where table_schema in ('raw', 'ops') and table_type = 'BASE TABLE' order by 1, ordinal_position
        """
    ):
        columns.setdefault(table, []).append(column)
    if only is not None:
        columns = {table: names for table, (names, _) in only.items()}
    found: Content = {}
    for table, names in columns.items():
        if table not in OF_THE_RELEASE:
            texts = SQL(", ").join(SQL("{}::text").format(Identifier(name)) for name in names)
            query = SQL("select {} from {}").format(texts, Identifier(*table.split(".")))
            found[table] = (names, sorted(connection.execute(query).fetchall(), key=str))
    return found


def test_what_the_first_release_held_is_there_after_the_upgrade(url: str) -> None:
    assert migrate(url, FIRST_RELEASE) == current_revision(url) == FIRST_RELEASE
    with psycopg.connect(url) as connection:
        connection.execute(ROWS)
        before = content(connection)
        connection.commit()
    assert [table for table, (_, rows) in before.items() if not rows] == []

    assert migrate(url) == head_revision()
    with psycopg.connect(url) as connection:
        assert content(connection, before) == before
        # Rows that the constraints of today would refuse could not be written again.
        for table, (names, _) in before.items():
            connection.execute(
                SQL("update {0} set {1} = {1}").format(Identifier(*table.split(".")), Identifier(names[-1]))
            )
        today = connection.execute(
            "select user_id, film_id, rating from raw.ratings_as_of(now()) order by 1, 2"
        )
        assert today.fetchall()


def test_a_backup_of_the_first_release_is_restored_and_upgraded(
    url: str, server_url: str, tmp_path: Path
) -> None:
    settings = Settings(_env_file=None, home=tmp_path, database_url=url)  # type: ignore[arg-type,call-arg]
    migrate(url, FIRST_RELEASE)
    with psycopg.connect(url) as connection:
        connection.execute(ROWS)
        before = content(connection)
    saved = write_backup(settings).path
    with new_database(server_url) as empty:
        assert restore_backup(saved, empty, settings).revision == current_revision(empty) == head_revision()
        with psycopg.connect(empty) as connection:
            assert content(connection, before) == before


def test_a_mart_keeps_one_index_that_answers_alone(url: str) -> None:
    migrate(url, "0017")
    with psycopg.connect(url) as connection:
        connection.execute(
            """
            create table almanac.cohort_film_stats (
                cohort text, film_id bigint, liked_share double precision, primary key (cohort, film_id));
            create index on almanac.cohort_film_stats (cohort, film_id, liked_share)
            """
        )
    migrate(url)
    with psycopg.connect(url) as connection:
        [(definition,)] = connection.execute(
            "select indexdef from pg_indexes where schemaname = 'almanac' and tablename = 'cohort_film_stats'"
        ).fetchall()
    assert definition.startswith("CREATE UNIQUE INDEX cohort_film_stats_pkey")
    assert definition.endswith("(cohort, film_id) INCLUDE (liked_share)")
