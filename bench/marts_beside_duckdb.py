"""Building the SQL marts of large cohorts, beside DuckDB doing the same over Parquet files of the same rows.

20 cohorts of 1,000 members with 500 ratings each: 10 million ratings of 40,000 films. DuckDB runs the same
models, as dbt compiled them for PostgreSQL and sqlglot translated them, from Parquet into tables; what
numpy left between the two stages it gets as Parquet, too. Results are compared: of one cohort every value
of every mart, of all twenty the number of rows. PostgreSQL writes more: indexes, a log, planner statistics,
and the rows of a cohort that go.

The ratio that the target is about is of `sql_seconds`: by the clock, those in which PostgreSQL had at least
one model to build. What a user waits for is the two dbt invocations (`seconds`): around the models dbt's own
start, and data tests, of which DuckDB runs none. `processor_seconds` are what either engine computed, the
tests in PostgreSQL included, and `dbt_processor_seconds` what dbt did; other programs on the machine
lengthen them less than the clock.

python -m bench.marts_beside_duckdb [--scale 1.0] [--cohorts 20]
"""

from __future__ import annotations

import argparse
import contextlib
import graphlib
import json
import math
import multiprocessing
import os
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
from pyarrow import csv, parquet

from almanac_pipeline.flows.publication import changed_cohorts
from almanac_pipeline.settings import Settings
from almanac_pipeline.warehouse import dbt
from bench.marts import HISTOGRAM, build, settle, warehouse

COHORTS, MEMBERS, RATINGS_OF_A_MEMBER, FILMS = 20, 1_000, 500, 40_000
PEOPLE, GENRES, COUNTRIES = 30_000, 18, 40
WISHES_OF_A_MEMBER = 20
TARGET_RATIOS = {"one": 3, "all": 5}
# To ask the kernel for a server's memory costs as much as building a small mart.
SAMPLE_SECONDS = 1.0
DUCKDB = "beside"
# What sqlglot leaves as it is. DuckDB orders by bytes, and its numeric without a precision has three
# decimals; our sums are whole numbers that a double holds exactly.
WORDS = {' collate "C"': "", "'{}'": "'[]'", "as numeric)": "as double precision)"}
RAW = (
    "users", "films", "film_aliases", "film_histograms", "people", "film_people", "genres", "film_genres",
    "countries", "film_countries", "ratings", "diary_entries", "watchlist_entries", "cohorts",
    "cohort_members",
)  # fmt: skip
FROM_NUMPY = (
    "circle_parameters", "circle_films", "circle_members", "circle_pairs", "strategy_scores",
    "strategy_parameters",
)  # fmt: skip
# Marts that are tables, by the columns that make a row one of its kind.
MARTS = {
    "cohort_film_stats": ["cohort", "film_id"],
    "ranking_insights": ["cohort", "film_id"],
    "member_profiles": ["cohort", "user_id"],
    "person_rankings": ["cohort", "role", "person_id"],
    "watchlist_overlap": ["cohort", "film_id"],
    "film_directory": ["film_id"],
}
# Of columns that the files leave out; of others it is null.
DEFAULTS = {"status": "'active'"}
DUCKDB_TYPES = {"jsonb": "varchar", "json": "varchar"}
ARROW_TYPES = {
    "bigint": pa.int64(),
    "integer": pa.int32(),
    "double precision": pa.float64(),
    "boolean": pa.bool_(),
}


@dataclass(frozen=True)
class Model:
    """A model of the dbt project in DuckDB's words."""

    name: str
    relation: str
    is_view: bool
    sql: str


