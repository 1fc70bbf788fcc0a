"""Reads one of a member's grids page by page: stage, audit, merge. Which grid, `routes` decides."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Literal

import psycopg

from almanac_pipeline.errors import (
    AlmanacError,
    LayoutChangedError,
    NotFoundError,
    RetriableError,
    WrongPageError,
)
from almanac_pipeline.flows.workers import StoppedError
from almanac_pipeline.settings import Settings
from almanac_pipeline.sources.protocol import Grid, Source
from almanac_pipeline.sources.records import FilmGrid
from almanac_pipeline.warehouse import alerts, opinions, staging
from almanac_pipeline.warehouse.member_state import MemberState
from almanac_pipeline.warehouse.opinions import Changes
from almanac_pipeline.warehouse.runs import Run
from almanac_pipeline.warehouse.staging import TOTAL_TOLERANCE, GridSubject, Mode, ScrapeState, StagedSummary

_SUBJECTS: dict[Grid, GridSubject] = {
    "rated": "ratings",
    "rated_by_date": "ratings",
    "likes": "likes",
    "likes_unrated": "likes",
}
_PARTS: dict[Grid, Literal["rated", "likes", "likes_unrated"]] = {
    "rated": "rated",
    "rated_by_date": "rated",
    "likes": "likes",
    "likes_unrated": "likes_unrated",
}
# Fewer missing hearts are left to the list of likes, without a word.
HEARTS_DOUBTED_COUNT = 3

_NEWEST_PARTS: dict[GridSubject, Literal["rated", "likes"]] = {"ratings": "rated", "likes": "likes"}


@dataclass(frozen=True, slots=True)
class MemberRead:
    """What came of reading one thing of one member."""

    outcome: Literal["full", "incremental", "unchanged", "failed", "unreadable"]
    """Unreadable: the site says that the member is private, gone or somebody else; that is no failure."""
    requests: int = 0
    rows_seen: int = 0
    changes: Changes = field(default_factory=Changes)
    errors: tuple[AlmanacError, ...] = ()
    pages: int = 0
    has_gap: bool = False
    """A feed did not reach back to what was read before."""


@dataclass(slots=True)
class Reading:
    """What a step of a member's route needs, and its counts so far, which stand also where it fails."""

    connection: psycopg.Connection
    settings: Settings
    run: Run
    member: MemberState
    stopping: threading.Event
    """Set where another member met a fatal error."""
    requests: int = 0
    pages: int = 0
    rows_seen: int = 0

    def asks(self) -> None:
        """Count a request, or stop before it where the run has failed.

        Raises:
            StoppedError: it has.
        """
        if self.stopping.is_set():
            raise StoppedError("Stopped, because another member met a fatal error.")
        self.requests += 1

    def got(self, rows_count: int) -> None:
        """Count a page that came."""
        self.pages += 1
        self.rows_seen += rows_count

    def ended(
        self,
        outcome: Literal["full", "incremental", "unchanged"],
        changes: Changes | None = None,
        *,
        has_gap: bool = False,
    ) -> MemberRead:
        """What came of it."""
        return MemberRead(
            outcome, self.requests, self.rows_seen, changes or Changes(), pages=self.pages, has_gap=has_gap
        )


@dataclass(frozen=True, slots=True)
class _Pages:
    """How the reading of a grid ended."""

    stated_total: int | None
    complete: bool
    has_news: bool = True
    has_moved: bool = False


