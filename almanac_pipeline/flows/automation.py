"""What happens by itself, as rules: who is due, what is to be built, and what keeps us from asking.

The sensors and schedules (`defs/automation`) call this and turn the answers into runs.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Generic, TypeVar

import psycopg

from almanac_pipeline.errors import AlmanacError, ConfigurationError, PermanentError, RetriableError
from almanac_pipeline.flows.publication import changed_cohorts
from almanac_pipeline.http.hosts import budget_words, host_of, page_policy
from almanac_pipeline.observability.logs import bound
from almanac_pipeline.settings import Settings
from almanac_pipeline.sources.policy import describe_page_fetching, permits_feeds, permits_pages
from almanac_pipeline.warehouse import changes, consent, switches
from almanac_pipeline.warehouse.changes import ChangedCohort
from almanac_pipeline.warehouse.publications import code_version
from almanac_pipeline.warehouse.schedule import ScheduledCohort

# An hour until the schedule looks again, and one to get through.
LOOK_AHEAD = timedelta(hours=2)
# Whose members were found in the night before the week began need not be asked for again at once.
FOUND_LATELY = timedelta(hours=12)
# An enrichment may take a day, and changes the cohort with every batch of films that it stores.
BUILT_EVERY = timedelta(hours=6)
# To look exactly takes up to a second a cohort; what this leaves is left to the run that builds.
EXACT_SECONDS = 2.0

Report = TypeVar("Report")


def is_due(cohort: ScheduledCohort, default_hours: int, now: datetime) -> bool:
    """Whether the cohort would be read too late if it were left until the schedule looks again.

    By when the last sync began, however it ended: what failed is not tried again before it is due. Pure.
    """
    if cohort.last_sync_at is None:
        return True
    return cohort.last_sync_at + timedelta(hours=cohort.every_hours or default_hours) < now + LOOK_AHEAD


def due_cohorts(
    cohorts: Iterable[ScheduledCohort], default_hours: int, now: datetime, busy: Collection[str]
) -> list[ScheduledCohort]:
    """Those that are due, have members, and are in the hands of no run. Pure."""
    return [
        cohort
        for cohort in cohorts
        if cohort.members_count and cohort.slug not in busy and is_due(cohort, default_hours, now)
    ]


def due_circles(
    cohorts: Iterable[ScheduledCohort], weekday: int, now: datetime, busy: Collection[str]
) -> list[ScheduledCohort]:
    """Those whose members were not found since Monday, and are in the hands of no run. Pure.

    On Mondays these are all; what could not be read then is asked for again the next day, since people would
    be missing for a week. `weekday`: 0 on Mondays.
    """
    since = now - timedelta(days=weekday) - FOUND_LATELY
    return [
        cohort
        for cohort in cohorts
        if cohort.slug not in busy and (cohort.circle_read_at is None or cohort.circle_read_at < since)
    ]


def why_not_to_ask(
    connection: psycopg.Connection, settings: Settings, *, has_other_source: bool = False
) -> str | None:
    """Why nothing is to be asked of the site now, and what to do about it; None if it may be.

    With another source than pages it is no reason that these may not be fetched at all.
    """
    host = host_of(settings.letterboxd_url)
    if not switches.fetching_enabled(connection):
        return "Fetching is switched off: `almanac unpause` switches it on."
    if any(blocked.host == host for blocked in switches.blocked_hosts(connection)):
        return f"{host} has refused us: `almanac alerts` says what to do, `almanac unblock {host}` goes on."
    spent, budget = switches.requests_today(connection).get(host, 0), page_policy(settings).budget_for(host)
    if budget is not None and spent >= budget:
        return f"{budget_words(settings, host, spent)}: it goes on after midnight UTC."
    if has_other_source or permits_pages(settings, settings.letterboxd_url):
        return None
    return f"{describe_page_fetching(settings, settings.letterboxd_url)}."


def has_feeds(connection: psycopg.Connection, settings: Settings) -> bool:
    """Whether there are feeds that may be asked for: of members who agreed to theirs."""
    return permits_feeds(settings, settings.letterboxd_url) and consent.has_opted_in(connection)


@dataclass(frozen=True, slots=True)
class Seen:
    """How far the sensor that asks for builds has come: its cursor."""

    change_number: int = 0
    code: str | None = None
    """The version of the code that made what it asked for."""

    @classmethod
    def from_cursor(cls, cursor: str | None) -> Seen:
        """The state that `cursor` holds; that of the beginning if there is none yet."""
        return cls(**json.loads(cursor)) if cursor else cls()

    def to_cursor(self) -> str:
        """As `from_cursor` reads it."""
        return json.dumps(asdict(self))


def cohorts_to_build(
    connection: psycopg.Connection,
    seen: Seen,
    *,
    known: Collection[str],
    busy: Collection[str],
    now: datetime,
) -> tuple[list[ChangedCohort], Seen]:
    """The cohorts whose inputs changed since `seen`, each of them once for each change; and what is seen now.

    A change is asked for once, whatever becomes of the run: a cohort that is held back or fails is not
    built over and over. One that a run is about to change further is looked at again by the next call, and
    built every few hours if that goes on for long. Nor is one asked for whose partition is not `known` yet.
    """
    code = code_version()
    if seen.code not in (None, code):
        changes.note_all_cohorts(connection)
    changes.empty_queues(connection)
    changed = changes.changed_since(connection, seen.change_number)
    latest = max((cohort.change_number for cohort in changed), default=seen.change_number)
    waiting = {
        cohort.cohort_id
        for cohort in changed
        if cohort.slug not in known
        or (cohort.slug in busy and now - (cohort.waiting_since or now) < BUILT_EVERY)
    }
    changes.postpone(connection, waiting)
    free = [cohort for cohort in changed if cohort.cohort_id not in waiting]
    changes.end_waiting(connection, [cohort.cohort_id for cohort in free])
    return _not_shown_to_be_unchanged(connection, free), Seen(latest, code)


def _not_shown_to_be_unchanged(
    connection: psycopg.Connection, changed: Sequence[ChangedCohort]
) -> list[ChangedCohort]:
    """All but those found to show their present inputs, as far as there is time to look."""
    until = time.monotonic() + EXACT_SECONDS
    return [
        cohort for cohort in changed if time.monotonic() > until or changed_cohorts(connection, [cohort.slug])
    ]


@dataclass(frozen=True, slots=True)
class EachCohort(Generic[Report]):
    """What came of each cohort of a run, by slug: a report or an error."""

    reports: Mapping[str, Report]
    failures: Mapping[str, AlmanacError]


def each_cohort(slugs: Sequence[str], work: Callable[[str], Report]) -> EachCohort[Report]:
    """Do the same for every cohort of a run; that some failed is a number, that all did is an error.

    Raises:
        AlmanacError: at once what concerns them all (blocked, paused, another layout), or the first failure
            if no cohort was without one; one that may pass rather than one that will not.
    """
    reports: dict[str, Report] = {}
    failures: dict[str, AlmanacError] = {}
    for slug in slugs:
        try:
            with bound(cohort=slug):
                reports[slug] = work(slug)
        except (RetriableError, PermanentError, ConfigurationError) as error:
            failures[slug] = error
    if failures and not reports:
        raise min(failures.values(), key=lambda error: not error.retriable)
    return EachCohort(reports, failures)
