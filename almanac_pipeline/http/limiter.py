"""One rate per host for all threads and processes: pyrate-limiter's bucket in PostgreSQL.

Uses the bucket and not its `Limiter`, which counts its waits with the local clock and so drifts
behind the database's. Hosts without a limit never come here.
"""

from __future__ import annotations

import hashlib
import random
import re
import threading
import time
from collections import defaultdict

from psycopg import Connection
from psycopg_pool import ConnectionPool
from pyrate_limiter import Rate, RateItem
from pyrate_limiter.buckets.postgres import PostgresBucket

from almanac_pipeline.http.database import open_later, patiently
from almanac_pipeline.http.hosts import RateLimit

# Another process may count in longer windows than this one, so nothing younger is cleared.
KEEP_MILLISECONDS = 3_600_000
CLEAR_EVERY = 200
# Pause after losing the race for the table's lock to another process.
CONTENTION_SECONDS = 0.01
# Up to this share of the usual spacing is waited on top, so that we do not tick like a clock.
JITTER_SHARE = 0.2


class HostLimiter:
    """Grants permission to ask a host. Thread-safe; opens its connections on first use."""

    def __init__(self, database_url: str) -> None:
        self._pool: ConnectionPool[Connection] = open_later(
            database_url,
            name="almanac limiter",
            min_size=0,
            max_size=2,
            autocommit=False,
            configure=_configure,
        )
        self._lock = threading.Lock()
        self._buckets: dict[tuple[str, tuple[RateLimit, ...]], PostgresBucket] = {}
        # One thread per host asks the database, the others wait for their turn behind it.
        self._turns: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._granted = 0

    def acquire(self, host: str, limits: tuple[RateLimit, ...]) -> None:
        """Return when one request to `host` may be made; `limits` must not be empty.

        Raises:
            WarehouseError: the database stays away.
        """
        with self._lock:
            turn = self._turns[host]
        with turn:
            while (waiting := patiently(lambda: self._ask(host, limits))) is not None:
                # Before asking again, never after a grant: that would bring two requests together.
                time.sleep(max(waiting, CONTENTION_SECONDS) + random.uniform(0, _jitter_seconds(limits)))
            self._granted += 1
            if self._granted % CLEAR_EVERY == 0:
                patiently(lambda: self._clear(host, limits))

    def close(self) -> None:
        """Give the connections back."""
        self._pool.close()

    def _ask(self, host: str, limits: tuple[RateLimit, ...]) -> float | None:
        """None if the request may be made now, otherwise the seconds until it is worth asking again."""
        bucket = self._bucket(host, limits)
        item = RateItem(host, int(bucket.now()))  # type: ignore[no-untyped-call]
        if bucket.put(item):
            return None
        waiting = bucket.waiting(item)
        assert isinstance(waiting, int)
        return waiting / 1000

    def _clear(self, host: str, limits: tuple[RateLimit, ...]) -> None:
        bucket = self._bucket(host, limits)
        bucket.leak(int(bucket.now()) - KEEP_MILLISECONDS)  # type: ignore[no-untyped-call]

    def _bucket(self, host: str, limits: tuple[RateLimit, ...]) -> PostgresBucket:
        with self._lock:
            if not self._buckets:
                self._pool.open()
            key = (host, limits)
            if key not in self._buckets:
                rates = [Rate(limit.requests, limit.window_milliseconds) for limit in limits]
                self._buckets[key] = PostgresBucket(self._pool, _table_name(host), rates)
            return self._buckets[key]


def _jitter_seconds(limits: tuple[RateLimit, ...]) -> float:
    return JITTER_SHARE * min(limit.window_milliseconds / limit.requests for limit in limits) / 1000


def _table_name(host: str) -> str:
    """A name that fits PostgreSQL's 63 characters with the bucket's prefixes."""
    name = re.sub(r"[^a-z0-9]+", "_", host)
    return name if len(name) <= 40 else f"{name[:31]}_{hashlib.sha256(host.encode()).hexdigest()[:8]}"


def _configure(connection: Connection) -> None:
    # The bucket creates its table on the search path and stores times without a zone.
    connection.execute("set search_path to ops")
    connection.execute("set timezone to 'UTC'")
    connection.commit()
