"""Writes ops.http_requests: one row per attempt, in batches, with no URL in it."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from datetime import datetime

from psycopg import Connection
from psycopg_pool import ConnectionPool

from almanac_pipeline.http.database import patiently

# What kill -9 may lose: at most this many rows, of which the oldest is this old when the next arrives.
MAX_BUFFERED_ROWS = 200
MAX_BUFFERED_SECONDS = 1.0

_COPY = """
copy ops.http_requests
    (requested_at, run_id, host, path_class, status, milliseconds, bytes, cache_hit, attempt)
from stdin
"""


@dataclass(frozen=True, slots=True)
class RequestRow:
    """One attempt. `status` is None where no answer came; `bytes` counts the decoded body."""

    requested_at: datetime
    host: str
    path_class: str
    status: int | None
    milliseconds: int
    bytes: int
    cache_hit: bool
    attempt: int


class RequestLog:
    """Collects rows from all threads of a client."""

    def __init__(self, pool: ConnectionPool[Connection], run_id: str | None) -> None:
        self._pool = pool
        self._run_id = run_id
        self._lock = threading.Lock()
        self._rows: list[RequestRow] = []
        self._flushed_at = time.monotonic()

    def add(self, row: RequestRow) -> None:
        """Keep `row`, and write the batch when it is full or old."""
        with self._lock:
            self._rows.append(row)
            due = (
                len(self._rows) >= MAX_BUFFERED_ROWS
                or time.monotonic() - self._flushed_at >= MAX_BUFFERED_SECONDS
            )
            if not due:
                return
            self._flushed_at = time.monotonic()
        self.flush()

    def flush(self) -> None:
        """Write everything collected so far.

        Raises:
            WarehouseError: the database stays away or its disk is full; the rows are kept.
        """
        with self._lock:
            rows, self._rows = self._rows, []
        if not rows:
            return
        try:
            patiently(lambda: self._write(rows))
        except BaseException:
            with self._lock:
                self._rows = rows + self._rows
            raise

    def _write(self, rows: list[RequestRow]) -> None:
        with (
            self._pool.connection() as connection,
            connection.cursor() as cursor,
            cursor.copy(_COPY) as copy,
        ):
            for row in rows:
                copy.write_row(
                    (
                        row.requested_at,
                        self._run_id,
                        row.host,
                        row.path_class,
                        row.status,
                        row.milliseconds,
                        row.bytes,
                        row.cache_hit,
                        row.attempt,
                    )
                )
