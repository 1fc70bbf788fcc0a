"""What is measured of the almanac itself: the record of every run, and the queries behind each metric.

Set-based SQL over Dagster's tables and ours, nothing of which names a member. How it is served stands in
observability/metrics.py, what each number means in docs/observability.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import psycopg

from almanac_pipeline.warehouse.heartbeats import forget_ended

# The statuses in which a run stays.
FINAL_STATUSES = ("success", "failure", "canceled")
# The steps from raw rows to a publication.
REBUILD_STEPS = ("before_statistics", "intermediate__circle_model", "after_statistics", "ops__publications")

_RECORD_RUNS = """
with runs as materialized (
    select
        theirs.run_id, pipeline_name as job, lower(theirs.status) as status,
        to_timestamp(start_time) as started_at, to_timestamp(end_time) as finished_at
    from dagster.runs as theirs
    left join ops.run_telemetry as known using (run_id)
    -- Few at any time, so looked for first. What has ended is written once; a row whose run is gone from
    -- Dagster stays as it is.
    where known.job is null or known.status <> lower(theirs.status) or known.status <> all(%(final)s)
)
insert into ops.run_telemetry
    (run_id, job, cohort, status, started_at, finished_at, step_seconds, failed_step, requests_count,
     cache_hits_count, retries_count, rows_seen, rows_changed, failures_count)
select
    runs.run_id, job, tags.cohort, status, started_at, finished_at, coalesce(steps.seconds, '{}'),
    steps.failed_step, requests.requests, requests.cache_hits + coalesce(enrichment.cache_hits, 0),
    requests.retries, coalesce(scrape.seen, 0), coalesce(scrape.changed, 0) + coalesce(enrichment.films, 0),
    coalesce(scrape.failures, 0) + coalesce(enrichment.failures, 0)
from runs
cross join lateral (
    select coalesce(
        max(value) filter (where key = 'almanac/cohorts'),
        max(value) filter (where key = 'dagster/partition'),
        max(value) filter (where key = 'dagster/asset_partition_range_start') || '...'
        || max(value) filter (where key = 'dagster/asset_partition_range_end')
    ) as cohort
    from dagster.run_tags where run_tags.run_id = runs.run_id
) as tags
cross join lateral (
    select
        jsonb_object_agg(
            step_key, round(extract(epoch from coalesce(ended_at, runs.finished_at at time zone 'UTC')
                                               - begun_at)::numeric, 3)
        ) filter (where coalesce(ended_at, runs.finished_at at time zone 'UTC') is not null) as seconds,
        min(step_key) filter (where has_failed) as failed_step
    from (
        select
            step_key,
            min(timestamp) filter (where dagster_event_type = 'STEP_START') as begun_at,
            max(timestamp) filter (where dagster_event_type in ('STEP_SUCCESS', 'STEP_FAILURE')) as ended_at,
            bool_or(dagster_event_type = 'STEP_FAILURE') as has_failed
        from dagster.event_logs
        where event_logs.run_id = runs.run_id
            and dagster_event_type in ('STEP_START', 'STEP_SUCCESS', 'STEP_FAILURE')
        group by step_key
    ) as step
    where begun_at is not null
) as steps
cross join lateral (
    select count(*) as requests, count(*) filter (where cache_hit) as cache_hits,
        count(*) filter (where attempt > 1) as retries
    from ops.http_requests where http_requests.run_id = runs.run_id
) as requests
cross join lateral (
    select sum(rows_seen) as seen, sum(rows_changed) as changed, sum(failures_count) as failures
    from ops.scrape_runs where dagster_run_id = runs.run_id
) as scrape
cross join lateral (
    select sum(films_count) as films, sum(cache_hits_count) as cache_hits, sum(failures_count) as failures
    from ops.enrichment_runs where dagster_run_id = runs.run_id
) as enrichment
-- In one order everywhere, so that two who write at once cannot wait for each other.
order by runs.run_id
on conflict (run_id) do update set
    job = excluded.job, cohort = excluded.cohort, status = excluded.status,
    started_at = excluded.started_at, finished_at = excluded.finished_at,
    step_seconds = excluded.step_seconds, failed_step = excluded.failed_step,
    requests_count = excluded.requests_count, cache_hits_count = excluded.cache_hits_count,
    retries_count = excluded.retries_count, rows_seen = excluded.rows_seen,
    rows_changed = excluded.rows_changed, failures_count = excluded.failures_count, recorded_at = now()
