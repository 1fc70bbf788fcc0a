"""The resource that assets ask for the outside: settings, database, sources of this process."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import dagster as dg
import psycopg

from almanac_pipeline.cohort_tags import COHORTS_TAG, PARTITION_TAG, RANGE_TAGS
from almanac_pipeline.errors import AlmanacError, LongPauseError
from almanac_pipeline.http.client import PoliteClient
from almanac_pipeline.observability.steps import observed
from almanac_pipeline.postgres import failure_words, is_away
from almanac_pipeline.settings import Settings, get_settings
from almanac_pipeline.sources.feed import FeedSource
from almanac_pipeline.sources.pages.source import PagesSource
from almanac_pipeline.tmdb.client import TmdbClient
from almanac_pipeline.warehouse.connection import prepared_database_url


class Almanac(dg.ConfigurableResource):
    """Opens what an asset needs and closes it again. Holds no connection of its own."""

    @property
    def settings(self) -> Settings:
        return get_settings()

    @property
    def database_url(self) -> str:
        return prepared_database_url()

    @contextmanager
    def pages(self, run_id: str) -> Iterator[PagesSource]:
        """The public pages, through the polite client. What policy forbids raises when it is asked for."""
        with PoliteClient.open(self.settings, self.database_url, run_id=run_id) as client:
            yield PagesSource(client, self.settings.letterboxd_url)

    @contextmanager
    def pages_and_feeds(self, run_id: str) -> Iterator[tuple[PagesSource, FeedSource]]:
        """Both through one client."""
        with PoliteClient.open(self.settings, self.database_url, run_id=run_id) as client:
            url = self.settings.letterboxd_url
            yield PagesSource(client, url), FeedSource(client, url)

    @contextmanager
    def tmdb(self, run_id: str) -> Iterator[TmdbClient | None]:
        """TMDB, or None without a token."""
        settings = self.settings
        if settings.tmdb_token is None:
            yield None
            return
        with PoliteClient.open(settings, self.database_url, run_id=run_id) as client:
            yield TmdbClient(client, settings.tmdb_url, settings.tmdb_token)


@contextmanager
def _observed_step() -> Iterator[None]:
    """Logs, trace and memory of the step under way; nothing where there is none, as in sensors."""
    try:
        context = dg.OpExecutionContext.get()
    except dg.DagsterInvariantViolationError:
        yield
        return
    run, task = context.run, str(context.op_handle)
    with observed(prepared_database_url(), run_id=run.run_id, task=task, cohort=_cohort(run.tags)):
        yield


def _cohort(tags: Mapping[str, str]) -> str | None:
    """The cohort of a run in a word: its slug, how many there are, or the first and the last of a range."""
    several = tags.get(COHORTS_TAG, "").split(",")
    if len(several) > 1:
        return f"{len(several)} cohorts"
    first, last = (tags.get(tag) for tag in RANGE_TAGS)
    return several[0] or tags.get(PARTITION_TAG) or (f"{first}...{last}" if first else None)


@contextmanager
def final_errors() -> Iterator[None]:
    """Our errors end a step in their own words; only what may pass is left to be tried again by its policy.

    A long pause that a host asked for is not waited for: the next run asks again. How the step fares is
    noted by the way.
    """
    try:
        with _observed_step():
            yield
    except AlmanacError as error:
        may_pass = error.retriable and not isinstance(error, LongPauseError)
        raise dg.Failure(description=str(error), allow_retries=may_pass) from error
    except psycopg.Error as error:
        # Its own words may repeat a row, and Dagster keeps them for good.
        raise dg.Failure(description=failure_words(error), allow_retries=is_away(error)) from None
