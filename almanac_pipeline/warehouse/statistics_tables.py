"""The tables between the two dbt stages: what numpy reads, and what it leaves for the marts.

Rows come out in an order that depends on names and public ids only, never on the order in which
they were stored, so that the same opinions give the same bits. No statistics here.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
from numpy.typing import NDArray
from psycopg import sql
from psycopg.types.json import Jsonb
from pyarrow import csv

from almanac_pipeline.errors import NotFoundError

COPY_BLOCK_ROWS = 50_000
READ_PARTS = 64
# What PostgreSQL's functions that send a value make of it, as numpy reads that; of a time, microseconds.
SENT_AS = {"int8send": ">i8", "int4send": ">i4", "float8send": ">f8", "timestamptz_send": ">i8"}
POSTGRES_EPOCH = np.datetime64("2000-01-01", "us")
LIKED, FAVORITE, LOGGED, RECORDED = 1, 2, 4, 8
HISTOGRAM = tuple(f"count_{half // 2}_{half % 2 * 5}" for half in range(1, 11))
KEYS = {
    "circle_parameters": ["cohort_id"],
    "circle_members": ["cohort_id", "user_id"],
    "circle_films": ["cohort_id", "film_id"],
    "circle_pairs": ["cohort_id", "computation", "user_a", "user_b"],
    "strategy_scores": ["cohort_id", "computation", "strategy", "film_id"],
    "strategy_parameters": ["cohort_id", "computation", "strategy"],
}
"""What numpy writes, the first of them first, and the primary key of each."""
PUBLISHED = tuple(table for table, key in KEYS.items() if "computation" in key)
"""What readers see of it, by views: rows of the published computation stay until another is published."""

Columns = Mapping[str, Any]
"""Equally long arrays by name of column. NaN and masked values become null."""


@dataclass(frozen=True, slots=True)
class CohortOpinions:
    """The snapshot of what the members of one cohort have said: N opinions of F films by M members."""

    cohort_id: int
    ranking_parameters: dict[str, Any]
    members_count: int
    """All members, those without an opinion too."""
    user_ids: NDArray[np.int64]
    """(M,) of the members with an opinion, by user name."""
    film_ids: NDArray[np.int64]
    """(F,) by Letterboxd's number; films without one last, by slug."""
    titles: tuple[str, ...]
    """F of them."""
    member: NDArray[np.int64]
    """(N,) index into user_ids; ascending."""
    film: NDArray[np.int64]
    """(N,) index into film_ids; ascending within a member."""
    half_stars: NDArray[np.int64]
    """(N,) 1 to 10; 0 without a rating."""
    liked: NDArray[np.bool_]
    favorite: NDArray[np.bool_]
    logged: NDArray[np.bool_]
    """(N,) whether the member's diary has the film."""
    rated_at: NDArray[np.datetime64]
    """(N,) when the present rating was given, UTC; NaT if unknown."""
    recorded: NDArray[np.bool_]
    """(N,) rated_at is the day on which the member recorded the rating: it stands in an export or the API."""
    global_source: str | None
    """Where the global averages are from: letterboxd, tmdb or members. None if no film has one."""
    global_average: NDArray[np.float64]
    """(F,) stars outside; NaN where unknown."""
    global_ratings: NDArray[np.float64]
    """(F,) ratings that the average rests on; NaN where unknown."""
    global_counts: NDArray[np.int64]
    """(F, 10) of Letterboxd's histogram where that is the source; zeros elsewhere."""


