"""What runs by the clock; the times are in `almanac_pipeline/schedules.py`."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from almanac_pipeline import schedules
from almanac_pipeline.cohort_tags import COHORTS_TAG, batches
from almanac_pipeline.defs import jobs
from almanac_pipeline.defs.resources import Almanac
from almanac_pipeline.flows.automation import due_circles, due_cohorts, has_feeds, why_not_to_ask
from almanac_pipeline.instance import cohorts_in_hand
from almanac_pipeline.partitions import cohorts
from almanac_pipeline.schedules import Schedule
from almanac_pipeline.warehouse.connection import connect_to
from almanac_pipeline.warehouse.schedule import ScheduledCohort, scheduled_cohorts

Requests = Iterator[dg.RunRequest | dg.SkipReason]


# All run from the start: where nothing may be fetched they skip and say what to set.
def _timed(schedule: Schedule, job: Any) -> dict[str, Any]:
    return {
        "name": schedule.name,
        "job": job,
        "cron_schedule": schedule.cron,
        "execution_timezone": "UTC",
        "default_status": dg.DefaultScheduleStatus.RUNNING,
        "description": f"{schedule.purpose[0].upper()}{schedule.purpose[1:]}.",
    }


@dg.schedule(**_timed(schedules.INCREMENTAL, jobs.incremental))
def incremental(context: dg.ScheduleEvaluationContext, almanac: Almanac) -> Requests:
    settings = almanac.settings
    with connect_to(almanac.database_url) as connection:
        feeds = has_feeds(connection, settings)
        reason = why_not_to_ask(connection, settings, has_other_source=feeds)
        active = scheduled_cohorts(connection)
    busy = cohorts_in_hand(context.instance, ["incremental", "scrape", "cohort_almanac"])
    due = due_cohorts(active, settings.sync_every_hours, datetime.now(UTC), busy)
    yield from _requests(context, due, settings.batch_members, reason)


@dg.schedule(**_timed(schedules.FOLLOW_GRAPH, jobs.follow_graph))
def follow_graph(context: dg.ScheduleEvaluationContext, almanac: Almanac) -> Requests:
    with connect_to(almanac.database_url) as connection:
        reason = why_not_to_ask(connection, almanac.settings)
        active = scheduled_cohorts(connection)
    busy = cohorts_in_hand(context.instance, ["follow_graph", "scrape", "cohort_almanac"])
    due = due_circles(active, context.scheduled_execution_time.weekday(), datetime.now(UTC), busy)
    yield from _requests(context, due, almanac.settings.batch_members, reason)


@dg.schedule(**_timed(schedules.FULL_ENRICHMENT, jobs.enrich))
def full_enrichment(context: dg.ScheduleEvaluationContext, almanac: Almanac) -> Requests:
    settings = almanac.settings
    with connect_to(almanac.database_url) as connection:
        reason = why_not_to_ask(connection, settings, has_other_source=settings.tmdb_token is not None)
        active = scheduled_cohorts(connection)
    busy = cohorts_in_hand(context.instance, ["enrich"])
    free = [cohort for cohort in active if cohort.members_count and cohort.slug not in busy]
    yield from _requests(context, free, settings.batch_members, reason)


tmdb_upkeep = dg.ScheduleDefinition(**_timed(schedules.TMDB_MAINTENANCE, jobs.maintenance))
nightly = dg.ScheduleDefinition(**_timed(schedules.NIGHTLY_MAINTENANCE, jobs.nightly_maintenance))
timetable = [incremental, follow_graph, full_enrichment, tmdb_upkeep, nightly]


def _requests(
    context: dg.ScheduleEvaluationContext,
    chosen: Sequence[ScheduledCohort],
    most_members: int,
    reason: str | None,
) -> Requests:
    """Runs of the chosen cohorts, several in each, unless there is a reason against any."""
    known = set(context.instance.get_dynamic_partitions(str(cohorts.name)))
    members = [(cohort.slug, cohort.members_count) for cohort in chosen if cohort.slug in known]
    if reason or not members:
        yield dg.SkipReason(reason or "no cohort is due")
        return
    for batch in batches(members, most_members):
        yield dg.RunRequest(
            run_key=f"{context.scheduled_execution_time:%Y-%m-%dT%H:%M}-{batch[0]}",
            partition_key=batch[0],
            tags={COHORTS_TAG: ",".join(batch)} if len(batch) > 1 else {},
        )
