"""Finds who belongs to a cohort now, by its definition."""

from __future__ import annotations

import time
from dataclasses import dataclass

import psycopg

from almanac_pipeline.errors import LayoutChangedError, NotFoundError, PermanentError, RetriableError
from almanac_pipeline.flows.grids import TOTAL_TOLERANCE, require_owner
from almanac_pipeline.progress import track
from almanac_pipeline.settings import Settings
from almanac_pipeline.sources.protocol import Source
from almanac_pipeline.warehouse import cohorts, members, runs, staging
from almanac_pipeline.warehouse.cohorts import Cohort
from almanac_pipeline.warehouse.connection import connect_to
from almanac_pipeline.warehouse.members import MembershipChange
from almanac_pipeline.warehouse.runs import Run


@dataclass(frozen=True, slots=True)
class MembersReport:
    """What a sync of members did."""

    members_count: int
    added_count: int
    ended_count: int
    requests_count: int
    is_suspicious: bool
    """The answer had shrunk so much that no membership was ended."""
    seconds: float
    preview: tuple[str, ...]
    """The first ten user names."""


def sync_members(
    database_url: str, settings: Settings, source: Source, cohort_slug: str, run_id: str | None = None
) -> MembersReport:
    """Begin and end memberships so that they agree with the cohort's definition.

    Raises:
        AlmanacError: the seed's following pages could not be read completely; nothing was changed.
    """
    started = time.monotonic()
    with connect_to(database_url, autocommit=True) as connection:
        cohort = cohorts.get_cohort(connection, cohort_slug)
        with (
            runs.scrape_run(database_url, cohort.cohort_id, "members", run_id) as run,
            track("members") as progress,
        ):
            is_suspicious = False
            if cohort.definition["kind"] == "usernames":
                change = _set_named(connection, cohort)
            else:
                try:
                    followed = read_following(source, cohort.definition["seed"], run)
                except (RetriableError, PermanentError) as error:
                    if isinstance(error, NotFoundError) and cohort.seed_user_id is not None:
                        members.mark_deleted(connection, cohort.seed_user_id)
                    runs.record_failure(connection, run, "following", error, user_id=cohort.seed_user_id)
                    run.failures_count += 1
                    raise
                change, is_suspicious = _set_followed(connection, settings, cohort, followed, run)
            current = members.current_members(connection, cohort.cohort_id)
            run.members_count, run.rows_seen = len(current), len(current)
            run.rows_changed, run.rows_removed = len(change.added), len(change.ended)
            progress.advance(len(current))
    return MembersReport(
        members_count=len(current),
        added_count=len(change.added),
        ended_count=len(change.ended),
        requests_count=run.requests_count,
        is_suspicious=is_suspicious,
        seconds=time.monotonic() - started,
        preview=tuple(member.username for member in current[:10]),
    )


def read_following(source: Source, seed: str, run: Run) -> list[str]:
    """The lower-case names of all whom `seed` follows, in the site's order.

    Raises:
        RetriableError: there were fewer or more people than the page states.
        LayoutChangedError: a page showed only people that earlier pages had shown.
    """
    names: dict[str, None] = {}
    total = None
    for page in source.read_following(seed):
        run.requests_count += 1
        run.pages_count += 1
        require_owner(seed, page.owner)
        total = page.total if page.total is not None else total
        new = dict.fromkeys(person.username.lower() for person in page.people)
        if new and new.keys() <= names.keys():
            raise LayoutChangedError(f"Page {run.pages_count} of whom {seed} follows shows nobody new.")
        names |= new
    if not run.pages_count:
        raise RetriableError(f"Whom {seed} follows could not be read: not a single page came.")
    if total is not None and abs(len(names) - total) > TOTAL_TOLERANCE:
        raise RetriableError(f"{seed} follows {total} people, but {len(names)} were shown. Try again later.")
    return list(names)


def _set_named(connection: psycopg.Connection, cohort: Cohort) -> MembershipChange:
    with connection.transaction():
        users = members.ensure_users(connection, cohort.definition["usernames"])
        depths = dict.fromkeys(users.values(), 1)
        return members.set_members(connection, cohort.cohort_id, depths, may_end=True)


def _set_followed(
    connection: psycopg.Connection, settings: Settings, cohort: Cohort, followed: list[str], run: Run
) -> tuple[MembershipChange, bool]:
    """Write memberships and follows; nothing ends if the answer shrank below the guard's share."""
    seed_id = cohort.seed_user_id
    assert seed_id is not None
    with connection.transaction():
        stored = members.count_followed(connection, seed_id)
        is_suspicious = len(followed) < settings.shrink_guard_share * stored
        users = members.ensure_users(connection, followed)
        depths = dict.fromkeys(users.values(), 1)
        if cohort.definition["include_self"]:
            depths[seed_id] = 0
        members.set_follows(connection, seed_id, users.values(), may_end=not is_suspicious)
        change = members.set_members(connection, cohort.cohort_id, depths, may_end=not is_suspicious)
        if is_suspicious:
            staging.mark_suspicious(connection, seed_id, "following")
        else:
            staging.mark_success(connection, seed_id, "following", complete=True)
            runs.resolve_failures(connection, "following", user_id=seed_id)
    if is_suspicious:
        seed = cohort.definition["seed"]
        runs.record_failure(
            connection,
            run,
            "following",
            RetriableError(
                f"{seed} now follows {len(followed)} people, where {stored} are stored: no membership was "
                "ended. If that is right, run once with a lower ALMANAC_SHRINK_GUARD_SHARE."
            ),
            user_id=seed_id,
        )
        run.failures_count += 1
    return change, is_suspicious
