"""Keeps the diaries and watchlists of a cohort's members fresh, from their pages.

Everything once, then newest first until what is known begins. What a diary says is what was thought
on that evening: it never becomes an opinion. Exports and feeds tell of viewings too, by `imports`
and `feed`; `warehouse.viewings` knows which of them are the same.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Literal

import psycopg

from almanac_pipeline.errors import (
    AlmanacError,
    LayoutChangedError,
    NotFoundError,
    PermanentError,
    RenamedError,
    RetriableError,
    WrongPageError,
)
from almanac_pipeline.flows import identities
from almanac_pipeline.flows.workers import LayoutWatch, StoppedError, in_parallel, require_some_success
from almanac_pipeline.observability.logs import bound
from almanac_pipeline.progress import track
from almanac_pipeline.settings import Settings
from almanac_pipeline.sources.policy import fresh_minutes
from almanac_pipeline.sources.protocol import Source
from almanac_pipeline.sources.records import DiaryPage, DiaryRow, FilmGrid
from almanac_pipeline.warehouse import alerts, cohorts, members, runs, staging, viewings
from almanac_pipeline.warehouse.connection import connect_to, connection_pool
from almanac_pipeline.warehouse.films import FilmKey
from almanac_pipeline.warehouse.members import Member
from almanac_pipeline.warehouse.opinions import Changes
from almanac_pipeline.warehouse.runs import Run
from almanac_pipeline.warehouse.staging import Mode, ScrapeState, ViewingSubject
from almanac_pipeline.warehouse.viewings import DiaryEntry, WatchlistEntry

Outcome = Literal["full", "incremental", "unchanged", "skipped", "failed", "unreadable"]


@dataclass(frozen=True, slots=True)
class ViewingsReport:
    """What a sync of diaries or watchlists did. Counts of members by how they were read."""

    members_count: int
    full_count: int
    incremental_count: int
    unchanged_count: int
    skipped_count: int
    """Read a moment ago, found private or gone not long ago, or not permitted."""
    failures_count: int
    requests_count: int
    rows_seen: int
    added_count: int
    changed_count: int
    removed_count: int
    restored_count: int
    seconds: float
    failures: tuple[str, ...]
    """The first few reasons."""


@dataclass(slots=True)
class _Read:
    """What came of one member; filled while they are read."""

    outcome: Outcome = "skipped"
    requests: int = 0
    rows_seen: int = 0
    changes: Changes = field(default_factory=Changes)
    error: AlmanacError | None = None


@dataclass(frozen=True, slots=True)
class _Reader:
    """What reading one member takes."""

    connection: psycopg.Connection
    source: Source
    settings: Settings
    run: Run
    subject: ViewingSubject
    stopping: threading.Event

    def asks(self, read: _Read) -> None:
        """Count a request, or stop before it where the run has failed."""
        if self.stopping.is_set():
            raise StoppedError("Stopped, because another member met a fatal error.")
        read.requests += 1

    def pages(self, username: str, first_page: int, read: _Read) -> Iterator[DiaryPage | FilmGrid | None]:
        """The source's pages, each request counted, also one that fails; None: a later one is gone."""
        ask = self.source.read_diary if self.subject == "diary" else self.source.read_watchlist
        pages: Iterator[DiaryPage | FilmGrid] = ask(username, first_page=first_page)
        for number in count(first_page):
            self.asks(read)
            try:
                page = next(pages, None)
            except NotFoundError:
                if number == 1:
                    raise
                yield None
                return
            if page is None:
                raise RetriableError("A page was announced but did not come. Try again later.")
            if (page.owner or "").lower() != username:
                raise WrongPageError(f"another member's page of the {self.subject} came than was asked for")
            yield page
            if page.next_page is None:
                return


def sync_diary(
    database_url: str,
    settings: Settings,
    source: Source,
    cohort_slug: str,
    run_id: str | None = None,
    *,
    full: bool = False,
) -> ViewingsReport:
    """Read what is new in every current member's diary; with `full`, everything.

    Raises:
        BlockedError, PausedError, ConfigurationError, LayoutDriftError: at once, for the whole run.
        RetriableError, PermanentError: not one member could be read.
    """
    return _sync(database_url, settings, source, cohort_slug, "diary", run_id, full)


def sync_watchlist(
    database_url: str,
    settings: Settings,
    source: Source,
    cohort_slug: str,
    run_id: str | None = None,
    *,
    full: bool = False,
) -> ViewingsReport:
    """The same for what every current member wants to see."""
    return _sync(database_url, settings, source, cohort_slug, "watchlist", run_id, full)


