"""What starts ingestion by itself: exports that appear in the inbox folder."""

import time

import dagster as dg

from almanac_pipeline.defs.jobs import import_exports
from almanac_pipeline.defs.resources import Almanac
from almanac_pipeline.flows.imports import list_inbox, look_at_inbox


# Running from the start: whoever drops a file into the inbox expects it to be taken.
@dg.sensor(
    job=import_exports,
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=30,
    description=(
        "Looks into the inbox folder and asks for an import when ZIPs were neither imported nor refused: "
        "at once when they are new, later when a run that should have taken them failed."
    ),
)
def inbox(context: dg.SensorEvaluationContext, almanac: Almanac) -> dg.SensorResult:
    settings, run_key, cursor = almanac.settings, None, "{}"
    files = list_inbox(settings.inbox_folder)
    if files:
        run_key, cursor = look_at_inbox(almanac.database_url, settings, context.cursor, time.time())
    if run_key is None:
        return dg.SensorResult(skip_reason=f"{len(files)} ZIPs, none of them due", cursor=cursor)
    return dg.SensorResult(run_requests=[dg.RunRequest(run_key=run_key)], cursor=cursor)