def run(scale: float = 1.0, cohorts: int = COHORTS) -> dict[str, Any]:
    """Seconds and memory of both, and their ratios.

    Raises:
        RuntimeError: their results differ.
    """
    members, films = round(MEMBERS * scale), round(FILMS * min(1.0, 2 * scale))
    slugs = [f"circle-{number}" for number in range(cohorts)]
    with warehouse() as (url, settings), tempfile.TemporaryDirectory(prefix="almanac-bench") as folder:
        files = Path(folder)
        for name, table in _invent(members, films, slugs).items():
            parquet.write_table(table, files / f"{name}.parquet")
            _copy_in(url, name, table)
        with psycopg.connect(url) as connection:
            settle(connection)
        # For numpy, whose rows both sides read. What is timed below builds the same again.
        first = build(url, settings, slugs)
        _export(url, files)
        tables = {name: _columns(url, "raw", name) for name in RAW}
        tables |= {name: _columns(url, "intermediate", name) for name in FROM_NUMPY}
        models = _compile()
        results: dict[str, Any] = {
            "ratings": cohorts * members * RATINGS_OF_A_MEMBER,
            "first_build_of_all_seconds": {stage: round(value, 1) for stage, value in first.items()},
            "target_ratios": TARGET_RATIOS,
        }
        spawn = multiprocessing.get_context("spawn")
        for name, chosen in (("one", slugs[:1]), ("all", slugs)):
            ours = _build_marts(url, settings, chosen)
            with ProcessPoolExecutor(1, mp_context=spawn) as child:
                theirs = child.submit(_duckdb, files, tables, models, chosen, name == "one").result()
            _compare(url, theirs.pop("results"), chosen)
            results[name] = {
                "postgresql": ours,
                "duckdb": theirs,
                "ratio": round(ours["sql_seconds"] / theirs["seconds"], 2),
                "ratio_with_dbt_and_its_tests": round(ours["seconds"] / theirs["seconds"], 2),
                "ratio_of_processor_seconds": round(
                    ours["processor_seconds"] / theirs["processor_seconds"], 2
                ),
            }
        return results


# -- the rows ---------------------------------------------------------------------------------


