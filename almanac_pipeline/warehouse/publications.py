"""What a cohort's marts rest on, stage by stage, and the record of having published them.

Every stage has a version: a hash over the stage before it and over what the stage itself reads, its
code included. Hashes are over content, not over times: an input that changes and changes back, or
is read again unchanged, gives the same version, and nothing is rebuilt. Text that decides no row
(comments, documentation, the descriptions in dbt's yml files) is no part of it. Builds nothing itself.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import psycopg
import yaml  # type: ignore[import-untyped]
from psycopg import sql
from psycopg.rows import class_row, dict_row
from psycopg.types.json import Jsonb

from almanac_pipeline.errors import HeldBackError, WarehouseError
from almanac_pipeline.warehouse.dbt import PROJECT
from almanac_pipeline.warehouse.statistics_tables import publish_circle

PACKAGE = Path(__file__).resolve().parent.parent

Stage = Literal["data", "statistics", "marts", "labels"]
STAGES: tuple[Stage, ...] = ("data", "statistics", "marts", "labels")
"""In order: dbt's snapshot and audits; numpy; all marts; labels, which need nothing but marts and a seed."""

CODE = ("statistics", "flows/circle.py", "warehouse/statistics_tables.py")
LABELS = ("models/marts/ranking_insights.sql", "seeds")
SQL: dict[Stage, tuple[str, ...]] = {
    "data": ("macros", "models/staging", "models/intermediate"),
    "marts": ("models/marts",),
    "labels": LABELS,
}
"""The files of the dbt project that decide a stage's rows; a file counts for the last stage that names it."""

# The tables of snapshots are unlogged.
NO_SNAPSHOT = "its snapshot is gone, as after a crash of the database: it is built again from the start"

# Sums of 64-bit row hashes: they do not depend on the order of the rows, and a row that a
# long transaction commits late changes them, which the newest updated_at would not show.
DATA = """
with members as materialized (
    select * from intermediate.int_current_members where cohort_id = %(cohort_id)s
),
ratings as materialized (
    select film_id, hash_record_extended(
        row(user_id, film_id, rating, liked, favorite, rated_at, rated_at_source), 0) as hash
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
histograms as materialized (
    select histograms.*, count_0_5 + count_1_0 + count_1_5 + count_2_0 + count_2_5
        + count_3_0 + count_3_5 + count_4_0 + count_4_5 + count_5_0 > 0 as has_ratings
    from raw.film_histograms as histograms join cohort_films using (film_id)
    where source = 'letterboxd'
),
films as materialized (
    select films.* from raw.films as films join cohort_films using (film_id)
),
-- As int_cohort_film_globals chooses it: what the cohort is not compared with may change as it likes.
source as materialized (
    select case
        when (select count(*) from histograms where has_ratings) >= %(min_share)s * count(*) then 'letterboxd'
        when count(*) filter (where tmdb_vote_count > 0 and tmdb_vote_average is not null)
            >= %(min_share)s * count(*) then 'tmdb'
        else 'members'
    end as global_source
    from films
)
select
    (select global_source from source) as global_source,
    (select count(*) from members) as members_count,
    (select count(*) from ratings) as opinions_count,
    (select count(*) from films) as films_count,
    (select sum(hash_record_extended(
        row(user_id, username, stated_ratings_count, stated_likes_count), 0)) from members) as members,
    (select sum(hash) from ratings) as ratings,
    (select sum(hash_record_extended(row(user_id, film_id), 0)) from viewings) as viewings,
    (select sum(hash_record_extended(row(
        film_id, lid, uid, slug, title, release_year, tmdb_media_type, tmdb_id), 0)) from films) as films,
    (select sum(hash_record_extended(row(film_id, tmdb_vote_average, tmdb_vote_count), 0)) from films
        where 'tmdb' in (select global_source from source)) as votes,
    (select sum(hash_record_extended(row(kind, value, film_id), 0))
        from raw.film_aliases join cohort_films using (film_id)) as aliases,
    (select sum(hash_record_extended(row(
        film_id, count_0_5, count_1_0, count_1_5, count_2_0, count_2_5, count_3_0, count_3_5, count_4_0,
        count_4_5, count_5_0, stated_ratings), 0)) from histograms) as histograms,
    (select sum(hash_record_extended(row(user_id, film_id, rating), 0))
        from raw.ratings
        where removed_at is null and rating is not null
            and 'members' in (select global_source from source)
            and film_id in (select film_id from cohort_films)
            and user_id in (select user_id from intermediate.int_current_members)) as pool
"""