def _sync(
    database_url: str,
    settings: Settings,
    source: Source,
    cohort_slug: str,
    subject: ViewingSubject,
    run_id: str | None,
    full: bool,
) -> ViewingsReport:
    started = time.monotonic()
    with connect_to(database_url, autocommit=True) as connection:
        cohort = cohorts.get_cohort(connection, cohort_slug)
        cohort_members = members.readable_members(connection, cohort.cohort_id)
        unreadable = members.recently_unreadable(connection, cohort.cohort_id, settings.profile_max_age_hours)
    due = [member for member in cohort_members if full or member.user_id not in unreadable]
    watch = LayoutWatch(settings.shrink_guard_share)
    reads: list[_Read] = []
    with (
        runs.scrape_run(database_url, cohort.cohort_id, subject, run_id) as run,
        connection_pool(database_url, settings.http_workers) as pool,
        track(subject, len(cohort_members)) as progress,
        identities.gone_only_if_believed(database_url, run, due),
    ):

        def work(member: Member, stopping: threading.Event) -> _Read:
            with bound(user_id=member.user_id), pool.connection() as connection:
                reader = _Reader(connection, source, settings, run, subject, stopping)
                return _sync_member(reader, member, full)

        for member, read in in_parallel(work, due if source.permits(subject) else [], settings.http_workers):
            reads.append(read)
            watch.saw(
                [read.error] if read.error else [],
                has_success=read.outcome in ("full", "incremental", "unchanged"),
                is_gone=member.status != "deleted"
                and read.outcome == "unreadable"
                and isinstance(read.error, NotFoundError),
            )
            progress.advance()
            run.members_count += read.outcome not in ("skipped", "failed", "unreadable")
            run.pages_count += read.requests
            run.requests_count += read.requests
            run.rows_seen += read.rows_seen
            run.rows_changed += read.changes.added + read.changes.changed + read.changes.restored
            run.rows_removed += read.changes.removed
            run.failures_count += read.error is not None
        watch.ended()
        errors = [read.error for read in reads if read.error is not None]
        answered = [read for read in reads if read.outcome not in ("skipped", "unreadable")]
        failures = [read.error for read in answered if read.error is not None]
        require_some_success("members", len(answered), failures)
        with pool.connection() as connection:
            alerts.check_volume(connection, run, settings.volume_alert_factor)
    outcomes = Counter(read.outcome for read in reads)
    changes = sum((read.changes for read in reads), Changes())
    return ViewingsReport(
        members_count=len(cohort_members),
        full_count=outcomes["full"],
        incremental_count=outcomes["incremental"],
        unchanged_count=outcomes["unchanged"],
        skipped_count=len(cohort_members) - len(reads) + outcomes["skipped"],
        failures_count=len(errors),
        requests_count=run.requests_count,
        rows_seen=run.rows_seen,
        added_count=changes.added,
        changed_count=changes.changed,
        removed_count=changes.removed,
        restored_count=changes.restored,
        seconds=time.monotonic() - started,
        failures=tuple(str(error) for error in errors[:5]),
    )


def _sync_member(reader: _Reader, member: Member, full: bool) -> _Read:
    """Bring one member's diary or watchlist up to date; errors of theirs are recorded and returned."""
    connection, run, read = reader.connection, reader.run, _Read()
    began = time.monotonic()
    try:
        with runs.member_lock(connection, reader.subject, member.user_id, wait=True):
            state = staging.read_state(connection, member.user_id, reader.subject)
            if _is_fresh(state, reader, full):
                return read
            is_full = full or state.last_full_at is None
            try:
                _read_and_merge(reader, member, state, "full" if is_full else "incremental", read)
            except RenamedError as renamed:
                member = identities.follow_renaming(connection, member, renamed)
                _read_and_merge(reader, member, state, "full" if is_full else "incremental", read)
    except (RetriableError, PermanentError) as error:
        read.error, is_answer = identities.learn_from_error(
            connection, reader.source, run, member, reader.subject, error, lambda: reader.asks(read)
        )
        read.outcome = "unreadable" if is_answer else "failed"
        runs.record_failure(connection, run, reader.subject, read.error, user_id=member.user_id)
    runs.record_member(
        connection,
        run,
        member.user_id,
        read.outcome,
        pages_count=read.requests,
        requests_count=read.requests,
        rows_seen=read.rows_seen,
        rows_changed=read.changes.added + read.changes.changed + read.changes.restored,
        rows_removed=read.changes.removed,
        milliseconds=round(1000 * (time.monotonic() - began)),
        error=read.error,
    )
    return read


def _is_fresh(state: ScrapeState, reader: _Reader, full: bool) -> bool:
    """Whether another run has read this since we began, or somebody a moment ago."""
    if state.last_success_at is not None and state.last_success_at > reader.run.started_at:
        return True
    return not full and not state.success_is_older_than(fresh_minutes(reader.settings) / 60)


def _read_and_merge(reader: _Reader, member: Member, state: ScrapeState, mode: Mode, read: _Read) -> None:
    connection, user_id, subject = reader.connection, member.user_id, reader.subject
    # Only a full read is worth going on with: an incremental one counts what is new from page 1 on.
    first_page = state.resume_page(mode) if mode == "full" else 1
    end = _read_pages(reader, member, state, mode, first_page, read)
    if end == "moved":
        staging.discard_staged(connection, user_id, subject)
        end = _read_pages(reader, member, state, mode, 1, read)
    try:
        with connection.transaction():
            if end == "moved":
                raise RetriableError(
                    f"The member's {subject} kept changing while it was read. Try again later."
                )
            if end == "no news":
                staging.mark_success(connection, user_id, subject, complete=False)
            else:
                read.changes = _merge(reader, user_id, complete=end == "complete")
            members.mark_seen(connection, user_id)
            runs.resolve_failures(connection, subject, user_id=user_id)
    except RetriableError as error:
        with connection.transaction():
            staging.discard_staged(connection, user_id, subject)
            staging.mark_suspicious(connection, user_id, subject)
            topic = f"member {user_id} {subject}"
            alerts.raise_alert(connection, "suspicious", topic, str(error), user_id=user_id)
        raise
    read.outcome = "unchanged" if end == "no news" else mode


