"""Keeps the ratings of a cohort's members fresh: everything once, then newest first."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

import psycopg

from almanac_pipeline.flows.grids import GridKind, MemberRead, add_to_run, read_members, sync_grid
from almanac_pipeline.flows.workers import require_some_success
from almanac_pipeline.settings import Settings
from almanac_pipeline.sources.protocol import Source
from almanac_pipeline.warehouse import cohorts, members, opinions, runs
from almanac_pipeline.warehouse.connection import connect_to
from almanac_pipeline.warehouse.members import Member
from almanac_pipeline.warehouse.opinions import LatestChange

RATINGS = GridKind(
    subject="ratings",
    full_grid="rated",
    full_part="rated",
    newest_grid="rated_by_date",
    newest_part="rated",
)


@dataclass(frozen=True, slots=True)
class RatingsReport:
    """What a sync of ratings did. Counts of members by how they were read, of rows by what changed."""

    members_count: int
    full_count: int
    incremental_count: int
    unchanged_count: int
    skipped_count: int
    failures_count: int
    requests_count: int
    rows_seen: int
    added_count: int
    changed_count: int
    removed_count: int
    restored_count: int
    new_films_count: int
    seconds: float
    rating_counts: tuple[int, ...]
    """The cohort's ratings now: half a star to five stars."""
    preview: tuple[LatestChange, ...]
    failures: tuple[str, ...]
    """The first few reasons."""


def sync_ratings(
    database_url: str,
    settings: Settings,
    source: Source,
    cohort_slug: str,
    run_id: str | None = None,
    *,
    full: bool = False,
) -> RatingsReport:
    """Read what is new of every current member's ratings; with `full`, everything.

    Raises:
        BlockedError, PausedError, ConfigurationError: at once, for the whole run.
        RetriableError, PermanentError: not one member could be read.
    """
    started = time.monotonic()
    with connect_to(database_url, autocommit=True) as connection:
        cohort = cohorts.get_cohort(connection, cohort_slug)
        cohort_members = members.readable_members(connection, cohort.cohort_id)
    with runs.scrape_run(database_url, cohort.cohort_id, "ratings", run_id) as run:

        def read(
            connection: psycopg.Connection, member: Member, stopping: threading.Event, wait: bool
        ) -> MemberRead:
            with runs.member_lock(connection, "ratings", member.user_id, wait=wait) as is_ours:
                if not is_ours:
                    return MemberRead("busy")
                return sync_grid(connection, source, settings, run, member, RATINGS, stopping, full=full)

        results = read_members(database_url, settings, cohort_members, "ratings", read)
        outcomes = add_to_run(run, [result for _, result in results])
        errors = [error for _, result in results for error in result.errors]
        require_some_success("members", len(results) - outcomes["skipped"], errors)
    changes = sum((result.changes for _, result in results), opinions.Changes())
    with connect_to(database_url, autocommit=True) as connection:
        rating_counts = opinions.rating_counts(connection, cohort.cohort_id)
        preview = opinions.latest_changes(connection, run.run_id) if changes.total else ()
    return RatingsReport(
        members_count=len(cohort_members),
        full_count=outcomes["full"],
        incremental_count=outcomes["incremental"],
        unchanged_count=outcomes["unchanged"],
        skipped_count=outcomes["skipped"],
        failures_count=len(errors),
        requests_count=run.requests_count,
        rows_seen=run.rows_seen,
        added_count=changes.added,
        changed_count=changes.changed,
        removed_count=changes.removed,
        restored_count=changes.restored,
        new_films_count=changes.new_films,
        seconds=time.monotonic() - started,
        rating_counts=rating_counts,
        preview=preview,
        failures=tuple(str(error) for error in errors[:5]),
    )
