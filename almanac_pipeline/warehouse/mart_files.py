"""Marts of one cohort as files: CSV, CSV that Letterboxd imports as a list, Parquet.

A file gets about. Unless it is said to be private, a row in it rests on at least three members, and
marts with a row per member do not leave the database at all. Writes no table.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

import psycopg
import pyarrow as pa
from psycopg.sql import SQL, Composable, Composed, Identifier, Literal
from pyarrow import parquet

from almanac_pipeline.errors import ConfigurationError
from almanac_pipeline.warehouse.marts import ATTRIBUTION

PER_MEMBER = frozenset(("member_profiles", "taste_similarity", "watchlist_overlap"))
"""Marts with a row per member or pair of members."""
PARQUET_BATCH_ROWS = 50_000

_FILMS = SQL("film_id in (select film_id from almanac.cohort_film_stats where cohort = {cohort} and {rule})")
_ALL = SQL("true")


@dataclass(frozen=True, slots=True)
class MartFile:
    """What to write."""

    mart: str
    cohort: str
    private: bool = False
    """Rows of fewer than three members and marts per member, too."""
    strategy: str | None = None
    """Only this one; None: all. For marts that have strategies."""
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """How many rows were written, and how many were left out because they rest on too few members."""

    rows: int
    left_out: int


def exportable(connection: psycopg.Connection) -> list[str]:
    """The tables and views of the schema almanac that say something of one cohort."""
    rows = connection.execute(
        "select distinct table_name from information_schema.columns"
        " where table_schema = 'almanac' and column_name in ('cohort', 'film_id') order by table_name"
    )
    return [name for (name,) in rows]


def write_csv(connection: psycopg.Connection, file: MartFile, stream: IO[bytes]) -> Written:
    """Write the rows with a header. The attribution is the last column, in the first row.

    Raises:
        ConfigurationError: there is no such mart, or it is per member and the file not private.
    """
    columns, rows = _query(connection, file)
    with_attribution = SQL(
        "select ordered.*, case when row_number() over () = 1 then {attribution} end as attribution"
        " from ({rows}) as ordered"
    ).format(attribution=Literal(ATTRIBUTION), rows=rows)
    return Written(_copy(connection, with_attribution, stream), _left_out(connection, file, columns))


def write_letterboxd_list(connection: psycopg.Connection, file: MartFile, stream: IO[bytes]) -> Written:
    """Write the films of a ranking or slice, in its order, as CSV that Letterboxd imports as a list.

    Its importer knows films by the columns LetterboxdURI, tmdbID, imdbID, Title and Year. The attribution
    stands in a column of its own, since a line of its own would be read as a film.

    Raises:
        ConfigurationError: the mart has no order of films.
    """
    columns, rows = _query(connection, file)
    order = next((name for name in ("place", "rank") if name in columns), None)
    if order is None or "film_id" not in columns:
        raise ConfigurationError(
            f"{file.mart} is no list of films: take film_rankings or a slice, such as hidden_gems."
        )
    query = SQL("""
        select coalesce('https://boxd.it/' || films.lid, 'https://letterboxd.com/film/' || films.slug || '/')
                as "LetterboxdURI",
            case when films.tmdb_media_type = 'movie' then films.tmdb_id end as "tmdbID",
            films.imdb_id as "imdbID", films.title as "Title", films.release_year as "Year",
            case when row_number() over (order by listed.{order}, listed.film_id) = 1 then {attribution} end
                as "Attribution"
        from ({rows}) as listed
        join almanac.film_directory as films using (film_id)
        where listed.{order} is not null
        order by listed.{order}, listed.film_id
    """).format(order=Identifier(order), attribution=Literal(ATTRIBUTION), rows=rows)
    has_place = SQL("{} is not null").format(Identifier(order))
    return Written(_copy(connection, query, stream), _left_out(connection, file, columns, has_place))


def write_parquet(connection: psycopg.Connection, file: MartFile, stream: IO[bytes]) -> Written:
    """Write the rows as Parquet, with the attribution in the file's metadata.

    Raises:
        ConfigurationError: there is no such mart, or it is per member and the file not private.
    """
    columns, rows = _query(connection, file)
    count = 0
    with connection.cursor(name="parquet") as cursor:
        cursor.execute(rows)
        fields = [
            (column.name, _arrow_type(column.type_code, column.precision, column.scale))
            for column in cursor.description or ()
        ]
        schema = pa.schema(fields, metadata={"attribution": ATTRIBUTION})
        with parquet.ParquetWriter(stream, schema, compression="zstd") as writer:
            for batch in _batches(cursor):
                arrays = [
                    pa.array(map(_plain, values), field.type)
                    for values, field in zip(batch, schema, strict=True)
                ]
                writer.write_batch(pa.record_batch(arrays, schema=schema))
                count += len(arrays[0])
    return Written(count, _left_out(connection, file, columns))


def _query(connection: psycopg.Connection, file: MartFile) -> tuple[list[str], Composed]:
    """The columns of the mart and the statement for its rows, in the order of its key."""
    known = exportable(connection)
    if file.mart not in known:
        raise ConfigurationError(f"There is no mart {file.mart!r}. Known: {', '.join(known) or 'none yet'}.")
    if file.mart in PER_MEMBER and not file.private:
        raise ConfigurationError(
            f"{file.mart} says what single members think. With --private it is written, for your own eyes."
        )
    columns = _columns(connection, file.mart)
    if file.strategy is not None and "strategy" not in columns:
        raise ConfigurationError(f"{file.mart} has no strategies: leave out --strategy.")
    order = [name for name in ("cohort", "strategy", "place", "rank", "film_id") if name in columns]
    query = SQL("select * from almanac.{mart} where {conditions} order by {order}").format(
        mart=Identifier(file.mart),
        conditions=_conditions(file, columns, guarded=not file.private),
        order=SQL(", ").join(map(Identifier, order)),
    )
    return columns, query + SQL(" limit {}").format(Literal(file.limit))


def _conditions(file: MartFile, columns: list[str], *, guarded: bool) -> Composed:
    cohort = Literal(file.cohort)
    conditions: list[Composed] = []
    if "cohort" in columns:
        conditions.append(SQL("cohort = {}").format(cohort))
    if guarded and "is_shareable" in columns:
        conditions.append(SQL("is_shareable").format())
    elif "film_id" in columns and (guarded or "cohort" not in columns):
        rule = SQL("is_shareable") if guarded else _ALL
        conditions.append(_FILMS.format(cohort=cohort, rule=rule))
    if file.strategy is not None:
        conditions.append(SQL("strategy = {}").format(Literal(file.strategy)))
    return SQL(" and ").join(conditions)


def _left_out(
    connection: psycopg.Connection, file: MartFile, columns: list[str], wanted: Composable = _ALL
) -> int:
    """Rows that a private file would have beyond this one."""
    if file.private:
        return 0
    counts = [
        SQL("(select count(*) from almanac.{mart} where {wanted} and {conditions})").format(
            mart=Identifier(file.mart), wanted=wanted, conditions=_conditions(file, columns, guarded=guarded)
        )
        for guarded in (False, True)
    ]
    row = connection.execute(SQL("select {} - {}").format(*counts)).fetchone()
    return int(row[0]) if row else 0


def _columns(connection: psycopg.Connection, mart: str) -> list[str]:
    rows = connection.execute(
        "select column_name from information_schema.columns"
        " where table_schema = 'almanac' and table_name = %s order by ordinal_position",
        [mart],
    )
    return [name for (name,) in rows]


def _copy(connection: psycopg.Connection, query: Composed, stream: IO[bytes]) -> int:
    with connection.cursor() as cursor:
        with cursor.copy(SQL("copy ({}) to stdout with (format csv, header)").format(query)) as copy:
            for block in copy:
                stream.write(block)
        return max(cursor.rowcount, 0)


def _batches(cursor: psycopg.ServerCursor[tuple[Any, ...]]) -> Iterator[list[tuple[Any, ...]]]:
    """Columns of the next rows, until there are none."""
    while rows := cursor.fetchmany(PARQUET_BATCH_ROWS):
        yield list(zip(*rows, strict=True))


def _plain(value: Any) -> Any:
    return json.dumps(value, sort_keys=True) if isinstance(value, dict) else value


_ARROW_TYPES = {
    "bool": pa.bool_(),
    "int2": pa.int16(),
    "int4": pa.int32(),
    "int8": pa.int64(),
    "float8": pa.float64(),
    "text": pa.string(),
    "jsonb": pa.string(),
    "date": pa.date32(),
    "timestamptz": pa.timestamp("us", tz="UTC"),
}


def _arrow_type(oid: int, precision: int | None, scale: int | None) -> pa.DataType:
    """The Arrow type of a PostgreSQL type: JSON as text, arrays as lists, numeric as decimal.

    Raises:
        KeyError: a mart has a type that no mart had before.
    """
    info = psycopg.adapters.types[oid]
    if info.name == "numeric":
        return pa.decimal128(precision or 38, scale or 0)
    element = _ARROW_TYPES[info.name]
    return pa.list_(element) if oid == info.array_oid else element
