"""What a cohort's marts rest on, and the record of having published them.

The input version is a hash over the content that the marts read, not over times: an input that
changes and changes back, or is read again unchanged, gives the same version, and nothing is
rebuilt. Builds nothing itself.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import class_row, dict_row
from psycopg.types.json import Jsonb

from almanac_pipeline.errors import HeldBackError, WarehouseError
from almanac_pipeline.warehouse.dbt import project_checksum

PACKAGE = Path(__file__).resolve().parent.parent
CODE = ("statistics", "flows/circle.py", "warehouse/statistics_tables.py")

# Sums of 64-bit row hashes: they do not depend on the order of the rows, and a row that a
# long transaction commits late changes them, which the newest updated_at would not show.
INPUTS = """
with members as materialized (
    select * from intermediate.int_current_members where cohort_id = %(cohort_id)s
),
ratings as materialized (
    select film_id, hashtextextended(
        row(user_id, film_id, rating, liked, favorite, rated_at at time zone 'UTC',
            rated_at_source)::text, 0) as hash
    from raw.ratings join members using (user_id)
    where removed_at is null
),
viewings as materialized (
    select distinct user_id, film_id
    from raw.diary_entries join members using (user_id)
    where removed_at is null and film_id is not null
),
cohort_films as materialized (
    select film_id from ratings union select film_id from viewings
),
source as materialized (
    select global_source from intermediate.int_cohort_global_sources where cohort_id = %(cohort_id)s
)
select
    (select ranking_parameters from raw.cohorts where cohort_id = %(cohort_id)s) as ranking_parameters,
    (select global_source from source) as global_source,
    (select sum(hashtextextended(
        row(user_id, username, stated_ratings_count, stated_likes_count)::text, 0)) from members) as members,
    (select sum(hash) from ratings) as ratings,
    (select sum(hashtextextended(row(user_id, film_id)::text, 0)) from viewings) as viewings,
    (select sum(hashtextextended(row(
        film_id, lid, uid, slug, title, release_year, tmdb_media_type, tmdb_id,
        case when 'tmdb' in (select global_source from source)
            then row(tmdb_vote_average, tmdb_vote_count)::text end)::text, 0))
        from raw.films join cohort_films using (film_id)) as films,
    (select sum(hashtextextended(row(kind, value, film_id)::text, 0))
        from raw.film_aliases join cohort_films using (film_id)) as aliases,
    (select sum(hashtextextended(row(
        film_id, count_0_5, count_1_0, count_1_5, count_2_0, count_2_5, count_3_0, count_3_5, count_4_0,
        count_4_5, count_5_0, stated_ratings)::text, 0))
        from raw.film_histograms join cohort_films using (film_id) where source = 'letterboxd') as histograms,
    (select sum(hashtextextended(row(user_id, film_id, rating)::text, 0))
        from raw.ratings
        where removed_at is null and rating is not null
            and 'members' in (select global_source from source)
            and film_id in (select film_id from cohort_films)
            and user_id in (select user_id from intermediate.int_current_members)) as pool
"""


@dataclass(frozen=True, slots=True)
class Publication:
    """One publication of a cohort's marts."""

    publication_id: int
    cohort_id: int
    published_at: datetime
    dagster_run_id: str | None
    input_version: str
    members_count: int
    films_count: int
    ratings_count: int
    inputs: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Audit:
    """The outcome of one rule for a cohort's latest build."""

    rule: str
    blocking: bool
    expected: Decimal | None
    observed: Decimal | None
    passed: bool
    detail: str
    audited_at: datetime


@functools.cache
def _code_version() -> str:
    digest = hashlib.sha256()
    for name in CODE:
        path = PACKAGE / name
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(file.read_bytes())
    return digest.hexdigest()


def input_version(connection: psycopg.Connection, cohort_id: int) -> str:
    """A hash over everything that the cohort's marts are made from, code included.

    Raises:
        WarehouseError: the database was not bootstrapped by `warehouse.dbt.bootstrap`.
    """
    try:
        with connection.cursor(row_factory=dict_row) as cursor:
            inputs = cursor.execute(INPUTS, {"cohort_id": cohort_id}).fetchone()
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
        raise WarehouseError("The dbt views are missing: bootstrap the database first.") from None
    parts = {**(inputs or {}), "project": project_checksum(), "code": _code_version()}
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def last_publication(connection: psycopg.Connection, cohort_id: int) -> Publication | None:
    """The cohort's latest publication, if it was ever published."""
    with connection.cursor(row_factory=class_row(Publication)) as cursor:
        return cursor.execute(
            """
            select publication_id, cohort_id, published_at, dagster_run_id, input_version,
                members_count, films_count, ratings_count, inputs
            from ops.publications where cohort_id = %s
            order by published_at desc, publication_id desc limit 1
            """,
            [cohort_id],
        ).fetchone()


def audits(connection: psycopg.Connection, cohort_id: int) -> list[Audit]:
    """The audits of the cohort's latest build, blocking ones first."""
    with connection.cursor(row_factory=class_row(Audit)) as cursor:
        return cursor.execute(
            """
            select rule, blocking, expected, observed, passed, detail, audited_at
            from intermediate.cohort_audits where cohort_id = %s order by blocking desc, rule
            """,
            [cohort_id],
        ).fetchall()


def require_passed(connection: psycopg.Connection, cohort_id: int) -> None:
    """Raise unless the cohort's latest build was audited and no blocking rule failed.

    Raises:
        HeldBackError: names the rules that failed.
    """
    outcomes = audits(connection, cohort_id)
    failed = [audit for audit in outcomes if audit.blocking and not audit.passed]
    if not outcomes or failed:
        words = "; ".join(
            f"{a.rule}: expected {a.expected}, observed {a.observed} ({a.detail})" for a in failed
        )
        raise HeldBackError(f"Cohort {cohort_id} is not published: {words or 'it was never audited'}")


def record_publication(
    connection: psycopg.Connection,
    cohort_id: int,
    *,
    input_version: str,
    run_id: str | None = None,
    inputs: Mapping[str, Any] | None = None,
) -> Publication:
    """Record that the marts now show the cohort as of `input_version`, with the counts that they show.

    Raises:
        HeldBackError: a blocking audit failed, or the marts were built from another input version.
    """
    require_passed(connection, cohort_id)
    with connection.cursor(row_factory=class_row(Publication)) as cursor:
        publication = cursor.execute(
            """
            insert into ops.publications
                (cohort_id, dagster_run_id, input_version, members_count, films_count, ratings_count, inputs)
            select cohorts.cohort_id, %(run_id)s, %(input_version)s,
                (select count(*) from intermediate.int_cohort_members where cohort_id = %(cohort_id)s),
                count(stats.film_id), coalesce(sum(stats.raters), 0), %(inputs)s
            from raw.cohorts as cohorts
            left join almanac.cohort_film_stats as stats on stats.cohort = cohorts.slug
            where cohorts.cohort_id = %(cohort_id)s and exists (
                select from intermediate.cohort_audits as audits
                where audits.cohort_id = %(cohort_id)s and audits.input_version = %(input_version)s)
            group by cohorts.cohort_id
            returning publication_id, cohort_id, published_at, dagster_run_id, input_version,
                members_count, films_count, ratings_count, inputs
            """,
            {
                "cohort_id": cohort_id,
                "run_id": run_id,
                "input_version": input_version,
                "inputs": Jsonb(dict(inputs or {})),
            },
        ).fetchone()
    if publication is None:
        raise HeldBackError(f"Cohort {cohort_id} was rebuilt from other input meanwhile; run it again.")
    return publication
