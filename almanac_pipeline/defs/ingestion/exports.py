"""The raw asset that comes from members' own exports, dropped into the inbox folder."""

import dagster as dg

from almanac_pipeline.defs.metadata import report_metadata
from almanac_pipeline.defs.resources import Almanac, final_errors
from almanac_pipeline.flows.imports import import_inbox


@dg.asset(
    key=["raw", "member_exports"],
    group_name="ingestion",
    owners=["team:almanac"],
    kinds={"python", "postgres"},
    pool="imports",
    code_version="1",
    tags={"source": "export"},
    description=(
        "What members' own exports say: opinions, diary, watchlist and lists. "
        "Takes every ZIP of the inbox folder that is new; the files stay where they are."
    ),
)
def member_exports(context: dg.AssetExecutionContext, almanac: Almanac) -> dg.MaterializeResult:
    with final_errors():
        report = import_inbox(almanac.database_url, almanac.settings, context.run.run_id)
    summary = f"{report.imported_count} exports imported, {report.known_count} known before"
    return dg.MaterializeResult(
        metadata=report_metadata(report, summary, failures=list(report.failures))
        | {"dagster/row_count": report.rows_seen}
    )
