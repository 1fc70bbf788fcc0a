"""Dagster's instance: where its storage and logs are, its pools, and runs whose process is gone."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from almanac_pipeline.settings import Settings, get_settings

if TYPE_CHECKING:
    from dagster import DagsterInstance

# Dagster's own warnings are not what is tested here; importing it takes seconds, so only in tests.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def settings(
    database_url: str, clean_settings: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Settings:
    monkeypatch.setenv("ALMANAC_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ALMANAC_DATABASE_URL", database_url)
    monkeypatch.setenv("DAGSTER_HOME", "is set by what is tested")
    monkeypatch.setenv("DAGSTER_DISABLE_TELEMETRY", "1")
    return get_settings()


@pytest.fixture
def instance(settings: Settings) -> Iterator[DagsterInstance]:
    """The instance as every process of ours opens it."""
    from dagster import DagsterInstance

    from almanac_pipeline.instance import prepare_dagster_home

    prepare_dagster_home(settings)
    with DagsterInstance.get() as opened:
        yield opened


def test_everything_of_dagsters_is_in_our_database_and_our_home(
    instance: DagsterInstance, settings: Settings, database_url: str
) -> None:
    from almanac_pipeline.instance import POOL_LIMITS, set_pool_limits

    set_pool_limits(instance)
    with psycopg.connect(database_url) as connection:
        rows = connection.execute(
            "select schemaname from pg_tables where tablename in ('runs', 'event_logs')"
        )
        assert rows.fetchall() == [("dagster",), ("dagster",)]
        limits = connection.execute('select concurrency_key, "limit" from dagster.concurrency_limits')
        assert dict(limits.fetchall()) == POOL_LIMITS
    assert os.environ["DAGSTER_HOME"] == str(settings.dagster_home)
    assert not instance.telemetry_enabled
    # No file of the home folder holds the password.
    files = [file for file in settings.home.rglob("*") if file.is_file()]
    password = database_url.split(":")[2].split("@")[0]
    assert files
    assert not any(password.encode() in file.read_bytes() for file in files)


def test_what_steps_print_goes_to_a_file_and_not_to_the_terminal(
    instance: DagsterInstance, capfd: pytest.CaptureFixture[str]
) -> None:
    manager = instance.compute_log_manager
    with capfd.disabled():
        read_end, write_end = os.pipe()
        before = os.dup(1)
        os.dup2(write_end, 1)
        try:
            with manager.capture_logs(["a run", "compute_logs", "key"]):
                os.write(1, b"from a step\n")
            os.write(1, b"from us\n")
        finally:
            os.dup2(before, 1)
            os.close(before)
            os.close(write_end)
        with os.fdopen(read_end) as terminal:
            assert terminal.read() == "from us\n"
    data = manager.get_log_data(["a run", "compute_logs", "key"])
    assert data.stdout == b"from a step\n"
    assert manager.is_capture_complete(["a run", "compute_logs", "key"])


def test_only_runs_whose_process_is_gone_are_closed_and_their_slots_are_freed(
    instance: DagsterInstance, database_url: str
) -> None:
    from dagster import DagsterRunStatus
    from dagster._core.test_utils import create_run_for_test

    from almanac_pipeline.instance import RUN_PROCESS_TAG, close_dead_runs, process_tag, set_pool_limits
    from almanac_pipeline.liveness import this_process
    from almanac_pipeline.warehouse.heartbeats import Process, beat

    def new_run(status: DagsterRunStatus, process: Process | None, *, by_command: bool = True) -> str:
        tags = {RUN_PROCESS_TAG: process_tag()} if by_command else {}
        run = create_run_for_test(instance, job_name="cohort_almanac", status=status, tags=tags)
        if process is not None:
            with psycopg.connect(database_url) as connection:
                beat(connection, run.run_id, process)
        return str(run.run_id)

    with subprocess.Popen(["true"]) as ended:
        pass
    living = this_process()
    gone = replace(living, pid=ended.pid, started="12345")
    # The process id lives, but it was given to somebody else since.
    reused = replace(living, started="1")
    killed = [
        new_run(DagsterRunStatus.STARTED, gone),
        new_run(DagsterRunStatus.STARTED, gone, by_command=False),
        new_run(DagsterRunStatus.STARTING, reused),
        new_run(DagsterRunStatus.NOT_STARTED, reused),
    ]
    others = {
        new_run(DagsterRunStatus.STARTED, living): DagsterRunStatus.STARTED,
        # Of another container, which may live.
        new_run(DagsterRunStatus.STARTED, replace(gone, pid_namespace="pid:[1]")): DagsterRunStatus.STARTED,
        # Of another machine, which may live.
        new_run(DagsterRunStatus.STARTED, replace(gone, boot_id="another")): DagsterRunStatus.STARTED,
        # It has only just begun.
        new_run(DagsterRunStatus.STARTED, None, by_command=False): DagsterRunStatus.STARTED,
        new_run(DagsterRunStatus.SUCCESS, reused): DagsterRunStatus.SUCCESS,
    }
    set_pool_limits(instance)
    storage = instance.event_log_storage
    assert storage.claim_concurrency_slot("dbt", killed[1], "before_statistics").is_claimed
    assert storage.get_concurrency_info("dbt").active_slot_count == 1

    assert sorted(close_dead_runs(instance)) == sorted(killed)
    assert storage.get_concurrency_info("dbt").active_slot_count == 0
    for run_id in killed:
        run = instance.get_run_by_id(run_id)
        assert run is not None
        assert run.status == DagsterRunStatus.FAILURE
    for run_id, status in others.items():
        run = instance.get_run_by_id(run_id)
        assert run is not None
        assert run.status == status
    assert close_dead_runs(instance) == []


def test_dagsters_monitoring_fails_a_run_whose_process_and_code_server_died_and_repeats_it(
    instance: DagsterInstance, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import logging

    from dagster import DagsterRunStatus
    from dagster._core.events import RunFailureReason
    from dagster._core.execution.retries import auto_reexecution_should_retry_run
    from dagster._core.test_utils import create_run_for_test
    from dagster._daemon.monitoring.run_monitoring import execute_run_monitoring_iteration

    from almanac_pipeline.liveness import this_process
    from almanac_pipeline.warehouse.heartbeats import beat

    living = this_process()
    runs = {}
    for name, process in {"lives": living, "died": replace(living, started="1")}.items():
        runs[name] = create_run_for_test(instance, job_name="statistics", status=DagsterRunStatus.STARTED)
        with psycopg.connect(database_url) as connection:
            beat(connection, runs[name].run_id, process)
    workspace: Any = SimpleNamespace(instance=instance, create_request_context=lambda: None)
    # First the code server has time to come back: without it nothing is repeated.
    list(execute_run_monitoring_iteration(workspace, logging.getLogger("test")))
    assert {run.status for run in instance.get_runs()} == {DagsterRunStatus.STARTED}
    monkeypatch.setattr("almanac_pipeline.instance.CODE_SERVER_SECONDS", 0)
    assert list(execute_run_monitoring_iteration(workspace, logging.getLogger("test"))) == [None, None]
    found = {name: instance.get_run_by_id(run.run_id) for name, run in runs.items()}
    assert {name: run and run.status for name, run in found.items()} == {
        "lives": DagsterRunStatus.STARTED,
        "died": DagsterRunStatus.FAILURE,
    }
    assert found["died"] is not None
    assert auto_reexecution_should_retry_run(instance, found["died"], RunFailureReason.UNKNOWN)


def test_a_run_that_was_cancelled_frees_its_slots_though_its_process_did_not(
    instance: DagsterInstance,
) -> None:
    import logging

    from dagster import DagsterRunStatus
    from dagster._core.test_utils import create_run_for_test, freeze_time
    from dagster._daemon.monitoring.concurrency import execute_concurrency_slots_iteration
    from dagster._time import get_current_datetime

    from almanac_pipeline.instance import set_pool_limits

    set_pool_limits(instance)
    storage = instance.event_log_storage
    run = create_run_for_test(instance, job_name="statistics", status=DagsterRunStatus.STARTED)
    assert storage.claim_concurrency_slot("dbt", run.run_id, "before_statistics").is_claimed
    instance.report_run_canceled(run)
    workspace: Any = SimpleNamespace(instance=instance)
    with freeze_time(get_current_datetime() + timedelta(minutes=2)):
        list(execute_concurrency_slots_iteration(workspace, logging.getLogger("test")))
    assert storage.get_concurrency_info("dbt").active_slot_count == 0


def test_a_run_that_waits_for_its_place_in_a_pool_says_who_has_it_and_can_be_ended(
    instance: DagsterInstance,
) -> None:
    import dagster as dg
    from dagster._core.definitions.job_base import InMemoryJob
    from dagster._core.execution.api import execute_run_iterator
    from dagster._core.test_utils import create_run_for_test

    from almanac_pipeline.executor import in_process
    from almanac_pipeline.instance import set_pool_limits
    from almanac_pipeline.launch import full_pool, holders

    @dg.op(pool="dbt")
    def builds() -> None:
        raise AssertionError("the place is taken")

    @dg.job(executor_def=in_process)
    def waits() -> None:
        builds()

    set_pool_limits(instance)
    other = create_run_for_test(instance, job_name="statistics", status=dg.DagsterRunStatus.STARTED)
    assert instance.event_log_storage.claim_concurrency_slot("dbt", other.run_id, "step").is_claimed
    run = instance.create_run_for_job(waits)
    said = []
    for event in execute_run_iterator(InMemoryJob(waits), run, instance):
        if (pool := full_pool(event)) is not None:
            said.append((pool, holders(pool)))
            os.kill(os.getpid(), signal.SIGTERM)
    assert said == [("dbt", [f"run {other.run_id[:8]} of statistics"])]
    ended = instance.get_run_by_id(run.run_id)
    assert ended is not None
    assert ended.status == dg.DagsterRunStatus.FAILURE
    assert instance.event_log_storage.get_concurrency_info("dbt").pending_step_count == 0