def read_opinions(connection: psycopg.Connection, cohort: str) -> CohortOpinions:
    """The opinions of `cohort` (its slug) as dbt's first stage has snapshot them, and the crowd's.

    To be called within a transaction: what its first statements have read no build empties until its end.

    Raises:
        NotFoundError: there is no such cohort.
    """
    row = connection.execute(
        """
        select cohort_id, ranking_parameters,
            (select count(*) from intermediate.int_cohort_members as m where m.cohort_id = c.cohort_id),
            (select min(global_source) from intermediate.int_cohort_film_globals as g
             where g.cohort_id = c.cohort_id)
        from raw.cohorts as c where slug = %s
        """,
        [cohort],
    ).fetchone()
    if row is None:
        raise NotFoundError(f"There is no cohort {cohort!r}.")
    cohort_id, parameters, members_count, global_source = row
    users = connection.execute(
        """
        select user_id from intermediate.int_cohort_members as members
        where cohort_id = %s and exists (
            select from intermediate.int_cohort_ratings as ratings
            where ratings.cohort_id = members.cohort_id and ratings.user_id = members.user_id
                and film_id in (select film_id from raw.films))
        order by username collate "C"
        """,
        [cohort_id],
    ).fetchall()
    films = connection.execute(
        """
        select film_id, title from raw.films
        where film_id in (select film_id from intermediate.int_cohort_ratings where cohort_id = %s)
        order by substring(uid from '[0-9]+$')::bigint nulls last, slug collate "C", lid collate "C", film_id
        """,
        [cohort_id],
    ).fetchall()
    user_ids = np.array([user_id for (user_id,) in users], dtype=np.int64)
    film_ids = np.array([film_id for film_id, _ in films], dtype=np.int64)
    opinions = _read_opinions(connection, cohort_id)
    member = _positions(user_ids, opinions["user_id"])
    film = _positions(film_ids, opinions["film_id"])
    order = np.lexsort((film, member))
    opinions = opinions[order]
    known = _read_globals(connection, cohort_id)
    known = known[np.isin(known["film_id"], film_ids)]
    known_films = _positions(film_ids, known["film_id"])

    def of_films(column: str, missing: float) -> NDArray[np.float64]:
        values = np.full(film_ids.size, missing)
        values[known_films] = known[column]
        return values

    return CohortOpinions(
        cohort_id=cohort_id,
        ranking_parameters=parameters,
        members_count=members_count,
        user_ids=user_ids,
        film_ids=film_ids,
        titles=tuple(title for _, title in films),
        member=member[order],
        film=film[order],
        half_stars=opinions["half_stars"].astype(np.int64),
        liked=(opinions["flags"] & LIKED).astype(bool),
        favorite=(opinions["flags"] & FAVORITE).astype(bool),
        logged=(opinions["flags"] & LOGGED).astype(bool),
        # PostgreSQL's -infinity is numpy's NaT: the smallest integer.
        rated_at=POSTGRES_EPOCH + opinions["rated_at"].astype(np.int64).view("timedelta64[us]"),
        recorded=(opinions["flags"] & RECORDED).astype(bool),
        global_source=global_source,
        global_average=of_films("global_average", np.nan),
        global_ratings=of_films("global_ratings", np.nan),
        global_counts=np.stack([of_films(name, 0) for name in HISTOGRAM], axis=1).astype(np.int64),
    )


def _read_opinions(connection: psycopg.Connection, cohort_id: int) -> NDArray[np.void]:
    # An opinion of a film that is not there holds back its own cohort (an audit), not all of the build.
    query = sql.SQL(
        """
        select user_id, film_id, coalesce(rating * 2, 0)::integer as half_stars,
            liked::integer * {liked} + favorite::integer * {favorite} + logged::integer * {logged}
                + coalesce(rated_at_source in ('export', 'api'), false)::integer * {recorded} as flags,
            coalesce(rated_at, '-infinity') as rated_at
        from intermediate.int_cohort_ratings
        where cohort_id = {cohort_id} and film_id in (select film_id from raw.films)
        """
    ).format(cohort_id=cohort_id, liked=LIKED, favorite=FAVORITE, logged=LOGGED, recorded=RECORDED)
    return _read(
        connection,
        query,
        {
            "user_id": "int8send",
            "film_id": "int8send",
            "half_stars": "int4send",
            "flags": "int4send",
            "rated_at": "timestamptz_send",
        },
    )


