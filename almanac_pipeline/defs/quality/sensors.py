"""Asks for the quality checks of cohorts that were published since the last ones."""

import dagster as dg

from almanac_pipeline.cohort_tags import COHORTS_TAG, batches
from almanac_pipeline.defs.jobs import quality
from almanac_pipeline.defs.resources import Almanac
from almanac_pipeline.partitions import cohorts
from almanac_pipeline.warehouse.connection import connect_to
from almanac_pipeline.warehouse.quality import unmeasured

COHORTS_PER_RUN = 200


# Running from the start: nobody would notice checks that do not run.
@dg.sensor(
    job=quality,
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=600,
    description=(
        "Asks for the checks of all cohorts published since they were last measured, in one run; once per "
        "publication, so that a run that fails is not repeated for ever."
    ),
)
def published_cohorts(context: dg.SensorEvaluationContext, almanac: Almanac) -> list[dg.RunRequest]:
    with connect_to(almanac.database_url) as connection:
        published = unmeasured(connection)
    known = set(context.instance.get_dynamic_partitions(str(cohorts.name)))
    waiting = [(slug, 1) for slug in published if slug in known]
    return [
        dg.RunRequest(
            run_key="-".join(map(str, sorted(published[slug] for slug in batch))),
            partition_key=batch[0],
            tags={COHORTS_TAG: ",".join(batch)},
        )
        for batch in batches(waiting, COHORTS_PER_RUN)
    ]
