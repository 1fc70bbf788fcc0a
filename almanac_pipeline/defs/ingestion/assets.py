"""The raw assets that come from members' pages: who is in the cohort, ratings, likes."""

import dagster as dg

from almanac_pipeline.defs.metadata import changes_table, histogram_picture, report_metadata
from almanac_pipeline.defs.resources import Almanac, final_errors
from almanac_pipeline.flows.likes import sync_likes
from almanac_pipeline.flows.members import sync_members
from almanac_pipeline.flows.ratings import sync_ratings
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
    **COMMON,
)
def cohort_members(context: dg.AssetExecutionContext, almanac: Almanac) -> dg.MaterializeResult:
    with final_errors(), almanac.pages(context.run.run_id) as source:
        report = sync_members(
            almanac.database_url, almanac.settings, source, context.partition_key, context.run.run_id
        )
    summary = f"{report.members_count} members, {report.added_count} new, {report.ended_count} gone"
    if report.is_suspicious:
        summary += "; the list had shrunk so much that NOBODY was taken out (ALMANAC_SHRINK_GUARD_SHARE)"
    return dg.MaterializeResult(
        metadata=report_metadata(report, summary) | {"dagster/row_count": report.members_count}
    )


@dg.asset(
    key=["raw", "ratings"],
    deps=[cohort_members],
    description=(
        "What each member thinks of each film now, with the history of every change beside it. "
        "Newest ratings first, until what is known begins."
    ),
    tags={"source": "pages"},
    **COMMON,
)
def ratings(context: dg.AssetExecutionContext, almanac: Almanac) -> dg.MaterializeResult:
    full = context.run.tags.get(MODE_TAG) == "full"
    with final_errors(), almanac.pages(context.run.run_id) as source:
        report = sync_ratings(
            almanac.database_url,
            almanac.settings,
            source,
            context.partition_key,
            context.run.run_id,
            full=full,
        )
    changed = report.added_count + report.changed_count + report.removed_count + report.restored_count
    stored = sum(report.rating_counts)
    summary = f"{stored:,} ratings, {changed:,} changed, {report.requests_count:,} requests"
    return dg.MaterializeResult(
        metadata=report_metadata(
            report,
            summary,
            stars=histogram_picture(report.rating_counts),
            latest_changes=changes_table(report.preview),
            failures=list(report.failures),
        )
        | {"dagster/row_count": stored}
    )


@dg.asset(
    key=["raw", "likes"],
    deps=[ratings],
    description="Hearts, also on films without a rating, and the profile's four favourites.",
    tags={"source": "pages"},
    **COMMON,
)
def likes(context: dg.AssetExecutionContext, almanac: Almanac) -> dg.MaterializeResult:
    full = context.run.tags.get(MODE_TAG) == "full"
    with final_errors(), almanac.pages(context.run.run_id) as source:
        report = sync_likes(
            almanac.database_url,
            almanac.settings,
            source,
            context.partition_key,
            context.run.run_id,
            full=full,
        )
    changed = report.added_count + report.changed_count + report.removed_count + report.restored_count
    summary = f"{changed:,} changed, {report.profiles_count} profiles, {report.requests_count:,} requests"
    return dg.MaterializeResult(
        metadata=report_metadata(
            report, summary, latest_changes=changes_table(report.preview), failures=list(report.failures)
        )
    )
