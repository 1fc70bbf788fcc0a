"""Pages read but not yet merged, and the checkpoint of every member: what makes a read resumable.

A page and the checkpoint behind it are committed together, so that whatever is staged is
exactly the pages before `next_page`. Merging is in `opinions`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import psycopg
from psycopg.rows import class_row

from almanac_pipeline.sources.records import DiaryRow, FilmItem
from almanac_pipeline.warehouse.alerts import resolve_alerts
from almanac_pipeline.warehouse.copying import copy_rows

GridSubject = Literal["ratings", "likes"]
ViewingSubject = Literal["diary", "watchlist"]
StagedSubject = GridSubject | ViewingSubject
Subject = Literal[
    "following", "followers", "profile", "ratings", "likes", "diary", "watchlist", "lists", "feed"
]
Mode = Literal["full", "incremental"]

# An older checkpoint is not gone on with: too much may have moved between its pages.
CHECKPOINT_MAX_AGE = timedelta(hours=1)

# The site's stated totals were seen to differ by one from what its pages show. A total that exceeds
# what was shown by more is that of a longer list, of which the grid is a part.
TOTAL_TOLERANCE = 1

# Fewer rows than these may well have been taken back one by one between two exports; of a part that is
# empty now, fewer than a handful.
EXPORT_LEAST_LOSS, EXPORT_HANDFUL = 10, 5


@dataclass(frozen=True, slots=True)
class ScrapeState:
    """What is known about earlier reads of one member and subject. Times are the database's."""

    mode: Mode | None = None
    next_page: int | None = None
    stated_total: int | None = None
    stated_surplus: int = 0
    pages_started_at: datetime | None = None
    last_success_at: datetime | None = None
    last_full_at: datetime | None = None
    suspicious_at: datetime | None = None
    listed_count: int | None = None
    """How many likes a following page showed beside the name, when the likes were last read."""
    now: datetime | None = None

    def resume_page(self, mode: Mode) -> int:
        """The page on which a read in that mode goes on: 1 unless a fresh checkpoint says otherwise."""
        if self.mode != mode or self.next_page is None or self.pages_started_at is None or self.now is None:
            return 1
        return self.next_page if self.now - self.pages_started_at < CHECKPOINT_MAX_AGE else 1

    def full_is_older_than(self, hours: float) -> bool:
        """Whether the last complete read is longer ago than that, or never was."""
        if self.last_full_at is None or self.now is None:
            return True
        return self.now - self.last_full_at >= timedelta(hours=hours)

    def success_is_older_than(self, hours: float) -> bool:
        """The same for the last successful read of any kind."""
        if self.last_success_at is None or self.now is None:
            return True
        return self.now - self.last_success_at >= timedelta(hours=hours)


@dataclass(frozen=True, slots=True)
class StagedSummary:
    """What lies staged for one member and subject."""

    items_count: int
    films_count: int
    """Distinct films, by their slugs."""
    pages_count: int
    last_page: int
    short_pages_count: int = 0
    """Pages before the last one that show fewer items than the fullest."""


def read_state(connection: psycopg.Connection, user_id: int, subject: Subject) -> ScrapeState:
    """The member's state; an empty one if there was no read yet."""
    with connection.cursor(row_factory=class_row(ScrapeState)) as cursor:
        state = cursor.execute(
            """
            select mode, next_page, stated_total, stated_surplus, pages_started_at,
                   last_success_at, last_full_at, suspicious_at, listed_count, now() as now
            from ops.user_scrape_state where user_id = %s and subject = %s
            """,
            [user_id, subject],
        ).fetchone()
    return state or ScrapeState()


def stage_page(
    connection: psycopg.Connection,
    user_id: int,
    subject: StagedSubject,
    mode: Mode,
    page_number: int,
    items: Sequence[FilmItem],
    stated_total: int | None,
) -> None:
    """Keep one page and move the checkpoint behind it. Page 1 throws away what was staged before."""
    rows = (
        (
            user_id, subject, page_number, position, item.slug, item.title, item.release_year,
            item.uid, item.lid, item.rating, item.liked,
        )
        for position, item in enumerate(items)
    )  # fmt: skip
    _stage(connection, user_id, subject, mode, page_number, _FILM_COLUMNS, rows, stated_total)


