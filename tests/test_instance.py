"""Dagster's instance: where its storage and logs are, its pools, and runs whose process is gone."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
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
    instance: DagsterInstance,
) -> None:
    from dagster import DagsterRunStatus
    from dagster._core.test_utils import create_run_for_test

    from almanac_pipeline.instance import RUN_PROCESS_TAG, close_dead_runs, process_tag, set_pool_limits

    def new_run(status: DagsterRunStatus, process: str | None) -> str:
        tags = {} if process is None else {RUN_PROCESS_TAG: process}
        run = create_run_for_test(instance, job_name="cohort_almanac", status=status, tags=tags)
        return str(run.run_id)

    with subprocess.Popen(["true"]) as ended:
        pass
    # The process id lives, but it was given to somebody else since.
    reused = f"{os.getpid()}:1"
    killed = [
        new_run(DagsterRunStatus.STARTED, f"{ended.pid}:12345"),
        new_run(DagsterRunStatus.STARTING, reused),
        new_run(DagsterRunStatus.NOT_STARTED, reused),
    ]
    others = {
        new_run(DagsterRunStatus.STARTED, process_tag()): DagsterRunStatus.STARTED,
        # A run of the daemon: Dagster's own monitor looks after it.
        new_run(DagsterRunStatus.STARTED, None): DagsterRunStatus.STARTED,
        new_run(DagsterRunStatus.SUCCESS, reused): DagsterRunStatus.SUCCESS,
    }
    set_pool_limits(instance)
    storage = instance.event_log_storage
    assert storage.claim_concurrency_slot("dbt", killed[0], "before_statistics").is_claimed
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
