"""The jobs that people, the command line and sensors start. One cohort is one partition."""

import dagster as dg

# None of Dagster's retry systems may repeat what our own polite client has given up.
TAGS = {"dagster/retry_on_asset_or_op_failure": "false"}

exports_of_members = dg.AssetSelection.assets("raw/member_exports")
members_and_opinions = dg.AssetSelection.groups("ingestion") - exports_of_members
diaries_and_watchlists = dg.AssetSelection.groups("viewings")
upkeep = dg.AssetSelection.assets("ops/tmdb_maintenance")
outside_world = dg.AssetSelection.groups("enrichment") - upkeep
measured = dg.AssetSelection.assets("ops/quality_measurements")
statistics_and_marts = dg.AssetSelection.groups("statistics", "almanac")

cohort_almanac = dg.define_asset_job(
    "cohort_almanac",
    selection=members_and_opinions | statistics_and_marts,
    description=(
        "A cohort from its members to its rankings, with what is known of the films by then. "
        "The jobs enrich and, if that changed anything, statistics follow by themselves."
    ),
    tags=TAGS,
)
scrape = dg.define_asset_job(
    "scrape",
    selection=members_and_opinions,
    description="Who is in the cohort and what they think.",
    tags=TAGS,
)
viewings = dg.define_asset_job(
    "viewings",
    selection=diaries_and_watchlists,
    description="What the members saw when, and what they want to see: no ranking needs it.",
    tags=TAGS,
)
enrich = dg.define_asset_job(
    "enrich",
    selection=outside_world,
    description="What the wide world knows of the cohort's films.",
    tags=TAGS,
)
statistics = dg.define_asset_job(
    "statistics",
    selection=statistics_and_marts,
    description="Statistics, rankings and labels, if their inputs changed.",
    tags=TAGS,
)
import_exports = dg.define_asset_job(
    "import_exports",
    selection=exports_of_members,
    description="Members' own exports that are new in the inbox folder; of no cohort.",
    tags=TAGS,
)
maintenance = dg.define_asset_job(
    "maintenance",
    selection=upkeep,
    description="TMDB's answers within its terms: refreshed where they changed, purged where they expired.",
    tags=TAGS,
)
quality = dg.define_asset_job(
    "quality",
    selection=measured,
    description="How the numbers of published cohorts are spread and how far they moved; holds nothing back.",
    tags=TAGS,
)
