"""The chain of a cohort that was launched under the daemon: published, enriched, published again.

A command carries its own runs on (`cli/common.py`); they are left alone here.
"""

import time
from datetime import UTC, datetime

import dagster as dg

from almanac_pipeline.defs.jobs import cohort_almanac, enrich, statistics
from almanac_pipeline.defs.publication.assets import publications
from almanac_pipeline.defs.resources import Almanac
from almanac_pipeline.flows.publication import changed_cohorts
from almanac_pipeline.instance import is_run_by_command
from almanac_pipeline.warehouse.connection import connect_to

CHAIN_TAG = "almanac/chain"
"""Run tag: the run of cohort_almanac that this run belongs to. Without it, enrich is followed by nothing."""
# A run is asked for once per run that ended, by its run key; so looking twice costs nothing.
OVERLAP_SECONDS = 60


# Running from the start: whoever launches a cohort expects it to end enriched and published.
@dg.sensor(
    jobs=[enrich, statistics],
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=15,
    description=(
        "After cohort_almanac asks for enrich, and then for statistics if enrichment changed the cohort. "
        "Runs of the command line are left to their command."
    ),
)
def chain(context: dg.SensorEvaluationContext, almanac: Almanac) -> dg.SensorResult:
    now = time.time()
    since = float(context.cursor or now) - OVERLAP_SECONDS
    ended = context.instance.get_runs(
        dg.RunsFilter(
            statuses=[dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE],
            updated_after=datetime.fromtimestamp(since, UTC),
        )
    )
    requests = [_follow(run, job) for run in ended if (job := _next_job(run, context.instance, almanac))]
    return dg.SensorResult(run_requests=requests, cursor=str(now))


def _next_job(run: dg.DagsterRun, instance: dg.DagsterInstance, almanac: Almanac) -> str | None:
    """The job that has to follow a run that has ended."""
    if is_run_by_command(run):
        return None
    if run.job_name == cohort_almanac.name and (run.is_success or _was_held_back(run, instance)):
        return enrich.name
    # Also after a failure: what was stored until then counts.
    if run.job_name == enrich.name and CHAIN_TAG in run.tags:
        with connect_to(almanac.database_url) as connection:
            return statistics.name if changed_cohorts(connection, [_cohort(run)]) else None
    return None


def _was_held_back(run: dg.DagsterRun, instance: dg.DagsterInstance) -> bool:
    """Whether all but the publication succeeded: enrichment may mend what the audits found."""
    failures = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
    step = publications.key.to_python_identifier()
    return any(entry.step_key == step for entry in failures)


def _follow(run: dg.DagsterRun, job: str) -> dg.RunRequest:
    tags = {CHAIN_TAG: run.tags.get(CHAIN_TAG, run.run_id)}
    return dg.RunRequest(run_key=run.run_id, job_name=job, partition_key=_cohort(run), tags=tags)


def _cohort(run: dg.DagsterRun) -> str:
    return run.tags["dagster/partition"]