def stage_diary_page(
    connection: psycopg.Connection,
    user_id: int,
    mode: Mode,
    page_number: int,
    viewings: Sequence[DiaryRow],
    stated_total: int | None,
) -> None:
    """The same for a page of a diary."""
    rows = (
        (
            user_id, "diary", page_number, position, row.film.slug, row.film.title, row.film.release_year,
            row.film.uid, row.film.lid, row.film.rating, row.film.liked,
            row.viewing_id, row.watched_on, row.rewatch, row.has_review,
        )
        for position, row in enumerate(viewings)
    )  # fmt: skip
    columns = f"{_FILM_COLUMNS}, viewing_id, watched_on, rewatch, has_review"
    _stage(connection, user_id, "diary", mode, page_number, columns, rows, stated_total)


_FILM_COLUMNS = "user_id, subject, page_number, position, slug, title, release_year, uid, lid, rating, liked"


def _stage(
    connection: psycopg.Connection,
    user_id: int,
    subject: StagedSubject,
    mode: Mode,
    page_number: int,
    columns: str,
    rows: Iterable[tuple[object, ...]],
    stated_total: int | None,
) -> None:
    with connection.transaction(), connection.cursor() as cursor:
        if page_number == 1:
            discard_staged(connection, user_id, subject)
        copy_rows(connection, f"ops.staged_items ({columns})", rows)
        cursor.execute(
            """
            insert into ops.user_scrape_state
                (user_id, subject, mode, next_page, stated_total, pages_started_at)
            values (%(user)s, %(subject)s, %(mode)s, %(page)s + 1, %(total)s, now())
            on conflict (user_id, subject) do update
            set mode = excluded.mode, next_page = excluded.next_page, stated_total = excluded.stated_total,
                pages_started_at = case when %(page)s = 1 then now()
                                        else user_scrape_state.pages_started_at end
            """,
            {
                "user": user_id,
                "subject": subject,
                "mode": mode,
                "page": page_number,
                "total": stated_total,
            },
        )


def staged_viewings(connection: psycopg.Connection, user_id: int, subject: ViewingSubject) -> list[DiaryRow]:
    """What lies staged of a diary, or of a watchlist, whose rows are viewings that have not taken place."""
    rows = connection.execute(
        """
        select coalesce(viewing_id, ''), watched_on, coalesce(rewatch, false), coalesce(has_review, false),
               slug, title, release_year, uid, lid, rating::float8, liked
        from ops.staged_items where user_id = %s and subject = %s order by page_number, position
        """,
        [user_id, subject],
    )
    return [
        DiaryRow(key, watched_on, FilmItem(*film), rewatch, has_review)
        for key, watched_on, rewatch, has_review, *film in rows
    ]


def discard_staged(connection: psycopg.Connection, user_id: int, subject: StagedSubject) -> None:
    """Throw away the staged pages and their checkpoint."""
    with connection.transaction():
        connection.execute(
            "delete from ops.staged_items where user_id = %s and subject = %s", [user_id, subject]
        )
        connection.execute(
            "update ops.user_scrape_state set next_page = null where user_id = %s and subject = %s",
            [user_id, subject],
        )


def summarise_staged(connection: psycopg.Connection, user_id: int, subject: StagedSubject) -> StagedSummary:
    """Counts of what lies staged, for the audit."""
    with connection.cursor(row_factory=class_row(StagedSummary)) as cursor:
        summary = cursor.execute(
            """
            with items as (
                select * from ops.staged_items where user_id = %s and subject = %s
            ), pages as (
                select count(*) as size, page_number = max(page_number) over () as is_last
                from items group by page_number
            )
            select count(*) as items_count, count(distinct slug) as films_count,
                   count(distinct page_number) as pages_count, coalesce(max(page_number), 0) as last_page,
                   (select count(*) from pages where not is_last and size < (select max(size) from pages))
                       as short_pages_count
            from items
            """,
            [user_id, subject],
        ).fetchone()
    assert summary is not None
    return summary


