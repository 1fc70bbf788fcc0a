"""Keeps TMDB's answers within its terms: asks again for what changed or ends soon, throws away the rest."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import chain
from typing import Protocol

import psycopg

from almanac_pipeline.errors import AlmanacError, PermanentError, RetriableError
from almanac_pipeline.flows.films import (
    FEW,
    Asking,
    Titles,
    fetch_title,
    require_some_title,
    store_batch,
    unknown_title,
)
from almanac_pipeline.flows.workers import MAX_AT_ONCE, StoppedError, in_batches, require_some_success
from almanac_pipeline.progress import track
from almanac_pipeline.settings import Settings
from almanac_pipeline.sources.records import MediaType
from almanac_pipeline.tmdb.changes import ChangesPage, changed_titles, parse_changes
from almanac_pipeline.warehouse import maintenance, runs
from almanac_pipeline.warehouse.connection import connect_to, connection_pool
from almanac_pipeline.warehouse.enrichment import FetchedFilm, FetchedTitle
from almanac_pipeline.warehouse.maintenance import StaleTitle

# After a longer silence every title is asked about: that many days of lists are longer than what they save.
MAX_SILENCE_DAYS = 90
MEDIA_TYPES: tuple[MediaType, ...] = ("movie", "tv")
NO_TOKEN = (
    "No TMDB token (ALMANAC_TMDB_TOKEN): nothing is refreshed; answers that end within two months "
    "are thrown away."
)


class Changes(Titles, Protocol):
    """What we need of `tmdb.client.TmdbClient` here."""

    def changes(self, media_type: MediaType, since: date, until: date, page: int) -> str: ...


@dataclass(frozen=True, slots=True)
class MaintenanceReport:
    """What maintenance did. Counts of TMDB titles but for the requests."""

    changed_count: int
    """Titles of ours that TMDB lists as changed, or all where its lists could not tell."""
    due_count: int
    """Titles to be asked for again: changed now or earlier, or close to their end."""
    refreshed_count: int
    unchanged_count: int
    """Of the refreshed ones, those of which our copy still held."""
    purged_count: int
    failures_count: int
    requests_count: int
    seconds: float
    notes: tuple[str, ...]
    failures: tuple[str, ...]
    """The first few reasons."""


def maintain_titles(
    database_url: str,
    settings: Settings,
    tmdb: Changes | None,
    run_id: str | None = None,
    *,
    today: date | None = None,
) -> MaintenanceReport:
    """Refresh what changed at TMDB or ends soon, then delete what ends too soon. No `tmdb`: only that.

    What is to be asked for again is noted first and stays so until it was: a killed run goes on.

    Raises:
        BlockedError, PausedError, ConfigurationError: at once; what ends is deleted all the same.
        RetriableError, PermanentError: the lists of changes, or not one of several titles, could be read.
    """
    started = time.monotonic()
    changed_count = 0
    due: list[StaleTitle] = []
    everything: list[tuple[FetchedFilm, ...]] = []
    with (
        runs.enrichment_run(database_url, None, "maintenance", run_id) as run,
        connect_to(database_url, autocommit=True) as connection,
    ):
        try:
            if tmdb is not None:
                for media_type in MEDIA_TYPES:
                    day = today or datetime.now(UTC).date()
                    changed_count += note_changes(connection, run, tmdb, media_type, day)
                maintenance.note_ends(connection)
                due = maintenance.stale_titles(connection)
                everything = _refresh(database_url, settings, tmdb, run, due)
        finally:
            purged_count = maintenance.purge_ending(connection)
    errors = _errors(everything)
    return MaintenanceReport(
        changed_count=changed_count,
        due_count=len(due),
        refreshed_count=sum(films[0].error is None for films in everything),
        unchanged_count=sum(films[0].is_cache_hit for films in everything),
        purged_count=purged_count,
        failures_count=len(errors),
        requests_count=run.requests_count,
        seconds=time.monotonic() - started,
        notes=() if tmdb is not None else (NO_TOKEN,),
        failures=tuple(str(error) for error in errors[:5]),
    )


def note_changes(
    connection: psycopg.Connection, run: runs.Run, tmdb: Changes, media_type: MediaType, today: date
) -> int:
    """Note which of our titles of a kind changed since we last looked; returns how many.

    The day on which the lists were last read is read again: it was not over then.
    """
    held = maintenance.held_titles(connection, media_type)
    since = held.known_until or held.oldest_on
    changed: set[int] | None = set()
    if since is not None and held.count:
        changed = None
        if (today - since).days <= MAX_SILENCE_DAYS:

            def read(since: date, until: date, page: int) -> ChangesPage:
                return parse_changes(tmdb.changes(media_type, since, until, page))

            changed = changed_titles(read, since, today, at_most_pages=held.count)
    with runs.batch(connection, run):
        return maintenance.note_changes(connection, media_type, changed, today)


def _refresh(
    database_url: str, settings: Settings, tmdb: Changes, run: runs.Run, due: Sequence[StaleTitle]
) -> list[tuple[FetchedFilm, ...]]:
    """Ask for titles again and store them with their films, a batch at a time; per title its films."""
    everything: list[tuple[FetchedFilm, ...]] = []
    with (
        connection_pool(database_url, settings.http_workers + 1) as pool,
        track("titles", len(due)) as progress,
    ):

        def fetch(stale: StaleTitle, stopping: threading.Event) -> tuple[FetchedFilm, ...]:
            if stopping.is_set():
                raise StoppedError("Stopped, because another title met a fatal error.")
            title: FetchedTitle | None = None
            error: AlmanacError | None = None
            try:
                title = fetch_title((stale.media_type, stale.tmdb_id), Asking(tmdb), pool)
                error = unknown_title(title)
            except (RetriableError, PermanentError) as failure:
                error = failure
            return tuple(FetchedFilm(film_id, title=title, error=error) for film_id in stale.film_ids)

        def commit(batch: Sequence[tuple[FetchedFilm, ...]]) -> None:
            with pool.connection() as connection:
                stored = {film.film_id: film for film in store_batch(connection, run, [*chain(*batch)])}
            everything.extend(tuple(stored.get(film.film_id, film) for film in films) for films in batch)
            progress.advance(len(batch))

        in_batches(fetch, due, min(settings.http_workers, MAX_AT_ONCE), commit)
        if len(due) >= FEW:
            require_some_success("titles", len(due), _errors(everything))
        require_some_title([films[0] for films in everything])
    return everything


def _errors(everything: Sequence[tuple[FetchedFilm, ...]]) -> list[AlmanacError]:
    """What went wrong, by title. A long pause that TMDB asked for is no failure."""
    first = [films[0] for films in everything]
    return [film.error for film in first if film.error is not None and not film.is_postponed]
