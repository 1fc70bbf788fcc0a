"""What the schedules go by: active cohorts, when each was last synced, how often it is to be."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import psycopg
from psycopg.rows import class_row

from almanac_pipeline.errors import ConfigurationError

# First key of our advisory lock on a cohort that a command builds; the second is of the slug.
COMMAND_LOCK = 7_203_151


@dataclass(frozen=True, slots=True)
class ScheduledCohort:
    """An active cohort, as the schedules see it."""

    slug: str
    members_count: int
    every_hours: int | None
    """How often what is new is read; None: as often as the settings say."""
    last_sync_at: datetime | None
    """When the last sync of ratings began, however it ended."""
    circle_read_at: datetime | None
    """When the last reading began that found all its members."""


def scheduled_cohorts(connection: psycopg.Connection) -> list[ScheduledCohort]:
    """The active cohorts, in the order in which they were created."""
    with connection.cursor(row_factory=class_row(ScheduledCohort)) as cursor:
        return cursor.execute(
            """
            with members as (
                select cohort_id, count(*) as members_count
                from raw.cohort_members where until is null group by cohort_id
            )
            select slug, coalesce(members_count, 0) as members_count,
                sync_every_hours as every_hours, (
                    select max(started_at) from ops.scrape_runs
                    where scrape_runs.cohort_id = cohorts.cohort_id and subject = 'ratings'
                ) as last_sync_at, (
                    select max(started_at) from ops.scrape_runs
                    where scrape_runs.cohort_id = cohorts.cohort_id and subject = 'members'
                        and scrape_runs.status = 'succeeded'
                ) as circle_read_at
            from raw.cohorts left join members using (cohort_id)
            where status = 'active'
            order by cohort_id
            """
        ).fetchall()


def never_synced(connection: psycopg.Connection) -> tuple[list[str], list[str]]:
    """Slugs of the active cohorts that nobody has begun to read, or of which nobody could find the members,
    and that no command is building now.

    First those whose definition names the members, then those whose circle takes pages to find.
    """
    rows = connection.execute(
        """
        select slug, definition ->> 'kind' = 'usernames' as is_named from raw.cohorts
        where status = 'active'
            and not exists (
                select from ops.scrape_runs
                where scrape_runs.cohort_id = cohorts.cohort_id
                    and (subject, scrape_runs.status) <> ('members', 'failed')
            )
            and not exists (
                select from pg_locks
                where locktype = 'advisory' and classid = %s and objsubid = 2 and granted
                    and database = (select oid from pg_database where datname = current_database())
                    and objid = (hashtext(slug)::bigint & 4294967295)::oid
            )
        order by cohort_id
        """,
        [COMMAND_LOCK],
    ).fetchall()
    return [slug for slug, is_named in rows if is_named], [slug for slug, is_named in rows if not is_named]


@contextmanager
def built_by_command(connection: psycopg.Connection, slug: str) -> Iterator[None]:
    """Say that a command builds the cohort, so that no sensor does. Ends with the block or the connection."""
    connection.execute("select pg_advisory_lock_shared(%s, hashtext(%s))", [COMMAND_LOCK, slug])
    connection.commit()
    try:
        yield
    finally:
        # It ended with the connection, if that was lost.
        with suppress(psycopg.Error):
            connection.rollback()
            connection.execute("select pg_advisory_unlock_shared(%s, hashtext(%s))", [COMMAND_LOCK, slug])
            connection.commit()


def set_cadence(connection: psycopg.Connection, slug: str, every_hours: int | None) -> None:
    """Store how often what is new of the cohort is read; None: as often as the settings say. Commits.

    Raises:
        ConfigurationError: there is no such cohort.
    """
    changed = connection.execute(
        "update raw.cohorts set sync_every_hours = %s, updated_at = now() where slug = %s",
        [every_hours, slug],
    ).rowcount
    if not changed:
        raise ConfigurationError(f"There is no cohort {slug}. Create it first.")
    connection.commit()


def switched_off(connection: psycopg.Connection, kind: Literal["SCHEDULE", "SENSOR"]) -> list[str]:
    """Names of the schedules or sensors that somebody switched off in the Dagster UI."""
    if not connection.execute("select where to_regclass('dagster.instigators') is not null").rowcount:
        return []
    rows = connection.execute(
        "select instigator_body::jsonb -> 'origin' ->> 'job_name' from dagster.instigators"
        " where instigator_type = %s and status = 'STOPPED'",
        [kind],
    )
    return [name for (name,) in rows]
