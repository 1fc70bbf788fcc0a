"""The tables between the two dbt stages: what numpy reads, and what it leaves for the marts.

Rows come out in an order that depends on names and public ids only, never on the order in which
they were stored, so that the same opinions give the same bits. No statistics here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg import sql
from psycopg.types.json import Jsonb

from almanac_pipeline.errors import NotFoundError

# One row of a binary COPY of (user_id, film_id, half_stars): a field count, then length and value each.
COPY_ROW = np.dtype(
    [
        ("fields", ">i2"),
        ("user_bytes", ">i4"), ("user_id", ">i8"),
        ("film_bytes", ">i4"), ("film_id", ">i8"),
        ("half_star_bytes", ">i4"), ("half_stars", ">i4"),
    ]
)  # fmt: skip
COPY_HEADER_BYTES, COPY_TRAILER_BYTES = 19, 2


@dataclass(frozen=True, slots=True)
class CohortOpinions:
    """The snapshot of one cohort's N ratings of F films, by M of its members."""

    cohort_id: int
    ranking_parameters: dict[str, Any]
    members_count: int
    """All members, those without a rating too."""
    user_ids: NDArray[np.int64]
    """(M,) of the members with a rating, by user name."""
    film_ids: NDArray[np.int64]
    """(F,) by Letterboxd's number; films without one last, by slug."""
    titles: tuple[str, ...]
    """F of them."""
    member: NDArray[np.int64]
    """(N,) index into user_ids; ascending."""
    film: NDArray[np.int64]
    """(N,) index into film_ids; ascending within a member."""
    rating: NDArray[np.float64]
    """(N,) stars."""


def read_opinions(connection: psycopg.Connection, cohort: str) -> CohortOpinions:
    """The ratings of `cohort` (its slug) as dbt's first stage has snapshot them.

    Raises:
        NotFoundError: there is no such cohort.
    """
    row = connection.execute(
        """
        select cohort_id, ranking_parameters,
            (select count(*) from intermediate.int_cohort_members as m where m.cohort_id = c.cohort_id)
        from raw.cohorts as c where slug = %s
        """,
        [cohort],
    ).fetchone()
    if row is None:
        raise NotFoundError(f"There is no cohort {cohort!r}.")
    cohort_id, parameters, members_count = row
    users = connection.execute(
        """
        select user_id from intermediate.int_cohort_members as members
        where cohort_id = %s and exists (
            select from intermediate.int_cohort_ratings as ratings
            where ratings.cohort_id = members.cohort_id and ratings.user_id = members.user_id
                and ratings.rating is not null)
        order by username collate "C"
        """,
        [cohort_id],
    ).fetchall()
    films = connection.execute(
        """
        select film_id, title from raw.films
        where film_id in (
            select film_id from intermediate.int_cohort_ratings where cohort_id = %s and rating is not null)
        order by substring(uid from '[0-9]+$')::bigint nulls last, slug collate "C", lid collate "C", film_id
        """,
        [cohort_id],
    ).fetchall()
    user_ids = np.array([user_id for (user_id,) in users], dtype=np.int64)
    film_ids = np.array([film_id for film_id, _ in films], dtype=np.int64)
    rows = _read_ratings(connection, cohort_id)
    member = _positions(user_ids, rows["user_id"])
    film = _positions(film_ids, rows["film_id"])
    order = np.lexsort((film, member))
    return CohortOpinions(
        cohort_id=cohort_id,
        ranking_parameters=parameters,
        members_count=members_count,
        user_ids=user_ids,
        film_ids=film_ids,
        titles=tuple(title for _, title in films),
        member=member[order],
        film=film[order],
        rating=rows["half_stars"][order] / 2.0,
    )


def _read_ratings(connection: psycopg.Connection, cohort_id: int) -> NDArray[np.void]:
    # A rating of a film that is not there holds back its own cohort (an audit), not all of the build.
    query = sql.SQL(
        "copy (select user_id, film_id, (rating * 2)::integer from intermediate.int_cohort_ratings"
        " where cohort_id = {} and rating is not null and film_id in (select film_id from raw.films))"
        " to stdout (format binary)"
    ).format(sql.Literal(cohort_id))
    with connection.cursor() as cursor, cursor.copy(query) as copy:
        data = b"".join(copy)
    return np.frombuffer(data[COPY_HEADER_BYTES:-COPY_TRAILER_BYTES], dtype=COPY_ROW)


def _positions(ordered: NDArray[np.int64], ids: NDArray[Any]) -> NDArray[np.int64]:
    """For each id, where it stands in `ordered` (which is not sorted by id)."""
    by_id = np.argsort(ordered)
    return np.asarray(by_id[np.searchsorted(ordered, ids, sorter=by_id)], dtype=np.int64)


@dataclass(frozen=True, slots=True)
class CircleRows:
    """One cohort's rows for the statistics tables; column order as in the tables, cohort_id left out."""

    parameters: Mapping[str, Any]
    """Columns of circle_parameters by name."""
    members: Sequence[tuple[Any, ...]]
    films: Sequence[tuple[Any, ...]]
    scores: Sequence[tuple[Any, ...]]
    strategies: Mapping[str, Mapping[str, Any]]
    """The params of each computed strategy."""


MEMBER_COLUMNS = ("user_id", "ratings_count", "strictness", "spread", "noise")
FILM_COLUMNS = (
    "film_id", "raters", "estimate", "estimate_sd", "information", "prior",
    "top_decile_probability", "agreement",
)  # fmt: skip
SCORE_COLUMNS = (
    "strategy", "film_id", "raters", "score", "estimate", "estimate_sd", "eligible",
    "rank", "rank_low", "rank_high", "tier",
)  # fmt: skip


def replace_circle(connection: psycopg.Connection, cohort_id: int, rows: CircleRows) -> None:
    """Put these rows in the place of the cohort's, all tables in one transaction."""
    with connection.transaction():
        for table in (
            "circle_parameters", "circle_members", "circle_films", "strategy_scores", "strategy_parameters",
        ):  # fmt: skip
            connection.execute(
                sql.SQL("delete from intermediate.{} where cohort_id = %s").format(sql.Identifier(table)),
                [cohort_id],
            )
        _copy(
            connection,
            "circle_parameters",
            tuple(rows.parameters),
            cohort_id,
            [tuple(rows.parameters.values())],
        )
        _copy(connection, "circle_members", MEMBER_COLUMNS, cohort_id, rows.members)
        _copy(connection, "circle_films", FILM_COLUMNS, cohort_id, rows.films)
        _copy(connection, "strategy_scores", SCORE_COLUMNS, cohort_id, rows.scores)
        params = [(strategy, Jsonb(dict(params))) for strategy, params in rows.strategies.items()]
        _copy(connection, "strategy_parameters", ("strategy", "params"), cohort_id, params)


def _copy(
    connection: psycopg.Connection,
    table: str,
    columns: Sequence[str],
    cohort_id: int,
    rows: Iterable[tuple[Any, ...]],
) -> None:
    statement = sql.SQL("copy intermediate.{} (cohort_id, {}) from stdin").format(
        sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for row in rows:
            copy.write_row((cohort_id, *row))
