"""One answer of /metrics: 2,000 cohorts with two months of daily runs behind them, in less than a second.

The first answer reads everything; within five minutes the next ones leave out what is slow and hardly
changes. Beside it what the trigger that sums up requests costs those who log them, in batches as they do.

python -m bench.metrics_scrape [--cohorts 2000]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from typing import Any

import psycopg
from dagster_postgres import DagsterPostgresStorage
from prometheus_client import generate_latest

from almanac_pipeline.flows.alerts import permitted
from almanac_pipeline.observability.metrics import registry
from almanac_pipeline.warehouse.connection import dagster_url
from almanac_pipeline.warehouse.telemetry import record_runs
from bench.marts import copy_rows, settle, warehouse

COHORTS, MEMBERS, DAYS, FILMS, REQUESTS = 2_000, 20_000, 60, 60_000, 300_000
MEMBERS_OF_A_COHORT = 20
RUNS_PER_DAY = 200
REPEATS = 5
TARGET_SECONDS = 1
BATCHES, BATCH_ROWS = 50, 200

HISTORY = (
    "insert into raw.users (username) select 'u' || n from generate_series(1, %(members)s) as n",
    "insert into raw.cohorts (slug, label, definition)"
    " select 'c' || n, 'C', '{}' from generate_series(1, %(cohorts)s) as n",
    "insert into raw.cohort_members (cohort_id, user_id)"
    " select cohort_id, (cohort_id * 37 + n * 113) %% %(members)s + 1"
    " from raw.cohorts, generate_series(1, %(of_a_cohort)s) as n on conflict do nothing",
    "insert into ops.scrape_runs (cohort_id, subject, status, started_at, finished_at, rows_changed)"
    " select cohort_id, subject, 'succeeded', now() - day * interval '1 day' - interval '1 hour',"
    " now() - day * interval '1 day' - interval '50 minutes', (cohort_id + day) %% 3"
    " from raw.cohorts, unnest(array['members', 'ratings', 'likes']) as subject,"
    " generate_series(0, %(days)s - 1) as day",
    "insert into ops.scrape_run_members (scrape_run_id, user_id, outcome, milliseconds)"
    " select scrape_run_id, user_id, 'unchanged', user_id %% 1000"
    " from ops.scrape_runs join raw.cohort_members using (cohort_id)"
    " where subject = 'ratings' and started_at > now() - interval '2 days'",
    "insert into ops.publications (cohort_id, input_version, members_count, films_count, ratings_count,"
    " published_at, dagster_run_id)"
    " select cohort_id, 'v', 1, 1, 1, now() - day * interval '1 day', day || '_' || cohort_id %% %(runs)s"
    " from raw.cohorts, generate_series(0, %(days)s - 1) as day",
    "insert into intermediate.cohort_audits (cohort_id, rule, observed, blocking, passed)"
    " select cohort_id, 'coverage_' || field, 0.99, true, true"
    " from raw.cohorts, unnest(array['rating', 'like_flag', 'tmdb_id']) as field",
    "insert into raw.films (uid, slug, title)"
    " select 'film:' || n, 'f' || n, 'F' || n from generate_series(1, %(films)s) as n",
    "insert into ops.film_metadata_sync (film_id) select film_id from raw.films on conflict do nothing",
    "insert into ops.http_requests (requested_at, run_id, host, path_class, status, milliseconds)"
    " select now() - random() * interval '7 days', n %% %(days)s || '_' || n %% %(runs)s,"
    " 'host' || n %% 2, 'page' || n %% 15, 200, 100 from generate_series(1, %(requests)s) as n",
    "insert into dagster.runs (run_id, pipeline_name, status, run_body, start_time, end_time)"
    " select day || '_' || n, (array['incremental', 'statistics', 'enrich'])[1 + n %% 3], 'SUCCESS', '',"
    " extract(epoch from now()) - day * 86400 - 300, extract(epoch from now()) - day * 86400"
    " from generate_series(0, %(days)s - 1) as day, generate_series(0, %(runs)s - 1) as n",
    "insert into dagster.event_logs (run_id, event, dagster_event_type, timestamp, step_key)"
    " select run_id, '', kind,"
    " to_timestamp(case kind when 'STEP_START' then start_time else end_time end) at time zone 'UTC', step"
    " from dagster.runs, unnest(array['STEP_START', 'STEP_SUCCESS']) as kind,"
    " unnest(array['before_statistics', 'after_statistics', 'raw__ratings']) as step",
)


def run(cohorts: int = COHORTS) -> dict[str, Any]:
    """Seconds of the first answer and of the following ones, and seconds per logged batch."""
    with warehouse() as (url, settings), psycopg.connect(url) as connection:
        DagsterPostgresStorage(dagster_url(settings))  # creates its tables
        sizes = {
            "cohorts": cohorts, "members": MEMBERS, "of_a_cohort": MEMBERS_OF_A_COHORT, "days": DAYS,
            "films": FILMS, "requests": REQUESTS, "runs": RUNS_PER_DAY,
        }  # fmt: skip
        for statement in HISTORY:
            connection.execute(statement, sizes)
        record_runs(connection)
        settle(connection)
        served, seconds, series = registry(settings, permitted(settings)), [], 0
        for _ in range(1 + REPEATS):
            started = time.perf_counter()
            series = sum(not line.startswith(b"#") for line in generate_latest(served).splitlines())
            seconds.append(time.perf_counter() - started)
        return {
            "cohorts": cohorts,
            "runs": DAYS * RUNS_PER_DAY,
            "series": series,
            "first_seconds": round(seconds[0], 3),
            "next_seconds": round(statistics.median(seconds[1:]), 3),
            "target_seconds": TARGET_SECONDS,
            "log_batch_milliseconds": _log_batches(connection),
        }


def _log_batches(connection: psycopg.Connection) -> dict[str, float]:
    """Milliseconds per batch of 200 logged requests, with the trigger and without."""
    found = {}
    for name, trigger in (("with_totals", "enable"), ("without_totals", "disable")):
        connection.execute(f"alter table ops.http_requests {trigger} trigger total_requests")
        started = time.perf_counter()
        for _ in range(BATCHES):
            rows = (("host0", f"page{n % 15}", 200, 100) for n in range(BATCH_ROWS))
            copy_rows(connection, "ops.http_requests", ("host", "path_class", "status", "milliseconds"), rows)
        found[name] = round((time.perf_counter() - started) / BATCHES * 1000, 2)
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Measure an answer of /metrics.")
    parser.add_argument("--cohorts", type=int, default=COHORTS)
    print(json.dumps(run(parser.parse_args().cohorts), indent=2))
