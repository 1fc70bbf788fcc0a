"""Syncs the opinions of a cohort's members, each on the route that was planned, and reports.

The loop over members and the report that ratings and likes share; the steps themselves are in
`grids`, `identities` and `feed`.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

import psycopg

from almanac_pipeline.errors import (
    AlmanacError,
    ForgottenError,
    NotFoundError,
    PermanentError,
    PrivateError,
    RenamedError,
    RetriableError,
)
from almanac_pipeline.flows import identities
from almanac_pipeline.flows.feed import sync_feed
from almanac_pipeline.flows.grids import MemberRead, Reading, sync_grid
from almanac_pipeline.flows.routes import (
    Feeds,
    Permissions,
    Route,
    Step,
    StepKind,
    circle_pages,
    circle_requests,
    permissions,
    plan_route,
)
from almanac_pipeline.flows.workers import LayoutWatch, in_parallel, require_some_success
from almanac_pipeline.observability.logs import bound
from almanac_pipeline.progress import track
from almanac_pipeline.settings import Settings
from almanac_pipeline.sources.protocol import Source
from almanac_pipeline.warehouse import alerts, cohorts, members, opinions, runs, staging
from almanac_pipeline.warehouse.cohorts import Cohort
from almanac_pipeline.warehouse.connection import connect_to, connection_pool
from almanac_pipeline.warehouse.member_state import MemberState, read_member_states
from almanac_pipeline.warehouse.members import Member
from almanac_pipeline.warehouse.opinions import LatestChange
from almanac_pipeline.warehouse.runs import Run
from almanac_pipeline.warehouse.staging import GridSubject, ScrapeState

STEPS: dict[GridSubject, frozenset[StepKind]] = {
    "ratings": frozenset(("profile", "rated", "rated_by_date", "feed")),
    "likes": frozenset(("likes", "likes_unrated")),
}
"""Which steps of a route each of the two runs takes. The ratings come first: they tell of likes."""

_FAILURE_KINDS: dict[StepKind, str] = {
    "profile": "profile",
    "rated": "ratings",
    "rated_by_date": "ratings",
    "feed": "feed",
    "likes": "likes",
    "likes_unrated": "likes",
}
# After these no other page of the member is worth a request.
_GONE = (NotFoundError, PrivateError, RenamedError, ForgottenError)


@dataclass(frozen=True, slots=True)
class OpinionsReport:
    """What a sync did. Counts of members by how they were read, of rows by what changed."""

    members_count: int
    full_count: int
    incremental_count: int
    unchanged_count: int
    skipped_count: int
    """Members of whom nothing was asked: read a moment ago, without a sign of news, or without a route."""
    profiles_count: int
    feeds_count: int
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
    notes: tuple[str, ...]
    """What could not be read at all, and what to do about it."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A member's route, and what came of each step that was taken."""

    route: Route
    reads: tuple[tuple[Step, MemberRead], ...] = ()
    milliseconds: int = 0

    @property
    def errors(self) -> tuple[AlmanacError, ...]:
        """What went wrong on the way."""
        return tuple(error for _, read in self.reads for error in read.errors)

    @property
    def changes(self) -> opinions.Changes:
        """What changed on the way."""
        return sum((read.changes for _, read in self.reads), opinions.Changes())

    @property
    def is_out_of_reach(self) -> bool:
        """Whether nothing of the member may be asked, or they were found private or gone not long ago."""
        return self.route.is_nowhere or self.route.member.unreadable_hours is not None

    @property
    def outcome(self) -> str:
        """How the last step ended, which is the one that matters most: a profile comes first."""
        return self.reads[-1][1].outcome if self.reads else "skipped"


@dataclass(frozen=True, slots=True)
class SyncPlan:
    """What a sync of a cohort would do."""

    routes: tuple[Route, ...]
    """Of the members that are known now, by name; a cohort of names or of a list's owner knows all."""
    circle_requests: tuple[int, int | None] | None
    """Fewest and most requests for finding who is in the circle.

    None: the pages that tell may not be fetched, so a sync ends before any member is read."""


