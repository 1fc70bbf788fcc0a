"""Enriches the films of a cohort: the film's page, which TMDB title it is, and that title in one request.

Directors whom no title names are found by `people` at the end.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import psycopg
from psycopg_pool import ConnectionPool

from almanac_pipeline.errors import (
    NotFoundError,
    PermanentError,
    RetriableError,
    WrongPageError,
)
from almanac_pipeline.flows.people import identify_directors
from almanac_pipeline.flows.workers import (
    MAX_AT_ONCE,
    StoppedError,
    in_batches,
    require_some_success,
)
from almanac_pipeline.progress import track
from almanac_pipeline.settings import Settings
from almanac_pipeline.sources.protocol import Source
from almanac_pipeline.sources.records import FilmPage, MediaType
from almanac_pipeline.tmdb.client import TmdbAnswer
from almanac_pipeline.tmdb.matching import Candidate, Question, Wanted, match
from almanac_pipeline.tmdb.titles import (
    TitleSummaries,
    TitleSummary,
    parse_find,
    parse_further_titles,
    parse_search,
    parse_title,
)
from almanac_pipeline.warehouse import alerts, cohorts, enrichment, runs, upkeep
from almanac_pipeline.warehouse.connection import connect_to, connection_pool
from almanac_pipeline.warehouse.enrichment import DueFilm, EnrichedFilm, FetchedFilm, FetchedTitle
from almanac_pipeline.warehouse.films import join_same_titles
from almanac_pipeline.warehouse.matches import MatchedBy

# Fewer failures than this, in a cohort that has films already, say nothing about the source.
FEW = 5

NO_TOKEN = (
    "No TMDB token (ALMANAC_TMDB_TOKEN): films have what their page says; overviews and casts are missing."
)
NO_PAGES = "Pages of films may not be fetched: films have what TMDB says, found by title and year."
WAITING = "{:,} films wait for somebody to say which TMDB title they are: `almanac films match list`."
PAUSED = "{:,} films are asked about later: {}."


class Titles(Protocol):
    """What we need of `tmdb.client.TmdbClient`."""

    def fetch_title(self, media_type: MediaType, tmdb_id: int, *, etag: str | None = None) -> TmdbAnswer: ...

    def search(self, media_type: MediaType, text: str, year: int | None) -> str: ...

    def find(self, imdb_id: str) -> str: ...

    def further_titles(self, media_type: MediaType, tmdb_id: int) -> str: ...


@dataclass(frozen=True, slots=True)
class FilmsReport:
    """What an enrichment did. Counts of films but for the requests."""

    due_count: int
    fetched_count: int
    postponed_count: int
    """Left to a later run, because a host asked for a long pause."""
    tmdb_count: int
    """Films that TMDB told us about, from a request or from the copy we keep."""
    not_found_count: int
    ambiguous_count: int
    """Films that several TMDB titles, or an uncertain one, may be meant by: a person is to choose."""
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

    Where pages may not be fetched, TMDB alone.

    Films are stored in batches; what is stored when the process is killed is not asked for again.

    Raises:
        BlockedError, PausedError, ConfigurationError: at once, for the whole run.
        RetriableError, PermanentError: not one film could be read, or TMDB denied every title.
    """
    started = time.monotonic()
    with connect_to(database_url, autocommit=True) as connection:
        cohort = cohorts.get_cohort(connection, cohort_slug)
        with_pages = source.permits("film")
    everything: list[FetchedFilm] = []
    with (
        runs.enrichment_run(database_url, cohort.cohort_id, "films", run_id) as run,
        connection_pool(database_url, settings.http_workers + 1) as pool,
    ):
        with connect_to(database_url, autocommit=True) as connection:
            upkeep.prepare_view(connection, histogram_max_age_days=settings.histogram_max_age_days)
            due = enrichment.films_due(
                connection, cohort.cohort_id, with_tmdb=tmdb is not None, with_pages=with_pages
            )
            known_count = enrichment.count_fetched(connection, cohort.cohort_id)

        def fetch(film: DueFilm, stopping: threading.Event) -> FetchedFilm:
            if stopping.is_set():
                raise StoppedError("Stopped, because another film met a fatal error.")
            return fetch_film(film, source if with_pages else None, tmdb, pool)

        def commit(batch: Sequence[FetchedFilm]) -> None:
            with pool.connection() as connection:
                everything.extend(store_batch(connection, run, batch))
            progress.advance(len(batch))

        workers = min(settings.http_workers, MAX_AT_ONCE)
        with track("films", len(due)) as progress:
            in_batches(fetch, due, workers, commit)
        pauses = [film.error for film in everything if film.is_postponed]
        errors = [film.error for film in everything if film.error is not None and not film.is_postponed]
        require_some_film(everything, is_first=not known_count)
        require_some_title(everything)
        with pool.connection() as connection:
            alerts.check_volume(connection, run, settings.volume_alert_factor)
    people_requests_count = (
        identify_directors(database_url, settings, source, cohort_slug, run_id) if tmdb is not None else 0
    )
    with connect_to(database_url, autocommit=True) as connection:
        join_same_titles(connection)
        preview = enrichment.preview_films(connection, [film.film_id for film in everything])
    missing_count = sum(isinstance(error, NotFoundError) for error in errors)
    ambiguous_count = sum(bool(film.candidates) for film in everything)
    unmatched_count = sum(film.error is None and film.candidates == () for film in everything)
    notes = (
        *(() if tmdb is not None else (NO_TOKEN,)),
        *(() if with_pages else (NO_PAGES,)),
        *((WAITING.format(ambiguous_count),) if ambiguous_count else ()),
        *((PAUSED.format(len(pauses), pauses[0]),) if pauses else ()),
    )
    return FilmsReport(
        due_count=len(due),
        fetched_count=run.films_count,
        postponed_count=run.postponed_count,
        tmdb_count=sum(film.title is not None and film.title.title is not None for film in everything),
        not_found_count=missing_count + unmatched_count,
        ambiguous_count=ambiguous_count,
        failures_count=len(errors) - missing_count,
        requests_count=run.requests_count + people_requests_count,
        cache_hits_count=run.cache_hits_count,
        seconds=time.monotonic() - started,
        notes=notes,
        preview=preview,
        failures=tuple(str(error) for error in errors[:5]),
    )