def _read_pages(
    reader: _Reader, member: Member, state: ScrapeState, mode: Mode, first_page: int, read: _Read
) -> Literal["complete", "enough", "no news", "moved"]:
    """Read and stage from `first_page` on, until the end or until nothing newer can come.

    An entry for an evening long ago stands deep in a diary, and a wish may be dropped anywhere: what
    is known ends the reading only where the site counts as many entries as we will have stored.
    """
    connection, user_id, subject = reader.connection, member.user_id, reader.subject
    stated_total = state.stated_total if first_page > 1 else None
    stored = viewings.count_stored(connection, user_id, subject)
    new_count, number = 0, first_page
    for page in reader.pages(member.username, first_page, read):
        if page is None:
            return "moved"
        rows = _rows(page)
        read.rows_seen += len(rows)
        if number > 1 and page.total != stated_total:
            return "moved"
        stated_total = page.total
        compare = viewings.compare_diary if subject == "diary" else viewings.compare_watchlist
        comparison = compare(connection, user_id, rows)
        new_count += len(rows) - comparison.known
        agrees = stated_total is not None and stated_total - state.stated_surplus == stored + new_count
        if mode == "incremental" and number == 1 and comparison.same == len(rows) and agrees:
            return "no news"
        if subject == "diary":
            staging.stage_diary_page(connection, user_id, mode, number, rows, stated_total)
        else:
            films = [row.film for row in rows]
            staging.stage_page(connection, user_id, subject, mode, number, films, stated_total)
        if page.next_page is None:
            break
        if page.next_page != number + 1:
            raise LayoutChangedError(
                f"page {number} of the member's {subject} is followed by {page.next_page}"
            )
        if mode == "incremental" and comparison.same and agrees:
            return "enough"
        number += 1
    return "complete"


def _merge(reader: _Reader, user_id: int, *, complete: bool) -> Changes:
    """Merge what is staged, within the caller's transaction, and end the checkpoint.

    Raises:
        RetriableError: a film or viewing was shown twice, or far less than what is stored was shown.
    """
    connection, subject = reader.connection, reader.subject
    state = staging.read_state(connection, user_id, subject)
    as_of = state.pages_started_at or datetime.now(UTC)
    staged = staging.staged_viewings(connection, user_id, subject)
    keys = {row.viewing_id if subject == "diary" else row.film.slug for row in staged}
    if len(keys) != len(staged):
        raise RetriableError(f"The pages of the member's {subject} show entries twice. Try again later.")
    merge = _merge_diary if subject == "diary" else _merge_watchlist
    changes = merge(reader, user_id, staged, complete, as_of)
    staging.discard_staged(connection, user_id, subject)
    surplus = (state.stated_total or 0) - len(staged) if complete and state.stated_total is not None else None
    staging.mark_success(
        connection, user_id, subject,
        complete=complete, stated_surplus=surplus, known_as_of=as_of, source=reader.source.name,
    )  # fmt: skip
    return changes


def _merge_diary(
    reader: _Reader, user_id: int, staged: Sequence[DiaryRow], complete: bool, as_of: datetime
) -> Changes:
    entries = [
        DiaryEntry(
            key=row.viewing_id,
            title=row.film.title or row.film.slug,
            release_year=row.film.release_year,
            film=_film(row),
            watched_on=row.watched_on,
            rating=row.film.rating,
            liked=row.film.liked,
            rewatch=row.rewatch,
            has_review=row.has_review,
        )
        for row in staged
    ]
    return viewings.merge_diary(
        reader.connection, user_id, entries,
        complete=complete, source="pages", as_of=as_of, shrink_guard_share=reader.settings.shrink_guard_share,
    )  # fmt: skip


def _merge_watchlist(
    reader: _Reader, user_id: int, staged: Sequence[DiaryRow], complete: bool, as_of: datetime
) -> Changes:
    return viewings.merge_watchlist(
        reader.connection, user_id, [WatchlistEntry(_film(row)) for row in staged],
        complete=complete, source="pages", as_of=as_of, shrink_guard_share=reader.settings.shrink_guard_share,
    )  # fmt: skip


def _film(row: DiaryRow) -> FilmKey:
    film = row.film
    return FilmKey(film.slug, film.uid, film.lid, film.title, film.release_year)


def _rows(page: DiaryPage | FilmGrid) -> list[DiaryRow]:
    """The page's rows; a wish is a viewing that has not taken place."""
    if isinstance(page, DiaryPage):
        return list(page.rows)
    return [DiaryRow("", None, item, rewatch=False, has_review=False) for item in page.items]
