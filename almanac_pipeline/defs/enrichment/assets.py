"""The raw assets about films: their pages and TMDB entries, and how the whole site rated them."""

from typing import Any

import dagster as dg

from almanac_pipeline.defs.batches import materialize_each
from almanac_pipeline.defs.freshness import MONTHLY
from almanac_pipeline.defs.ingestion.assets import likes, ratings
from almanac_pipeline.defs.metadata import records_table, report_metadata
from almanac_pipeline.defs.resources import Almanac, final_errors
from almanac_pipeline.flows.films import FilmsReport, enrich_films
from almanac_pipeline.flows.histograms import HistogramsReport, refresh_histograms
from almanac_pipeline.partitions import cohorts
from almanac_pipeline.warehouse.cohorts import get_cohort
from almanac_pipeline.warehouse.connection import connect_to
from almanac_pipeline.warehouse.upkeep import HISTOGRAM_FIELDS, PAGE_FIELDS, Field, coverage

COMMON = {
    "partitions_def": cohorts,
    "group_name": "enrichment",
    "owners": ["team:almanac"],
    "kinds": {"python", "postgres"},
    "pool": "enrichment",
    "code_version": "1",
}
HISTOGRAMS_TAG = "almanac/histograms"
"""Run tag: `new` reads those that were never read, and none again because it is old."""


@dg.asset(
    key=["raw", "film_metadata"],
    deps=[ratings, likes],
    description="Each film's page and TMDB entry: ids, year, runtime, people, genres, countries, poster.",
    tags={"source": "pages-and-tmdb"},
    freshness_policy=MONTHLY,
    **COMMON,
)
def film_metadata(context: dg.AssetExecutionContext, almanac: Almanac) -> dg.MaterializeResult:
    run_id = context.run.run_id
    with final_errors(), almanac.pages(run_id) as source, almanac.tmdb(run_id) as tmdb:

        def enrich(slug: str) -> FilmsReport:
            report = enrich_films(almanac.database_url, almanac.settings, source, tmdb, slug, run_id)
            for note in report.notes:
                context.log.warning(note)
            return report

        def describe(slug: str, report: FilmsReport) -> dict[str, Any]:
            return _films_metadata(report) | coverage_shares(almanac, slug, PAGE_FIELDS)

        return materialize_each(context, enrich, describe)


def _films_metadata(report: FilmsReport) -> dict[str, Any]:
    summary = "; ".join(
        [
            f"{_share(report.fetched_count, report.due_count)} films, "
            f"{report.tmdb_count:,} from TMDB, {report.requests_count:,} requests",
            *report.notes,
        ]
    )
    return report_metadata(
        report, summary, latest_films=records_table(report.preview), failures=list(report.failures)
    )


@dg.asset(
    key=["raw", "film_histograms"],
    deps=[film_metadata],
    description="How everyone on the site rated each film: ten half-star counts beside the stated total.",
    tags={"source": "pages"},
    freshness_policy=MONTHLY,
    **COMMON,
)
def film_histograms(context: dg.AssetExecutionContext, almanac: Almanac) -> dg.MaterializeResult:
    run_id, only_new = context.run.run_id, context.run.tags.get(HISTOGRAMS_TAG) == "new"
    with final_errors(), almanac.pages(run_id) as source:

        def refresh(slug: str) -> HistogramsReport:
            url, settings = almanac.database_url, almanac.settings
            return refresh_histograms(url, settings, source, slug, run_id, only_new=only_new)

        def describe(slug: str, report: HistogramsReport) -> dict[str, Any]:
            return _histograms_metadata(report) | coverage_shares(almanac, slug, HISTOGRAM_FIELDS)

        return materialize_each(context, refresh, describe)


def _histograms_metadata(report: HistogramsReport) -> dict[str, Any]:
    read = report.due_count - report.failures_count
    summary = "; ".join(
        [
            f"{_share(read, report.due_count)} histograms, {report.changed_count:,} changed, "
            f"{report.requests_count:,} requests",
            *report.notes,
        ]
    )
    return report_metadata(
        report, summary, latest_histograms=records_table(report.preview), failures=list(report.failures)
    )


def coverage_shares(almanac: Almanac, cohort: str, fields: tuple[Field, ...]) -> dict[str, float]:
    """The share of the cohort's films that have each field, 0 to 1, as numbers that Dagster plots."""
    with connect_to(almanac.database_url) as connection:
        found = coverage(connection, get_cohort(connection, cohort).cohort_id)
    return {f"coverage_{field}": round(found.share(field), 4) for field in fields}


def _share(done: int, due: int) -> str:
    """How many were read, and of how many that were due if not all were."""
    return f"{done:,}" if done == due else f"{done:,} of {due:,}"
