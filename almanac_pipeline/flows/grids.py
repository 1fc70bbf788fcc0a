"""Reads one member's grid page by page: plan, stage, audit, merge. Shared by ratings and likes."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import psycopg

from almanac_pipeline.errors import (
    AlmanacError,
    ForgottenError,
    LayoutChangedError,
    NotFoundError,
    PermanentError,
    RetriableError,
    WrongPageError,
)
from almanac_pipeline.flows.workers import StoppedError, in_parallel
from almanac_pipeline.progress import track
from almanac_pipeline.settings import Settings
from almanac_pipeline.sources.protocol import Grid, Source
from almanac_pipeline.sources.records import FilmGrid
from almanac_pipeline.warehouse import members, opinions, runs, staging
from almanac_pipeline.warehouse.connection import connection_pool
from almanac_pipeline.warehouse.members import Member
from almanac_pipeline.warehouse.opinions import Changes
from almanac_pipeline.warehouse.runs import Run
from almanac_pipeline.warehouse.staging import GridSubject, Mode, ScrapeState, StagedSummary

# The site's stated totals were seen to differ by one from what its pages show.
TOTAL_TOLERANCE = 1

Outcome = Literal["full", "incremental", "unchanged", "skipped", "busy", "failed"]


@dataclass(frozen=True, slots=True)
class GridKind:
    """The two grids that tell one kind of opinion: everything, and newest first."""

    subject: GridSubject
    full_grid: Grid
    full_part: Literal["rated", "likes_unrated"]
    newest_grid: Grid
    newest_part: Literal["rated", "likes"]


@dataclass(frozen=True, slots=True)
class MemberRead:
    """What came of one member."""

    outcome: Outcome
    requests: int = 0
    rows_seen: int = 0
    changes: Changes = field(default_factory=Changes)
    errors: tuple[AlmanacError, ...] = ()


@dataclass(frozen=True, slots=True)
class _Pages:
    """How the reading of a grid ended."""

    stated_total: int | None
    complete: bool
    has_news: bool = True
    has_moved: bool = False


@dataclass(slots=True)
class _Reader:
    """What reading one member takes, so that the steps need not pass it along, and its counts."""

    connection: psycopg.Connection
    source: Source
    settings: Settings
    run: Run
    kind: GridKind
    stopping: threading.Event
    requests: int = 0
    rows_seen: int = 0

    def pages(self, username: str, grid: Grid, first_page: int) -> Iterator[FilmGrid]:
        """The source's pages, each request counted, also one that fails."""
        pages = self.source.read_grid(username, grid, first_page=first_page)
        while True:
            if self.stopping.is_set():
                raise StoppedError("Stopped, because another member met a fatal error.")
            self.requests += 1
            page = next(pages, None)
            if page is None:
                return
            self.rows_seen += len(page.items)
            yield page


def read_members(
    database_url: str,
    settings: Settings,
    cohort_members: list[Member],
    task: str,
    read: Callable[[psycopg.Connection, Member, threading.Event, bool], MemberRead],
) -> list[tuple[Member, MemberRead]]:
    """Call `read(connection, member, stopping, wait)` for every member, each thread on its own connection.

    A member that another run is reading just now comes again at the end, and is waited for then.
    """
    results: list[tuple[Member, MemberRead]] = []
    with (
        connection_pool(database_url, settings.http_workers) as pool,
        track(task, len(cohort_members)) as progress,
    ):
        todo = cohort_members
        for wait in (False, True):

            def work(member: Member, stopping: threading.Event, wait: bool = wait) -> MemberRead:
                try:
                    with pool.connection() as connection:
                        return read(connection, member, stopping, wait)
                except ForgottenError:
                    return MemberRead("skipped")

            busy = []
            for member, result in in_parallel(work, todo, settings.http_workers):
                if result.outcome == "busy":
                    busy.append(member)
                else:
                    results.append((member, result))
                    progress.advance()
            todo = busy
    return results