returning run_id, job, cohort, status, started_at, finished_at, failed_step
"""


@dataclass(frozen=True, slots=True)
class EndedRun:
    """A run of which nothing more is to come."""

    run_id: str
    job: str
    cohort: str | None
    status: str
    started_at: datetime | None
    finished_at: datetime | None
    failed_step: str | None


def record_runs(connection: psycopg.Connection) -> list[EndedRun]:
    """Bring ops.run_telemetry up to what Dagster and our own logs know; returns what has ended since.

    Repeating it changes nothing of runs that have ended. In the caller's transaction.
    """
    if not _exist(connection, "dagster.event_logs"):
        return []
    rows = connection.execute(_RECORD_RUNS, {"final": list(FINAL_STATUSES)})
    ended = [run for run in (EndedRun(*row) for row in rows) if run.status in FINAL_STATUSES]
    forget_ended(connection)
    return ended


def record_memory(connection: psycopg.Connection, run_id: str, peak_memory_bytes: int) -> None:
    """Note the most memory that the process of a run has held so far."""
    connection.execute(
        """
        insert into ops.run_telemetry as known (run_id, peak_memory_bytes) values (%s, %s)
        on conflict (run_id) do update
        set peak_memory_bytes = greatest(known.peak_memory_bytes, excluded.peak_memory_bytes)
        """,
        [run_id, peak_memory_bytes],
    )


def log_salt(connection: psycopg.Connection) -> bytes:
    """What member ids are hashed with in log lines; made at random by the migration, never shown."""
    row = connection.execute("select salt from ops.salts where name = 'logs'").fetchone()
    assert row is not None
    return bytes(row[0])


@dataclass(frozen=True, slots=True)
class Measure:
    """A metric: its query gives one row per series, the labels' values and then the number.

    `query` may use %(alert_kinds)s, %(final)s and %(rebuild_steps)s.
    """

    name: str
    kind: Literal["gauge", "counter"]
    description: str
    labels: tuple[str, ...]
    query: str
    needs: str | None = None
    """A relation that others create; no series before."""
    is_slow: bool = False
    """Reads much and changes slowly: asked for again every few minutes only."""


_DAY = "now() - interval '1 day'"
_TOTALS = "from ops.http_request_totals group by host"

MEASURES = (
    Measure(
        "almanac_runs_total",
        "counter",
        "Dagster runs that have ended, by job and final status.",
        ("job", "status"),
        """
        select job, final.status, count(run_id) filter (where run_telemetry.status = final.status)
        from ops.run_telemetry
        cross join unnest(%(final)s::text[]) as final (status)
        where job is not null group by job, final.status
        """,
    ),
    Measure(
        "almanac_failed_runs_in_10_minutes",
        "gauge",
        "Runs that failed within the last 10 minutes.",
        (),
        "select count(*) from ops.run_telemetry"
        " where status = 'failure' and finished_at > now() - interval '10 minutes'",
    ),
    Measure(
        "almanac_run_seconds",
        "gauge",
        "Duration of the successful runs of the last 24 hours, by job and quantile.",
        ("job", "quantile"),
        f"""
        select job, quantile::text,
            percentile_cont(quantile) within group (order by extract(epoch from finished_at - started_at))
        from ops.run_telemetry cross join unnest(array[0.5, 0.95]) as quantile
        where status = 'success' and finished_at > {_DAY} and started_at is not null
        group by job, quantile
        """,
    ),
    Measure(
        "almanac_peak_memory_bytes",
        "gauge",
        "The most memory that a run of the last 24 hours held, by job.",
        ("job",),
        f"select job, max(peak_memory_bytes) from ops.run_telemetry where started_at > {_DAY}"
        " and job is not null and peak_memory_bytes is not null group by job",
    ),
    Measure(
        "almanac_incremental_sync_seconds",
        "gauge",
        "How long it took to bring one member up to date, over the last 24 hours, by quantile.",
        ("quantile",),
        f"""
        select quantile::text,
            percentile_cont(quantile) within group (order by milliseconds / 1000.0)
        from ops.scrape_runs join ops.scrape_run_members using (scrape_run_id)
        cross join unnest(array[0.5, 0.95]) as quantile
        where started_at > {_DAY} and outcome in ('incremental', 'unchanged')
        group by quantile
        """,
        is_slow=True,
    ),
    Measure(
        "almanac_cohort_rebuild_seconds",
        "gauge",
        "Time from raw rows to published marts per cohort, in the runs of the last 24 hours, by quantile.",
        ("quantile",),
        f"""
        select quantile::text, percentile_cont(quantile) within group (order by seconds / cohorts)
        from (
            select dagster_run_id as run_id, count(*) as cohorts from ops.publications
            where published_at > {_DAY} group by dagster_run_id
        ) as published
        join ops.run_telemetry using (run_id)
        cross join lateral (
            select sum(value::float) as seconds from jsonb_each_text(step_seconds)
            where key = any(%(rebuild_steps)s)
        ) as rebuild
        cross join unnest(array[0.5, 0.95]) as quantile
        where seconds is not null
        group by quantile
        """,
    ),
    Measure(
        "almanac_runs_open",
        "gauge",
        "Runs that have not ended, by status: those queued, starting, started, canceling.",
        ("status",),
        """
        select open.status, count(run_id)
        from unnest(array['queued', 'not_started', 'starting', 'started', 'canceling']) as open (status)
        left join dagster.runs on lower(runs.status) = open.status group by open.status
        """,
        needs="dagster.runs",
    ),
    Measure(
        "almanac_films_due",
        "gauge",
        "The backlog of enrichment: films with a page, a title or a histogram to be asked for now.",
        (),
        """
        select count(*) from ops.films_needing_enrichment
        where is_histogram_due or ((is_page_due or is_title_due) and next_attempt_at <= now())
        """,
        is_slow=True,
    ),
    Measure(
        "almanac_reads_unfinished",
        "gauge",
        "Readings of members that stopped between two pages and go on there.",
        (),
        "select count(*) from ops.user_scrape_state where next_page is not null",
    ),
    Measure(
        "almanac_cohorts_pending",
        "gauge",
        "Active cohorts of which something was read that no publication shows yet.",
        (),
        "select count(*) from ops.cohort_pipelines where status = 'active' and pending_since is not null",
        needs="ops.cohort_pipelines",
        is_slow=True,
    ),
    Measure(
        "almanac_http_requests_total",
        "counter",
        "Requests sent, by host, kind of page and status; 0: no answer came.",
        ("host", "path_class", "status"),
        "select host, path_class, status::text, requests_count from ops.http_request_totals",
    ),
    Measure(
        "almanac_http_cache_hits_total",
        "counter",
        "Answers 304: what is stored is still right.",
        ("host",),
        f"select host, sum(cache_hits_count) {_TOTALS}",
    ),
    Measure(
        "almanac_http_retries_total",
        "counter",
        "Requests that were not the first attempt.",
        ("host",),
        f"select host, sum(retries_count) {_TOTALS}",
    ),
    Measure(
        "almanac_http_received_bytes_total",
        "counter",
        "Bytes of the decoded bodies.",
        ("host",),
        f"select host, sum(bytes_count) {_TOTALS}",
    ),
    Measure(
        "almanac_http_wait_seconds_total",
        "counter",
        "Time spent waiting for answers, summed over threads.",
        ("host",),
        f"select host, sum(milliseconds_sum) / 1000.0 {_TOTALS}",
    ),
    Measure(
        "almanac_stored_answers_total",
        "counter",
        "Titles that needed no request, or were answered 304, because TMDB's stored answer was still right.",
        (),
        "select coalesce(sum(cache_hits_count), 0) from ops.enrichment_runs",
    ),
    Measure(
        "almanac_host_requests_today",
        "gauge",
        "Requests that count against the day's budget, since midnight UTC.",
        ("host",),
        "select host, case when budget_day = (now() at time zone 'UTC')::date then requests_of_day else 0 end"
        " from ops.http_hosts",
    ),
    Measure(
        "almanac_host_blocked",
        "gauge",
        "1: the host has refused us and is asked nothing.",
        ("host",),
        "select host, (blocked_at is not null)::int from ops.http_hosts",
    ),
    Measure(
        "almanac_host_pause_seconds",
        "gauge",
        "How much longer the host asked us to wait.",
        ("host",),
        "select host, greatest(coalesce(extract(epoch from retry_not_before - now()), 0), 0)"
        " from ops.http_hosts",
    ),
    Measure(
        "almanac_fetching_enabled",
        "gauge",
        "0: an operator has switched all fetching off.",
        (),
        "select enabled::int from ops.switches where name = 'fetching'",
    ),
    Measure(
        "almanac_open_failures",
        "gauge",
        "Members and films that could not be read and have not been since, by kind of error.",
        ("error_kind",),
        "select error_kind, count(*) from ops.scrape_failures where resolved_at is null group by error_kind",
    ),
    Measure(
        "almanac_open_alerts",
        "gauge",
        "Alerts that nobody has dealt with, by kind.",
        ("kind",),
        """
        select kind, count(alert_id)
        from unnest(%(alert_kinds)s::text[]) as known (kind)
        left join (select kind, alert_id from ops.alerts where resolved_at is null) as open using (kind)
        group by kind
        """,
    ),
    Measure(
        "almanac_cohorts",
        "gauge",
        "Cohorts by status.",
        ("status",),
        "select status, count(*) from raw.cohorts group by status",
    ),
    Measure(
        "almanac_cohort_success_timestamp_seconds",
        "gauge",
        "When an active cohort was last read such that its marts show it; until then, when it was created. "
        "Without those that nobody ever began to read, as those made of imports.",
        ("cohort",),
        """
        select slug, extract(epoch from coalesce(last_success_at, created_at))
        from ops.cohort_pipelines as pipelines
        where status = 'active' and exists (
            select from ops.scrape_runs where scrape_runs.cohort_id = pipelines.cohort_id
        )
        """,
        needs="ops.cohort_pipelines",
        is_slow=True,
    ),
    Measure(
        "almanac_cohort_coverage_share",
        "gauge",
        "How much of what should be known of an active cohort is, by audit: 0 to 1, as of its last build.",
        ("cohort", "field"),
        """
        select slug, substr(rule, length('coverage_') + 1), observed
        from intermediate.cohort_audits join raw.cohorts using (cohort_id)
        where starts_with(rule, 'coverage_') and observed is not null and status = 'active'
        """,
        needs="intermediate.cohort_audits",
        is_slow=True,
    ),
    Measure(
        "almanac_database_bytes",
        "gauge",
        "Size of the database.",
        (),
        "select pg_database_size(current_database())",
        is_slow=True,
    ),
)


Series = tuple[tuple[str, ...], float]
"""The values of the labels, and the number."""


def read_measure(
    connection: psycopg.Connection, measure: Measure, alert_kinds: Sequence[str]
) -> list[Series]:
    """The series of a metric as they are now; none while what it needs does not exist."""
    if measure.needs is not None and not _exist(connection, measure.needs):
        return []
    values = {
        "alert_kinds": list(alert_kinds),
        "final": list(FINAL_STATUSES),
        "rebuild_steps": list(REBUILD_STEPS),
    }
    rows = connection.execute(measure.query, values).fetchall()
    return [(tuple(row[:-1]), float(row[-1])) for row in rows]


def _exist(connection: psycopg.Connection, relation: str) -> bool:
    row = connection.execute("select to_regclass(%s) is not null", [relation]).fetchone()
    return row is not None and bool(row[0])
