"""The log of runs and failures, and the locks that keep two runs from reading one member at a time."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import psycopg
from psycopg.sql import SQL, Identifier

from almanac_pipeline.errors import AlmanacError, ForgottenError, LayoutChangedError, LayoutDriftError
from almanac_pipeline.tally import Tally, requests_tally
from almanac_pipeline.warehouse.connection import connect_to

logger = logging.getLogger(__name__)

ScrapeSubject = Literal["members", "ratings", "likes", "diary", "watchlist", "feed", "import"]
EnrichmentSubject = Literal["films", "people", "histograms", "maintenance"]
MemberSubject = Literal["ratings", "likes", "diary", "watchlist", "following", "followers"]

# First keys of our advisory locks; the numbers are arbitrary but fixed, the second key is an id.
RUN_LOCKS = {"scrape": 7_203_110, "enrichment": 7_203_111}
ENRICHMENT_LOCKS: dict[EnrichmentSubject, int] = {
    "films": 7_203_112,
    "people": 7_203_113,
    "histograms": 7_203_114,
    "maintenance": 7_203_115,
}
MEMBER_LOCKS: dict[MemberSubject, int] = {
    "ratings": 7_203_120,
    "likes": 7_203_121,
    "diary": 7_203_122,
    "watchlist": 7_203_123,
    "following": 7_203_124,
    "followers": 7_203_125,
}

_COUNTS = {
    "scrape": (
        "members_count",
        "pages_count",
        "requests_count",
        "rows_seen",
        "rows_changed",
        "rows_removed",
        "failures_count",
    ),
    "enrichment": (
        "films_count",
        "requests_count",
        "cache_hits_count",
        "failures_count",
        "postponed_count",
    ),
}


@dataclass(slots=True)
class Run:
    """A run under way. Its counts are written with each `batch` and at the end; one thread adds to them."""

    kind: Literal["scrape", "enrichment"]
    run_id: int
    started_at: datetime
    members_count: int = 0
    films_count: int = 0
    pages_count: int = 0
    requests_count: int = 0
    cache_hits_count: int = 0
    rows_seen: int = 0
    rows_changed: int = 0
    rows_removed: int = 0
    failures_count: int = 0
    postponed_count: int = 0
    error_sample: str | None = None
    """The first of what went wrong with a member or film."""
    sent: Tally | None = None
    """The requests of an enrichment as they are sent; what a scrape asks for it counts itself."""


@contextmanager
def scrape_run(
    database_url: str, cohort_id: int | None, subject: ScrapeSubject, dagster_run_id: str | None
) -> Iterator[Run]:
    """A row of ops.scrape_runs, open while the block runs: succeeded, or failed with the reason.

    An import belongs to no cohort.
    """
    with _run(database_url, "scrape", cohort_id, subject, dagster_run_id) as run:
        yield run


@contextmanager
def enrichment_run(
    database_url: str, cohort_id: int | None, subject: EnrichmentSubject, dagster_run_id: str | None
) -> Iterator[Run]:
    """The same for ops.enrichment_runs. Maintenance belongs to no cohort.

    Waits until no other process does the same for the cohort: look only then at what is due. Counts
    the requests that are sent while the block runs.
    """
    with connect_to(database_url, autocommit=True) as lock, requests_tally() as sent:
        # Free again as soon as the process dies.
        lock.execute("select pg_advisory_lock(%s, %s::int)", [ENRICHMENT_LOCKS[subject], cohort_id or 0])
        with _run(database_url, "enrichment", cohort_id, subject, dagster_run_id) as run:
            run.sent = sent
            try:
                yield run
            finally:
                run.requests_count = sent.count


@contextmanager
def batch(connection: psycopg.Connection, run: Run, **counts: int) -> Iterator[dict[str, int]]:
    """One transaction for what the block stores and for the run's counts, which grow by `counts`.

    So the counts are those of what is stored at any moment, also of a run that is killed. Yields
    them for the block to add those that only storing tells.
    """
    with connection.transaction():
        yield counts
        if run.sent is not None:
            counts["requests_count"] = run.sent.count - run.requests_count
        columns = SQL(", ").join(SQL("{0} = {0} + {1}").format(Identifier(n), c) for n, c in counts.items())
        connection.execute(
            SQL("update {} set error_sample = %s, {} where {} = %s").format(
                Identifier("ops", f"{run.kind}_runs"), columns, Identifier(f"{run.kind}_run_id")
            ),
            [run.error_sample, run.run_id],
        )
    for name, count in counts.items():
        setattr(run, name, getattr(run, name) + count)


@contextmanager
def _run(
    database_url: str,
    kind: Literal["scrape", "enrichment"],
    cohort_id: int | None,
    subject: str,
    dagster_run_id: str | None,
) -> Iterator[Run]:
    table, key = Identifier("ops", f"{kind}_runs"), Identifier(f"{kind}_run_id")
    with connect_to(database_url, autocommit=True) as connection:
        # A run holds a lock on its id for as long as its process lives; one that is "running"
        # without the lock was killed.
        connection.execute(
            SQL(
                "update {} set status = 'failed', finished_at = now(),"
                " error_sample = 'the process ended before the run was closed'"
                " where status = 'running' and cohort_id is not distinct from %s and subject = %s"
                " and pg_try_advisory_xact_lock(%s, {}::int)"
            ).format(table, key),
            [cohort_id, subject, RUN_LOCKS[kind]],
        )
        row = connection.execute(
            SQL(
                "insert into {} (cohort_id, subject, dagster_run_id) values (%s, %s, %s)"
                " returning {}, started_at, pg_advisory_lock(%s, {}::int)"
            ).format(table, key, key),
            [cohort_id, subject, dagster_run_id, RUN_LOCKS[kind]],
        ).fetchone()
        assert row is not None
        run = Run(kind, row[0], row[1])
        status, reason = "failed", None
        try:
            yield run
            status = "succeeded"
        except BaseException as error:
            # Only our own messages are known to hold nothing private.
            reason = str(error) if isinstance(error, AlmanacError) else type(error).__name__
            _alert_about_layout(connection, subject, error)
            raise
        finally:
            connection.execute(
                SQL(
                    "update {} set status = %s, finished_at = now(), error_sample = %s, {} where {} = %s"
                ).format(
                    table,
                    SQL(", ").join(SQL("{} = %s").format(Identifier(name)) for name in _COUNTS[kind]),
                    key,
                ),
                [
                    status,
                    reason or run.error_sample,
                    *(getattr(run, name) for name in _COUNTS[kind]),
                    run.run_id,
                ],
            )


def record_member(
    connection: psycopg.Connection,
    run: Run,
    user_id: int,
    outcome: str,
    *,
    pages_count: int = 0,
    requests_count: int = 0,
    rows_seen: int = 0,
    rows_changed: int = 0,
    rows_removed: int = 0,
    milliseconds: int = 0,
    error: AlmanacError | None = None,
) -> None:
    """Say what a run did for one member, in place of what was said before. Nothing of who was forgotten.

    `outcome` is a word such as full, incremental, unchanged, skipped or failed.
    """
    connection.execute(
        """
        insert into ops.scrape_run_members
            (scrape_run_id, user_id, outcome, pages_count, requests_count, rows_seen, rows_changed,
             rows_removed, milliseconds, error_sample)
        select %s, user_id, %s, %s, %s, %s, %s, %s, %s, %s from raw.users where user_id = %s
        on conflict (scrape_run_id, user_id) do update
        set outcome = excluded.outcome, pages_count = excluded.pages_count,
            requests_count = excluded.requests_count, rows_seen = excluded.rows_seen,
            rows_changed = excluded.rows_changed, rows_removed = excluded.rows_removed,
            milliseconds = excluded.milliseconds, error_sample = excluded.error_sample
        """,
        [
            run.run_id, outcome, pages_count, requests_count, rows_seen, rows_changed,
            rows_removed, milliseconds, str(error) if error is not None else None, user_id,
        ],
    )  # fmt: skip
    counts = {
        "pages": pages_count, "requests": requests_count, "rows_seen": rows_seen,
        "rows_changed": rows_changed, "rows_removed": rows_removed, "milliseconds": milliseconds,
    }  # fmt: skip
    logger.info(
        "member %s: %d requests, %d rows changed", outcome, requests_count, rows_changed + rows_removed,
        extra={"user_id": user_id, "outcome": outcome, **counts},
    )  # fmt: skip


def record_failure(
    connection: psycopg.Connection,
    run: Run,
    page_kind: str,
    error: AlmanacError,
    *,
    user_id: int | None = None,
    film_id: int | None = None,
) -> None:
    """Keep what went wrong with one member or film, for people to look at; the first is the run's sample."""
    connection.execute(
        SQL(
            # The film may just have been merged into another one, and the member been forgotten.
            "insert into ops.scrape_failures ({}, user_id, film_id, page_kind, error_kind, message)"
            " values (%s, (select user_id from raw.users where user_id = %s),"
            " (select film_id from raw.films where film_id = %s), %s, %s, %s)"
        ).format(Identifier(f"{run.kind}_run_id")),
        [run.run_id, user_id, film_id, page_kind, type(error).__name__, str(error)],
    )
    run.error_sample = run.error_sample or str(error)
    kind = type(error).__name__
    extra = {"page_kind": page_kind, "error_kind": kind, "film_id": film_id}
    logger.warning(
        "%s could not be read: %s: %s", page_kind, kind, error, extra={"user_id": user_id, **extra}
    )
    _alert_about_layout(connection, page_kind, error)