# What only marts read: nothing of it changes a statistic.
DETAILS = """
with cohort_films as materialized (
    select distinct film_id from intermediate.int_cohort_films where cohort_id = %(cohort_id)s
)
select
    (select sum(hash_record_extended(row(
        film_id, original_title, release_date, runtime_minutes, poster_url, imdb_id,
        tmdb_vote_average, tmdb_vote_count), 0)) from raw.films join cohort_films using (film_id)) as films,
    (select sum(hash_record_extended(row(film_id, person_id, role, credit_order, name), 0))
        from raw.film_people join cohort_films using (film_id) join raw.people using (person_id)) as credits,
    (select sum(hash_record_extended(row(film_id, name), 0))
        from raw.film_genres join cohort_films using (film_id) join raw.genres using (genre_id)) as genres,
    (select sum(hash_record_extended(row(film_id, name), 0))
        from raw.film_countries join cohort_films using (film_id) join raw.countries using (country_id))
        as countries,
    (select sum(hash_record_extended(row(user_id, film_id), 0))
        from raw.watchlist_entries join intermediate.int_cohort_members as members using (user_id)
        where members.cohort_id = %(cohort_id)s and removed_at is null) as watchlists
"""

# What a publication says of its inputs, beside the versions. Null: the cohort has none.
PUBLISHED_INPUTS = """
select
    (select json_object_agg(strategy, params) from intermediate.strategy_parameters
        where cohort_id = %(cohort_id)s) as parameters,
    (select ranking_parameters from raw.cohorts where cohort_id = %(cohort_id)s) as chosen_parameters,
    (select json_object_agg(label || ': ' || criterion, threshold) from intermediate.label_thresholds)
        as label_thresholds,
    (select json_build_object(
        'opinions', count(*), 'ratings', count(rating), 'likes', count(*) filter (where liked),
        'favorites', count(*) filter (where favorite), 'logged', count(*) filter (where logged))
        from intermediate.int_cohort_ratings where cohort_id = %(cohort_id)s) as opinions,
    (select json_object_agg(global_source, films) from (
        select global_source, count(*) as films from intermediate.int_cohort_film_globals
        where cohort_id = %(cohort_id)s group by global_source) as sources) as global_averages
"""

# Stretches of places that do not hold any more end, and new ones begin; who kept a place is left alone.
MOVES = """
with ranked as (
    select strategy, film_id, rank, score, raters
    from intermediate.strategy_scores where cohort_id = %(cohort_id)s and rank is not null
),
held as (
    select strategy, film_id, rank from ops.rank_stretches
    where cohort_id = %(cohort_id)s and until_at is null
),
-- A full join is never a loop in a loop, however few rows the planner expects: that took two seconds.
moved as materialized (
    select strategy, film_id, ranked.rank, held.rank as previous_rank, ranked.score, ranked.raters
    from ranked full join held using (strategy, film_id)
    where ranked.rank is distinct from held.rank
),
ended as (
    update ops.rank_stretches as stretch set until_at = %(at)s
    from moved
    where stretch.cohort_id = %(cohort_id)s and stretch.until_at is null
        and stretch.strategy = moved.strategy and stretch.film_id = moved.film_id
        and moved.previous_rank is not null
)
insert into ops.rank_stretches
    (cohort_id, strategy, film_id, publication_id, published_at, rank, previous_rank, score, raters)
select %(cohort_id)s, strategy, film_id, %(publication_id)s, %(at)s, rank, previous_rank, score, raters
from moved where rank is not null
"""


@dataclass(frozen=True, slots=True)
class StageVersions:
    """The version of each stage's input, or of what its tables show; None: never built, or being built."""

    data: str | None
    statistics: str | None
    marts: str | None
    labels: str | None

    def first_difference(self, other: StageVersions) -> Stage | None:
        """The first stage in which the two differ."""
        return next((stage for stage in STAGES if getattr(self, stage) != getattr(other, stage)), None)


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


