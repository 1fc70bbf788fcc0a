"""Rows per second of storing opinions, beside COPY of the same rows.

COPY into a bare table is the floor of any loading; COPY into a table with the keys, indexes and
checks of raw.ratings is the floor of storing ratings that can be found again. A merge also matches
films, compares with what is stored, and writes an event per change. Members are independent: all
but the import of one snapshot use two connections, as a sync does.

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
from almanac_pipeline.warehouse.films import FilmKey
from almanac_pipeline.warehouse.members import ensure_users
from almanac_pipeline.warehouse.migrate import migrate
from almanac_pipeline.warehouse.opinions import Opinion

MEMBERS = 500
RATINGS = 2_000
FILMS = 20_000
SNAPSHOT_ROWS = 100_000
PAGE_SIZE = 72
CONNECTIONS = 2
COPY_BLOCK_ROWS = 10_000
# The version of every row that a merge could have written.
VERSIONS = " union all ".join(
    f"select count(*), sum(hashtextextended(ctid::text || xmin::text, 0)) from {table}"
    for table in ("raw.ratings", "raw.rating_events", "raw.films", "raw.film_aliases")
)

Task = TypeVar("Task")
Grids = dict[int, list[FilmItem]]


def run(members: int = MEMBERS) -> dict[str, Any]:
    """Seconds and rows per second of each way, and its share of both COPYs."""
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
    rows = members * RATINGS
    results: dict[str, Any] = {
        "rows": rows, "members": members, "films": FILMS, "connections": CONNECTIONS,
        "snapshot_rows": SNAPSHOT_ROWS,
    }  # fmt: skip

    def note(name: str, seconds: float, rows: int = rows) -> None:
        per_second = rows / seconds
        results[name] = {"seconds": round(seconds, 2), "rows_per_second": round(per_second)}
        for floor in ("copy_bare", "copy_keyed"):
            share = per_second / results.get(floor, results[name])["rows_per_second"]
            results[name][f"share_of_{floor}"] = round(share, 3)

    with psycopg.connect(url, autocommit=True) as connection:
        grids = _grids(connection, members)
        connection.execute("create table bare (like raw.ratings including defaults)")
        connection.execute("create table keyed (like raw.ratings including all)")
    with connection_pool(url, CONNECTIONS) as pool:
        blocks = _copy_blocks(grids)
        note("copy_bare", _in_parallel(pool, blocks, lambda c, block: _copy(c, "bare", block)))
        note("copy_keyed", _in_parallel(pool, blocks, lambda c, block: _copy(c, "keyed", block)))
        note("stage", _in_parallel(pool, grids, lambda c, user: _stage(c, user, grids[user])))
        note("merge_new", _in_parallel(pool, grids, _merge))
        _add(results, note, "stage_and_merge_new", rows, "stage", "merge_new")
        before = _versions(pool)
        _in_parallel(pool, grids, lambda c, user: _stage(c, user, grids[user]))
        note("merge_unchanged", _in_parallel(pool, grids, _merge))
        results["merge_unchanged"]["wrote_nothing"] = _versions(pool) == before
        _measure_import(pool, note)
    return results


def _add(
    results: dict[str, Any], note: Callable[[str, float, int], None], name: str, rows: int, *parts: str
) -> None:
    note(name, sum(results[part]["seconds"] for part in parts), rows)


def _grids(connection: psycopg.Connection, members: int) -> Grids:
    """What each member's pages show; films are met for the first time, as in a first sync."""
    films = [FilmItem(f"film-{n}", f"Film {n}", 1900 + n % 120, f"film:{n}", f"L{n}") for n in range(FILMS)]
    chance = random.Random(5)
    users = ensure_users(connection, [f"member{n}" for n in range(members)])
    return {
        user_id: [
            replace(film, rating=chance.randint(1, 10) / 2, liked=chance.random() < 0.2)
            for film in chance.sample(films, RATINGS)
        ]
        for user_id in users.values()
    }


def _copy_blocks(grids: Grids) -> list[str]:
    lines = [
        f"{user_id}\t{str(item.uid)[5:]}\t{item.rating}\t{'t' if item.liked else 'f'}\tpages\n"
        for user_id, items in grids.items()
        for item in items
    ]
    return ["".join(lines[n : n + COPY_BLOCK_ROWS]) for n in range(0, len(lines), COPY_BLOCK_ROWS)]


def _in_parallel(
    pool: ConnectionPool[psycopg.Connection],
    tasks: Iterable[Task],
    work: Callable[[psycopg.Connection, Task], None],
) -> float:
    """Seconds until all tasks are done."""

    def one(task: Task) -> None:
        with pool.connection() as connection:
            work(connection, task)

    started = time.perf_counter()
    with ThreadPoolExecutor(CONNECTIONS) as threads:
        for _ in threads.map(one, tasks):
            pass
    return time.perf_counter() - started


def _copy(connection: psycopg.Connection, table: str, block: str) -> None:
    statement = f"copy {table} (user_id, film_id, rating, liked, source) from stdin"
    with connection.cursor().copy(statement) as copy:
        copy.write(block)


def _stage(connection: psycopg.Connection, user_id: int, items: list[FilmItem]) -> None:
    for number, start in enumerate(range(0, len(items), PAGE_SIZE), 1):
        staging.stage_page(
            connection, user_id, "ratings", "full", number, items[start : start + PAGE_SIZE], len(items)
        )


def _merge(connection: psycopg.Connection, user_id: int) -> None:
    opinions.merge_staged(
        connection, user_id, "ratings", "rated",
        complete=True, observed=False, source="pages", run_id=0, stated_total=RATINGS,
    )  # fmt: skip


def _measure_import(
    pool: ConnectionPool[psycopg.Connection], note: Callable[[str, float, int], None]
) -> None:
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
    with pool.connection() as connection:
        [user_id] = ensure_users(connection, ["exporter"]).values()
        for name in ("import_new", "import_unchanged"):
            started = time.perf_counter()
            opinions.merge_opinions(
                connection, user_id, said, complete_parts=frozenset({"rated", "likes"}),
                as_of=as_of, source="export", run_id=0, shrink_guard_share=0.5,
            )  # fmt: skip
            note(name, time.perf_counter() - started, SNAPSHOT_ROWS)


def _versions(pool: ConnectionPool[psycopg.Connection]) -> list[Any]:
    with pool.connection() as connection:
        return sorted(connection.execute(VERSIONS).fetchall())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Rows per second of storing opinions, beside COPY.")
    parser.add_argument("--members", type=int, default=MEMBERS)
    print(json.dumps(run(parser.parse_args().members), indent=2))
