"""Finds the TMDB id of directors whom no title of TMDB names: their own page on the site links it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from almanac_pipeline.errors import AlmanacError, NotFoundError, PermanentError, RetriableError
from almanac_pipeline.flows.workers import StoppedError, in_batches
from almanac_pipeline.progress import track
from almanac_pipeline.settings import Settings
from almanac_pipeline.sources.protocol import Source
from almanac_pipeline.warehouse import cohorts, film_sets, runs
from almanac_pipeline.warehouse.connection import connect_to
from almanac_pipeline.warehouse.film_sets import UnidentifiedDirector


@dataclass(frozen=True, slots=True)
class _ReadPerson:
    person_id: int
    tmdb_person_id: int | None = None
    error: AlmanacError | None = None


def identify_directors(
    database_url: str,
    settings: Settings,
    source: Source,
    cohort_slug: str,
    run_id: str | None = None,
) -> int:
    """Read the pages of the cohort's directors that lack a TMDB id; returns how many requests that took.

    A page that cannot be read fails nothing but is looked at again; each is read once a month at most.

    Raises:
        BlockedError, PausedError, ConfigurationError: at once.
    """
    with connect_to(database_url, autocommit=True) as connection:
        cohort = cohorts.get_cohort(connection, cohort_slug)
        if not film_sets.unidentified_directors(connection, cohort.cohort_id):
            return 0
        if not source.permits("person"):
            return 0
        with runs.enrichment_run(database_url, cohort.cohort_id, "people", run_id) as run:
            due = film_sets.unidentified_directors(connection, cohort.cohort_id)

            def read(director: UnidentifiedDirector, stopping: threading.Event) -> _ReadPerson:
                if stopping.is_set():
                    raise StoppedError("Stopped, because another page met a fatal error.")
                try:
                    page = source.read_person("director", director.slug)
                except NotFoundError:
                    return _ReadPerson(director.person_id)
                except (RetriableError, PermanentError) as error:
                    return _ReadPerson(director.person_id, error=error)
                return _ReadPerson(director.person_id, page.tmdb_person_id)

            def commit(batch: Sequence[_ReadPerson]) -> None:
                failures_count = sum(person.error is not None for person in batch)
                with runs.batch(connection, run, failures_count=failures_count):
                    for person in batch:
                        if person.error is None:
                            film_sets.identify_person(connection, person.person_id, person.tmdb_person_id)
                        else:
                            runs.record_failure(connection, run, "person", person.error)
                progress.advance(len(batch))

            with track("directors", len(due)) as progress:
                in_batches(read, due, settings.http_workers, commit)
    return run.requests_count