def sync_opinions(
    database_url: str,
    settings: Settings,
    source: Source,
    cohort_slug: str,
    subject: GridSubject,
    run_id: str | None = None,
    *,
    feeds: Feeds | None = None,
    full: bool = False,
) -> OpinionsReport:
    """Take every current member's steps of this subject, on as many threads as there are workers.

    Raises:
        BlockedError, PausedError, ConfigurationError, LayoutDriftError: at once, for the whole run.
        RetriableError, PermanentError: not one member could be read.
    """
    started = time.monotonic()
    with connect_to(database_url, autocommit=True) as connection:
        cohort = cohorts.get_cohort(connection, cohort_slug)
        cohort_members = members.readable_members(connection, cohort.cohort_id)
    with runs.scrape_run(database_url, cohort.cohort_id, subject, run_id) as run:
        with connect_to(database_url, autocommit=True) as connection:
            states = read_member_states(connection, [member.user_id for member in cohort_members])
            may = _permissions(source, feeds, states)

        def take(
            connection: psycopg.Connection, member: Member, stopping: threading.Event, wait: bool
        ) -> Taken | None:
            with runs.member_lock(connection, subject, member.user_id, wait=wait) as is_ours:
                if not is_ours:
                    return None
                states = read_member_states(connection, [member.user_id])
                if not states:
                    return None  # forgotten meanwhile
                reading = Reading(connection, settings, run, states[0], stopping)
                route = plan_route(
                    states[0], may, settings,
                    full=full, ratings_are_read=subject == "likes", began_at=run.started_at,
                )  # fmt: skip
                taken = _take(reading, route, STEPS[subject], source, feeds)
                _record(connection, run, taken)
                return taken

        with identities.gone_only_if_believed(database_url, run, cohort_members):
            results = _each_member(database_url, settings, cohort_members, subject, take)
        for result in results:
            _add_to_run(run, result)
        attempted = [result for result in results if result.reads]
        errors = [error for result in attempted for error in result.errors]
        answered = [result for result in attempted if result.outcome != "unreadable"]
        # Where some need no reading, because nothing is new, one name that leads nowhere fails no run.
        are_all_asked = all(result.reads or result.is_out_of_reach for result in results)
        if are_all_asked and all(result.outcome == "failed" for result in answered):
            failures = [error for result in answered for error in result.errors]
            require_some_success("members", len(answered), failures)
        with connect_to(database_url, autocommit=True) as connection:
            alerts.check_volume(connection, run, settings.volume_alert_factor)
    changes = sum((result.changes for result in results), opinions.Changes())
    with connect_to(database_url, autocommit=True) as connection:
        rating_counts = opinions.rating_counts(connection, cohort.cohort_id)
        preview = opinions.latest_changes(connection, run.run_id) if changes.total else ()
    outcomes = Counter(
        (step.reads if step.reads in ("profile", "feed") else "grid", read.outcome)
        for result in results
        for step, read in result.reads
    )
    return OpinionsReport(
        members_count=len(cohort_members),
        full_count=outcomes["grid", "full"],
        incremental_count=outcomes["grid", "incremental"],
        unchanged_count=outcomes["grid", "unchanged"],
        skipped_count=len(results) - len(attempted),
        profiles_count=outcomes["profile", "full"],
        feeds_count=outcomes["feed", "incremental"] + outcomes["feed", "unchanged"],
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
        notes=_notes(subject, results),
    )


def plan_sync(
    connection: psycopg.Connection,
    settings: Settings,
    source: Source,
    feeds: Feeds | None,
    cohort_slug: str,
    *,
    full: bool = False,
) -> SyncPlan:
    """The routes that a sync would take now. Nothing is fetched but robots.txt, if no fresh copy is stored.

    Raises:
        RetriableError: robots.txt cannot be had at the moment.
        BlockedError, PausedError: the host refuses us, or fetching is switched off.
    """
    cohort = cohorts.get_cohort(connection, cohort_slug)
    cohorts.require_active(cohort)
    circle = _circle_requests(connection, settings, source, cohort)
    if circle is None:
        return SyncPlan((), None)
    states = _states_to_plan(connection, cohort)
    may = _permissions(source, feeds, states)
    return SyncPlan(tuple(plan_route(state, may, settings, full=full) for state in states), circle)


