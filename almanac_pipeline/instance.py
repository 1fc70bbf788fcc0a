"""Dagster's instance for this project: its storage, its logs, its launcher, its home folder, and runs
that died.

Named in dagster.yaml. Nothing of the domain belongs here.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, DefaultRunLauncher, RunsFilter
from dagster._core.execution.compute_logs import redirect_to_file
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus
from dagster._core.storage.compute_log_manager import CapturedLogContext, ComputeIOType
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES
from dagster._core.storage.local_compute_log_manager import IO_TYPE_EXTENSION, LocalComputeLogManager
from dagster._serdes import ConfigurableClassData
from dagster._utils import ensure_file, touch_file
from dagster_postgres import DagsterPostgresStorage
from sqlalchemy import create_engine

from almanac_pipeline.cohort_tags import cohorts_of
from almanac_pipeline.liveness import Watch
from almanac_pipeline.services import start_time
from almanac_pipeline.settings import PROJECT_ROOT, Settings, get_settings
from almanac_pipeline.warehouse.connection import connect_to, dagster_url, database_failures, database_url
from almanac_pipeline.warehouse.heartbeats import last_signs

RUN_PROCESS_TAG = "almanac/process"
POOL_LIMITS = {"imports": 1, "scrape": 2, "enrichment": 5, "dbt": 1}
DEATH = "The process that executed this run was killed, or its machine stopped."
# A code server that died with its runs is back by then; Dagster drops the repetition of a run that it cannot
# load, and asks only once (seen 85 s after the kill).
CODE_SERVER_SECONDS = 150.0
RUNS = CheckRunHealthResult(WorkerStatus.RUNNING)


class AlmanacStorage(DagsterPostgresStorage):
    """dagster-postgres with the URL of the almanac's own settings, and connections that are kept.

    The URL is looked up when the storage is opened, so no password stands in a file or in the
    environment, and every process of a run finds the embedded server on whatever port it has.
    """

    def __init__(self, postgres_url: str, inst_data: ConfigurableClassData | None) -> None:
        super().__init__(postgres_url, inst_data=inst_data)
        # Dagster connects anew for every statement, 830 times in a run of four steps. `pool_pre_ping`
        # notices a server that was restarted meanwhile, and connects as before.
        engine = create_engine(
            postgres_url, isolation_level="AUTOCOMMIT", pool_size=2, pool_pre_ping=True, max_overflow=20
        )
        for storage in (self._run_storage, self._event_log_storage, self._schedule_storage):
            storage._engine = engine

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        return {}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> AlmanacStorage:
        return cls(dagster_url(), inst_data)


class AlmanacRunLauncher(DefaultRunLauncher):
    """Runs as processes of the code server, of which run monitoring can tell whether they live.

    Dagster's own leaves that to the code server, which may have died with them.
    """

    def __init__(self, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(inst_data)
        self._watch = Watch()
        self._dead_since: dict[str, float] = {}

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        health = worker_health(run, self._watch)
        if health is RUNS:
            self._dead_since.pop(run.run_id, None)
            return health
        now = time.monotonic()
        is_late = now - self._dead_since.setdefault(run.run_id, now) >= CODE_SERVER_SECONDS
        return health if is_late else RUNS


class AlmanacComputeLogs(LocalComputeLogManager):
    """What steps print, in files for the Dagster UI and only there.

    Dagster's own also mirrors it to the terminal, by four processes per run that write into the
    progress display and answer Ctrl-C with tracebacks.
    """

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        return {}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> AlmanacComputeLogs:
        return cls(base_dir=str(get_settings().dagster_home / "storage"), inst_data=inst_data)

    @contextmanager
    def capture_logs(self, log_key: Sequence[str]) -> Generator[CapturedLogContext, None, None]:
        out, err = (
            str(self.get_captured_local_path(log_key, IO_TYPE_EXTENSION[kind]))
            for kind in (ComputeIOType.STDOUT, ComputeIOType.STDERR)
        )
        ensure_file(out)
        ensure_file(err)
        with redirect_to_file(sys.stdout, out), redirect_to_file(sys.stderr, err):
            yield CapturedLogContext(log_key)
        touch_file(str(self.get_captured_local_path(log_key, "complete")))


def prepare_dagster_home(settings: Settings) -> None:
    """Create Dagster's home folder and point this process and its children at it."""
    home = settings.dagster_home
    home.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(PROJECT_ROOT / "dagster.yaml", home / "dagster.yaml")
    os.environ["DAGSTER_HOME"] = str(home)
    os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "1")