def mark_success(
    connection: psycopg.Connection,
    user_id: int,
    subject: Subject,
    *,
    complete: bool,
    stated_surplus: int | None = None,
    read_at: datetime | None = None,
    known_as_of: datetime | None = None,
    source: str = "pages",
) -> None:
    """Record a successful read; `complete` if it saw everything. Ends checkpoint, suspicion and its alert.

    `read_at` is when the source was read (None: now), `known_as_of` up to when all of the subject
    is known after it (None: `read_at`). A read that is older than the last one records nothing.
    """
    written = connection.execute(
        """
        insert into ops.user_scrape_state as state
            (user_id, subject, last_success_at, last_full_at, stated_surplus, known_as_of, known_source,
             listed_count)
        select %(user)s, %(subject)s, read_at, case when %(complete)s then read_at end,
               coalesce(%(surplus)s, 0), coalesce(%(known)s, read_at), %(source)s,
               (select listed_likes_count from raw.users where user_id = %(user)s and %(subject)s = 'likes')
        from coalesce(%(read)s::timestamptz, now()) as read_at
        on conflict (user_id, subject) do update
        set last_success_at = excluded.last_success_at, next_page = null, suspicious_at = null,
            listed_count = excluded.listed_count,
            last_full_at = coalesce(excluded.last_full_at, state.last_full_at),
            stated_surplus = coalesce(%(surplus)s, state.stated_surplus),
            known_as_of = greatest(state.known_as_of, excluded.known_as_of),
            known_source = case when state.known_as_of > excluded.known_as_of then state.known_source
                                else excluded.known_source end
        where excluded.last_success_at >= coalesce(state.last_success_at, '-infinity')
        """,
        {
            "user": user_id,
            "subject": subject,
            "complete": complete,
            "surplus": stated_surplus,
            "read": read_at,
            "known": known_as_of,
            "source": source,
        },
    )
    if written.rowcount:
        resolve_alerts(connection, "suspicious", f"member {user_id} {subject}")


def is_shrunken(given: int, stored: int, share: float, source: str) -> bool:
    """Whether a complete snapshot holds too little of what is stored to be believed.

    An export is what the member took from the site themselves: a few rows that it lacks are no sign of
    a damaged one, however few there were. A page that lacks all may be no answer at all.
    """
    least_loss = 1
    if source == "export":
        least_loss = EXPORT_LEAST_LOSS if given else EXPORT_HANDFUL
    return given < share * stored and stored - given >= least_loss


def mark_suspicious(connection: psycopg.Connection, user_id: int, subject: Subject) -> None:
    """Record that the last answer did not pass its audit."""
    connection.execute(
        """
        insert into ops.user_scrape_state (user_id, subject, suspicious_at) values (%s, %s, now())
        on conflict (user_id, subject) do update set suspicious_at = now()
        """,
        [user_id, subject],
    )


def doubt_incomplete_ratings(connection: psycopg.Connection, cohort_id: int) -> int:
    """If the cohort failed its audit of how many ratings are known, have those who lack some read in full.

    They are the members whose profile states more ratings than are stored, beyond what the site counted too
    many when all were read. Nobody is doubted twice within a week, so that a count that never agrees costs
    little. Returns how many are doubted; the next sync reads them.
    """
    return connection.execute(
        """
        update ops.user_scrape_state as state set suspicious_at = now()
        from raw.cohort_members as member
        join raw.users using (user_id)
        cross join lateral (
            select count(rating) as known_count from raw.ratings
            where ratings.user_id = member.user_id and removed_at is null
        ) as stored
        where exists (
                select from intermediate.cohort_audits
                where cohort_id = %(cohort)s and rule = 'coverage_rating' and not passed
            )
            and member.cohort_id = %(cohort)s and member.until is null
            and state.user_id = member.user_id and state.subject = 'ratings' and state.suspicious_at is null
            and state.last_full_at < now() - interval '7 days'
            and known_count + state.stated_surplus < stated_ratings_count
        """,
        {"cohort": cohort_id},
    ).rowcount