def _alert_about_layout(connection: psycopg.Connection, subject: str, error: BaseException) -> None:
    """A site that has changed its markup needs a person, whether one page shows it or a whole run."""
    if isinstance(error, (LayoutChangedError, LayoutDriftError)):
        connection.execute("select ops.raise_alert('layout', %s, %s)", [subject, str(error)])


def unread_members(connection: psycopg.Connection, dagster_run_id: str) -> list[tuple[str, str]]:
    """(user name, what went wrong) of every failure with a member in a Dagster run, by name."""
    rows = connection.execute(
        """
        select distinct username, message
        from ops.scrape_failures
        join ops.scrape_runs using (scrape_run_id)
        join raw.users using (user_id)
        where dagster_run_id = %s
        order by username, message
        """,
        [dagster_run_id],
    )
    return [(username, message) for username, message in rows]


def resolve_failures(
    connection: psycopg.Connection,
    page_kind: str,
    *,
    user_id: int | None = None,
    film_ids: list[int] | None = None,
) -> None:
    """Mark earlier failures of this kind as overcome, of one member or of some films."""
    connection.execute(
        """
        update ops.scrape_failures set resolved_at = now()
        where page_kind = %s and resolved_at is null and (user_id = %s or film_id = any(%s))
        """,
        [page_kind, user_id, film_ids or []],
    )


@contextmanager
def member_lock(
    connection: psycopg.Connection, subject: MemberSubject, user_id: int, *, wait: bool
) -> Iterator[bool]:
    """Hold this member's lock for the subject while the block runs; yields whether it was got.

    The lock belongs to the session: it is free again as soon as the process dies. With `wait`
    it is always got, in the end. `connection` must be in autocommit mode.

    Raises:
        ForgottenError: the member was forgotten since the caller learned of them.
    """
    key = [MEMBER_LOCKS[subject], user_id]
    if wait:
        connection.execute("select pg_advisory_lock(%s, %s::int)", key)
        got = True
    else:
        row = connection.execute("select pg_try_advisory_lock(%s, %s::int)", key).fetchone()
        got = row is not None and bool(row[0])
    try:
        if got and not connection.execute("select from raw.users where user_id = %s", [user_id]).rowcount:
            raise ForgottenError("The member was forgotten while this was under way; nothing was stored.")
        yield got
    finally:
        if got and not connection.closed:
            connection.execute("select pg_advisory_unlock(%s, %s::int)", key)