def sync_grid(reading: Reading, source: Source, grid: Grid, mode: Mode) -> MemberRead:
    """Bring one member's opinions of one kind up to date. The caller holds the member's lock.

    Raises:
        AlmanacError: a page could not be read, or what was read is not to be believed: nothing was merged.
    """
    connection, user_id = reading.connection, reading.member.user_id
    subject, part = _SUBJECTS[grid], _PARTS[grid]
    state = reading.member.state(subject)
    pages = _read_pages(reading, source, grid, mode, state.resume_page(mode))
    if pages.has_moved:
        # The list changed between two pages, or since the checkpoint: once more from the start.
        staging.discard_staged(connection, user_id, subject)
        pages = _read_pages(reading, source, grid, mode, 1)
    if not pages.has_news:
        if reading.pages > 1:
            staging.discard_staged(connection, user_id, subject)
        opinions.record_unchanged(connection, user_id, subject)
        return reading.ended("unchanged")
    reason, is_complete = None, pages.complete
    if pages.has_moved:
        reason = "the list kept changing while it was read"
    elif pages.complete:
        stored = opinions.count_stored(connection, user_id, part)
        counts, whole_count = set[int](), None
        if part == "rated":
            # Of the profile, which is read before a full reading.
            whole_count = reading.member.listed_films_count
            if reading.member.stated_ratings_count is not None:
                counts.add(reading.member.stated_ratings_count)
        elif part == "likes_unrated" and pages.stated_total is not None:
            # The page of unrated likes may state the number of all likes.
            counts.add(pages.stated_total - opinions.count_stored(connection, user_id, "likes") + stored)
        staged = staging.summarise_staged(connection, user_id, subject)
        is_complete = staged.items_count > 0 or _is_known_to_be_empty(reading, part, pages.stated_total)
        reason = audit(
            staged,
            pages.stated_total,
            stored,
            reading.settings.shrink_guard_share,
            other_counts=counts,
            whole_count=whole_count,
        )
    clears_likes = True
    if reason is None and part == "rated":
        liked_count, hearts_count = opinions.compare_hearts(connection, user_id)
        clears_likes = hearts_count >= reading.settings.shrink_guard_share * liked_count
        reason = audit_hearts(liked_count, hearts_count, reading.settings.shrink_guard_share)
    if reason is not None:
        message = f"{grid}: {reason}."
        with connection.transaction():
            staging.discard_staged(connection, user_id, subject)
            staging.mark_suspicious(connection, user_id, subject)
            alerts.raise_alert(
                connection, "suspicious", f"member {user_id} {subject}", message, user_id=user_id
            )
        raise RetriableError(message)
    changes = opinions.merge_staged(
        connection,
        user_id,
        subject,
        part,
        complete=is_complete,
        observed=state.last_full_at is not None,
        source=source.name,
        run_id=reading.run.run_id,
        stated_total=pages.stated_total,
        clears_likes=clears_likes,
    )
    return reading.ended(mode, changes)


def _is_known_to_be_empty(
    reading: Reading, part: Literal["rated", "likes", "likes_unrated"], stated_total: int | None
) -> bool:
    """Whether anything says that a list is empty, but that nothing was shown of it.

    Where nothing does, that is no complete reading: the next sync looks again.
    """
    member = reading.member
    if part == "rated":
        has_seen_none = member.listed_films_count is not None and member.listed_films_count <= TOTAL_TOLERANCE
        return has_seen_none or stated_total is not None or member.stated_ratings_count is not None
    if member.listed_likes_count is None:
        return stated_total is not None
    known = opinions.count_stored(reading.connection, member.user_id, "likes")
    return member.listed_likes_count - (known if part == "likes_unrated" else 0) <= TOTAL_TOLERANCE


def audit(
    staged: StagedSummary,
    stated_total: int | None,
    stored_count: int,
    guard_share: float,
    *,
    other_counts: Collection[int] = (),
    whole_count: int | None = None,
) -> str | None:
    """Why a complete snapshot is not to be believed; None if it is. Pure.

    `stored_count` is how many opinions of the same part are stored. What the grid states as its
    total may be the number of what it shows, or that of the list of which it shows a part. So it is
    one claim among others: `other_counts` are what other pages say that there are, and
    `whole_count` what they say that the list holds. Where the total is that of the list, it is
    silent about what was shown, and every page but the last has to be full instead.
    """
    shown = staged.items_count
    if not shown and other_counts and max(other_counts) > TOTAL_TOLERANCE:
        # A page that shows nothing may well count nothing, too.
        return f"no film was shown where another page states {max(other_counts)}"
    claims = [*other_counts, *([stated_total] if stated_total is not None else [])]
    if claims and min(abs(shown - claim) for claim in claims) > TOTAL_TOLERANCE:
        is_of_the_list = (
            stated_total is not None
            and whole_count is not None
            and not other_counts
            and shown <= stated_total
            and abs(stated_total - whole_count) <= TOTAL_TOLERANCE
        )
        if not is_of_the_list:
            return f"{shown} films were shown where the page states {stated_total}"
        if staged.short_pages_count:
            return f"{staged.short_pages_count} pages before the last one were not full"
    if staged.films_count != shown:
        return f"{shown - staged.films_count} films were shown twice"
    if staged.pages_count != staged.last_page:
        return f"{staged.last_page - staged.pages_count} pages are missing"
    if shown < guard_share * stored_count:
        return (
            f"only {shown} films were shown where {stored_count} are stored; nothing was "
            "changed. If that is right, run once with a lower ALMANAC_SHRINK_GUARD_SHARE"
        )
    return None