def store_batch(
    connection: psycopg.Connection, run: runs.Run, batch: Sequence[FetchedFilm]
) -> list[FetchedFilm]:
    """Store fetched films, what failed of them, and the run's counts, in one transaction.

    Returns the films as they were stored.
    """
    with runs.batch(connection, run) as counts:
        stored = enrichment.store_films(connection, batch)
        failed = [film for film in stored if film.error is not None and not film.is_postponed]
        counts.update(
            films_count=sum(film.error is None for film in stored),
            failures_count=len(failed),
            postponed_count=sum(film.is_postponed for film in stored),
            cache_hits_count=sum(film.is_cache_hit for film in stored),
        )
        for film in failed:
            assert film.error is not None
            runs.record_failure(connection, run, "film", film.error, film_id=film.film_id)
    return stored


def require_some_film(films: Sequence[FetchedFilm], *, is_first: bool) -> None:
    """Refuse to go on where nothing could be read. That a film is not there is an answer, but of the first.

    Raises:
        RetriableError, PermanentError: none of the films could be read, or all of their pages are gone.
    """
    errors = [film.error for film in films if film.error is not None and not film.is_postponed]
    if is_first:
        require_some_success("films", len(films), errors)
    failures = [error for error in errors if not isinstance(error, NotFoundError)]
    attempted = len(films) - len(errors) + len(failures)
    if attempted >= FEW:
        require_some_success("films", attempted, failures)
    gone = sum(film.has_lost_page for film in films)
    if gone >= FEW and not any(film.page for film in films):
        raise PermanentError(
            f"The site says of all {gone} films whose pages were asked for that it does not have them. "
            "What was known of them is kept."
        )