def _read_globals(connection: psycopg.Connection, cohort_id: int) -> NDArray[np.void]:
    query = sql.SQL(
        """
        select globals.film_id, global_average,
            coalesce(global_ratings, 'nan'::double precision) as global_ratings,
            {counts}
        from intermediate.int_cohort_film_globals as globals
        left join raw.film_histograms as histograms
            on histograms.film_id = globals.film_id and source = 'letterboxd' and global_source = source
        where cohort_id = {cohort_id} and global_average is not null
        """
    ).format(
        cohort_id=cohort_id,
        counts=sql.SQL(", ").join(
            sql.SQL("coalesce({0}, 0) as {0}").format(sql.Identifier(name)) for name in HISTOGRAM
        ),
    )
    columns = {"film_id": "int8send", "global_average": "float8send", "global_ratings": "float8send"}
    return _read(connection, query, columns | dict.fromkeys(HISTOGRAM, "int8send"))


def _read(
    connection: psycopg.Connection, query: sql.Composed, columns: Mapping[str, str]
) -> NDArray[np.void]:
    """The rows of a query without nulls, in no order: as PostgreSQL sends them, but many in one value.

    A message per row, as COPY has it, costs psycopg three microseconds each: half a million came in 1.5 s,
    and come in 0.3.

    Args:
        columns: names, with the function of PostgreSQL that sends a value of that type.
    """
    row = sql.SQL(" || ").join(
        sql.SQL("{}({})").format(sql.Identifier(send), sql.Identifier(name)) for name, send in columns.items()
    )
    # In parts, because one value holds a gigabyte at most.
    statement = sql.SQL("select string_agg({}, '') from ({}) as rows group by mod({}, {})").format(
        row, query, sql.Identifier(next(iter(columns))), READ_PARTS
    )
    with connection.cursor(binary=True) as cursor:
        data = b"".join(part for (part,) in cursor.execute(statement))
    return np.frombuffer(data, dtype=[(name, SENT_AS[send]) for name, send in columns.items()])


def _positions(ordered: NDArray[np.int64], ids: NDArray[Any]) -> NDArray[np.int64]:
    """For each id, where it stands in `ordered` (which is not sorted by id)."""
    by_id = np.argsort(ordered)
    return np.asarray(by_id[np.searchsorted(ordered, ids, sorter=by_id)], dtype=np.int64)


@dataclass(frozen=True, slots=True)
class CircleRows:
    """One cohort's rows for the statistics tables, cohort_id left out."""

    parameters: Mapping[str, Any]
    """The one row of circle_parameters."""
    members: Columns
    films: Columns
    pairs: Columns
    scores: Mapping[str, Columns]
    """By strategy."""
    strategies: Mapping[str, Mapping[str, Any]]
    """The params of each computed strategy."""


def replace_circle(connection: psycopg.Connection, cohort_id: int, rows: CircleRows) -> None:
    """Put these rows in the place of those computed last, all tables in one transaction.

    What is published stays beside them until `publish_circle`.
    """
    with connection.transaction():
        # circle_parameters first: who forgets a member holds it until they are done.
        for table in KEYS:
            if table not in PUBLISHED:
                connection.execute(
                    sql.SQL("delete from intermediate.{} where cohort_id = %s").format(sql.Identifier(table)),
                    [cohort_id],
                )
        published = _published_computation(connection, cohort_id)
        _keep(connection, cohort_id, published)
        cohort = {"cohort_id": cohort_id, "computation": 0 if published is None else 1 - published}
        connection.execute(
            sql.SQL("insert into intermediate.circle_parameters ({}) values ({})").format(
                sql.SQL(", ").join(map(sql.Identifier, [*cohort, *rows.parameters])),
                sql.SQL(", ").join(map(sql.Literal, [*cohort.values(), *rows.parameters.values()])),
            )
        )
        _copy(connection, "circle_members", {"cohort_id": cohort_id}, rows.members)
        _copy(connection, "circle_films", {"cohort_id": cohort_id}, rows.films)
        _copy(connection, "circle_pairs", cohort, rows.pairs)
        for strategy, scores in rows.scores.items():
            _copy(connection, "strategy_scores", {**cohort, "strategy": strategy}, scores)
        for strategy, params in rows.strategies.items():
            connection.execute(
                "insert into intermediate.strategy_parameters (cohort_id, computation, strategy, params)"
                " values (%s, %s, %s, %s)",
                [*cohort.values(), strategy, Jsonb(dict(params))],
            )


