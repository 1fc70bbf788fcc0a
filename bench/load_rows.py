"""Rows per second of storing opinions, beside COPY of the same rows.

Three floors: COPY into a bare table; into one with the keys, indexes and checks of raw.ratings; and
that with a row of history for each rating, which is all that a merge writes. A merge also finds the
films and compares with what is stored. Members are independent: a sync uses several connections.

python -m bench.load_rows [--members 500]
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import psycopg
from psycopg_pool import ConnectionPool

from almanac_pipeline.sources.records import FilmItem
from almanac_pipeline.warehouse import opinions, staging
from almanac_pipeline.warehouse.connection import connection_pool
from almanac_pipeline.warehouse.embedded import EmbeddedServer
from almanac_pipeline.warehouse.films import FilmKey, resolve_films
from almanac_pipeline.warehouse.members import ensure_users
from almanac_pipeline.warehouse.migrate import migrate
from almanac_pipeline.warehouse.opinions import Opinion

MEMBERS = 500
FEW_MEMBERS = 50
RATINGS = 2_000
FILMS = 20_000
SNAPSHOT_ROWS = 100_000
PAGE_SIZE = 72
CONNECTIONS = 2
COPY_BLOCK_ROWS = 10_000
COPY_TARGETS = {
    "bare": "bare (user_id, film_id, rating, liked, source)",
    "ratings": "ratings (user_id, film_id, rating, liked, source)",
    "events": "events (user_id, film_id, new_rating, new_liked, source, kind)",
}
# What a merge of what is known already must leave alone, down to the version of each row.
UNTOUCHED = ("raw.ratings", "raw.rating_events", "raw.films", "raw.film_aliases", "ops.film_metadata_sync")

Task = TypeVar("Task")
Member = tuple[int, list[FilmItem]]
Results = dict[str, dict[str, Any]]


def run(members: int = MEMBERS) -> dict[str, Any]:
    """Seconds and rows per second of each way, and the share of each COPY on as many connections."""
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedServer(Path(folder))
        try:
            url = server.start().url
            migrate(url)
            return _measure(url, members)
        finally:
            server.stop()
            shutil.rmtree(server.root, ignore_errors=True)


def _measure(url: str, members: int) -> dict[str, Any]:
    films = [FilmItem(f"film-{n}", f"Film {n}", 1900 + n % 120, f"film:{n}", f"L{n}") for n in range(FILMS)]
    with connection_pool(url, CONNECTIONS) as pool:
        with pool.connection() as connection:
            connection.execute("create table bare (like raw.ratings including defaults)")
            connection.execute("create table ratings (like raw.ratings including all)")
            connection.execute("create table events (like raw.rating_events including all)")
            discoverers, one, many = (
                _members(connection, films, name, count)
                for name, count in (("first", FEW_MEMBERS), ("one", FEW_MEMBERS), ("many", members))
            )
        unknown: Results = {}
        for name, work in (("stage", _stage), ("merge_new", _merge)):
            _note(unknown, name, FEW_MEMBERS * RATINGS, _in_parallel(pool, CONNECTIONS, discoverers, work))
        with pool.connection() as connection, connection.transaction():
            resolve_films(connection, [FilmKey(f.slug, f.uid, f.lid, f.title, f.release_year) for f in films])
        return {
            "ratings_of_a_member": RATINGS,
            "films": FILMS,
            "films_unknown_on_two_connections": unknown,
            "one_connection": _measure_members(pool, 1, one),
            "two_connections": _measure_members(pool, CONNECTIONS, many),
            "import_of_one_export": _measure_import(pool),
        }


def _measure_members(
    pool: ConnectionPool[psycopg.Connection], connections: int, members: list[Member]
) -> Results:
    """First the floors, then staging and merging; all films are known."""
    results: Results = {}

    def measure(name: str, tasks: Iterable[Task], work: Callable[[psycopg.Connection, Task], None]) -> None:
        seconds = _in_parallel(pool, connections, tasks, work)
        _note(results, name, len(members) * RATINGS, seconds)

    ratings = _copy_blocks(members, "\n")
    events = _copy_blocks(members, "\tadded\n")
    measure("copy_bare", ratings, lambda c, block: _copy(c, "bare", block))
    measure("copy_ratings", ratings, lambda c, block: _copy(c, "ratings", block))
    with pool.connection() as connection:
        connection.execute("truncate ratings")
    measure(
        "copy_ratings_and_events",
        zip(ratings, events, strict=True),
        _copy_both,
    )
    measure("stage", members, _stage)
    measure("merge_new", members, _merge)
    before = _versions(pool)
    _in_parallel(pool, connections, members, _stage)
    measure("merge_unchanged", members, _merge)
    after = _versions(pool)
    results["merge_unchanged"]["wrote_to"] = [table for table in UNTOUCHED if after[table] != before[table]]
    return results


def _note(results: Results, name: str, rows: int, seconds: float) -> None:
    per_second = rows / seconds
    noted = {"rows": rows, "seconds": round(seconds, 2), "rows_per_second": round(per_second)}
    for floor in [name for name in results if name.startswith("copy_")]:
        noted[f"share_of_{floor}"] = round(per_second / results[floor]["rows_per_second"], 3)
    results[name] = noted


def _members(connection: psycopg.Connection, films: list[FilmItem], name: str, count: int) -> list[Member]:
    """New members and what their pages show."""
    chance = random.Random(name)
    users = ensure_users(connection, [f"{name}{n}" for n in range(count)])
    return [
        (
            user_id,
            [
                replace(film, rating=chance.randint(1, 10) / 2, liked=chance.random() < 0.2)
                for film in chance.sample(films, RATINGS)
            ],
        )
        for user_id in users.values()
    ]


def _copy_blocks(members: list[Member], end: str) -> list[str]:
    lines = [
        f"{user_id}\t{str(item.uid)[5:]}\t{item.rating}\t{'t' if item.liked else 'f'}\tpages{end}"
        for user_id, items in members
        for item in items
    ]
    return ["".join(lines[n : n + COPY_BLOCK_ROWS]) for n in range(0, len(lines), COPY_BLOCK_ROWS)]


def _in_parallel(
    pool: ConnectionPool[psycopg.Connection],
    connections: int,
    tasks: Iterable[Task],
    work: Callable[[psycopg.Connection, Task], None],
) -> float:
    """Seconds until all tasks are done."""

    def one(task: Task) -> None:
        with pool.connection() as connection:
            work(connection, task)

    started = time.perf_counter()
    with ThreadPoolExecutor(connections) as threads:
        for _ in threads.map(one, tasks):
            pass
    return time.perf_counter() - started


def _copy(connection: psycopg.Connection, table: str, block: str) -> None:
    with connection.cursor().copy(f"copy {COPY_TARGETS[table]} from stdin") as copy:
        copy.write(block)


def _copy_both(connection: psycopg.Connection, blocks: tuple[str, str]) -> None:
    _copy(connection, "ratings", blocks[0])
    _copy(connection, "events", blocks[1])


def _stage(connection: psycopg.Connection, member: Member) -> None:
    user_id, items = member
    for number, start in enumerate(range(0, len(items), PAGE_SIZE), 1):
        staging.stage_page(
            connection, user_id, "ratings", "full", number, items[start : start + PAGE_SIZE], len(items)
        )


def _merge(connection: psycopg.Connection, member: Member) -> None:
    opinions.merge_staged(
        connection, member[0], "ratings", "rated",
        complete=True, observed=False, source="pages", run_id=0, stated_total=RATINGS,
    )  # fmt: skip


def _measure_import(pool: ConnectionPool[psycopg.Connection]) -> Results:
    """One export of one member, most of whose films are new to us; then the same file again."""
    chance = random.Random(6)
    said = [
        Opinion(
            FilmKey(lid=f"L{n}", title=f"Film {n}", release_year=1900 + n % 120),
            chance.randint(1, 10) / 2,
            liked=True if chance.random() < 0.2 else None,
            rated_at=datetime(2020, 1, 1, tzinfo=UTC),
        )
        for n in range(SNAPSHOT_ROWS)
    ]
    as_of = datetime.now(UTC)
    results: Results = {}
    with pool.connection() as connection:
        [user_id] = ensure_users(connection, ["exporter"]).values()
        for name in ("new", "unchanged"):
            started = time.perf_counter()
            opinions.merge_opinions(
                connection, user_id, said, complete_parts=frozenset({"rated", "likes"}),
                as_of=as_of, source="export", run_id=0, shrink_guard_share=0.5,
            )  # fmt: skip
            _note(results, name, SNAPSHOT_ROWS, time.perf_counter() - started)
    return results


def _versions(pool: ConnectionPool[psycopg.Connection]) -> dict[str, Any]:
    """Per table a number that changes with any version of any row."""
    with pool.connection() as connection:
        return {
            table: connection.execute(
                f"select count(*), sum(hashtextextended(ctid::text || xmin::text, 0)) from {table}"
            ).fetchone()
            for table in UNTOUCHED
        }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Rows per second of storing opinions, beside COPY.")
    parser.add_argument("--members", type=int, default=MEMBERS)
    print(json.dumps(run(parser.parse_args().members), indent=2))
