"""What all processes share about a host, in ops.http_hosts and ops.switches: blocks, pauses, robots.txt."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from psycopg import Connection
from psycopg_pool import ConnectionPool

_GATE = """
select
    coalesce((select enabled from ops.switches where name = 'fetching'), false),
    hosts.blocked_reason,
    hosts.blocked_at::text,
    coalesce(extract(epoch from hosts.retry_not_before - clock_timestamp())::float8, 0)
from (values (%s::text)) as asked (host)
left join ops.http_hosts as hosts on hosts.host = asked.host
"""
_BLOCK = """
insert into ops.http_hosts as hosts (host, blocked_at, blocked_reason) values (%s, now(), %s)
on conflict (host) do update set
    blocked_at = coalesce(hosts.blocked_at, excluded.blocked_at),
    blocked_reason = coalesce(hosts.blocked_reason, excluded.blocked_reason)
"""
_UNBLOCK = """
update ops.http_hosts set blocked_at = null, blocked_reason = null, retry_not_before = null
where host = %s and (blocked_at is not null or retry_not_before is not null)
"""
_POSTPONE = """
insert into ops.http_hosts as hosts (host, retry_not_before)
values (%s, clock_timestamp() + make_interval(secs => %s))
on conflict (host) do update set
    retry_not_before = greatest(hosts.retry_not_before, excluded.retry_not_before)
"""
_READ_ROBOTS = """
select robots_txt, extract(epoch from clock_timestamp() - robots_fetched_at)::float8
from ops.http_hosts
where host = %s and robots_fetched_at > clock_timestamp() - make_interval(secs => %s)
"""
_WRITE_ROBOTS = """
insert into ops.http_hosts as hosts (host, robots_txt, robots_fetched_at) values (%s, %s, clock_timestamp())
on conflict (host) do update set
    robots_txt = excluded.robots_txt, robots_fetched_at = excluded.robots_fetched_at
"""


@dataclass(frozen=True, slots=True)
class Gate:
    """Whether a host may be asked now."""

    fetching: bool
    blocked_reason: str | None
    blocked_at: str | None
    wait_seconds: float
    """Until the host wants to be asked again; not positive when it may be asked now."""


@dataclass(frozen=True, slots=True)
class StoredRobots:
    """A robots.txt as fetched, and how long ago."""

    text: str
    age_seconds: float


class HostState:
    """Reads and writes the shared state. Every call sees what other processes committed."""

    def __init__(self, pool: ConnectionPool[Connection]) -> None:
        self._pool = pool

    def gate(self, host: str) -> Gate:
        """The state of `host` and of the kill switch, in one query."""
        with self._pool.connection() as connection:
            row = connection.execute(_GATE, (host,)).fetchone()
        assert row is not None
        fetching, reason, blocked_at, wait_seconds = row
        if blocked_at is not None and reason is None:
            reason = "no reason recorded"
        return Gate(fetching, reason, blocked_at, wait_seconds)

    def block(self, host: str, reason: str) -> None:
        """Refuse every later request to `host`, from any process; the first reason is kept."""
        with self._pool.connection() as connection:
            connection.execute(_BLOCK, (host, reason))

    def unblock(self, host: str) -> bool:
        """Allow `host` again; whether there was anything to clear."""
        with self._pool.connection() as connection:
            return connection.execute(_UNBLOCK, (host,)).rowcount > 0

    def postpone(self, host: str, seconds: float) -> None:
        """Let nobody ask `host` for `seconds`; never shortens a longer wait."""
        with self._pool.connection() as connection:
            connection.execute(_POSTPONE, (host, seconds))

    def read_robots(self, host: str, max_age_seconds: float) -> StoredRobots | None:
        """The stored robots.txt, if it is younger than `max_age_seconds`."""
        with self._pool.connection() as connection:
            row = connection.execute(_READ_ROBOTS, (host, max_age_seconds)).fetchone()
        return None if row is None else StoredRobots(row[0] or "", row[1])

    def write_robots(self, host: str, text: str) -> None:
        """Keep a robots.txt just fetched; empty means that everything is allowed."""
        with self._pool.connection() as connection:
            connection.execute(_WRITE_ROBOTS, (host, text))

    @contextmanager
    def robots_turn(self, host: str) -> Iterator[None]:
        """Hold the right to fetch `host`'s robots.txt, one process at a time."""
        with self._pool.connection() as connection, connection.transaction():
            connection.execute(
                "select pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"robots.txt {host}",)
            )
            yield