def _circle_requests(
    connection: psycopg.Connection, settings: Settings, source: Source, cohort: Cohort
) -> tuple[int, int | None] | None:
    definition, seed_id = cohorts.definition_of(cohort), cohort.seed_user_id
    state, stored = ScrapeState(), set[int]()
    if seed_id is not None and definition["kind"] == "following":
        state = staging.read_state(connection, seed_id, "following")
        stored = set(members.followed_by(connection, [seed_id]))
    elif seed_id is not None and definition["kind"] == "followers":
        state = staging.read_state(connection, seed_id, "followers")
        stored = set(members.followers_of(connection, seed_id))
    current = {member.user_id for member in members.current_members(connection, cohort.cohort_id)}
    return circle_requests(
        definition,
        frozenset(filter(source.permits, circle_pages(definition))),
        settings,
        seed=state,
        stored_count=len(stored),
        is_settled=current - {seed_id} == stored,
    )


def _states_to_plan(connection: psycopg.Connection, cohort: Cohort) -> list[MemberState]:
    """The members, also those that the definition names and the next sync lets in."""
    definition = cohorts.definition_of(cohort)
    # Names that are new get a row, as they will by the sync, for as long as we look.
    with connection.transaction(force_rollback=True):
        if definition["kind"] == "usernames":
            named = members.named_users(connection, cohort.cohort_id, definition["usernames"])
            user_ids = list(named.values())
        elif circle_pages(definition) or cohort.seed_user_id is None:
            user_ids = [m.user_id for m in members.current_members(connection, cohort.cohort_id)]
        else:
            user_ids = [cohort.seed_user_id]
        states = read_member_states(connection, user_ids)
    return [state for state in states if state.status not in ("renamed", "forgotten")]


def _permissions(source: Source, feeds: Feeds | None, states: Sequence[MemberState]) -> Permissions:
    """What may be asked; about feeds only where a member agreed to theirs."""
    wants_feeds = any(state.feed_opted_in_at is not None for state in states)
    return permissions(source, feeds if wants_feeds else None)


def _take(
    reading: Reading, route: Route, kinds: Collection[StepKind], source: Source, feeds: Feeds | None
) -> Taken:
    """Take the steps of these kinds in their order. The caller holds the member's lock.

    Errors that concern this member only are recorded and returned; all others are raised.
    """
    started = time.monotonic()
    reads: list[tuple[Step, MemberRead]] = []
    for step in route.steps:
        if step.reads not in kinds:
            continue
        read = _read(reading, step, source, feeds)
        reads.append((step, read))
        if step.mode == "full":
            # A profile may have told another name or another person, or that there is nobody to ask about;
            # all ratings close the gap of a feed.
            states = read_member_states(reading.connection, [route.member.user_id])
            is_gone = step.reads == "profile" and any(isinstance(error, _GONE) for error in read.errors)
            if not states or is_gone:
                break
            reading = replace(reading, member=states[0])
    return Taken(route, tuple(reads), round(1000 * (time.monotonic() - started)))


def _read(reading: Reading, step: Step, source: Source, feeds: Feeds | None) -> MemberRead:
    connection = reading.connection
    reading = replace(reading, requests=0, pages=0, rows_seen=0)
    member = Member(reading.member.user_id, reading.member.username, reading.member.status)
    try:
        try:
            return _read_once(reading, step, source, feeds)
        except RenamedError as renamed:
            identities.follow_renaming(connection, member, renamed)
            [reading.member] = read_member_states(connection, [member.user_id])
            return _read_once(reading, step, source, feeds)
    except (RetriableError, PermanentError) as error:
        learned, is_answer = identities.learn_from_error(
            connection, source, reading.run, member, _FAILURE_KINDS[step.reads], error, reading.asks
        )
        user_id = None if isinstance(learned, ForgottenError) else member.user_id
        runs.record_failure(connection, reading.run, _FAILURE_KINDS[step.reads], learned, user_id=user_id)
        return MemberRead(
            "unreadable" if is_answer else "failed",
            reading.requests,
            reading.rows_seen,
            errors=(learned,),
            pages=reading.pages,
        )


