"""Keeps the likes and the profile favourites of a cohort's members fresh.

Likes of rated films come with the rated grid; the first read asks for the unrated ones only.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

import psycopg

from almanac_pipeline.errors import LayoutChangedError, PermanentError, RetriableError
from almanac_pipeline.flows.grids import (
    GridKind,
    MemberRead,
    add_to_run,
    failed,
    read_members,
    require_owner,
    sync_grid,
)
from almanac_pipeline.flows.workers import require_some_success
from almanac_pipeline.settings import Settings
from almanac_pipeline.sources.protocol import Source
from almanac_pipeline.warehouse import cohorts, members, opinions, runs, staging
from almanac_pipeline.warehouse.connection import connect_to
from almanac_pipeline.warehouse.members import Member
from almanac_pipeline.warehouse.opinions import LatestChange
from almanac_pipeline.warehouse.runs import Run

LIKES = GridKind(
    subject="likes",
    full_grid="likes_unrated",
    full_part="likes_unrated",
    newest_grid="likes",
    newest_part="likes",
)
MAXIMUM_FAVORITES = 4


@dataclass(frozen=True, slots=True)
class LikesReport:
    """What a sync of likes and favourites did. Counts of members by how their likes were read."""

    members_count: int
    full_count: int
    incremental_count: int
    unchanged_count: int
    skipped_count: int
    profiles_count: int
    failures_count: int
    requests_count: int
    rows_seen: int
    added_count: int
    changed_count: int
    removed_count: int
    restored_count: int
    new_films_count: int
    seconds: float
    preview: tuple[LatestChange, ...]
    failures: tuple[str, ...]
    """The first few reasons."""


def sync_likes(
    database_url: str,
    settings: Settings,
    source: Source,
    cohort_slug: str,
    run_id: str | None = None,
    *,
    full: bool = False,
) -> LikesReport:
    """Read what is new of every current member's likes, and the profiles that are due.

    With `full`, everything. Raises as `sync_ratings` does.
    """
    started = time.monotonic()
    with connect_to(database_url, autocommit=True) as connection:
        cohort = cohorts.get_cohort(connection, cohort_slug)
        cohort_members = members.readable_members(connection, cohort.cohort_id)
    with runs.scrape_run(database_url, cohort.cohort_id, "likes", run_id) as run:
        profiles: list[int] = []

        def read(
            connection: psycopg.Connection, member: Member, stopping: threading.Event, wait: bool
        ) -> MemberRead:
            with runs.member_lock(connection, "likes", member.user_id, wait=wait) as is_ours:
                if not is_ours:
                    return MemberRead("busy")
                likes = sync_grid(connection, source, settings, run, member, LIKES, stopping, full=full)
                profile = sync_favorites(connection, source, settings, run, member)
                if profile.outcome == "full":
                    profiles.append(member.user_id)
                return MemberRead(
                    likes.outcome,
                    likes.requests + profile.requests,
                    likes.rows_seen + profile.rows_seen,
                    likes.changes + profile.changes,
                    likes.errors + profile.errors,
                )

        results = read_members(database_url, settings, cohort_members, "likes", read)
        outcomes = add_to_run(run, [result for _, result in results])
        errors = [error for _, result in results for error in result.errors]
        attempted = len(results) - outcomes["skipped"]
        require_some_success(
            "members", attempted, errors if outcomes["failed"] == attempted and not profiles else []
        )
    changes = sum((result.changes for _, result in results), opinions.Changes())
    with connect_to(database_url, autocommit=True) as connection:
        preview = opinions.latest_changes(connection, run.run_id) if changes.total else ()
    return LikesReport(
        members_count=len(cohort_members),
        full_count=outcomes["full"],
        incremental_count=outcomes["incremental"],
        unchanged_count=outcomes["unchanged"],
        skipped_count=outcomes["skipped"],
        profiles_count=len(profiles),
        failures_count=len(errors),
        requests_count=run.requests_count,
        rows_seen=run.rows_seen,
        added_count=changes.added,
        changed_count=changes.changed,
        removed_count=changes.removed,
        restored_count=changes.restored,
        new_films_count=changes.new_films,
        seconds=time.monotonic() - started,
        preview=preview,
        failures=tuple(str(error) for error in errors[:5]),
    )


def sync_favorites(
    connection: psycopg.Connection, source: Source, settings: Settings, run: Run, member: Member
) -> MemberRead:
    """Read the member's profile if it is due and set the favourites. The caller holds the lock."""
    state = staging.read_state(connection, member.user_id, "profile")
    if not state.success_is_older_than(settings.profile_max_age_hours):
        return MemberRead("skipped")
    try:
        profile = source.read_profile(member.username)
        require_owner(member.username, profile.owner)
        if len(profile.favorites) > MAXIMUM_FAVORITES:
            raise LayoutChangedError(
                f"The profile of {member.username} shows {len(profile.favorites)} favourites."
            )
        stored = opinions.count_stored(connection, member.user_id, "favorites")
        if len(profile.favorites) < settings.shrink_guard_share * stored:
            staging.mark_suspicious(connection, member.user_id, "profile")
            raise RetriableError(
                f"The profile of {member.username} shows {len(profile.favorites)} favourites"
                f" where {stored} are stored; nothing was changed."
            )
    except (RetriableError, PermanentError) as error:
        return failed(connection, run, member, "profile", error, 1)
    changes = opinions.merge_favorites(
        connection, member.user_id, profile.favorites, source=source.name, run_id=run.run_id
    )
    return MemberRead("full", 1, len(profile.favorites), changes)
