"""The raw assets that come from members' pages and feeds: who is in the cohort, opinions, viewings."""

from collections.abc import Callable
from typing import Any

import dagster as dg

from almanac_pipeline.defs.batches import materialize_each
from almanac_pipeline.defs.freshness import DAILY, WEEKLY
from almanac_pipeline.defs.metadata import (
    changed_count,
    histogram_picture,
    opinions_metadata,
    report_metadata,
)
from almanac_pipeline.defs.resources import Almanac, final_errors
from almanac_pipeline.flows.likes import sync_likes
from almanac_pipeline.flows.members import MembersReport, sync_members
from almanac_pipeline.flows.opinions import OpinionsReport
from almanac_pipeline.flows.ratings import sync_ratings
from almanac_pipeline.flows.viewings import ViewingsReport, sync_diary, sync_watchlist
from almanac_pipeline.partitions import cohorts

COMMON = {
    "partitions_def": cohorts,
    "group_name": "ingestion",
    "owners": ["team:almanac"],
    "kinds": {"python", "postgres"},
    "pool": "scrape",
    "code_version": "1",
}
MODE_TAG = "almanac/mode"
"""Run tag: `full` reads every page of every member again."""


@dg.asset(
    key=["raw", "cohort_members"],
    description="Who belongs to the circle: memberships begin and end, their history stays.",
    tags={"source": "pages"},
    freshness_policy=WEEKLY,
    **COMMON,
)
def cohort_members(context: dg.AssetExecutionContext, almanac: Almanac) -> dg.MaterializeResult:
    run_id = context.run.run_id
    with final_errors(), almanac.pages(run_id) as source:

        def sync(slug: str) -> MembersReport:
            return sync_members(almanac.database_url, almanac.settings, source, slug, run_id)

        return materialize_each(context, sync, _members_metadata)


def _members_metadata(slug: str, report: MembersReport) -> dict[str, Any]:
    summary = f"{report.members_count} members, {report.added_count} new, {report.ended_count} gone"
    if report.is_suspicious:
        summary += "; the list had shrunk so much that NOBODY was taken out (ALMANAC_SHRINK_GUARD_SHARE)"
    return report_metadata(report, summary) | {"dagster/row_count": report.members_count}


@dg.asset(
    key=["raw", "ratings"],
    deps=[cohort_members],
    description=(
        "What each member thinks of each film now, with the history of every change beside it. "
        "By page or feed, on the route that is permitted; favourites come with the profile."
    ),
    tags={"source": "pages-and-feeds"},
    freshness_policy=DAILY,
    **COMMON,
)
def ratings(context: dg.AssetExecutionContext, almanac: Almanac) -> dg.MaterializeResult:
    run_id, full = context.run.run_id, _is_full(context)
    with final_errors(), almanac.pages_and_feeds(run_id) as (source, feeds):

        def sync(slug: str) -> OpinionsReport:
            url, settings = almanac.database_url, almanac.settings
            report = sync_ratings(url, settings, source, slug, run_id, feeds=feeds, full=full)
            for note in report.notes:
                context.log.warning(note)
            return report

        return materialize_each(context, sync, _ratings_metadata)


def _ratings_metadata(slug: str, report: OpinionsReport) -> dict[str, Any]:
    stored = sum(report.rating_counts)
    metadata = opinions_metadata(report, f"{stored:,} ratings, ")
    return metadata | {"stars": histogram_picture(report.rating_counts), "dagster/row_count": stored}


@dg.asset(
    key=["raw", "likes"],
    deps=[ratings],
    description="Hearts, also on films without a rating.",
    tags={"source": "pages"},
    freshness_policy=DAILY,
    **COMMON,
)
def likes(context: dg.AssetExecutionContext, almanac: Almanac) -> dg.MaterializeResult:
    run_id, full = context.run.run_id, _is_full(context)
    with final_errors(), almanac.pages(run_id) as source:

        def sync(slug: str) -> OpinionsReport:
            return sync_likes(almanac.database_url, almanac.settings, source, slug, run_id, full=full)

        return materialize_each(context, sync, lambda _, report: opinions_metadata(report))


VIEWINGS = COMMON | {"group_name": "viewings"}


@dg.asset(
    key=["raw", "diary_entries"],
    deps=[cohort_members],
    description="Every viewing in the members' diaries, with the rating at that viewing.",
    tags={"source": "pages"},
    **VIEWINGS,
)
def diary_entries(context: dg.AssetExecutionContext, almanac: Almanac) -> dg.MaterializeResult:
    return _viewings(context, almanac, sync_diary)


@dg.asset(
    key=["raw", "watchlist_entries"],
    deps=[cohort_members],
    description="What the members want to see.",
    tags={"source": "pages"},
    **VIEWINGS,
)
def watchlist_entries(context: dg.AssetExecutionContext, almanac: Almanac) -> dg.MaterializeResult:
    return _viewings(context, almanac, sync_watchlist)


def _viewings(
    context: dg.AssetExecutionContext, almanac: Almanac, sync_all: Callable[..., ViewingsReport]
) -> dg.MaterializeResult:
    run_id, full = context.run.run_id, _is_full(context)
    with final_errors(), almanac.pages(run_id) as source:

        def sync(slug: str) -> ViewingsReport:
            return sync_all(almanac.database_url, almanac.settings, source, slug, run_id, full=full)

        return materialize_each(context, sync, _viewings_metadata)


def _viewings_metadata(slug: str, report: ViewingsReport) -> dict[str, Any]:
    summary = f"{changed_count(report):,} changed, {report.requests_count:,} requests"
    return report_metadata(report, summary, failures=list(report.failures))


def _is_full(context: dg.AssetExecutionContext) -> bool:
    return context.run.tags.get(MODE_TAG) == "full"