def prepare_instance(settings: Settings) -> list[str]:
    """Prepare the home folder, and the instance with the pools' slots in it.

    Returns the ids of runs that had died, as `close_dead_runs`.
    """
    prepare_dagster_home(settings)
    with DagsterInstance.get() as instance:
        set_pool_limits(instance)
        return close_dead_runs(instance)


def set_pool_limits(instance: DagsterInstance) -> None:
    """Write the pools' slots into the instance database, the only place Dagster reads them from."""
    for pool, slots in POOL_LIMITS.items():
        instance.event_log_storage.set_concurrency_slots(pool, slots)


def process_tag(parent_run_id: str | None = None) -> str:
    """Marks a run that a command executes in its own process, and what that run repeats."""
    return f"{os.getpid()}:{start_time(os.getpid())}:{parent_run_id or ''}"


def close_dead_runs(instance: DagsterInstance, watch: Watch | None = None) -> list[str]:
    """Mark as failed the runs whose process has died, and free their slots; the daemon repeats its own.

    What cannot be told at once, as of a run elsewhere, needs a `watch` that is kept from look to look.
    Returns the run ids that were closed.
    """
    statuses = [DagsterRunStatus.STARTED, DagsterRunStatus.STARTING, DagsterRunStatus.NOT_STARTED]
    runs = instance.get_runs(filters=RunsFilter(statuses=statuses))
    # A run of the daemon that has not begun has no process yet: its own start timeout is for that.
    begun = [run for run in runs if run.status is DagsterRunStatus.STARTED or is_run_by_command(run)]
    closed = _dead(begun, watch or Watch())
    for run in closed:
        instance.report_run_failed(run, message=DEATH)
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
    return [run.run_id for run in closed]


def cohorts_in_hand(instance: DagsterInstance, jobs: Collection[str] = ()) -> set[str]:
    """The cohorts of all runs that have not ended, of these jobs or of any. A dead command holds none."""
    known = instance.get_dynamic_partitions("cohorts")
    runs = instance.get_runs(filters=RunsFilter(statuses=list(NOT_FINISHED_STATUSES)))
    dead = {run.run_id for run in _dead([run for run in runs if is_run_by_command(run)], Watch())}
    return {
        cohort
        for run in runs
        if (not jobs or run.job_name in jobs) and run.run_id not in dead
        for cohort in cohorts_of(run.tags, known)
    }


def is_run_by_command(run: DagsterRun) -> bool:
    """Whether an `almanac` command executes the run in its own process.

    One that is executed again from the UI has copied the tag of the run before it, whose parent it is not.
    """
    if RUN_PROCESS_TAG not in run.tags:
        return False
    parent = "".join(run.tags[RUN_PROCESS_TAG].split(":")[2:])
    return parent == (run.parent_run_id or "")


def worker_health(run: DagsterRun, watch: Watch) -> CheckRunHealthResult:
    """What Dagster's run monitoring asks a launcher of a run that has begun."""
    is_dead = bool(_dead([run], watch))
    return CheckRunHealthResult(WorkerStatus.FAILED, DEATH) if is_dead else RUNS


def _dead(runs: Sequence[DagsterRun], watch: Watch) -> list[DagsterRun]:
    if not runs:
        return []
    with database_failures(), connect_to(database_url()) as connection:
        signs = last_signs(connection, [run.run_id for run in runs])
    return [run for run in runs if run.run_id in signs and watch.is_dead(signs[run.run_id])]
