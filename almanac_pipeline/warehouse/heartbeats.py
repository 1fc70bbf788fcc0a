"""The signs of life of the runs under way, as their processes write them. What follows from them is
decided in `liveness`."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

import psycopg


@dataclass(frozen=True, slots=True)
class Process:
    """The process of a run, such that others can tell whether it still lives, if they can see it at all."""

    boot_id: str
    """The machine, since it was last started."""
    pid_namespace: str
    """Where on it the number is valid: containers have one each."""
    pid: int
    started: str
    """In clock ticks since the start of the machine, as `services.start_time` says it."""


@dataclass(frozen=True, slots=True)
class Sign:
    """The last that was heard of a run."""

    run_id: str
    process: Process | None
    """None: nothing ever was."""
    silent_seconds: float
    """By the database's clock: since the last sign of life, or since the run began."""


def beat(connection: psycopg.Connection, run_id: str, process: Process) -> None:
    """Note that the process of a run lives."""
    connection.execute(
        """
        insert into ops.run_heartbeats (dagster_run_id, boot_id, pid_namespace, pid, process_started)
        values (%s, %s, %s, %s, %s)
        on conflict (dagster_run_id) do update set
            boot_id = excluded.boot_id, pid_namespace = excluded.pid_namespace, pid = excluded.pid,
            process_started = excluded.process_started, seen_at = now()
        """,
        [run_id, process.boot_id, process.pid_namespace, process.pid, process.started],
    )


def last_signs(connection: psycopg.Connection, run_ids: Collection[str] | None = None) -> dict[str, Sign]:
    """{run: the last that was heard of it} of those of these runs that Dagster still has.

    Without `run_ids` of all that have begun and not ended.
    """
    rows = connection.execute(
        """
        select run_id, boot_id, pid_namespace, pid, process_started,
            greatest(extract(epoch from clock_timestamp() - coalesce(
                seen_at, to_timestamp(start_time), create_timestamp::timestamptz
            )), 0)::float
        from dagster.runs left join ops.run_heartbeats on dagster_run_id = run_id
        where case when %(runs)s::text[] is null then status = 'STARTED' else run_id = any(%(runs)s) end
        """,
        {"runs": None if run_ids is None else list(run_ids)},
    )
    return {
        run_id: Sign(run_id, None if place is None else Process(place, *process), silent)
        for run_id, place, *process, silent in rows
    }


def forget_ended(connection: psycopg.Connection) -> None:
    """Remove the signs of life of runs that have ended, or that Dagster no longer has."""
    connection.execute(
        """
        delete from ops.run_heartbeats
        where not exists (
            select from dagster.runs
            where run_id = dagster_run_id and status not in ('SUCCESS', 'FAILURE', 'CANCELED')
        )
        """
    )


@dataclass(frozen=True, slots=True)
class HeldSlot:
    """A place in a pool, and who has it."""

    pool: str
    step: str
    run_id: str
    job: str | None
    """None: Dagster no longer has the run."""
    began_at: datetime | None
    ended_seconds_ago: float | None
    """None: the run has not ended."""


def held_slots(connection: psycopg.Connection, pool: str | None = None) -> list[HeldSlot]:
    """The places that are taken, in one pool or in all."""
    rows = connection.execute(
        """
        select concurrency_key, slots.step_key, run_id, pipeline_name, to_timestamp(start_time),
            case
                when status is null then 'infinity'
                when status in ('SUCCESS', 'FAILURE', 'CANCELED')
                then extract(epoch from clock_timestamp() - to_timestamp(end_time))
            end::float
        from dagster.concurrency_slots as slots
        left join dagster.runs using (run_id)
        where run_id is not null and (%(pool)s::text is null or concurrency_key = %(pool)s)
        order by concurrency_key, start_time, run_id
        """,
        {"pool": pool},
    )
    return [HeldSlot(*row) for row in rows]


def has_runs(connection: psycopg.Connection) -> bool:
    """Whether Dagster has made its tables."""
    row = connection.execute("select to_regclass('dagster.concurrency_slots') is not null").fetchone()
    return row == (True,)


DAEMONS = ("SCHEDULER", "SENSOR", "QUEUED_RUN_COORDINATOR", "MONITORING")
"""Those of Dagster's daemons without which the almanac does not go on by itself."""


def silent_daemons(connection: psycopg.Connection) -> list[str]:
    """Which of the daemons, on whatever machine, have not beaten within five minutes.

    One long tick may hold a beat up.
    """
    if not has_runs(connection):
        return list(DAEMONS)
    rows = connection.execute(
        """
        select name from unnest(%s::text[]) as needed (name)
        where not exists (
            select from dagster.daemon_heartbeats
            where daemon_type = name and timestamp > now() at time zone 'UTC' - interval '5 minutes'
        )
        """,
        [list(DAEMONS)],
    )
    return [name for (name,) in rows]