def require_some_title(films: Sequence[FetchedFilm]) -> None:
    """Refuse to believe that TMDB has dropped every title of which it has told us and was asked again.

    Raises:
        PermanentError: it said so.
    """
    asked = [film.title.status for film in films if film.title is not None and film.title.was_held]
    if len(asked) >= FEW and set(asked) == {404}:
        raise PermanentError(
            f"TMDB says of all {len(asked)} titles that were asked for that it has none of them. "
            "Is ALMANAC_TMDB_URL right? What was known of them is kept."
        )


def fetch_film(
    film: DueFilm, source: Source | None, tmdb: Titles | None, pool: ConnectionPool
) -> FetchedFilm:
    """Ask for one film. What concerns this film only is returned as its error, all else is raised.

    No `source`: its page may not be read. TMDB is asked although the page fails; the page stays due.
    """
    fetched = FetchedFilm(film.film_id)
    if film.needs_page:
        fetched = _with_page(fetched, film, source)
    if tmdb is None:
        return fetched
    try:
        fetched = _with_title(fetched, film, source, Asking(tmdb), pool)
    except (RetriableError, PermanentError) as error:
        # Of two errors the one that may go away says when to ask again.
        if fetched.error is None or not fetched.error.retriable:
            fetched = replace(fetched, error=error)
    return fetched


def _with_page(fetched: FetchedFilm, film: DueFilm, source: Source | None) -> FetchedFilm:
    """The film with its page, or with what went wrong."""
    if source is None or film.slug is None:
        return fetched
    try:
        page = source.read_film(film.slug)
        require_same_film(film, page)
    except (RetriableError, PermanentError) as error:
        is_gone = isinstance(error, NotFoundError)
        return replace(fetched, error=error, has_lost_page=is_gone and not film.is_known_to_fail)
    return replace(fetched, page=page)


def _with_title(
    fetched: FetchedFilm, film: DueFilm, source: Source | None, asking: Asking, pool: ConnectionPool
) -> FetchedFilm:
    """The film with its TMDB title, or with what it may be."""
    found = discover(film, fetched.page, asking)
    title = None if found.key is None else fetch_title(found.key, asking, pool)
    if title is not None and title.status == 404 and not film.is_chosen:
        # TMDB joins titles that are one, and the page follows; or it may be found by its name.
        if fetched.page is None and fetched.error is None:
            fetched = _with_page(fetched, film, source)
        if fetched.error is None or isinstance(fetched.error, NotFoundError):
            again = discover(film, fetched.page, asking, gone=found.key)
            was_found = found.matched_by is None and film.matched_by in ("imdb", "search")
            if again.key is not None and again.key != found.key:
                found, title = again, fetch_title(again.key, asking, pool)
            elif was_found:
                found = again
    if title is not None and title.status == 404 and found.key is not None:
        return replace(fetched, title=title, error=fetched.error or unknown_title(title))
    candidates = found.candidates
    if fetched.error is not None and not isinstance(fetched.error, NotFoundError):
        candidates = None  # the page may name the title as soon as it can be read
    return replace(fetched, title=title, matched_by=found.matched_by, candidates=candidates)


def unknown_title(title: FetchedTitle) -> NotFoundError | None:
    """What is wrong with a title that TMDB does not have."""
    if title.status != 404:
        return None
    return NotFoundError(f"TMDB has no title {title.media_type}/{title.tmdb_id} (any more)")


@dataclass(frozen=True, slots=True)
class Discovery:
    """Which TMDB title a film is, as far as anybody says."""

    key: tuple[MediaType, int] | None = None
    matched_by: MatchedBy | None = None
    candidates: tuple[Candidate, ...] | None = None
    """What may be meant, where TMDB was searched and none could be taken."""