def _read_once(reading: Reading, step: Step, source: Source, feeds: Feeds | None) -> MemberRead:
    if step.reads == "profile":
        return _read_profile(reading, source)
    if step.reads == "feed":
        assert feeds is not None
        return sync_feed(reading, feeds)
    return sync_grid(reading, source, step.reads, step.mode)


def _read_profile(reading: Reading, source: Source) -> MemberRead:
    """The favourites; the counts that it states are kept for the audit of the ratings."""
    member = Member(reading.member.user_id, reading.member.username, reading.member.status)
    reading.asks()
    profile, user_id = identities.read_profile(reading.connection, source, member)
    reading.got(len(profile.favorites))
    changes = identities.set_favorites(
        reading.connection, reading.settings, source, reading.run, user_id, profile
    )
    return reading.ended("full", changes)


def _each_member(
    database_url: str,
    settings: Settings,
    cohort_members: Sequence[Member],
    task: str,
    take: Callable[[psycopg.Connection, Member, threading.Event, bool], Taken | None],
) -> list[Taken]:
    """Call `take(connection, member, stopping, wait)` for every member, each thread on its own connection.

    A member whom another run is reading just now comes again at the end, and is waited for then.
    """
    results: list[Taken] = []
    watch = LayoutWatch(settings.shrink_guard_share)
    with (
        connection_pool(database_url, settings.http_workers) as pool,
        track(task, len(cohort_members)) as progress,
    ):
        todo = list(cohort_members)
        for wait in (False, True):

            def work(member: Member, stopping: threading.Event, wait: bool = wait) -> Taken | None:
                try:
                    with bound(user_id=member.user_id), pool.connection() as connection:
                        return take(connection, member, stopping, wait)
                except ForgottenError:
                    return None  # forgotten since the run began

            busy = []
            for member, taken in in_parallel(work, todo, settings.http_workers):
                if taken is None:
                    busy.append(member)
                else:
                    results.append(taken)
                    progress.advance()
                    watch.saw(
                        taken.errors,
                        has_success=any(not read.errors for _, read in taken.reads),
                        is_gone=member.status != "deleted"
                        and taken.outcome == "unreadable"
                        and any(isinstance(error, NotFoundError) for error in taken.errors),
                    )
            todo = busy
    watch.ended()
    return results


def _record(connection: psycopg.Connection, run: Run, taken: Taken) -> None:
    reads = [read for _, read in taken.reads]
    changes, errors = taken.changes, taken.errors
    runs.record_member(
        connection,
        run,
        taken.route.member.user_id,
        taken.outcome,
        pages_count=sum(read.pages for read in reads),
        requests_count=sum(read.requests for read in reads),
        rows_seen=sum(read.rows_seen for read in reads),
        rows_changed=changes.total - changes.removed,
        rows_removed=changes.removed,
        milliseconds=taken.milliseconds,
        error=errors[0] if errors else None,
    )


def _add_to_run(run: Run, taken: Taken) -> None:
    changes = taken.changes
    run.members_count += taken.outcome not in ("skipped", "failed", "unreadable")
    for _, read in taken.reads:
        run.pages_count += read.pages
        run.requests_count += read.requests
        run.rows_seen += read.rows_seen
    run.rows_changed += changes.total - changes.removed
    run.rows_removed += changes.removed
    run.failures_count += len(taken.errors)


def _notes(subject: GridSubject, results: Sequence[Taken]) -> tuple[str, ...]:
    if subject == "likes":
        return ()
    notes = []
    if without := sum(result.route.is_nowhere for result in results):
        notes.append(
            f"of {without:,} members neither pages nor feeds may be fetched: import their exports "
            "(`almanac import FILE.zip`)"
        )
    if gaps := sum(read.has_gap for result in results for _, read in result.reads):
        notes.append(
            f"{gaps:,} {'feed no longer reaches' if gaps == 1 else 'feeds no longer reach'} back to what is "
            "known: a new export or full read is due"
        )
    return tuple(notes)
