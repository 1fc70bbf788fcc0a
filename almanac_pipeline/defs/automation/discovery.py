"""Cohorts that are new: a partition for each, and the first run of its chain."""

from datetime import UTC, datetime, timedelta

import dagster as dg

from almanac_pipeline import errors
from almanac_pipeline.defs.jobs import cohort_almanac
from almanac_pipeline.defs.resources import Almanac
from almanac_pipeline.flows.automation import why_not_to_ask
from almanac_pipeline.instance import cohorts_in_hand
from almanac_pipeline.launch import innermost
from almanac_pipeline.partitions import cohorts
from almanac_pipeline.warehouse.cohorts import list_cohorts
from almanac_pipeline.warehouse.connection import connect_to
from almanac_pipeline.warehouse.schedule import never_synced

AGAIN_AFTER = timedelta(days=1)
FOR_GOOD = (errors.PermanentError, errors.ConfigurationError, errors.LayoutDriftError)
"""What a repetition does not mend."""


# Running from the start: without a partition nothing can be asked for.
@dg.sensor(
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=30,
    description="Registers a partition for every cohort that a command or a row created; asks for no run.",
)
def discovery(context: dg.SensorEvaluationContext, almanac: Almanac) -> dg.SensorResult:
    known = set(context.instance.get_dynamic_partitions(str(cohorts.name)))
    with connect_to(almanac.database_url) as connection:
        new = [cohort.slug for cohort in list_cohorts(connection) if cohort.slug not in known]
    if not new:
        return dg.SensorResult(skip_reason=f"{len(known):,} cohorts, all of them known")
    return dg.SensorResult(dynamic_partitions_requests=[cohorts.build_add_request(new)])


# Running from the start: whoever creates a cohort expects it to be built.
@dg.sensor(
    job=cohort_almanac,
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=30,
    description=(
        "Asks for cohort_almanac of a cohort that nobody has begun to read, once; the sensor chain carries "
        "it on. Where its members could not be found, a day later again, unless that failed for good. A "
        "cohort that a command is building is left to the command."
    ),
)
def first_builds(context: dg.SensorEvaluationContext, almanac: Almanac) -> dg.SensorResult:
    with connect_to(almanac.database_url) as connection:
        names, pages = never_synced(connection)
        reason = why_not_to_ask(connection, almanac.settings) if pages else None
    known = set(context.instance.get_dynamic_partitions(str(cohorts.name)))
    new = [slug for slug in (*names, *(() if reason else pages)) if slug in known]
    in_hand = cohorts_in_hand(context.instance) if new else set()
    requests = [
        dg.RunRequest(run_key=key, partition_key=slug)
        for slug in new
        if slug not in in_hand and (key := _run_key(context.instance, slug))
    ]
    skip_reason = None if requests else reason or "no cohort is new"
    return dg.SensorResult(run_requests=requests, skip_reason=skip_reason)


def _run_key(instance: dg.DagsterInstance, slug: str) -> str | None:
    """The key of the run to ask for; None where the last one is to be left at that."""
    last = next(
        iter(instance.get_run_records(dg.RunsFilter(tags={"dagster/partition": slug}), limit=1)), None
    )
    if last is None:
        return f"first-{slug}"
    run, since = last.dagster_run, last.update_timestamp.replace(tzinfo=UTC)
    if not run.is_failure or datetime.now(UTC) - since < AGAIN_AFTER or _failed_for_good(run, instance):
        return None
    return f"again-{run.run_id}"


def _failed_for_good(run: dg.DagsterRun, instance: dg.DagsterInstance) -> bool:
    entries = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
    names = [innermost(entry.dagster_event)[0] for entry in entries if entry.dagster_event]
    return any(issubclass(getattr(errors, name, Exception), FOR_GOOD) for name in names)
