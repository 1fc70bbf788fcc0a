"""Dagster's instance for this project: its storage, its home folder, and runs that died.

Named in dagster.yaml. Nothing of the domain belongs here.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from typing import Any

from dagster import DagsterInstance, DagsterRunStatus, RunsFilter
from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage

from almanac_pipeline.services import start_time
from almanac_pipeline.settings import PROJECT_ROOT, Settings
from almanac_pipeline.warehouse.connection import dagster_url

RUN_PROCESS_TAG = "almanac/process"
POOL_LIMITS = {"letterboxd": 2, "tmdb": 5, "dbt": 1}


class AlmanacStorage(DagsterPostgresStorage):
    """dagster-postgres with the URL of the almanac's own settings.

    The URL is looked up when the storage is opened, so no password stands in a file or in the
    environment, and every process of a run finds the embedded server on whatever port it has.
    """

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        return {}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> AlmanacStorage:
        return cls(postgres_url=dagster_url(), inst_data=inst_data)


def prepare_dagster_home(settings: Settings) -> None:
    """Create Dagster's home folder and point this process and its children at it."""
    home = settings.dagster_home
    home.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(PROJECT_ROOT / "dagster.yaml", home / "dagster.yaml")
    os.environ["DAGSTER_HOME"] = str(home)
    os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "1")


def set_pool_limits(instance: DagsterInstance) -> None:
    """Write the pools' slots into the instance database, the only place Dagster reads them from."""
    for pool, slots in POOL_LIMITS.items():
        instance.event_log_storage.set_concurrency_slots(pool, slots)


def process_tag() -> str:
    """This process, such that a later process can tell whether it still lives."""
    return f"{os.getpid()}:{start_time(os.getpid())}"


def close_dead_runs(instance: DagsterInstance) -> list[str]:
    """Mark as failed the runs whose command-line process was killed, and free their slots.

    A run that `almanac` executes in its own process has no monitor; kill -9 leaves it "started".
    Returns the run ids that were closed.
    """
    closed = []
    statuses = [DagsterRunStatus.STARTED, DagsterRunStatus.STARTING, DagsterRunStatus.NOT_STARTED]
    for run in instance.get_runs(filters=RunsFilter(statuses=statuses)):
        tag = run.tags.get(RUN_PROCESS_TAG)
        if tag is None or _lives(tag):
            continue
        instance.report_run_failed(run, message="The process that executed this run was killed.")
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
        closed.append(run.run_id)
    return closed


def _lives(tag: str) -> bool:
    pid, _, started = tag.partition(":")
    return start_time(int(pid)) == started
