"""What all processes share about a host, in ops.http_hosts and ops.switches.

Blocks, pauses, the day's budget and robots.txt; raises and resolves the alerts that follow from them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
from psycopg import Connection, Cursor
from psycopg_pool import ConnectionPool

from almanac_pipeline.http.database import patiently

_GATE = """
select
    coalesce((select enabled from ops.switches where name = 'fetching'), false),
    hosts.blocked_reason,
    hosts.blocked_at::text,
    coalesce(extract(epoch from hosts.retry_not_before - clock_timestamp())::float8, 0),
    case when hosts.budget_day = (clock_timestamp() at time zone 'UTC')::date
        then hosts.requests_of_day else 0 end
from (values (%s::text)) as asked (host)
left join ops.http_hosts as hosts on hosts.host = asked.host
"""
_BLOCK = """
with block as (
    insert into ops.http_hosts as hosts (host, blocked_at, blocked_reason)
    values (%(host)s, now(), %(reason)s)
    on conflict (host) do update set
        blocked_at = coalesce(hosts.blocked_at, excluded.blocked_at),
        blocked_reason = coalesce(hosts.blocked_reason, excluded.blocked_reason)
)
select ops.raise_alert('blocked', %(host)s, 'it refused us: ' || %(reason)s)
"""
_UNBLOCK = """
with resolved as (
    update ops.alerts set resolved_at = now()
    where kind = 'blocked' and subject = %(host)s and resolved_at is null
)
update ops.http_hosts set blocked_at = null, blocked_reason = null, retry_not_before = null
where host = %(host)s and (blocked_at is not null or retry_not_before is not null)
"""
# One statement, so that no two processes can both take the last request of a day.
_SPEND = """
with today as (select (clock_timestamp() at time zone 'UTC')::date as day),
spent as (
    insert into ops.http_hosts as hosts (host, budget_day, requests_of_day)
    select %(host)s, day, 1 from today
    on conflict (host) do update set
        requests_of_day = case
            when hosts.budget_day = excluded.budget_day then hosts.requests_of_day + 1 else 1 end,
        budget_day = excluded.budget_day
    where hosts.budget_day is distinct from excluded.budget_day or hosts.requests_of_day < %(budget)s
    returning requests_of_day
),
resolved as (
    update ops.alerts set resolved_at = now()
    where kind = 'budget' and subject = %(host)s and resolved_at is null
        and (select requests_of_day from spent) = 1
)
select requests_of_day from spent
"""
_BUDGET_ALERT = "select ops.raise_alert('budget', %s, %s)"
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
    requests_today: int
    """Of those that are counted, by all processes, since midnight UTC."""


@dataclass(frozen=True, slots=True)
class StoredRobots:
    """A robots.txt as fetched, and how long ago."""

    text: str
    age_seconds: float


class HostState:
    """Reads and writes the shared state. Every call sees what other processes committed.

    Every call waits some seconds for a database that is away, then raises WarehouseError.
    """

    def __init__(self, pool: ConnectionPool[Connection]) -> None:
        self._pool = pool

    def gate(self, host: str) -> Gate:
        """The state of `host` and of the kill switch, in one query."""
        row = self._execute(_GATE, (host,), lambda cursor: cursor.fetchone())
        assert row is not None
        fetching, reason, blocked_at, wait_seconds, requests_today = row
        if blocked_at is not None and reason is None:
            reason = "no reason recorded"
        return Gate(fetching, reason, blocked_at, wait_seconds, requests_today)

    def block(self, host: str, reason: str) -> None:
        """Refuse every later request to `host`, from any process, and tell the operator.

        The first reason is kept.
        """
        self._execute(_BLOCK, {"host": host, "reason": reason})

    def unblock(self, host: str) -> bool:
        """Allow `host` again and resolve its alert; whether there was anything to clear."""
        return bool(self._execute(_UNBLOCK, {"host": host}, lambda cursor: cursor.rowcount))

    def postpone(self, host: str, seconds: float) -> None:
        """Let nobody ask `host` for `seconds`; never shortens a longer wait."""
        self._execute(_POSTPONE, (host, seconds))

    def spend(self, host: str, budget: int) -> bool:
        """Take one request of today's `budget`; False, and taken is nothing, if all are spent."""
        given = {"host": host, "budget": budget}
        return self._execute(_SPEND, given, lambda cursor: cursor.fetchone()) is not None

    def report_spent(self, host: str, budget: int) -> None:
        """Tell the operator that today's budget of `host` did not suffice."""
        message = f"all {budget:,} requests of this day (UTC) are spent"
        self._execute(_BUDGET_ALERT, (host, message))

    def read_robots(self, host: str, max_age_seconds: float) -> StoredRobots | None:
        """The stored robots.txt, if it is younger than `max_age_seconds`."""
        row = self._execute(_READ_ROBOTS, (host, max_age_seconds), lambda cursor: cursor.fetchone())
        return None if row is None else StoredRobots(row[0] or "", row[1])

    def write_robots(self, host: str, text: str) -> None:
        """Keep a robots.txt just fetched; empty means that everything is allowed."""
        self._execute(_WRITE_ROBOTS, (host, text))

    @contextmanager
    def robots_turn(self, host: str) -> Iterator[None]:
        """Hold the right to fetch `host`'s robots.txt, one process at a time."""
        key = f"robots.txt {host}"
        connection = patiently(lambda: self._take_turn(key))
        try:
            yield
        finally:
            # A connection that broke meanwhile has given its lock back already.
            with suppress(psycopg.Error):
                connection.execute("select pg_advisory_unlock(hashtextextended(%s, 0))", (key,))
            self._pool.putconn(connection)

    def _take_turn(self, key: str) -> Connection:
        connection = self._pool.getconn()
        try:
            connection.execute("select pg_advisory_lock(hashtextextended(%s, 0))", (key,))
        except BaseException:
            self._pool.putconn(connection)
            raise
        return connection

    def _execute(self, query: LiteralString, values: Any, read: Callable[[Cursor], Any] | None = None) -> Any:
        def work() -> Any:
            with self._pool.connection() as connection:
                cursor = connection.execute(query, values)
                return None if read is None else read(cursor)

        return patiently(work)
