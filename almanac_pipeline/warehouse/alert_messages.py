"""What each sink was told of each alert: what is to be told now, and the note of how that went.

A sink hears once that an alert is open, again after a day if it still is, and once that it is resolved.
What could not be told is tried again at most three times, then a day later. Tells nobody itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg.rows import class_row

from almanac_pipeline.warehouse.alerts import AlertKind

REMINDER_HOURS = 24
# Minutes after the first, second and third failure; after the fourth a reminder is due anyway.
RETRY_MINUTES = (1, 5, 30, 60 * REMINDER_HOURS)
SENDING_LOCK = 7_203_130

DUE = """
select alerts.alert_id, kind, subject, message, raised_at, resolved_at,
    raised_sent_at is not null and resolved_at is null as is_reminder
from ops.alerts
left join ops.alert_messages as told on told.alert_id = alerts.alert_id and told.sink = %(sink)s
where
    case
        when resolved_at is null
            then coalesce(raised_sent_at < now() - make_interval(hours => %(reminder_hours)s), true)
        -- Who was never told that it began need not hear that it is over.
        else raised_sent_at is not null and resolved_sent_at is null
    end
    and (
        coalesce(failures_count, 0) = 0
        or tried_at < now() - make_interval(
            mins => (%(retry_minutes)s::int[])[least(failures_count, cardinality(%(retry_minutes)s::int[]))])
    )
    -- What a sink could not be told it need not be told.
    and not (kind = 'undelivered' and subject = %(sink)s)
order by resolved_at is not null, raised_at, alerts.alert_id
"""


@dataclass(frozen=True, slots=True)
class News:
    """Something to be told of an alert. Holds no member's name."""

    alert_id: int
    kind: AlertKind
    subject: str
    message: str
    raised_at: datetime
    resolved_at: datetime | None
    """None: it is open."""
    is_reminder: bool
    """It was told before, and is still open."""


@contextmanager
def sending(connection: psycopg.Connection) -> Iterator[bool]:
    """Hold the lock of whoever tells alerts; yields whether it was free. For an autocommit connection.

    Two who told at once would tell everything twice.
    """
    row = connection.execute("select pg_try_advisory_lock(%s)", [SENDING_LOCK]).fetchone()
    is_held = row is not None and bool(row[0])
    try:
        yield is_held
    finally:
        if is_held:
            connection.execute("select pg_advisory_unlock(%s)", [SENDING_LOCK])


def due(connection: psycopg.Connection, sink: str) -> list[News]:
    """What the sink has to be told now: open alerts first, the oldest first."""
    values = {"sink": sink, "reminder_hours": REMINDER_HOURS, "retry_minutes": list(RETRY_MINUTES)}
    with connection.cursor(row_factory=class_row(News)) as cursor:
        return cursor.execute(DUE, values).fetchall()


def mark_sent(connection: psycopg.Connection, sink: str, news: Sequence[News]) -> None:
    """Note that the sink was told."""
    connection.cursor().executemany(
        """
        insert into ops.alert_messages (alert_id, sink, raised_sent_at)
        select alert_id, %(sink)s, now() from ops.alerts where alert_id = %(alert)s
        on conflict (alert_id, sink) do update
        set raised_sent_at = case when %(over)s then alert_messages.raised_sent_at else now() end,
            resolved_sent_at = case when %(over)s then now() end,
            failures_count = 0, tried_at = now(), error_sample = null
        """,
        [{"alert": each.alert_id, "sink": sink, "over": each.resolved_at is not None} for each in news],
    )


def mark_failed(connection: psycopg.Connection, sink: str, news: Sequence[News], reason: str) -> None:
    """Note that it could not be told, and why."""
    connection.cursor().executemany(
        """
        insert into ops.alert_messages as told (alert_id, sink, failures_count, error_sample)
        select alert_id, %(sink)s, 1, %(reason)s from ops.alerts where alert_id = %(alert)s
        on conflict (alert_id, sink) do update
        set failures_count = least(told.failures_count + 1, 100), tried_at = now(),
            error_sample = excluded.error_sample
        """,
        [{"alert": each.alert_id, "sink": sink, "reason": reason} for each in news],
    )


def mark_reachable(connection: psycopg.Connection, sink: str) -> None:
    """Let everything that the sink could not be told be told at the next look: it answers again."""
    connection.execute(
        "update ops.alert_messages set failures_count = 0 where sink = %s and failures_count > 0", [sink]
    )