def add_to_run(run: Run, results: list[MemberRead]) -> Counter[Outcome]:
    """Add what came of the members to the run's counts; returns how many had which outcome."""
    for result in results:
        run.members_count += result.outcome not in ("skipped", "failed")
        run.pages_count += result.requests
        run.requests_count += result.requests
        run.rows_seen += result.rows_seen
        run.rows_changed += result.changes.added + result.changes.changed + result.changes.restored
        run.rows_removed += result.changes.removed
        run.failures_count += len(result.errors)
    return Counter(result.outcome for result in results)


def sync_grid(
    connection: psycopg.Connection,
    source: Source,
    settings: Settings,
    run: Run,
    member: Member,
    kind: GridKind,
    stopping: threading.Event,
    *,
    full: bool = False,
) -> MemberRead:
    """Bring one member's opinions of one kind up to date. The caller holds the member's lock.

    Errors that concern this member only are recorded and returned; all others are raised.
    """
    state = staging.read_state(connection, member.user_id, kind.subject)
    if state.last_success_at is not None and state.last_success_at > run.started_at:
        return MemberRead("skipped")  # another run finished this member after we began
    plan = plan_read(kind, state, source, settings, full=full)
    if plan is None:
        return MemberRead("skipped")
    grid, mode = plan
    reader = _Reader(connection, source, settings, run, kind, stopping)
    try:
        return _read_and_merge(reader, member, state, grid, mode)
    except (RetriableError, PermanentError) as error:
        return failed(connection, run, member, kind.subject, error, reader.requests)


def failed(
    connection: psycopg.Connection,
    run: Run,
    member: Member,
    page_kind: str,
    error: AlmanacError,
    requests: int,
) -> MemberRead:
    """Record that a member could not be read. Memberships and opinions stay as they are."""
    if isinstance(error, NotFoundError):
        members.mark_deleted(connection, member.user_id)
    runs.record_failure(connection, run, page_kind, error, user_id=member.user_id)
    return MemberRead("failed", requests, errors=(error,))


def plan_read(
    kind: GridKind, state: ScrapeState, source: Source, settings: Settings, *, full: bool
) -> tuple[Grid, Mode] | None:
    """Which grid to read in which mode; None where nothing is permitted or due."""
    if not full and state.last_full_at is not None:
        if source.permits(kind.newest_grid):
            return kind.newest_grid, "incremental"
        if not state.full_is_older_than(settings.full_read_max_age_hours):
            return None
    return (kind.full_grid, "full") if source.permits(kind.full_grid) else None


def audit(
    staged: StagedSummary,
    stated_total: int | None,
    stored_count: int,
    guard_share: float,
    *,
    filtered_out_count: int = 0,
) -> str | None:
    """Why a complete snapshot is not to be believed; None if it is. Pure.

    `stored_count` is how many opinions of the same part are stored. `filtered_out_count` is how
    many the grid leaves out although the page may count them in its total.
    """
    totals = (stated_total, stated_total - filtered_out_count) if stated_total is not None else ()
    if totals and min(abs(staged.items_count - total) for total in totals) > TOTAL_TOLERANCE:
        return f"{staged.items_count} films were shown where the page states {stated_total}"
    if staged.films_count != staged.items_count:
        return f"{staged.items_count - staged.films_count} films were shown twice"
    if staged.pages_count != staged.last_page:
        return f"{staged.last_page - staged.pages_count} pages are missing"
    if staged.items_count < guard_share * stored_count:
        return (
            f"only {staged.items_count} films were shown where {stored_count} are stored; nothing was "
            "changed. If that is right, run once with a lower ALMANAC_SHRINK_GUARD_SHARE"
        )
    return None


def require_owner(username: str, owner: str | None) -> None:
    """Refuse a page that is another member's, or nobody's.

    Raises:
        WrongPageError: the owner is not `username`.
    """
    if owner is None or owner.lower() != username:
        raise WrongPageError(f"Asked for a page of {username}, got one of {owner or 'nobody'}.")


