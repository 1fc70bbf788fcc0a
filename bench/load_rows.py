"""Rows per second of storing opinions, beside COPY of the same rows.

"COPY" can be read in three ways, and a merge is set beside each: COPY into a table like raw.ratings
without its key and checks; into one with them; and into that and one like raw.rating_events, which is
all that a merge writes, since each first rating is also an event. A merge also finds the films and
compares with what is stored. The ways take turns, some members at a time, so that a machine that is
slow for a while is slow for all of them. Members are independent: a sync uses several connections.

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
from dataclasses import dataclass
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
ROUND_MEMBERS = 25
RATING_COLUMNS = "user_id, film_id, rating, liked, source"
EVENT_COLUMNS = "user_id, film_id, new_rating, new_liked, source, kind"
TARGET_ROWS_PER_SECOND = 300_000
TARGET_SHARE_OF_COPY = 0.35
# What a merge of what is known already must leave alone, down to the version of each row.
UNTOUCHED = ("raw.ratings", "raw.rating_events", "raw.films", "raw.film_aliases", "ops.film_metadata_sync")

Task = TypeVar("Task")
Member = tuple[int, list[FilmItem]]
Work = Callable[[psycopg.Connection, Task], None]
Results = dict[str, dict[str, Any]]


@dataclass
class Cost:
    """What one way of storing rows took, over all rounds."""

    rows: int = 0
    seconds: float = 0
    wal_bytes: int = 0

    @property
    def rows_per_second(self) -> float:
        return self.rows / self.seconds


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
            for table in ("ratings", "paired_ratings"):
                connection.execute(f"create table {table} (like raw.ratings including all)")
            connection.execute("create table paired_events (like raw.rating_events including all)")
            discoverers, one, many = (
                _members(connection, films, name, count)
                for name, count in (("first", FEW_MEMBERS), ("one", FEW_MEMBERS), ("many", members))
            )
        unknown = {"stage": Cost(), "merge_new": Cost()}
        for cost, work in zip(unknown.values(), (_stage, _merge), strict=True):
            _spend(cost, pool, CONNECTIONS, discoverers, work, len(discoverers))
        with pool.connection() as connection, connection.transaction():
            resolve_films(connection, [FilmKey(f.slug, f.uid, f.lid, f.title, f.release_year) for f in films])
        return {
            "ratings_of_a_member": RATINGS,
            "films": FILMS,
            "target": {"rows_per_second": TARGET_ROWS_PER_SECOND, "or_share_of_copy": TARGET_SHARE_OF_COPY},
            "films_unknown_on_two_connections": _report(unknown),
            "one_connection": _measure_members(pool, 1, one),
            "two_connections": _measure_members(pool, CONNECTIONS, many),
            "import_of_one_export": _measure_import(pool),
        }


def _measure_members(
    pool: ConnectionPool[psycopg.Connection], connections: int, members: list[Member]
) -> Results:
    """The floors, staging and merging in turns, then the same once more; all films are known."""
    rounds = [members[n : n + ROUND_MEMBERS] for n in range(0, len(members), ROUND_MEMBERS)]
    names = ("copy_bare", "copy_ratings", "copy_ratings_and_events", "stage", "merge_new", "merge_unchanged")
    costs = {name: Cost() for name in names}

    def spend(name: str, turn: list[Member], tasks: Iterable[Task], work: Work[Task]) -> None:
        _spend(costs[name], pool, connections, tasks, work, len(turn))

    for turn in rounds:
        ratings, events = _copy_blocks(turn, "\n"), _copy_blocks(turn, "\tadded\n")
        spend("copy_bare", turn, ratings, lambda c, block: _copy(c, "bare", RATING_COLUMNS, block))
        spend("copy_ratings", turn, ratings, lambda c, block: _copy(c, "ratings", RATING_COLUMNS, block))
        spend("copy_ratings_and_events", turn, zip(ratings, events, strict=True), _copy_both)
        spend("stage", turn, turn, _stage)
        spend("merge_new", turn, turn, _merge)
    before = _versions(pool)
    for turn in rounds:
        _in_parallel(pool, connections, turn, _stage)
        spend("merge_unchanged", turn, turn, _merge)
    after = _versions(pool)
    results = _report(costs)
    results["merge_unchanged"]["wrote_to"] = [table for table in UNTOUCHED if after[table] != before[table]]
    return results


def _spend(
    cost: Cost,
    pool: ConnectionPool[psycopg.Connection],
    connections: int,
    tasks: Iterable[Task],
    work: Work[Task],
    members: int,
) -> None:
    """Do the tasks, which store the ratings of so many members, and add what they took to `cost`."""
    wal_bytes = _written(pool)
    cost.seconds += _in_parallel(pool, connections, tasks, work)
    cost.wal_bytes += _written(pool) - wal_bytes
    cost.rows += members * RATINGS


def _report(costs: dict[str, Cost]) -> Results:
    """Each cost per row and second, merges beside each floor, and what of the target new rows meet."""
    results: Results = {}
    for name, cost in costs.items():
        results[name] = {
            "rows": cost.rows,
            "seconds": round(cost.seconds, 2),
            "rows_per_second": round(cost.rows_per_second),
            "wal_bytes_per_row": round(cost.wal_bytes / cost.rows),
        }
        floors = [floor for floor in costs if floor.startswith("copy_") and name.startswith("merge_")]
        shares = {
            f"share_of_{floor}": round(cost.rows_per_second / costs[floor].rows_per_second, 3)
            for floor in floors
        }
        results[name] |= shares
        if name == "merge_new":
            met = ["rows_per_second"] if cost.rows_per_second >= TARGET_ROWS_PER_SECOND else []
            met += [share for share, value in shares.items() if value >= TARGET_SHARE_OF_COPY]
            results[name]["target_met_by"] = met
    return results


def _written(pool: ConnectionPool[psycopg.Connection]) -> int:
    """Bytes of write-ahead log since the server was made."""
    with pool.connection() as connection:
        row = connection.execute("select pg_current_wal_insert_lsn() - '0/0'").fetchone()
    assert row is not None
    return int(row[0])


def _members(connection: psycopg.Connection, films: list[FilmItem], name: str, count: int) -> list[Member]:
    """New members and what their pages show."""
    chance = random.Random(name)
    users = ensure_users(connection, [f"{name}{n}" for n in range(count)])
    return [
        (
            user_id,
            [
                film._replace(rating=chance.randint(1, 10) / 2, liked=chance.random() < 0.2)
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
    work: Work[Task],
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


def _copy(connection: psycopg.Connection, table: str, columns: str, block: str) -> None:
    with connection.cursor().copy(f"copy {table} ({columns}) from stdin") as copy:
        copy.write(block)


def _copy_both(connection: psycopg.Connection, blocks: tuple[str, str]) -> None:
    with connection.transaction():
        _copy(connection, "paired_ratings", RATING_COLUMNS, blocks[0])
        _copy(connection, "paired_events", EVENT_COLUMNS, blocks[1])


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
    costs = {"new": Cost(), "unchanged": Cost()}

    def tell(connection: psycopg.Connection, user_id: int) -> None:
        opinions.merge_opinions(
            connection, user_id, said, complete_parts=frozenset({"rated", "likes"}),
            as_of=as_of, source="export", run_id=0, shrink_guard_share=0.5,
        )  # fmt: skip

    with pool.connection() as connection:
        [user_id] = ensure_users(connection, ["exporter"]).values()
    for cost in costs.values():
        _spend(cost, pool, 1, [user_id], tell, SNAPSHOT_ROWS // RATINGS)
    return _report(costs)


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
