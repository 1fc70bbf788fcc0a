"""Rows per second of an export: parsed, imported, imported again; beside csv.reader and raw COPY.

python -m bench.import_export
"""

from __future__ import annotations

import csv
import io
import json
import random
import shutil
import tempfile
import time
import zipfile
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import psycopg

from almanac_pipeline.flows.imports import import_exports
from almanac_pipeline.settings import Settings
from almanac_pipeline.sources.export_zip import parse_export
from almanac_pipeline.warehouse.embedded import EmbeddedServer
from almanac_pipeline.warehouse.migrate import migrate

RATINGS = 50_000
VIEWINGS = 50_000
ROWS = RATINGS + VIEWINGS
FILES = ("ratings.csv", "watched.csv", "diary.csv", "profile.csv")


def run() -> dict[str, Any]:
    """Seconds and rows per second. Rows are ratings and diary entries; watched.csv comes on top."""
    body = _export()
    results: dict[str, Any] = {"rows": ROWS, "zip_megabytes": round(len(body) / 1e6, 1)}

    def note(name: str, seconds: float) -> None:
        results[name] = {"seconds": round(seconds, 2), "rows_per_second": round(ROWS / seconds)}

    note("floor_csv_reader", min(_read_only(body) for _ in range(3)))
    started = time.perf_counter()
    parse_export(body, max_bytes=200_000_000)
    note("parse", time.perf_counter() - started)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "export.zip"
        path.write_bytes(body)
        server = EmbeddedServer(Path(folder) / "home")
        try:
            url = server.start().url
            migrate(url)
            note("raw_copy", _copy(url, body))
            note("import_new", _import(url, path, changes=ROWS))
            # Another ZIP with the same rows: the content's hash does not know it.
            with zipfile.ZipFile(path, "a") as archive:
                archive.writestr("comments.csv", "Date,Content,Comment\n")
            note("import_unchanged", _import(url, path, changes=0))
            note("import_known_file", _import(url, path, changes=0))
        finally:
            server.stop()
            shutil.rmtree(server.root, ignore_errors=True)
    return results


def _export() -> bytes:
    """One member with a rating and a viewing of each of many films."""
    chance = random.Random(7)
    first = date(2010, 1, 1)
    rated, watched, diary = [], [], []
    for n in range(RATINGS):
        day = first + timedelta(days=n % 5_800)
        film = (day, f"Film, the {n}th", 1900 + n % 120, f"https://boxd.it/{n:x}")
        rated.append((*film, chance.randint(1, 10) / 2))
        watched.append(film)
        entry = (*film[:3], f"https://boxd.it/e{n:x}z")
        diary.append((*entry, chance.randint(1, 10) / 2, "", "", day))
    head = ("Date", "Name", "Year", "Letterboxd URI")
    tables: dict[str, list[tuple[object, ...]]] = {
        "ratings.csv": [(*head, "Rating"), *rated],
        "watched.csv": [head, *watched],
        "diary.csv": [(*head, "Rating", "Rewatch", "Tags", "Watched Date"), *diary[:VIEWINGS]],
        "profile.csv": [("Date Joined", "Username", "Favorite Films"), (first, "member", "")],
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, rows in tables.items():
            text = io.StringIO()
            csv.writer(text).writerows(rows)
            archive.writestr(name, text.getvalue())
    return buffer.getvalue()


def _read_only(body: bytes) -> float:
    """Seconds to unpack the same files and run Python's csv reader over them, keeping nothing."""
    started = time.perf_counter()
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        for name in FILES:
            for _ in csv.reader(io.StringIO(archive.read(name).decode(), newline="")):
                pass
    return time.perf_counter() - started


def _copy(url: str, body: bytes) -> float:
    """Seconds to COPY ratings.csv and diary.csv as they are into bare tables: no film looked up, no key."""
    started = time.perf_counter()
    with psycopg.connect(url) as connection, zipfile.ZipFile(io.BytesIO(body)) as archive:
        for name, columns in (("ratings", 5), ("diary", 8)):
            cells = ", ".join(f"cell_{n} text" for n in range(columns))
            connection.execute(f"create table copied_{name} ({cells})")
            with connection.cursor().copy(f"copy copied_{name} from stdin (format csv, header true)") as copy:
                copy.write(archive.read(f"{name}.csv"))
    return time.perf_counter() - started


def _import(url: str, path: Path, changes: int) -> float:
    started = time.perf_counter()
    report = import_exports(url, Settings(), [path])
    seconds = time.perf_counter() - started
    if report.failures:
        raise RuntimeError(report.failures[0])
    changed = report.added_count + report.changed_count + report.removed_count + report.restored_count
    assert changed == changes, changed
    return seconds


if __name__ == "__main__":
    print(json.dumps(run(), indent=2))