def snapshot_version(connection: psycopg.Connection, cohort_id: int) -> str:
    """The version of the data stage's input as it is now. Reads every rating of the cohort.

    Raises:
        WarehouseError: the database was not bootstrapped by `warehouse.dbt.bootstrap`.
    """
    parameters = {"cohort_id": cohort_id, "min_share": _project_variables()["global_source_min_share"]}
    return _hash({**_row(connection, DATA, parameters), "sql": _sql_version("data")})


def wanted_versions(connection: psycopg.Connection, cohort_id: int, data: str) -> StageVersions:
    """What each stage should be built from, given the version of its data. Reads no ratings.

    The marts' version is that of the statistics as they are now, stale or not.
    """
    cohort = {"cohort_id": cohort_id}
    rows = _row(
        connection,
        "select min(statistics_rows) from intermediate.cohort_stages where cohort_id = %(cohort_id)s",
        cohort,
    )
    parameters = ranking_parameters(connection, cohort_id)
    statistics = _hash({"data": data, "code": _code_version(), "parameters": parameters})
    details = _row(connection, DETAILS, cohort)
    marts = _hash({"data": data, "rows": rows, "details": details, "sql": _sql_version("marts")})
    return StageVersions(data, statistics, marts, _hash({"marts": marts, "sql": _sql_version("labels")}))


def ranking_parameters(connection: psycopg.Connection, cohort_id: int) -> dict[str, Any]:
    """What the cohort has set for itself, as stored."""
    query = "select ranking_parameters from raw.cohorts where cohort_id = %(cohort_id)s"
    parameters: dict[str, Any] = _row(connection, query, {"cohort_id": cohort_id})["ranking_parameters"]
    return parameters


def built_versions(connection: psycopg.Connection, cohort_id: int) -> StageVersions:
    """What each stage of the cohort was last built from.

    Raises:
        WarehouseError: the database was not bootstrapped by `warehouse.dbt.bootstrap`.
    """
    query = """
        select
            (select min(input_version) from intermediate.cohort_audits where cohort_id = %(cohort_id)s)
                as data,
            max(statistics_version) as statistics, max(marts_version) as marts, max(labels_version) as labels
        from intermediate.cohort_stages where cohort_id = %(cohort_id)s
    """
    return StageVersions(**_row(connection, query, {"cohort_id": cohort_id}))


def mark_built(
    connection: psycopg.Connection, cohort_ids: Iterable[int], versions: Mapping[Stage, str | None]
) -> None:
    """Note what a stage after the data stage shows now; None while it is being built."""
    columns = [sql.Identifier(f"{stage}_version") for stage in versions]
    connection.cursor().executemany(
        sql.SQL(
            "insert into intermediate.cohort_stages (cohort_id, {columns}) values (%s, {values})"
            " on conflict (cohort_id) do update set ({columns}) = row({excluded})"
        ).format(
            columns=sql.SQL(", ").join(columns),
            values=sql.SQL(", ").join(sql.Placeholder() for _ in columns),
            excluded=sql.SQL(", ").join(sql.SQL("excluded.") + column for column in columns),
        ),
        [(cohort_id, *versions.values()) for cohort_id in cohort_ids],
    )


def mark_computed(connection: psycopg.Connection, cohort_id: int, version: str | None, rows: str) -> None:
    """Note that the statistics show this version, and a hash of those of their rows that marts read."""
    mark_built(connection, [cohort_id], {"statistics": version})
    connection.execute(
        "update intermediate.cohort_stages set statistics_rows = %s where cohort_id = %s", [rows, cohort_id]
    )


