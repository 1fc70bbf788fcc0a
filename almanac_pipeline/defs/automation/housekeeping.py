"""The nightly upkeep of the database, as an asset, so that its numbers are plotted."""

import dagster as dg

from almanac_pipeline.defs.metadata import report_metadata
from almanac_pipeline.defs.resources import Almanac, final_errors
from almanac_pipeline.flows.housekeeping import keep_house


@dg.asset(
    key=["ops", "housekeeping"],
    description="The database: backed up, rid of old events, requests and alerts, and vacuumed.",
    group_name="maintenance",
    owners=["team:almanac"],
    kinds={"python", "postgres"},
    code_version="1",
)
def housekeeping(almanac: Almanac) -> dg.MaterializeResult:
    with final_errors():
        report = keep_house(almanac.database_url, almanac.settings)
    summary = (
        f"{report.backup}, {report.backup_bytes / 1e6:,.0f} MB; {report.events_deleted_count:,} events, "
        f"{report.requests_deleted_count:,} requests, {report.alerts_deleted_count:,} alerts deleted"
    )
    return dg.MaterializeResult(metadata=report_metadata(report, summary))
