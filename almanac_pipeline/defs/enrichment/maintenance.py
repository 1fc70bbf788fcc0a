"""The upkeep of TMDB's answers, which belong to no cohort."""

import dagster as dg

from almanac_pipeline.defs.metadata import report_metadata
from almanac_pipeline.defs.resources import Almanac, final_errors
from almanac_pipeline.flows.maintenance import maintain_titles


@dg.asset(
    key=["ops", "tmdb_maintenance"],
    description=(
        "TMDB's answers within its terms: what TMDB lists as changed or what ends soon is asked for again, "
        "and what has expired is thrown away."
    ),
    group_name="enrichment",
    owners=["team:almanac"],
    kinds={"python", "postgres"},
    tags={"source": "tmdb"},
    pool="enrichment",
    code_version="1",
)
def tmdb_maintenance(context: dg.AssetExecutionContext, almanac: Almanac) -> dg.MaterializeResult:
    with final_errors(), almanac.tmdb(context.run.run_id) as tmdb:
        report = maintain_titles(almanac.database_url, almanac.settings, tmdb, context.run.run_id)
    for note in report.notes:
        context.log.warning(note)
    summary = (
        f"{report.refreshed_count:,} titles asked for again, {report.unchanged_count:,} of them unchanged, "
        f"{report.purged_count:,} answers thrown away, {report.requests_count:,} requests"
    )
    return dg.MaterializeResult(metadata=report_metadata(report, "; ".join([summary, *report.notes])))
