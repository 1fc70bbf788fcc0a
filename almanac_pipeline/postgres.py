"""How every room's connections notice that PostgreSQL is away, and what is said about it.

Beside the rooms because `http` and `warehouse` both connect and do not know each other. Holds no SQL
and opens nothing.
"""

from __future__ import annotations

from typing import Any

import psycopg

# A restart takes one to five seconds; whoever waits longer holds up a run that must fail.
PATIENCE_SECONDS = 8.0
# Without the last four a lost network is noticed after two hours. Milliseconds in the last one.
NETWORK_OPTIONS: dict[str, Any] = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 2,
    "tcp_user_timeout": 8_000,
}
# Connection exceptions, shutting down or starting up, too many connections.
_AWAY = ("08", "57P", "53300")
_DISK_FULL = "53100"


def is_away(error: psycopg.Error) -> bool:
    """Whether the same may succeed once the database is back: no connection, or it was broken off."""
    if error.sqlstate is None:
        return isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError))
    return error.sqlstate.startswith(_AWAY)


def is_disk_full(error: BaseException) -> bool:
    """Whether PostgreSQL said so, to whichever of the drivers, in the error or in what led to it."""
    cause: BaseException | None = error
    while cause is not None:
        driver_error = getattr(cause, "orig", None) or cause  # as SQLAlchemy has it
        if _DISK_FULL in (getattr(driver_error, "sqlstate", None), getattr(driver_error, "pgcode", None)):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def failure_words(error: psycopg.Error) -> str:
    """One line for an operator. PostgreSQL's own message is left out: it may repeat a row."""
    if error.sqlstate == _DISK_FULL:
        return "The database's disk is full: free some space; the next run goes on where this one stopped."
    if is_away(error):
        return (
            "The database went away and did not come back within "
            f"{PATIENCE_SECONDS:.0f} s: see `almanac doctor`; the next run goes on where this one stopped."
        )
    return f"The database failed: {type(error).__name__} (SQLSTATE {error.sqlstate})"