def _read_and_merge(
    reader: _Reader, member: Member, state: ScrapeState, grid: Grid, mode: Mode
) -> MemberRead:
    connection, kind = reader.connection, reader.kind
    part = kind.full_part if mode == "full" else kind.newest_part
    first_page = state.resume_page(mode)
    pages = _read_pages(reader, member, state, grid, mode, first_page)
    if pages.has_moved:
        # The list changed between two pages, or since the checkpoint: once more from the start.
        pages = _read_pages(reader, member, state, grid, mode, 1)
    if not pages.has_news:
        opinions.record_unchanged(connection, member.user_id, kind.subject)
        return MemberRead("unchanged", reader.requests, reader.rows_seen)
    reason = None
    if pages.has_moved:
        reason = "the list kept changing while it was read"
    elif pages.complete:
        stored = opinions.count_stored(connection, member.user_id, part)
        # The page of unrated likes may state the number of all likes.
        all_likes = opinions.count_stored(connection, member.user_id, "likes")
        reason = audit(
            staging.summarise_staged(connection, member.user_id, kind.subject),
            pages.stated_total,
            stored,
            reader.settings.shrink_guard_share,
            filtered_out_count=all_likes - stored if part == "likes_unrated" else 0,
        )
    if reason is not None:
        staging.discard_staged(connection, member.user_id, kind.subject)
        staging.mark_suspicious(connection, member.user_id, kind.subject)
        raise RetriableError(f"{member.username}, {grid}: {reason}.")
    changes = opinions.merge_staged(
        connection,
        member.user_id,
        kind.subject,
        part,
        complete=pages.complete,
        observed=state.last_full_at is not None,
        source=reader.source.name,
        run_id=reader.run.run_id,
        stated_total=pages.stated_total,
    )
    return MemberRead(mode, reader.requests, reader.rows_seen, changes)


def _read_pages(
    reader: _Reader, member: Member, state: ScrapeState, grid: Grid, mode: Mode, first_page: int
) -> _Pages:
    """Read and stage from `first_page` on, until the end or until nothing newer can come."""
    connection, kind, user_id = reader.connection, reader.kind, member.user_id
    stated_total = state.stated_total if first_page > 1 else None
    number = first_page
    for page in reader.pages(member.username, grid, first_page):
        _require_sound(page, member, kind, number)
        if number > 1 and page.total != stated_total:
            return _Pages(page.total, complete=False, has_moved=True)
        # An empty list states no total.
        stated_total = page.total if page.items or number > 1 else page.total or 0
        known = 0
        if mode == "incremental":
            comparison = opinions.compare_page(connection, user_id, kind.newest_part, page.items)
            known = comparison.known
            if number == 1 and comparison.same == len(page.items):
                stored = opinions.count_stored(connection, user_id, kind.newest_part)
                if agrees(stated_total, stored, state, reader.settings):
                    return _Pages(stated_total, complete=False, has_news=False)
        staging.stage_page(connection, user_id, kind.subject, mode, number, page.items, stated_total)
        if page.next_page is None:
            return _Pages(stated_total, complete=True)
        if known:
            expected = opinions.count_after_merge(connection, user_id, kind.subject, kind.newest_part)
            if agrees(stated_total, expected, state, reader.settings):
                return _Pages(stated_total, complete=False)
        number = page.next_page
    raise RetriableError(f"{member.username}, {grid}: page {number} was announced but did not come.")


def agrees(stated_total: int | None, stored_count: int, state: ScrapeState, settings: Settings) -> bool:
    """Whether the site counts as many opinions as we will have stored.

    Where the site's count was off when everything was read, that surplus is forgiven, but only
    for as long as that reading is recent: it may have been our mistake.
    """
    is_old = state.full_is_older_than(settings.full_read_max_age_hours)
    if stated_total is None:
        return not is_old
    return stated_total - (0 if is_old else state.stated_surplus) == stored_count


def _require_sound(page: FilmGrid, member: Member, kind: GridKind, number: int) -> None:
    require_owner(member.username, page.owner)
    if page.next_page is not None and page.next_page != number + 1:
        raise LayoutChangedError(f"Page {number} of {member.username} is followed by {page.next_page}.")
    if kind.subject == "ratings" and any(item.rating is None for item in page.items):
        raise LayoutChangedError(f"Page {number} of {member.username}'s ratings shows films without stars.")
