"""Rows per second through stage, audit and merge of ratings, beside a raw COPY of the same rows.

python -m bench.load_rows
"""

from __future__ import annotations

import json
import random
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg

from almanac_pipeline.sources.records import FilmItem
from almanac_pipeline.warehouse import opinions, staging
from almanac_pipeline.warehouse.embedded import EmbeddedServer
from almanac_pipeline.warehouse.members import ensure_users
from almanac_pipeline.warehouse.migrate import migrate

MEMBERS = 100
RATINGS = 2_000
FILMS = 20_000
PAGE_SIZE = 72


def run() -> dict[str, Any]:
    """Seconds and rows per second: raw COPY, pages staged, merged as new, merged again unchanged."""
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedServer(Path(folder))
        try:
            url = server.start().url
            migrate(url)
            return _measure(url)
        finally:
            server.stop()
            shutil.rmtree(server.root, ignore_errors=True)


def _measure(url: str) -> dict[str, Any]:
    films = [FilmItem(f"film-{n}", f"Film {n}", 1900 + n % 120, f"film:{n}", f"L{n}") for n in range(FILMS)]
    chance = random.Random(5)
    grids = {
        f"member{m}": [
            FilmItem(
                f.slug,
                f.title,
                f.release_year,
                f.uid,
                f.lid,
                chance.randint(1, 10) / 2,
                chance.random() < 0.2,
            )
            for f in chance.sample(films, RATINGS)
        ]
        for m in range(MEMBERS)
    }
    rows = MEMBERS * RATINGS
    results: dict[str, Any] = {"rows": rows, "members": MEMBERS, "films": FILMS}

    def note(name: str, seconds: float) -> None:
        results[name] = {"seconds": round(seconds, 2), "rows_per_second": round(rows / seconds)}

    with psycopg.connect(url, autocommit=True) as connection:
        users = ensure_users(connection, grids)
        note("raw_copy", _copy(connection, users, grids))
        staged = merged = unchanged = 0.0
        for name, items in grids.items():
            staged += _stage(connection, users[name], items)
            merged += _merge(connection, users[name])[0]
        for name, items in grids.items():
            _stage(connection, users[name], items)
            seconds, changes = _merge(connection, users[name])
            unchanged += seconds
            assert changes.total == 0
        note("stage_pages", staged)
        note("merge_new", merged)
        note("merge_unchanged", unchanged)
        note("stage_and_merge_new", staged + merged)
    return results


def _copy(connection: psycopg.Connection, users: dict[str, int], grids: dict[str, list[FilmItem]]) -> float:
    """Seconds to COPY the rows into a bare table with the columns of raw.ratings: no key, no checks."""
    connection.execute("create table copied (like raw.ratings including defaults)")
    lines = [
        f"{users[name]}\t{str(item.uid)[5:]}\t{item.rating}\t{'t' if item.liked else 'f'}\tpages\n"
        for name, items in grids.items()
        for item in items
    ]
    blocks = ["".join(lines[start : start + 10_000]) for start in range(0, len(lines), 10_000)]
    started = time.perf_counter()
    with connection.cursor().copy("copy copied (user_id, film_id, rating, liked, source) from stdin") as copy:
        for block in blocks:
            copy.write(block)
    return time.perf_counter() - started


def _stage(connection: psycopg.Connection, user_id: int, items: list[FilmItem]) -> float:
    started = time.perf_counter()
    for number, start in enumerate(range(0, len(items), PAGE_SIZE), 1):
        staging.stage_page(
            connection, user_id, "ratings", "full", number, items[start : start + PAGE_SIZE], len(items)
        )
    return time.perf_counter() - started


def _merge(connection: psycopg.Connection, user_id: int) -> tuple[float, opinions.Changes]:
    started = time.perf_counter()
    changes = opinions.merge_staged(
        connection, user_id, "ratings", "rated",
        complete=True, observed=False, source="pages", run_id=0, stated_total=RATINGS,
    )  # fmt: skip
    return time.perf_counter() - started, changes


if __name__ == "__main__":
    print(json.dumps(run(), indent=2))