def discover(
    film: DueFilm, page: FilmPage | None, asking: Asking, *, gone: tuple[MediaType, int] | None = None
) -> Discovery:
    """Whom to believe, in this order: a person, the page's link, the feed or what was said before, the
    page's attributes, the IMDb id, a search by title and year. Only the last two ask TMDB.

    Nobody is believed who names `gone`, which TMDB does not have.

    Raises whatever TMDB's client and the parsers raise.
    """
    stored, on_page = _key(film.tmdb_media_type, film.tmdb_id), None
    if page is not None:
        on_page = _key(page.tmdb_media_type, page.tmdb_id)
    if gone is not None:
        stored, on_page = (None if key == gone else key for key in (stored, on_page))
    if film.is_chosen:
        return Discovery(stored)
    if page is not None and on_page is not None and page.is_tmdb_linked:
        return Discovery(on_page, "page")
    if stored is not None and film.matched_by not in ("attributes", "imdb", "search"):
        return Discovery(stored)
    if on_page is not None:
        return Discovery(on_page, "attributes")
    if stored is not None:
        return Discovery(stored)
    title, year = (page.title, page.release_year) if page is not None else (film.title, film.release_year)
    wanted = None if title is None else Wanted(title, year)
    imdb_id = (page.imdb_id if page is not None else None) or film.imdb_id
    if imdb_id is not None and (found := asking.find(imdb_id)):
        same_kind = [title for title in found if title.media_type == found[0].media_type]
        if len(same_kind) == 1:
            return Discovery((found[0].media_type, found[0].tmdb_id), "imdb")
    if wanted is None:
        return Discovery(candidates=())
    result = match(wanted, asking)
    if result.taken is None:
        return Discovery(candidates=result.candidates)
    return Discovery((result.taken.title.media_type, result.taken.title.tmdb_id), "search")


class Asking:
    """TMDB as matching asks it."""

    def __init__(self, tmdb: Titles) -> None:
        self._tmdb = tmdb

    def search(self, question: Question) -> TitleSummaries:
        payload = self._tmdb.search(question.media_type, question.text, question.year)
        return parse_search(payload, question.media_type)

    def find(self, imdb_id: str) -> tuple[TitleSummary, ...]:
        """The titles with this IMDb id, films first."""
        return parse_find(self._tmdb.find(imdb_id))

    def further_titles(self, media_type: MediaType, tmdb_id: int) -> tuple[str, ...]:
        return parse_further_titles(self._tmdb.further_titles(media_type, tmdb_id))

    def fetch_title(self, media_type: MediaType, tmdb_id: int, etag: str | None) -> TmdbAnswer:
        """The whole title."""
        return self._tmdb.fetch_title(media_type, tmdb_id, etag=etag)


def fetch_title(key: tuple[MediaType, int], asking: Asking, pool: ConnectionPool) -> FetchedTitle:
    """The title from the copy we keep while that is fresh, else from TMDB.

    Raises:
        WrongPageError: TMDB answered about another title.
        AlmanacError: whatever TMDB's client and the parser raise.
    """
    with pool.connection() as connection:
        cached = enrichment.cached_title(connection, *key)
    if cached is not None and cached.is_fresh:
        known = parse_title(cached.payload, key[0])
        return FetchedTitle(*key, 200, known, None, None, None, was_asked=False)
    answer = asking.fetch_title(*key, cached.etag if cached else None)
    payload = cached.payload if answer.status == 304 and cached else answer.payload
    title = parse_title(payload, key[0]) if payload is not None else None
    if title is not None and title.tmdb_id != key[1]:
        raise WrongPageError(f"TMDB answered about another title than {key[0]}/{key[1]}; it is not stored.")
    return FetchedTitle(
        *key,
        answer.status,
        title,
        answer.payload,
        answer.etag,
        answer.max_age_seconds,
        was_held=cached is not None and not cached.is_gone,
    )


def _key(media_type: MediaType | None, tmdb_id: int | None) -> tuple[MediaType, int] | None:
    return (media_type, tmdb_id) if media_type is not None and tmdb_id is not None else None


def require_same_film(film: DueFilm, page: FilmPage) -> None:
    """Refuse a page whose ids are another film's: the address was given away.

    Raises:
        NotFoundError: it was.
    """
    for before, now in ((film.uid, page.uid), (film.lid, page.lid)):
        if before is not None and now is not None and before != now:
            raise NotFoundError(f"The address of the film {film.slug} now shows another film.")
