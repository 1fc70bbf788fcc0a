"""Every run has its row, whatever became of it; requests stay counted; each metric's query answers."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from almanac_pipeline.warehouse.runs import enrichment_run, record_member, scrape_run
from almanac_pipeline.warehouse.telemetry import (
    MEASURES,
    Series,
    log_salt,
    read_measure,
    record_memory,
    record_runs,
)
from tests.conftest import new_database

BEGUN_AT = datetime.now(UTC) - timedelta(minutes=5)
STEP = "raw__ratings"


@pytest.fixture
def ready_url(server_url: str, ready_template: str) -> Iterator[str]:
    """The URL of an empty database with Dagster's tables."""
    with new_database(server_url, ready_template) as url:
        yield url


@pytest.fixture
def ready(ready_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(ready_url, autocommit=True) as connection:
        yield connection


def start_run(connection: psycopg.Connection, run_id: str, job: str = "scrape") -> None:
    """What Dagster writes while a run is under way in its first step."""
    connection.execute(
        "insert into dagster.runs (run_id, pipeline_name, status, run_body, start_time)"
        " values (%s, %s, 'STARTED', '', %s)",
        [run_id, job, BEGUN_AT.timestamp()],
    )
    connection.execute(
        "insert into dagster.run_tags (run_id, key, value) values (%s, 'dagster/partition', 'friends')",
        [run_id],
    )
    note_event(connection, run_id, "STEP_START", 0)


def note_event(connection: psycopg.Connection, run_id: str, kind: str, after_seconds: float) -> None:
    connection.execute(
        "insert into dagster.event_logs (run_id, event, dagster_event_type, timestamp, step_key)"
        " values (%s, '', %s, %s, %s)",
        [run_id, kind, (BEGUN_AT + timedelta(seconds=after_seconds)).replace(tzinfo=None), STEP],
    )


def end_run(connection: psycopg.Connection, run_id: str, status: str, after_seconds: float) -> None:
    connection.execute(
        "update dagster.runs set status = %s, end_time = %s where run_id = %s",
        [status, BEGUN_AT.timestamp() + after_seconds, run_id],
    )


def note_request(connection: psycopg.Connection, run_id: str | None, **columns: object) -> None:
    values = {"run_id": run_id, "host": "site", "path_class": "grid", "status": 200, "milliseconds": 250}
    values |= columns
    connection.execute(
        f"insert into ops.http_requests ({', '.join(values)}) values ({', '.join(['%s'] * len(values))})",
        list(values.values()),
    )


def telemetry(connection: psycopg.Connection, run_id: str, *columns: str) -> tuple[object, ...]:
    row = connection.execute(
        f"select {', '.join(columns)} from ops.run_telemetry where run_id = %s", [run_id]
    ).fetchone()
    assert row is not None
    return tuple(row)


def measured(connection: psycopg.Connection, name: str) -> dict[tuple[str, ...], float]:
    measure = next(measure for measure in MEASURES if measure.name == name)
    series: list[Series] = read_measure(connection, measure, ["blocked", "layout"])
    return dict(series)


# -- runs ----------------------------------------------------------------------------------------


def test_a_run_that_succeeded_has_its_steps_requests_and_rows(
    ready: psycopg.Connection, ready_url: str
) -> None:
    start_run(ready, "one")
    with scrape_run(ready_url, None, "ratings", "one") as run:
        run.rows_seen, run.rows_changed, run.failures_count = 40, 7, 1
    with enrichment_run(ready_url, None, "films", "one") as enrichment:
        enrichment.films_count, enrichment.cache_hits_count = 3, 2
    note_request(ready, "one", status=503)
    note_request(ready, "one", status=304, cache_hit=True, attempt=2)
    note_request(ready, "another")
    note_event(ready, "one", "STEP_SUCCESS", 12.5)
    end_run(ready, "one", "SUCCESS", 13)
    record_memory(ready, "one", 10)
    record_memory(ready, "one", 5)
    assert [run.run_id for run in record_runs(ready)] == ["one"]
    assert telemetry(ready, "one", "job", "cohort", "status", "step_seconds", "failed_step") == (
        *("scrape", "friends", "success"),
        {STEP: 12.5},
        None,
    )
    counts = ("requests_count", "cache_hits_count", "retries_count", "rows_seen", "rows_changed")
    assert telemetry(ready, "one", *counts) == (2, 3, 1, 40, 10)
    assert telemetry(ready, "one", "failures_count", "peak_memory_bytes") == (1, 10)
    (seconds,) = telemetry(ready, "one", "extract(epoch from finished_at - started_at)::float")
    assert seconds == pytest.approx(13)


def test_a_killed_run_has_a_row_at_once_and_its_end_when_it_is_declared_dead(
    ready: psycopg.Connection,
) -> None:
    start_run(ready, "killed")
    assert record_runs(ready) == []
    assert telemetry(ready, "killed", "status", "finished_at", "step_seconds") == ("started", None, {})
    end_run(ready, "killed", "FAILURE", 60)  # as `close_dead_runs` and Dagster's run monitor do
    assert [run.status for run in record_runs(ready)] == ["failure"]
    assert telemetry(ready, "killed", "status", "step_seconds") == ("failure", {STEP: 60})
    # The beginning is that of the whole test session, which takes longer.
    ready.execute("update ops.run_telemetry set finished_at = now()")
    assert measured(ready, "almanac_failed_runs_in_10_minutes") == {(): 1}
    assert measured(ready, "almanac_runs_total")["scrape", "failure"] == 1


def test_the_step_that_failed_is_named(ready: psycopg.Connection) -> None:
    start_run(ready, "failed")
    note_event(ready, "failed", "STEP_FAILURE", 2)
    end_run(ready, "failed", "FAILURE", 3)
    record_runs(ready)
    assert telemetry(ready, "failed", "failed_step", "step_seconds") == (STEP, {STEP: 2})


def test_what_has_ended_is_written_once_and_outlives_dagsters_own_rows(ready: psycopg.Connection) -> None:
    start_run(ready, "one")
    end_run(ready, "one", "SUCCESS", 1)
    assert (len(record_runs(ready)), record_runs(ready)) == (1, [])
    ready.execute("delete from dagster.runs")
    record_runs(ready)
    assert telemetry(ready, "one", "status") == ("success",)


def test_a_run_over_several_cohorts_names_the_first_and_the_last(ready: psycopg.Connection) -> None:
    start_run(ready, "many")
    ready.execute("delete from dagster.run_tags")
    for end, slug in (("start", "a"), ("end", "f")):
        ready.execute(
            "insert into dagster.run_tags (run_id, key, value) values ('many', %s, %s)",
            [f"dagster/asset_partition_range_{end}", slug],
        )
    record_runs(ready)
    assert telemetry(ready, "many", "cohort") == ("a...f",)


def test_before_dagster_has_made_its_tables_there_is_nothing_to_record(
    connection: psycopg.Connection,
) -> None:
    assert record_runs(connection) == []


# -- requests ------------------------------------------------------------------------------------


def test_requests_stay_counted_when_their_rows_are_purged(connection: psycopg.Connection) -> None:
    note_request(connection, "one")
    note_request(connection, "one", status=304, cache_hit=True)
    note_request(connection, None, status=None, milliseconds=30_000, attempt=2, host="other")
    connection.execute("delete from ops.http_requests")
    note_request(connection, "two")
    assert measured(connection, "almanac_http_requests_total") == {
        ("site", "grid", "200"): 2,
        ("site", "grid", "304"): 1,
        ("other", "grid", "0"): 1,
    }
    assert measured(connection, "almanac_http_cache_hits_total") == {("site",): 1, ("other",): 0}
    assert measured(connection, "almanac_http_retries_total") == {("site",): 0, ("other",): 1}
    assert measured(connection, "almanac_http_wait_seconds_total") == {("site",): 0.75, ("other",): 30}


# -- the other measures --------------------------------------------------------------------------


def test_every_measure_has_a_number_in_a_database_with_a_history(
    ready: psycopg.Connection, ready_url: str
) -> None:
    row = ready.execute(
        "insert into raw.cohorts (slug, label, definition) values ('friends', 'Friends', '{}')"
        " returning cohort_id"
    ).fetchone()
    assert row is not None
    ready.execute("insert into raw.users (username) values ('ann')")
    start_run(ready, "one", "cohort_almanac")
    with scrape_run(ready_url, row[0], "ratings", "one") as run:
        record_member(ready, run, 1, "unchanged", milliseconds=400)
    ready.execute(
        "insert into ops.publications (cohort_id, dagster_run_id, input_version, members_count, films_count,"
        " ratings_count) values (%s, 'one', 'v', 1, 1, 1)",
        [row[0]],
    )
    ready.execute(
        "insert into intermediate.cohort_audits (cohort_id, rule, observed, blocking, passed)"
        " values (%s, 'coverage_rating', 0.5, true, false)",
        [row[0]],
    )
    ready.execute("insert into ops.http_hosts (host, blocked_at) values ('site', now())")
    ready.execute(
        "insert into ops.scrape_failures (page_kind, error_kind, message)"
        " values ('grid', 'NotFoundError', '')"
    )
    note_request(ready, "one")
    for step in ("before_statistics", "ops__publications"):
        for kind, second in (("STEP_START", 0), ("STEP_SUCCESS", 4)):
            note_event(ready, "one", kind, second)
        ready.execute("update dagster.event_logs set step_key = %s where step_key = %s", [step, STEP])
    end_run(ready, "one", "SUCCESS", 10)
    record_memory(ready, "one", 1_000)
    record_runs(ready)
    found = {measure.name: dict(read_measure(ready, measure, ["layout"])) for measure in MEASURES}
    assert [name for name, series in found.items() if not series] == []
    assert found["almanac_incremental_sync_seconds"]["0.95",] == pytest.approx(0.4)
    assert found["almanac_cohort_rebuild_seconds"]["0.5",] == pytest.approx(8)
    assert found["almanac_run_seconds"]["cohort_almanac", "0.95"] == pytest.approx(10)
    assert found["almanac_cohort_coverage_share"] == {("friends", "rating"): 0.5}
    assert found["almanac_host_blocked"] == {("site",): 1}
    assert found["almanac_open_failures"] == {("NotFoundError",): 1}
    [success] = found["almanac_cohort_success_timestamp_seconds"].items()
    assert success == (("friends",), pytest.approx(datetime.now(UTC).timestamp(), abs=60))


def test_members_are_hashed_with_a_salt_of_this_database_alone(connection: psycopg.Connection) -> None:
    salt = log_salt(connection)
    assert len(salt) == 32
    assert salt == log_salt(connection)
    assert salt != uuid.UUID(int=0).bytes * 2
