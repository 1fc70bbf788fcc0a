"""What runs by the clock: the name, the time and the purpose of each schedule, and when it is next.

Read by the Dagster schedules and by `almanac status`, which starts no Dagster. What a schedule asks for
is in `defs/automation`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

# A leap day that is a Monday comes every 28 years; ours are at most a month apart.
FARTHEST_DAYS = 366


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule, in UTC."""

    name: str
    cron: str
    """Minute, hour, day of the month, `*` and day of the week (0: Sunday); each a number or `*`."""
    purpose: str


INCREMENTAL = Schedule(
    "incremental", "17 * * * *", "what is new of the cohorts that are due, each once a day"
)
FOLLOW_GRAPH = Schedule(
    "follow_graph", "40 2 * * *", "who belongs to each cohort: on Mondays, and then to those not found"
)
FULL_ENRICHMENT = Schedule(
    "full_enrichment", "40 3 2 * *", "everything about the films that is old or missing"
)
TMDB_MAINTENANCE = Schedule("tmdb_maintenance", "30 4 1 * *", "TMDB's answers within its terms")
NIGHTLY_MAINTENANCE = Schedule("nightly_maintenance", "10 1 * * *", "backup, retention, vacuum")
SCHEDULES = (INCREMENTAL, FOLLOW_GRAPH, FULL_ENRICHMENT, TMDB_MAINTENANCE, NIGHTLY_MAINTENANCE)


@dataclass(frozen=True, slots=True)
class NextRun:
    """When a schedule looks next at what there is to do."""

    schedule: Schedule
    at: datetime | None
    """UTC; None: it was switched off."""


def next_runs(now: datetime, stopped: Collection[str] = ()) -> list[NextRun]:
    """The next time of every schedule, the soonest first, those that were switched off (by name) last."""
    runs = [
        NextRun(schedule, None if schedule.name in stopped else next_time(schedule.cron, now))
        for schedule in SCHEDULES
    ]
    return sorted(runs, key=lambda run: run.at or datetime.max.replace(tzinfo=UTC))


def next_time(cron: str, after: datetime) -> datetime:
    """The first time of `cron` after `after`, in UTC. Knows the subset of cron that `Schedule` describes.

    Raises:
        ValueError: the expression is none of these, or has no time within a year.
    """
    minute, hour, day, month, weekday = cron.split()
    if minute == "*" or month != "*":
        raise ValueError(f"{cron!r} is not a time that the schedules here can have.")
    after = after.astimezone(UTC)
    midnight = after.replace(hour=0, minute=0, second=0, microsecond=0)
    for days in range(FARTHEST_DAYS):
        date = midnight + timedelta(days=days)
        if not (_fits(day, date.day) and _fits(weekday, date.isoweekday() % 7)):
            continue
        for hours in range(24) if hour == "*" else (int(hour),):
            at = date + timedelta(hours=hours, minutes=int(minute))
            if at > after:
                return at
    raise ValueError(f"{cron!r} has no time within a year.")


def _fits(field: str, number: int) -> bool:
    return field == "*" or int(field) == number
