"""Telemetry of the runs that no command waits for."""

import dagster as dg

from almanac_pipeline.defs.resources import Almanac
from almanac_pipeline.observability.steps import record_runs


# Running from the start: what is not recorded before Dagster's rows are purged never is.
@dg.sensor(
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=60,
    description="Writes what Dagster and our logs know of each run into ops.run_telemetry, and its trace.",
)
def run_telemetry(context: dg.SensorEvaluationContext, almanac: Almanac) -> dg.SkipReason:
    record_runs(almanac.database_url)
    return dg.SkipReason("recorded")
