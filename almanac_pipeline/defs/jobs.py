"""The jobs that people, the command line and sensors start. One cohort is one partition."""

import dagster as dg

# What failed for good is repeated by nobody: a step says so itself (`final_errors`), and run retries, which
# are for processes that died, leave failed steps alone.
TAGS = {"dagster/retry_on_asset_or_op_failure": "false"}
# Only what may pass is tried again, beyond what the polite client has tried: after 0.5, 1.5 and 3.5 minutes.
RETRIES = dg.RetryPolicy(max_retries=3, delay=30, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)
# dagster.yaml lets fewer of these run at once than of all.
LONG = TAGS | {"almanac/takes_long": "true"}

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
    tags=LONG,
    op_retry_policy=RETRIES,
)
scrape = dg.define_asset_job(
    "scrape",
    selection=members_and_opinions,
    description="Who is in the cohort and what they think.",
    tags=LONG,
    op_retry_policy=RETRIES,
)
follow_graph = dg.define_asset_job(
    "follow_graph",
    selection=dg.AssetSelection.assets("raw/cohort_members"),
    description="Who belongs to the cohort; what they think is read by the next incremental run.",
    tags=LONG,
    op_retry_policy=RETRIES,
)
incremental = dg.define_asset_job(
    "incremental",
    selection=members_and_opinions - dg.AssetSelection.assets("raw/cohort_members") | outside_world,
    description="What is new: ratings, likes, and the films that came with them. Old histograms wait.",
    tags=TAGS | {"almanac/histograms": "new"},
    op_retry_policy=RETRIES,
)
viewings = dg.define_asset_job(
    "viewings",
    selection=diaries_and_watchlists,
    description="What the members saw when, and what they want to see: no ranking needs it.",
    tags=LONG,
    op_retry_policy=RETRIES,
)
enrich = dg.define_asset_job(
    "enrich",
    selection=outside_world,
    description="What the wide world knows of the cohort's films.",
    tags=LONG,
    op_retry_policy=RETRIES,
)
statistics = dg.define_asset_job(
    "statistics",
    selection=statistics_and_marts,
    description="Statistics, rankings and labels, if their inputs changed.",
    tags=TAGS,
    op_retry_policy=RETRIES,
)
import_exports = dg.define_asset_job(
    "import_exports",
    selection=exports_of_members,
    description="Members' own exports that are new in the inbox folder; of no cohort.",
    tags=TAGS,
    op_retry_policy=RETRIES,
)
nightly_maintenance = dg.define_asset_job(
    "nightly_maintenance",
    selection=dg.AssetSelection.assets("ops/housekeeping"),
    description="Backup, retention of events, requests and alerts, vacuum.",
    tags=TAGS,
    op_retry_policy=RETRIES,
)
maintenance = dg.define_asset_job(
    "maintenance",
    selection=upkeep,
    description="TMDB's answers within its terms: refreshed where they changed, purged where they expired.",
    tags=TAGS,
    op_retry_policy=RETRIES,
)
quality = dg.define_asset_job(
    "quality",
    selection=measured,
    description="How the numbers of published cohorts are spread and how far they moved; holds nothing back.",
    tags=TAGS,
    op_retry_policy=RETRIES,
)
