"""Rebuilds of the cohorts whose inputs changed, and of no other."""

from datetime import UTC, datetime

import dagster as dg

from almanac_pipeline.cohort_tags import COHORTS_TAG, batches
from almanac_pipeline.defs import jobs
from almanac_pipeline.defs.resources import Almanac
from almanac_pipeline.flows.automation import Seen, cohorts_to_build
from almanac_pipeline.instance import cohorts_in_hand
from almanac_pipeline.partitions import cohorts
from almanac_pipeline.warehouse.connection import connect_to

# A build takes a second or two a cohort, and what fails in one fails them all.
COHORTS_PER_RUN = 100
# What these read or build is not finished before they are.
CHANGING = (
    jobs.cohort_almanac,
    jobs.scrape,
    jobs.follow_graph,
    jobs.incremental,
    jobs.viewings,
    jobs.enrich,
    jobs.statistics,
)


# Running from the start: what was read should show.
@dg.sensor(
    job=jobs.statistics,
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=60,
    description=(
        "Asks for statistics of the cohorts whose inputs changed, in as few runs as may be; once for each "
        "change. Cohorts in the hands of another run wait for its end, for six hours at most."
    ),
)
def changes(context: dg.SensorEvaluationContext, almanac: Almanac) -> dg.SensorResult:
    instance = context.instance
    known = set(instance.get_dynamic_partitions(str(cohorts.name)))
    with connect_to(almanac.database_url) as connection:
        found, seen = cohorts_to_build(
            connection,
            Seen.from_cursor(context.cursor),
            known=known,
            busy=cohorts_in_hand(instance, [job.name for job in CHANGING]),
            now=datetime.now(UTC),
        )
    requests = [
        dg.RunRequest(
            run_key=f"{batch[0]}-{seen.change_number}",
            partition_key=batch[0],
            tags={COHORTS_TAG: ",".join(batch)} if len(batch) > 1 else {},
        )
        for batch in batches(((cohort.slug, 1) for cohort in found), COHORTS_PER_RUN)
    ]
    skip_reason = None if requests else "no cohort's inputs changed"
    return dg.SensorResult(run_requests=requests, skip_reason=skip_reason, cursor=seen.to_cursor())