def audit_hearts(liked_count: int, hearts_count: int, guard_share: float) -> str | None:
    """Why pages of ratings are not to be believed for lack of hearts; None if they are. Pure.

    Of the films shown, `liked_count` are stored as liked and `hearts_count` of these show a heart. A
    heart whose markup has changed looks like a like taken back, and no total tells the two apart.
    So too few hearts clear no like (`merge_staged`). Where that concerns more likes than somebody
    takes back in passing, the reading is refused as a whole, since its new films lack their hearts
    too, and somebody has to look. Likes that were really taken back are taken out by the list of
    likes, which has a total to be judged by; after that the ratings pass.
    """
    if hearts_count < guard_share * liked_count and liked_count - hearts_count >= HEARTS_DOUBTED_COUNT:
        return (
            f"only {hearts_count} of {liked_count} films that are stored as liked show a heart; nothing was "
            "changed. If that is right, run once with a lower ALMANAC_SHRINK_GUARD_SHARE"
        )
    return None


def require_owner(username: str, owner: str | None) -> None:
    """Refuse a page that is another member's, or nobody's.

    Raises:
        WrongPageError: the owner is not `username`.
    """
    if owner is None or owner.lower() != username.lower():
        raise WrongPageError(f"A page came that is {'nobody' if owner is None else 'another member'}'s.")


def _read_pages(reading: Reading, source: Source, grid: Grid, mode: Mode, first_page: int) -> _Pages:
    """Read and stage from `first_page` on, until the end or until nothing newer can come.

    Newest first, nothing newer comes behind the first film whose rating (or like) is stored
    already, but for one that was rated anew with the same stars. So the first page that ends with
    a known film is the last one, and `overlap_pages` more; unless the total says that something is
    missing, which only the rest of the list can tell.
    """
    connection, user_id, subject = reading.connection, reading.member.user_id, _SUBJECTS[grid]
    state, settings = reading.member.state(subject), reading.settings
    stated_total = state.stated_total if first_page > 1 else None
    has_news = first_page > 1
    last_needed: int | None = None
    number = first_page
    asked = source.read_grid(reading.member.username, grid, first_page=first_page)
    for page in _counted(reading, asked, first_page):
        if page is None:
            return _Pages(None, complete=False, has_moved=True)
        _require_sound(page, reading.member, subject, number)
        if number > 1 and page.total != stated_total:
            return _Pages(page.total, complete=False, has_moved=True)
        stated_total = page.total
        # An empty list states no total; that is no news where nothing is stored.
        counted = stated_total if page.items or number > 1 else stated_total or 0
        is_last = page.next_page is None
        if mode == "incremental":
            comparison = opinions.compare_page(connection, user_id, _NEWEST_PARTS[subject], page.items)
            has_news = has_news or comparison.same < len(page.items)
            if comparison.ends_known and last_needed is None:
                last_needed = number + settings.overlap_pages
            if not has_news and (is_last or number > settings.overlap_pages):
                stored = opinions.count_stored(connection, user_id, _NEWEST_PARTS[subject])
                if agrees(counted, stored, state, settings):
                    return _Pages(stated_total, complete=False, has_news=False)
        staging.stage_page(connection, user_id, subject, mode, number, page.items, stated_total)
        if is_last:
            return _Pages(stated_total, complete=True)
        if last_needed is not None and number >= last_needed:
            expected = opinions.count_after_merge(connection, user_id, subject, _NEWEST_PARTS[subject])
            if agrees(stated_total, expected, state, settings):
                return _Pages(stated_total, complete=False)
        number += 1
    raise RetriableError(f"{grid}: page {number} was announced but did not come.")


def _counted(reading: Reading, pages: Iterator[FilmGrid], first_page: int) -> Iterator[FilmGrid | None]:
    """The source's pages, each request counted, also one that fails; None for a later page that is gone."""
    for number in count(first_page):
        reading.asks()
        try:
            page = next(pages, None)
        except NotFoundError:
            if number == 1:
                raise
            yield None
            return
        if page is None:
            return
        reading.got(len(page.items))
        yield page


def agrees(stated_total: int | None, stored_count: int, state: ScrapeState, settings: Settings) -> bool:
    """Whether the site counts as many opinions as we will have stored, as far as its total tells.

    Where the site's count was off when everything was read, that surplus is forgiven, but only
    for as long as that reading is recent: it may have been our mistake. A surplus of many is the
    total of a longer list, which grows without a rating: it tells nothing, as if none was stated.
    """
    is_old = state.full_is_older_than(settings.full_read_max_age_hours)
    if stated_total is None or state.stated_surplus > TOTAL_TOLERANCE:
        return not is_old
    return stated_total - (0 if is_old else state.stated_surplus) == stored_count


def _require_sound(page: FilmGrid, member: MemberState, subject: GridSubject, number: int) -> None:
    require_owner(member.username, page.owner)
    if page.next_page is not None and page.next_page != number + 1:
        raise LayoutChangedError(f"Page {number} of a member's {subject} is followed by {page.next_page}.")
    if subject == "ratings" and any(item.rating is None for item in page.items):
        raise LayoutChangedError(f"Page {number} of a member's ratings shows films without stars.")
