"""What it would take to bring cohorts up to date: requests to whom, and for how long. Asks nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import psycopg

from almanac_pipeline.errors import AlmanacError, ConfigurationError
from almanac_pipeline.flows.automation import EachCohort
from almanac_pipeline.flows.opinions import plan_sync
from almanac_pipeline.flows.routes import Feeds, add_requests
from almanac_pipeline.http.hosts import HostPolicy, host_of
from almanac_pipeline.settings import Settings
from almanac_pipeline.sources.protocol import Source
from almanac_pipeline.warehouse import cohorts, enrichment, histograms, upkeep

Bounds = tuple[int, int | None]
"""The fewest and the most; most is None where nothing tells."""


@dataclass(frozen=True, slots=True)
class CohortPlan:
    """What one cohort lacks, and the requests that ask for it."""

    slug: str
    members_count: int
    is_out_of_reach: bool
    """The pages that say who is in the cohort may not be fetched: its members would not be read."""
    member_requests: Bounds
    film_pages: int
    histograms: int
    titles: Bounds
    """To TMDB: one for a film whose id is known, more where it has to be looked for."""

    @property
    def site_requests(self) -> Bounds:
        """To Letterboxd. Films new to us are not known before the members are read."""
        known = self.film_pages + self.histograms
        return add_requests([self.member_requests, (known, known)])


def plan_backfill(
    connection: psycopg.Connection,
    settings: Settings,
    source: Source,
    feeds: Feeds,
    slugs: Iterable[str],
    *,
    full: bool = False,
) -> EachCohort[CohortPlan]:
    """What each cohort lacks now. A film of several cohorts is counted with the first of them.

    A cohort that has ended or whose definition is malformed is a failure of its own.

    Nothing is fetched but robots.txt, if no fresh copy is stored.

    Raises:
        RetriableError, BlockedError, PausedError: as `opinions.plan_sync`.
    """
    upkeep.prepare_view(connection, histogram_max_age_days=settings.histogram_max_age_days)
    with_pages, with_histograms = source.permits("film"), source.permits("histogram")
    counted_films, counted_histograms = set[int](), set[int]()
    plans: dict[str, CohortPlan] = {}
    failures: dict[str, AlmanacError] = {}
    for slug in slugs:
        cohort_id = cohorts.get_cohort(connection, slug).cohort_id
        try:
            sync = plan_sync(connection, settings, source, feeds, slug, full=full)
        except ConfigurationError as error:
            failures[slug] = error
            continue
        films = [
            film
            for film in enrichment.films_due(
                connection, cohort_id, with_tmdb=settings.tmdb_token is not None, with_pages=with_pages
            )
            if film.film_id not in counted_films
        ]
        bars = (
            {film.film_id for film in histograms.histograms_due(connection, cohort_id)}
            if with_histograms
            else set()
        )
        titles = [(1, 1) if film.tmdb_id is not None else (1, None) for film in films if settings.tmdb_token]
        plans[slug] = CohortPlan(
            slug=slug,
            members_count=len(sync.routes),
            is_out_of_reach=sync.circle_requests is None,
            member_requests=add_requests(
                [sync.circle_requests or (0, 0), *(route.requests for route in sync.routes)]
            ),
            film_pages=sum(film.needs_page and film.slug is not None for film in films),
            histograms=len(bars - counted_histograms),
            titles=add_requests(titles),
        )
        counted_films |= {film.film_id for film in films}
        counted_histograms |= bars
    return EachCohort(plans, failures)


def seconds_of(requests: Bounds, policy: HostPolicy, url: str) -> tuple[float, float | None]:
    """How long so many requests take at the pace that is allowed, at the least; days' budgets aside."""
    limits = policy.limits_for(host_of(url))
    pace = max((limit.window_milliseconds / limit.requests / 1000 for limit in limits), default=0.0)
    least, most = requests
    return least * pace, None if most is None else most * pace