def _invent(members: int, films: int, slugs: list[str]) -> dict[str, pa.Table]:
    """Raw tables. A few films are seen by nearly everybody, most by few."""
    dice = np.random.default_rng(3)
    users = members * len(slugs)
    user, film = _pairs(dice, users, films, RATINGS_OF_A_MEMBER)
    quality, strictness = dice.normal(3.4, 0.5, films), dice.normal(0, 0.4, users)
    stars = quality[film] + strictness[user] + dice.normal(0, 0.8, film.size)
    half_stars = np.clip(np.rint(2 * stars), 1, 10).astype(np.int64)
    rated_at = pa.array(
        np.datetime64("2020-01-01", "s") + dice.integers(2_000 * 86_400, size=film.size),
        type=pa.timestamp("us", tz="UTC"),
    )
    ratings = {
        "user_id": user + 1,
        "film_id": film + 1,
        "rating": pa.array(half_stars / 2).cast(pa.decimal128(2, 1)),
        "liked": (half_stars >= 8) & (dice.random(film.size) < 0.4),
        "favorite": dice.random(film.size) < 4 / RATINGS_OF_A_MEMBER,
        "rated_at": rated_at,
        "rated_at_source": pa.repeat("observed", film.size),
        "source": pa.repeat("pages", film.size),
    }
    logged = np.flatnonzero(dice.random(film.size) < 0.05)
    wisher, wish = _pairs(dice, users, films, WISHES_OF_A_MEMBER)
    numbers = np.arange(1, films + 1)
    counts = dice.integers(1, 5_000, (films, 10))
    credited = np.repeat(numbers, 4)
    return {
        "users": pa.table(
            {"user_id": np.arange(1, users + 1), "username": [f"member-{n}" for n in range(users)]}
        ),
        "films": pa.table(
            {
                "film_id": numbers,
                "uid": [f"film:{n}" for n in numbers],
                "slug": [f"film-{n}" for n in numbers],
                "title": [f"Film {n}" for n in numbers],
                "release_year": 1920 + numbers % 106,
                "tmdb_media_type": pa.repeat("movie", films),
                "tmdb_id": numbers,
                "tmdb_vote_average": pa.array(np.round(dice.uniform(3, 9, films), 3)),
                "tmdb_vote_count": dice.integers(1, 9_999, films),
            }
        ),
        "film_histograms": pa.table(
            {
                "film_id": numbers,
                "source": pa.repeat("letterboxd", films),
                "stated_ratings": counts.sum(axis=1),
                **{name: counts[:, n] for n, name in enumerate(HISTOGRAM)},
            }
        ),
        "people": pa.table(
            {"person_id": np.arange(1, PEOPLE + 1), "name": [f"Person {n}" for n in range(PEOPLE)]}
        ),
        "film_people": pa.table(
            {
                "film_id": credited,
                # One after the other, so that nobody is credited twice for a film.
                "person_id": (credited * 7 + dice.integers(PEOPLE // 4, size=4 * films) * 4 + _turn(films, 4))
                % PEOPLE
                + 1,
                "role": np.tile(np.array(["director", "writer", "actor", "actor"]), films),
                "credit_order": np.tile(np.arange(4), films),
            }
        ),
        "genres": pa.table(
            {"genre_id": np.arange(1, GENRES + 1), "name": [f"Genre {n}" for n in range(GENRES)]}
        ),
        "film_genres": pa.table(
            {
                "film_id": np.repeat(numbers, 2),
                "genre_id": (np.repeat(numbers, 2) * 3 + _turn(films, 2)) % GENRES + 1,
            }
        ),
        "countries": pa.table(
            {"country_id": np.arange(1, COUNTRIES + 1), "name": [f"Country {n}" for n in range(COUNTRIES)]}
        ),
        "film_countries": pa.table({"film_id": numbers, "country_id": numbers % COUNTRIES + 1}),
        "ratings": pa.table(ratings),
        "diary_entries": pa.table(
            {
                "user_id": user[logged] + 1,
                "film_id": film[logged] + 1,
                "source": pa.repeat("rss", logged.size),
                "source_key": [str(n) for n in logged],
                "film_title": pa.repeat("any", logged.size),
            }
        ),
        "watchlist_entries": pa.table(
            {"user_id": wisher + 1, "film_id": wish + 1, "source": pa.repeat("pages", wish.size)}
        ),
        "cohorts": pa.table(
            {
                "cohort_id": np.arange(1, len(slugs) + 1),
                "slug": slugs,
                "label": slugs,
                "definition": pa.repeat("{}", len(slugs)),
            }
        ),
        "cohort_members": pa.table(
            {
                "cohort_id": np.repeat(np.arange(1, len(slugs) + 1), members),
                "user_id": np.arange(1, users + 1),
            }
        ),
    }


def _turn(films: int, length: int) -> Any:
    return np.tile(np.arange(length), films)


def _pairs(dice: np.random.Generator, users: int, films: int, of_a_user: int) -> tuple[Any, Any]:
    """Users and films, by user, no film twice, the first films most often."""
    found = []
    step = 200
    for start in range(0, users, step):
        size = min(step, users - start)
        # Three times as many as needed, so that enough are left when repetitions are gone.
        films_drawn = (films * dice.random((size, 3 * of_a_user)) ** 2.5).astype(np.int64)
        key = np.unique(films_drawn + films * np.arange(size)[:, None])
        user = key // films
        # As many of each user as asked for, taken at random.
        shuffled = key[np.lexsort((dice.random(key.size), user))]
        place = np.arange(key.size) - np.searchsorted(user, user)
        found.append(np.sort(shuffled[place < of_a_user]) + films * start)
    keys = np.concatenate(found)
    return keys // films, keys % films


def _copy_in(url: str, name: str, table: pa.Table) -> None:
    statement = f"copy raw.{name} ({', '.join(table.column_names)}) from stdin (format csv)"
    options = csv.WriteOptions(include_header=False)
    with psycopg.connect(url) as connection, connection.cursor().copy(statement) as copy:
        for batch in table.to_batches(max_chunksize=100_000):
            block = pa.BufferOutputStream()
            csv.write_csv(batch, block, options)
            copy.write(block.getvalue())


def _export(url: str, files: Path) -> None:
    """What numpy wrote, as Parquet."""
    for name in FROM_NUMPY:
        columns = dict(_columns(url, "intermediate", name))
        types = {column: ARROW_TYPES.get(kind, pa.string()) for column, kind in columns.items()}
        with psycopg.connect(url) as connection, connection.cursor() as cursor:
            path = files / f"{name}.csv"
            with (
                path.open("wb") as file,
                cursor.copy(f"copy intermediate.{name} to stdout (format csv, header)") as copy,
            ):
                file.writelines(copy)
        options = csv.ConvertOptions(
            column_types=types, strings_can_be_null=True, true_values=["t"], false_values=["f"]
        )
        parquet.write_table(csv.read_csv(path, convert_options=options), files / f"{name}.parquet")
        path.unlink()


def _columns(url: str, schema: str, table: str) -> list[tuple[str, str]]:
    """Name and type of each column."""
    with psycopg.connect(url) as connection:
        return connection.execute(
            "select column_name, data_type from information_schema.columns"
            " where table_schema = %s and table_name = %s order by ordinal_position",
            [schema, table],
        ).fetchall()


# -- PostgreSQL ------------------------------------------------------------------------------


def _build_marts(url: str, settings: Settings, slugs: list[str]) -> dict[str, Any]:
    """Both dbt stages of cohorts that have been built before; numpy's rows stay."""
    with psycopg.connect(url) as connection:
        changed = changed_cohorts(connection, slugs, force=True)
        versions = {cohort.cohort_id: str(cohort.wanted.data) for cohort in changed.values()}
    models: list[dbt.NodeResult] = []
    server = _server(url)
    with _peak_of_server(server) as peak:
        before, dbt_before = _processor_seconds(server), time.process_time()
        started = time.perf_counter()
        for stage in ("tag:before_statistics", "tag:after_statistics"):
            nodes = dbt.build(url, select=stage, cohorts=versions, settings=settings)
            models += [node for node in nodes if node.resource_type == "model"]
        seconds = time.perf_counter() - started
        dbt_after, after = time.process_time(), _processor_seconds(server)
    return {
        "seconds": round(seconds, 2),
        "sql_seconds": round(_seconds_of_any(models), 2),
        "processor_seconds": round(after - before, 2),
        "dbt_processor_seconds": round(dbt_after - dbt_before, 2),
        "slowest_models": _slowest({node.name: node.seconds for node in models}),
        "peak_megabytes": peak(),
    }


def _seconds_of_any(nodes: Iterable[dbt.NodeResult]) -> float:
    """By the clock, how long at least one of them was under way."""
    total, reached = 0.0, 0.0
    for began, ended in sorted((node.ended_at.timestamp() - node.seconds, node.ended_at.timestamp())
                               for node in nodes if node.ended_at):  # fmt: skip
        total += max(0.0, ended - max(began, reached))
        reached = max(reached, ended)
    return total


def _server(url: str) -> int | None:
    """The process id of the server; None where /proc does not tell."""
    with psycopg.connect(url) as connection, contextlib.suppress(OSError):
        return int(_status(connection.info.backend_pid)[1])
    return None


def _status(process: int) -> list[str]:
    """Fields of /proc/PID/stat after the name: its state, its parent, …"""
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()


def _processor_seconds(server: int | None) -> float:
    """Of the server with those of its processes that live, and those that are gone; NaN where unknown."""
    if server is None:
        return math.nan
    ticks = sum(map(int, _status(server)[11:15]))
    for child in _children(server):
        with contextlib.suppress(OSError):
            ticks += sum(map(int, _status(child)[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def _peak_of_server(server: int | None) -> Iterator[Callable[[], int | None]]:
    """The most memory that all processes of the server held together; None where /proc does not tell."""
    peak, done = 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(SAMPLE_SECONDS):
            peak = max(peak, sum(_proportional_kilobytes(child) for child in _children(server)))

    watcher = threading.Thread(target=watch)
    if server is not None:
        watcher.start()
    try:
        yield lambda: None if server is None else round(peak / 1024)
    finally:
        done.set()
        if server is not None:
            watcher.join()


def _children(parent: int | None) -> list[int]:
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            child = int(status.parent.name)
            if int(_status(child)[1]) == parent:
                found.append(child)
    return found


def _proportional_kilobytes(process: int) -> int:
    """What a process holds, shared memory divided among those who share it."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    return 0


# -- DuckDB ----------------------------------------------------------------------------------


def _compile() -> list[Model]:
    """The marts that are tables and all that they are made from, in an order that suits."""
    import sqlglot
    from dbt.cli.main import dbtRunner

    with tempfile.TemporaryDirectory() as target:
        outcome = dbtRunner().invoke(
            [
                "--log-level", "none", "--log-path", target, "--no-populate-cache",
                "compile", "--no-introspect", "--select", f"+{dbt.TABLES}",
                "--project-dir", str(dbt.PROJECT), "--profiles-dir", str(dbt.PROJECT),
                "--target-path", target,
            ]
        )  # fmt: skip
    if not outcome.success:
        raise RuntimeError(f"dbt compile: {outcome.exception}")
    results: Any = outcome.result
    nodes: dict[str, Any] = {
        result.node.unique_id: result.node
        for result in results.results
        if result.node.resource_type == "model"
    }
    order = graphlib.TopologicalSorter(
        {key: [parent for parent in node.depends_on.nodes if parent in nodes] for key, node in nodes.items()}
    ).static_order()
    models = []
    for node in (nodes[key] for key in order):
        text = _moved(node.compiled_code)
        for ours, theirs in WORDS.items():
            text = text.replace(ours, theirs)
        [translated] = sqlglot.transpile(text, read="postgres", write="duckdb")
        models.append(
            Model(node.name, _moved(node.relation_name), node.config.materialized == "view", translated)
        )
    return models


def _moved(sql: str) -> str:
    """The relations in DuckDB's database; one that is named as a schema is would be ambiguous."""
    return sql.replace('"almanac"."', f'"{DUCKDB}"."')


def _duckdb(
    files: Path,
    raw: dict[str, list[tuple[str, str]]],
    models: list[Model],
    slugs: list[str],
    with_values: bool,
) -> dict[str, Any]:
    """Run the models over the files, in a process whose peak memory is its own."""
    import duckdb

    with tempfile.TemporaryDirectory(dir=files) as folder:
        connection = duckdb.connect(str(Path(folder) / f"{DUCKDB}.duckdb"))
        connection.execute("set timezone = 'UTC'")
        connection.execute("set enable_progress_bar = false")  # on standard output, among the JSON
        for schema in ("raw", "ops", "staging", "intermediate", "almanac"):
            connection.execute(f"create schema {DUCKDB}.{schema}")
        for name, columns in raw.items():
            connection.execute(_source(files, name, columns))
        connection.execute(
            f"create table {DUCKDB}.ops.cohort_build_requests as"
            f" select cohort_id, '' as input_version from {DUCKDB}.raw.cohorts where slug in"
            f" ({', '.join(f'{slug!r}' for slug in slugs)})"
        )
        connection.execute(
            f"create table {DUCKDB}.intermediate.label_thresholds as"
            f" select * from read_csv('{dbt.PROJECT}/seeds/label_thresholds.csv')"
        )
        started, processor_before = time.perf_counter(), time.process_time()
        seconds = {}
        for model in models:
            kind = "view" if model.is_view else "table"
            before = time.perf_counter()
            connection.execute(f"create {kind} {model.relation} as {model.sql}")
            seconds[model.name] = time.perf_counter() - before
        total = time.perf_counter() - started
        processor_seconds = time.process_time() - processor_before
        results = {
            mart: connection.execute(
                f"select {'*' if with_values else 'count(*)'} from {DUCKDB}.almanac.{mart}"
            ).fetchall()
            for mart in MARTS
        }
        connection.close()
    return {
        "seconds": round(total, 2),
        "processor_seconds": round(processor_seconds, 2),
        "slowest_models": _slowest(seconds),
        "peak_megabytes": round(_peak_megabytes()),
        "results": results,
    }


def _source(files: Path, name: str, columns: list[tuple[str, str]]) -> str:
    """A view like the table in PostgreSQL: columns that the file has not got have their default."""
    path = files / f"{name}.parquet"
    stored = set(parquet.read_schema(path).names) if path.exists() else set()
    chosen = ", ".join(
        column
        if column in stored
        else f"cast({DEFAULTS.get(column, 'null')} as {DUCKDB_TYPES.get(kind, kind)}) as {column}"
        for column, kind in columns
    )
    schema = "intermediate" if name in FROM_NUMPY else "raw"
    rows = f"from read_parquet('{path}')" if path.exists() else "where false"
    return f"create view {DUCKDB}.{schema}.{name} as select {chosen} {rows}"


# -- the comparison --------------------------------------------------------------------------


def _compare(url: str, theirs: dict[str, list[tuple[Any, ...]]], slugs: list[str]) -> None:
    """Raise unless both have the same rows, or as many.

    Raises:
        RuntimeError: they differ; the message says where.
    """
    with psycopg.connect(url) as connection:
        for mart, key in MARTS.items():
            where = "" if "cohort" not in key else " where cohort = any(%(slugs)s)"
            cursor = connection.execute(f"select * from almanac.{mart}{where}", {"slugs": slugs})
            names = [column.name for column in cursor.description or ()]
            ours = cursor.fetchall()
            if len(theirs[mart]) == 1 and len(theirs[mart][0]) == 1:
                if "cohort" in key and theirs[mart][0][0] != len(ours):
                    raise RuntimeError(f"{mart}: {len(ours)} rows, in DuckDB {theirs[mart][0][0]}")
                continue
            places = [names.index(column) for column in key]
            known = {tuple(row[place] for place in places): row for row in theirs[mart]}
            for row in ours:
                other = known.pop(tuple(row[place] for place in places), None)
                # Of films that only other cohorts know there are rows in our database, and none in DuckDB.
                if other is None and "cohort" not in key:
                    continue
                if other is None or not all(map(_same, row, other)):
                    raise RuntimeError(f"{mart}: {row} is in DuckDB {other}")
            if known:
                raise RuntimeError(f"{mart}: {len(known)} rows more in DuckDB")


def _same(ours: Any, theirs: Any) -> bool:
    if ours is None or theirs is None or isinstance(ours, (str, bool, list)):
        return bool(ours == theirs)
    if isinstance(ours, (int, float, Decimal)):
        return math.isclose(ours, theirs, rel_tol=1e-9, abs_tol=1e-9)
    return bool(ours == theirs)


def _slowest(seconds: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 2) for name, value in sorted(seconds.items(), key=lambda item: -item[1])[:8]}


def _peak_megabytes() -> float:
    """Peak resident memory of this process; Linux counts in KiB, macOS in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2 ** (20 if sys.platform == "darwin" else 10)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Building the marts, beside DuckDB over Parquet.")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the members and films")
    parser.add_argument("--cohorts", type=int, default=COHORTS)
    arguments = parser.parse_args()
    print(json.dumps(run(arguments.scale, arguments.cohorts), indent=2))
