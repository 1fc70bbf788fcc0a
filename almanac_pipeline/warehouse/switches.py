"""The operator's switches and gauges: fetching on or off, hosts that have refused us, requests of today."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg.rows import class_row


@dataclass(frozen=True, slots=True)
class BlockedHost:
    """A host that is asked nothing until somebody unblocks it."""

    host: str
    blocked_at: datetime
    reason: str


def set_fetching(connection: psycopg.Connection, *, enabled: bool) -> None:
    """Turn all fetching on or off. Every process looks before each request. Commits."""
    connection.execute(
        "insert into ops.switches (name, enabled) values ('fetching', %s)"
        " on conflict (name) do update set enabled = excluded.enabled, changed_at = now()",
        [enabled],
    )
    connection.commit()


def fetching_enabled(connection: psycopg.Connection) -> bool:
    """Whether anything may be fetched at all."""
    row = connection.execute("select enabled from ops.switches where name = 'fetching'").fetchone()
    return row is not None and bool(row[0])


def blocked_hosts(connection: psycopg.Connection) -> list[BlockedHost]:
    """The hosts that are blocked, by name."""
    with connection.cursor(row_factory=class_row(BlockedHost)) as cursor:
        return cursor.execute(
            "select host, blocked_at, coalesce(blocked_reason, 'no reason recorded') as reason"
            " from ops.http_hosts where blocked_at is not null order by host"
        ).fetchall()


def requests_today(connection: psycopg.Connection) -> dict[str, int]:
    """{host: requests since midnight UTC} of the hosts whose requests are counted, by name."""
    return dict(
        connection.execute(
            "select host, requests_of_day from ops.http_hosts"
            " where budget_day = (now() at time zone 'UTC')::date order by host"
        ).fetchall()
    )
