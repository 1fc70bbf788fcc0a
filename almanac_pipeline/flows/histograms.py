"""Keeps the global rating histograms of a cohort's films no older than the settings allow."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from almanac_pipeline.errors import PermanentError, RetriableError
from almanac_pipeline.flows.films import FEW
from almanac_pipeline.flows.workers import StoppedError, in_batches, require_some_success
from almanac_pipeline.progress import track
from almanac_pipeline.settings import Settings
from almanac_pipeline.sources.protocol import Source
from almanac_pipeline.warehouse import alerts, cohorts, histograms, runs, upkeep
from almanac_pipeline.warehouse.connection import connect_to
from almanac_pipeline.warehouse.histograms import DueHistogram, FetchedHistogram, HistogramPreview


@dataclass(frozen=True, slots=True)
class HistogramsReport:
    """What a refresh did. Counts of films but for the requests."""

    due_count: int
    changed_count: int
    unchanged_count: int
    blank_count: int
    """The site had no ratings to show."""
    failures_count: int
    requests_count: int
    seconds: float
    preview: tuple[HistogramPreview, ...]
    failures: tuple[str, ...]
    """The first few reasons."""
    notes: tuple[str, ...]


NO_PAGES = "Pages may not be fetched: what the whole site thinks of the films is not known."


def refresh_histograms(
    database_url: str,
    settings: Settings,
    source: Source,
    cohort_slug: str,
    run_id: str | None = None,
    *,
    only_new: bool = False,
) -> HistogramsReport:
    """Read the histograms that are missing or old, where pages may be. Only changed counts are written.

    With `only_new` the old ones are left alone.

    Raises:
        BlockedError, PausedError, ConfigurationError: at once, for the whole run.
        RetriableError, PermanentError: not one histogram could be read.
    """
    started = time.monotonic()
    with connect_to(database_url, autocommit=True) as connection:
        cohort = cohorts.get_cohort(connection, cohort_slug)
        is_permitted = source.permits("histogram")
    changed_count = 0
    with (
        runs.enrichment_run(database_url, cohort.cohort_id, "histograms", run_id) as run,
        connect_to(database_url, autocommit=True) as connection,
    ):
        upkeep.prepare_view(connection, histogram_max_age_days=settings.histogram_max_age_days)
        due = []
        if is_permitted:
            due = histograms.histograms_due(connection, cohort.cohort_id, only_new=only_new)
        known_count = histograms.count_histograms(connection, cohort.cohort_id)

        def fetch(film: DueHistogram, stopping: threading.Event) -> FetchedHistogram:
            if stopping.is_set():
                raise StoppedError("Stopped, because another film met a fatal error.")
            try:
                return FetchedHistogram(film.film_id, source.read_histogram(film.histogram_url))
            except (RetriableError, PermanentError) as error:
                return FetchedHistogram(film.film_id, error=error)

        def commit(batch: Sequence[FetchedHistogram]) -> None:
            nonlocal changed_count
            with runs.batch(
                connection,
                run,
                films_count=sum(film.error is None for film in batch),
                failures_count=sum(film.error is not None for film in batch),
            ):
                changed_count += histograms.store_histograms(connection, batch)
                for film in batch:
                    if film.error is not None:
                        runs.record_failure(connection, run, "histogram", film.error, film_id=film.film_id)
            progress.advance(len(batch))

        with track("histograms", len(due)) as progress:
            everything = in_batches(fetch, due, settings.http_workers, commit)
        errors = [film.error for film in everything if film.error is not None]
        if len(everything) >= FEW or not known_count:
            require_some_success("histograms", len(everything), errors)
        alerts.check_volume(connection, run, settings.volume_alert_factor)
        preview = histograms.preview_histograms(connection, [film.film_id for film in everything])
    blank_count = sum(film.error is None and film.histogram is None for film in everything)
    return HistogramsReport(
        due_count=len(due),
        changed_count=changed_count,
        unchanged_count=len(everything) - len(errors) - blank_count - changed_count,
        blank_count=blank_count,
        failures_count=len(errors),
        requests_count=run.requests_count,
        seconds=time.monotonic() - started,
        preview=preview,
        failures=tuple(str(error) for error in errors[:5]),
        notes=() if is_permitted else (NO_PAGES,),
    )
