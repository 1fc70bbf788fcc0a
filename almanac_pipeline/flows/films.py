"""Enriches the films of a cohort: the film's page, then TMDB in one request."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from psycopg_pool import ConnectionPool

from almanac_pipeline.errors import NotFoundError, PermanentError, RetriableError
from almanac_pipeline.flows.workers import StoppedError, in_batches, require_some_success
from almanac_pipeline.progress import track
from almanac_pipeline.settings import Settings
from almanac_pipeline.sources.protocol import Source
from almanac_pipeline.sources.records import FilmPage, MediaType
from almanac_pipeline.tmdb.client import TmdbAnswer
from almanac_pipeline.tmdb.titles import parse_title
from almanac_pipeline.warehouse import alerts, cohorts, enrichment, runs
from almanac_pipeline.warehouse.connection import connect_to, connection_pool
from almanac_pipeline.warehouse.enrichment import DueFilm, EnrichedFilm, FetchedFilm, FetchedTitle

# Fewer failures than this, in a cohort that has films already, say nothing about the source.
FEW = 5

NO_TOKEN = (
    "No TMDB token (ALMANAC_TMDB_TOKEN): films have what their page says; overviews and casts are missing."
)
NO_PAGES = "Pages of films may not be fetched: films have what TMDB says, where their TMDB id is known."


class Titles(Protocol):
    """What we need of `tmdb.client.TmdbClient`."""

    def fetch_title(self, media_type: MediaType, tmdb_id: int, *, etag: str | None = None) -> TmdbAnswer: ...


@dataclass(frozen=True, slots=True)
class FilmsReport:
    """What an enrichment did. Counts of films but for the requests."""

    due_count: int
    fetched_count: int
    tmdb_count: int
    """Films that TMDB told us about, from a request or from the copy we keep."""
    not_found_count: int
    failures_count: int
    requests_count: int
    cache_hits_count: int
    """TMDB titles that cost no new download: our copy was fresh or is unchanged."""
    seconds: float
    notes: tuple[str, ...]
    preview: tuple[EnrichedFilm, ...]
    failures: tuple[str, ...]
    """The first few reasons."""


def enrich_films(
    database_url: str,
    settings: Settings,
    source: Source,
    tmdb: Titles | None,
    cohort_slug: str,
    run_id: str | None = None,
) -> FilmsReport:
    """Read the pages of films that are new to us and ask TMDB about them. No `tmdb`: pages only.

    Where pages may not be fetched, TMDB alone, about films whose id there is known.

    Films are stored in batches; what is stored when the process is killed is not asked for again.

    Raises:
        BlockedError, PausedError, ConfigurationError: at once, for the whole run.
        RetriableError, PermanentError: not one film could be read.
    """
    started = time.monotonic()
    with connect_to(database_url, autocommit=True) as connection:
        cohort = cohorts.get_cohort(connection, cohort_slug)
        with_pages = source.permits("film")
        due = enrichment.films_due(
            connection, cohort.cohort_id, with_tmdb=tmdb is not None, with_pages=with_pages
        )
        known_count = enrichment.count_fetched(connection, cohort.cohort_id)
    with (
        runs.enrichment_run(database_url, cohort.cohort_id, "films", run_id) as run,
        connection_pool(database_url, settings.http_workers + 1) as pool,
        track("films", len(due)) as progress,
    ):

        def fetch(film: DueFilm, stopping: threading.Event) -> FetchedFilm:
            if stopping.is_set():
                raise StoppedError("Stopped, because another film met a fatal error.")
            return fetch_film(film, source, tmdb, pool)

        def commit(batch: Sequence[FetchedFilm]) -> None:
            with pool.connection() as connection:
                enrichment.store_films(connection, batch)
                for film in batch:
                    if film.error is not None:
                        runs.record_failure(connection, run, "film", film.error, film_id=film.film_id)
            run.films_count += sum(film.error is None for film in batch)
            run.failures_count += sum(film.error is not None for film in batch)
            run.requests_count += sum(film.requests for film in batch)
            run.cache_hits_count += sum(film.is_cache_hit for film in batch)
            progress.advance(len(batch))

        everything = in_batches(fetch, due, settings.http_workers, commit)
        errors = [film.error for film in everything if film.error is not None]
        if len(due) >= FEW or not known_count:
            require_some_success("films", len(due), errors)
        with pool.connection() as connection:
            alerts.check_volume(connection, run, settings.volume_alert_factor)
    with connect_to(database_url, autocommit=True) as connection:
        preview = enrichment.preview_films(connection, [film.film_id for film in everything])
    not_found_count = sum(isinstance(error, NotFoundError) for error in errors)
    return FilmsReport(
        due_count=len(due),
        fetched_count=run.films_count,
        tmdb_count=sum(film.title is not None and film.title.title is not None for film in everything),
        not_found_count=not_found_count,
        failures_count=len(errors) - not_found_count,
        requests_count=run.requests_count,
        cache_hits_count=run.cache_hits_count,
        seconds=time.monotonic() - started,
        notes=(*(() if tmdb is not None else (NO_TOKEN,)), *(() if with_pages else (NO_PAGES,))),
        preview=preview,
        failures=tuple(str(error) for error in errors[:5]),
    )


def fetch_film(film: DueFilm, source: Source, tmdb: Titles | None, pool: ConnectionPool) -> FetchedFilm:
    """Ask for one film. What concerns this film only is returned as its error, all else is raised."""
    requests, page = 0, None
    try:
        key = (film.tmdb_media_type, film.tmdb_id)
        if film.needs_page and film.slug is not None:
            requests += 1
            page = source.read_film(film.slug)
            require_same_film(film, page)
            if page.tmdb_id is not None:
                key = (page.tmdb_media_type, page.tmdb_id)
        title = None
        media_type, tmdb_id = key
        if tmdb is not None and media_type is not None and tmdb_id is not None:
            with pool.connection() as connection:
                cached = enrichment.cached_title(connection, media_type, tmdb_id)
            if cached is not None and cached.is_fresh:
                known = parse_title(cached.payload, media_type)
                title = FetchedTitle(media_type, tmdb_id, 200, known, None, None, None, was_asked=False)
            else:
                requests += 1
                answer = tmdb.fetch_title(media_type, tmdb_id, etag=cached.etag if cached else None)
                payload = cached.payload if answer.status == 304 and cached else answer.payload
                title = FetchedTitle(
                    media_type,
                    tmdb_id,
                    answer.status,
                    parse_title(payload, media_type) if payload is not None else None,
                    answer.payload,
                    answer.etag,
                    answer.max_age_seconds,
                )
    except (RetriableError, PermanentError) as error:
        return FetchedFilm(film.film_id, page, error=error, requests=requests)
    return FetchedFilm(film.film_id, page, title, requests=requests)


def require_same_film(film: DueFilm, page: FilmPage) -> None:
    """Refuse a page whose ids are another film's: the address was given away.

    Raises:
        NotFoundError: it was.
    """
    for before, now in ((film.uid, page.uid), (film.lid, page.lid)):
        if before is not None and now is not None and before != now:
            raise NotFoundError(f"The address of the film {film.slug} now shows another film.")
