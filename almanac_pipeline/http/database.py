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

from almanac_pipeline.errors import WarehouseError

# A restart of PostgreSQL takes one to five seconds; whoever waits longer holds up a run that must fail.
PATIENCE_SECONDS = 8.0
CONNECTION_SECONDS = 2.0
RETRY_SECONDS = 0.1
# Without these a lost network is noticed after two hours. Seconds, but for the last one.
_NETWORK = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 2,
    "tcp_user_timeout": 8_000,
}
# Connection exceptions, shutting down or starting up, too many connections.
_PASSING = ("08", "57P", "53300")
_DISK_FULL = "53100"

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
        kwargs={"autocommit": autocommit, "application_name": name, **_NETWORK},
    )


def patiently(work: Callable[[], Result]) -> Result:
    """What `work` returns; it is done again while the database is away for a few seconds.

    `work` may therefore happen twice, and must not mind.

    Raises:
        WarehouseError: the database stays away, or refuses.
    """
    deadline: float | None = None
    while True:
        try:
            return work()
        except psycopg.Error as error:
            now = time.monotonic()
            deadline = deadline or now + PATIENCE_SECONDS
            failure = None if _is_passing(error) and now < deadline else _words(error)
        if failure is not None:
            raise WarehouseError(failure)
        time.sleep(RETRY_SECONDS)


def _is_passing(error: psycopg.Error) -> bool:
    if error.sqlstate is None:  # the connection broke, or none was to be had
        return isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError))
    return error.sqlstate.startswith(_PASSING)


def _words(error: psycopg.Error) -> str:
    if error.sqlstate == _DISK_FULL:
        return "The database's disk is full: free some space; the next run goes on where this one stopped."
    if _is_passing(error):
        return (
            f"The database has not answered for {PATIENCE_SECONDS:.0f} s: see `almanac doctor`; "
            "the next run goes on where this one stopped."
        )
    return f"The database failed: {error.diag.message_primary or type(error).__name__}"
