"""The HTTP room's way to PostgreSQL: a use of it works, if need be after a restart, or fails in one line.

Holds no SQL of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import psycopg
from psycopg import Connection
from psycopg_pool import ConnectionPool

from almanac_pipeline.errors import DatabaseAwayError, WarehouseError
from almanac_pipeline.postgres import NETWORK_OPTIONS, PATIENCE_SECONDS, failure_words, is_away

CONNECTION_SECONDS = 2.0
RETRY_SECONDS = 0.1

Result = TypeVar("Result")


def open_later(
    database_url: str,
    *,
    name: str,
    min_size: int,
    max_size: int,
    autocommit: bool,
    configure: Callable[[Connection], None] | None = None,
) -> ConnectionPool[Connection]:
    """A pool that is not open yet and gives up on a connection after two seconds."""
    return ConnectionPool(
        database_url,
        min_size=min_size,
        max_size=max_size,
        open=False,
        timeout=CONNECTION_SECONDS,
        configure=configure,
        kwargs={"autocommit": autocommit, "application_name": name, **NETWORK_OPTIONS},
    )


def patiently(work: Callable[[], Result]) -> Result:
    """What `work` returns; it is done again while the database is away for a few seconds.

    `work` may therefore happen twice, and must not mind.

    Raises:
        DatabaseAwayError: the database stays away.
        WarehouseError: it refuses.
    """
    deadline: float | None = None
    while True:
        try:
            return work()
        except psycopg.Error as error:
            now = time.monotonic()
            deadline = deadline or now + PATIENCE_SECONDS
            kind = DatabaseAwayError if is_away(error) else WarehouseError
            failure = None if is_away(error) and now < deadline else kind(failure_words(error))
        if failure is not None:
            raise failure
        time.sleep(RETRY_SECONDS)