def publish_circle(connection: psycopg.Connection, cohort_id: int) -> None:
    """Show readers the rows computed last, and remove those shown before; in the caller's transaction.

    Waits for a computation of the cohort, and for who forgets a member.
    """
    connection.execute("lock table intermediate.circle_parameters in row exclusive mode")
    published = _published_computation(connection, cohort_id)
    row = connection.execute(
        "update intermediate.cohort_stages as stages set published_computation = circles.computation"
        " from intermediate.circle_parameters as circles"
        " where stages.cohort_id = %s and circles.cohort_id = stages.cohort_id"
        " and circles.computation is distinct from %s returning circles.computation",
        [cohort_id, published],
    ).fetchone()
    if row is not None:
        _keep(connection, cohort_id, row[0])


def _published_computation(connection: psycopg.Connection, cohort_id: int) -> int | None:
    """Which one readers see, until the transaction's end; None before the first publication."""
    row = connection.execute(
        "select published_computation from intermediate.cohort_stages where cohort_id = %s for update",
        [cohort_id],
    ).fetchone()
    return row[0] if row else None


def _keep(connection: psycopg.Connection, cohort_id: int, computation: int | None) -> None:
    """Remove all rows of other computations of the cohort."""
    for table in PUBLISHED:
        connection.execute(
            sql.SQL(
                "delete from intermediate.{} where cohort_id = %s and computation is distinct from %s"
            ).format(sql.Identifier(table)),
            [cohort_id, computation],
        )


def refresh_planner_statistics(connection: psycopg.Connection) -> None:
    """Tell the planner how the rows of tables that have grown spread.

    Marts read them seconds later, long before autovacuum looks. Believing them to be empty, it joins row by
    row: labels of 168 cohorts took more than a quarter of an hour. Where there are many cohorts one more
    changes little, and the sample would take longer than a small cohort's statistics.
    """
    with connection.transaction():
        grown = connection.execute(
            """
            select relname from pg_class
            where relnamespace = 'intermediate'::regnamespace and relname = any(%s)
                and pg_relation_size(oid) > 1.2 * relpages * current_setting('block_size')::integer
            """,
            [list(KEYS)],
        ).fetchall()
        connection.execute("set local default_statistics_target = 20")
        for (table,) in grown:
            connection.execute(
                sql.SQL("analyze intermediate.{} ({})").format(
                    sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, KEYS[table]))
                )
            )


def _copy(
    connection: psycopg.Connection, table: str, same: Mapping[str, int | str], columns: Columns
) -> None:
    """COPY columns, beside some that are the same in every row."""
    if not columns:
        return
    size = len(next(iter(columns.values())))
    arrays = {name: pa.repeat(value, size) for name, value in same.items()} | {
        name: pa.array(np.ma.getdata(values), mask=_nulls(values)) for name, values in columns.items()
    }
    statement = sql.SQL("copy intermediate.{} ({}) from stdin (format csv)").format(
        sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, arrays))
    )
    options = csv.WriteOptions(include_header=False)
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for batch in pa.table(arrays).to_batches(max_chunksize=COPY_BLOCK_ROWS):
            block = io.BytesIO()
            csv.write_csv(batch, block, options)
            copy.write(block.getbuffer())


def _nulls(values: NDArray[Any]) -> NDArray[np.bool_]:
    masked: NDArray[np.bool_] = np.ma.getmaskarray(values)
    return masked | np.isnan(np.ma.getdata(values)) if values.dtype.kind == "f" else masked