def _row(connection: psycopg.Connection, query: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The one row of a query.

    Raises:
        WarehouseError: a table or view of dbt's is not there.
    """
    try:
        with connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(query, parameters).fetchone() or {}
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
        raise WarehouseError("The dbt views are missing: bootstrap the database first.") from None


def _hash(parts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def code_version() -> str:
    """A hash over all code of this release that decides rows of a cohort's tables."""
    return _hash({"code": _code_version(), **{stage: _sql_version(stage) for stage in SQL}})


@functools.cache
def _code_version() -> str:
    """A hash of the statistics' code, without comments and docstrings."""
    digest = hashlib.sha256()
    for name in CODE:
        for file in _files(PACKAGE / name, "*.py"):
            tree = ast.parse(file.read_text())
            for node in ast.walk(tree):
                if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
                    node.body = [each for each in node.body if not _is_text(each)] or [ast.Pass()]
            digest.update(ast.dump(tree).encode())
    return digest.hexdigest()


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


@functools.cache
def _sql_version(stage: Stage) -> str:
    """A hash of the SQL, seeds and variables that decide a stage's rows, without comments and spacing."""
    others = [PROJECT / name for other in STAGES[STAGES.index(stage) + 1 :] for name in SQL.get(other, ())]
    digest = hashlib.sha256()
    variables: dict[str, Any] = {}
    for name in SQL[stage]:
        for file in _files(PROJECT / name, "*"):
            if file.suffix in (".sql", ".csv") and not any(file.is_relative_to(other) for other in others):
                text = re.sub(r"\{#.*?#\}|--[^\n]*", " ", file.read_text(), flags=re.DOTALL)
                digest.update(" ".join([str(file.relative_to(PROJECT)), *text.split()]).encode())
                named = re.findall(r"\bvar\('(\w+)'\)", text)
                variables |= {name: _project_variables()[name] for name in named}
    return _hash({"files": digest.hexdigest(), "variables": variables})


def forget_code() -> None:
    """Read code and project anew at the next call: for tests that change them."""
    for cached in (_code_version, _sql_version, _project_variables):
        cached.cache_clear()


def _files(path: Path, pattern: str) -> list[Path]:
    return sorted(path.rglob(pattern)) if path.is_dir() else [path]


@functools.cache
def _project_variables() -> dict[str, Any]:
    variables: dict[str, Any] = yaml.safe_load((PROJECT / "dbt_project.yml").read_text())["vars"]
    return variables


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


def have_passed(outcomes: Sequence[Audit]) -> bool:
    """Whether there was an audit, and no blocking rule failed."""
    return bool(outcomes) and all(audit.passed or not audit.blocking for audit in outcomes)


def require_passed(connection: psycopg.Connection, cohort_id: int) -> None:
    """Raise unless the cohort's latest build was audited and no blocking rule failed.

    Raises:
        HeldBackError: names the rules that failed; the caller names the cohort.
    """
    outcomes = audits(connection, cohort_id)
    if not have_passed(outcomes):
        failed = [audit for audit in outcomes if audit.blocking and not audit.passed]
        words = "; ".join(
            f"{a.rule}: expected {a.expected}, observed {a.observed} ({a.detail})" for a in failed
        )
        raise HeldBackError(f"not published, because {words or NO_SNAPSHOT}")


def input_version(built: StageVersions) -> str | None:
    """One hash over all stages, by which publications differ; None while a stage is not built."""
    versions = asdict(built)
    return _hash(versions) if all(versions.values()) else None


def record_publication(
    connection: psycopg.Connection, cohort_id: int, *, run_id: str | None = None
) -> Publication:
    """Switch readers to the last computation, and record from which inputs, with which counts, and who moved.

    Raises:
        HeldBackError: a blocking audit failed, or the marts do not show what was audited last.
    """
    with connection.transaction():
        publish_circle(connection, cohort_id)
        require_passed(connection, cohort_id)
        publication = _insert_publication(connection, cohort_id, run_id)
        connection.execute(
            MOVES,
            {
                "cohort_id": cohort_id,
                "publication_id": publication.publication_id,
                "at": publication.published_at,
            },
        )
    return publication


def _insert_publication(connection: psycopg.Connection, cohort_id: int, run_id: str | None) -> Publication:
    versions = built_versions(connection, cohort_id)
    inputs = _row(connection, PUBLISHED_INPUTS, {"cohort_id": cohort_id})
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
            where cohorts.cohort_id = %(cohort_id)s and %(input_version)s::text is not null
            group by cohorts.cohort_id
            returning publication_id, cohort_id, published_at, dagster_run_id, input_version,
                members_count, films_count, ratings_count, inputs
            """,
            {
                "cohort_id": cohort_id,
                "run_id": run_id,
                "input_version": input_version(versions),
                "inputs": Jsonb({**inputs, "stages": asdict(versions), "code": _code_version()}),
            },
        ).fetchone()
    if publication is None:
        raise HeldBackError("not published, because its marts do not show its latest input yet: run it again")
    return publication
