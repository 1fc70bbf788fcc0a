"""What is deleted because it is old: events of Dagster's, the log of requests, alerts. And vacuum."""

from __future__ import annotations

import psycopg

# Deleted rows per transaction: some tenths of a second, so that nobody waits for long.
ROWS_PER_BATCH = 20_000

# What Dagster knows of an asset is in its latest event of these kinds, partition by partition.
LATEST_KEPT = ("ASSET_MATERIALIZATION", "ASSET_OBSERVATION")

OLD_EVENTS = """
with old as (
    select id from dagster.event_logs as event
    where timestamp < (now() - make_interval(days => %(days)s)) at time zone 'UTC'
        and (
            dagster_event_type is null
            or dagster_event_type <> all(%(latest_kept)s)
            or exists (
                select from dagster.event_logs as newer
                where newer.asset_key = event.asset_key
                    and newer.dagster_event_type = event.dagster_event_type
                    and newer.partition is not distinct from event.partition
                    and newer.id > event.id
            )
        )
        -- What goes on is still read.
        and run_id not in (select run_id from dagster.runs where status <> all(%(ended)s))
    limit %(batch)s
),
tags as (
    delete from dagster.asset_event_tags where event_id in (select id from old)
)
delete from dagster.event_logs where id in (select id from old)
"""

OLD_CHECKS = """
delete from dagster.asset_check_executions where id in (
    select id from dagster.asset_check_executions as execution
    where create_timestamp < (now() - make_interval(days => %(days)s)) at time zone 'UTC'
        and exists (
            select from dagster.asset_check_executions as newer
            where newer.asset_key = execution.asset_key
                and newer.check_name = execution.check_name
                and newer.partition is not distinct from execution.partition
                and newer.id > execution.id
        )
    limit %(batch)s
)
"""

OLD_REQUESTS = """
delete from ops.http_requests where http_request_id in (
    select http_request_id from ops.http_requests
    where requested_at < now() - make_interval(days => %(days)s)
    limit %(batch)s
)
"""

# The latest of each subject says that an operator has resolved a check that has failed since no more.
OLD_ALERTS = """
delete from ops.alerts where alert_id in (
    select alert_id from ops.alerts as alert
    where resolved_at < now() - make_interval(days => %(days)s)
        and exists (
            select from ops.alerts as newer
            where newer.alert_id > alert.alert_id
                and newer.kind = alert.kind and newer.subject = alert.subject
        )
    limit %(batch)s
)
"""


def delete_old_events(connection: psycopg.Connection, *, older_than_days: int) -> int:
    """Delete Dagster's events but for the latest of each asset, check and partition; returns how many.

    `connection` is in autocommit mode. Runs themselves stay, with how they ended.
    """
    if not connection.execute("select where to_regclass('dagster.event_logs') is not null").rowcount:
        return 0
    parameters = {
        "days": older_than_days,
        "latest_kept": list(LATEST_KEPT),
        "ended": ["SUCCESS", "FAILURE", "CANCELED"],
    }
    return sum(_in_batches(connection, statement, parameters) for statement in (OLD_EVENTS, OLD_CHECKS))


def delete_old_requests(connection: psycopg.Connection, *, older_than_days: int) -> int:
    """Delete rows of the log of requests; returns how many. `connection` is in autocommit mode."""
    return _in_batches(connection, OLD_REQUESTS, {"days": older_than_days})


def delete_old_alerts(connection: psycopg.Connection, *, older_than_days: int) -> int:
    """Delete alerts resolved longer ago than that, but for the latest of each subject; returns how many.

    `connection` is in autocommit mode.
    """
    return _in_batches(connection, OLD_ALERTS, {"days": older_than_days})


def vacuum(connection: psycopg.Connection) -> None:
    """Give room of deleted rows back to their tables, and the planner new statistics. In autocommit mode."""
    connection.execute("vacuum (analyze, skip_locked)")


def _in_batches(connection: psycopg.Connection, statement: str, parameters: dict[str, object]) -> int:
    deleted_count = 0
    while True:
        count = connection.execute(statement, parameters | {"batch": ROWS_PER_BATCH}).rowcount
        deleted_count += count
        if count < ROWS_PER_BATCH:
            return deleted_count
