"""A home's daemon as one process that can be killed: the real sensors and schedules, and their runs.

Dagster's own waits half a minute between ticks and ten seconds for the process of each run; this one waits
for nothing. In between it does what that does: cursors are kept after the runs were noted, run keys make
one run of what is asked for twice, runs whose process died are declared failed, and like what failed
otherwise and may pass gone on with up to three times (`run_retries` in dagster.yaml, `RETRIES` of the jobs).
"""

from __future__ import annotations

import json
import os
import time
import traceback
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from almanac_pipeline import errors

if TYPE_CHECKING:
    from dagster import DagsterEvent, DagsterInstance, DagsterRun, RepositoryDefinition, RunRequest

RUN_KEY_TAG, ASKED_BY_TAG, DAY_TAG, RETRY_TAG = (
    "dagster/run_key",
    "soak/asked_by",
    "soak/day",
    "dagster/retry_number",
)
MOST_RETRIES = 3
MOST_ROUNDS = 60
WORDS_KEPT = 200
# A database that restarts is back by then.
MOST_ROUNDS_IN_TROUBLE = 10
RUN_CONFIG = {
    "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
    # Tried again here, without the waiting.
    "execution": {"config": {"retries": {"disabled": {}}}},
}


@dataclass(frozen=True)
class Day:
    """What the clock brings."""

    number: int
    ticks: tuple[tuple[str, datetime], ...]
    """Schedules and their times, in that order."""
    resumes: bool = False
    """Whether an operator first has all that failed today gone on with, as `almanac runs resume` does."""


@dataclass
class DayReport:
    """What was done."""

    runs: int = 0
    failed: int = 0
    resumed: int = 0
    closed: int = 0
    """Runs found dead."""
    errors: list[str] = field(default_factory=list)


def serve(pipe: Connection, log_file: str) -> None:
    """Do each `Day` that comes through the pipe and answer with its report; for a process of its own."""
    log = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(log, stream)
    warnings.simplefilter("ignore")
    daemon = Daemon()
    pipe.send("ready")
    while (day := pipe.recv()) is not None:
        pipe.send(asdict(daemon.live(day)))


class Daemon:
    """The definitions and the instance of the home that the settings name."""

    def __init__(self) -> None:
        from dagster import DagsterInstance

        from almanac_pipeline import instance
        from almanac_pipeline.settings import get_settings
        from almanac_pipeline.warehouse import dbt
        from almanac_pipeline.warehouse.connection import prepared_database_url

        settings = get_settings()
        dbt.prepare(settings)
        dbt.bootstrap(prepared_database_url(settings), settings=settings)
        instance.prepare_dagster_home(settings)
        from almanac_pipeline.definitions import defs

        self._repository: RepositoryDefinition = defs.get_repository_def()
        self._instance: DagsterInstance = DagsterInstance.get()
        instance.set_pool_limits(self._instance)
        self._cursors = settings.home / "soak-cursors.json"
        self._report = DayReport()

    def live(self, day: Day) -> DayReport:
        """Tick what is due, then sensors and runs in turn, until nobody asks for anything more."""
        self._report = DayReport()
        if day.resumes:
            self._guarded("resume", lambda: self._go_on(day.number, by_operator=True))
            self._work(day)
        for schedule, at in day.ticks:
            self._guarded(
                f"schedule {schedule}", lambda s=schedule, t=at: self._tick_schedule(s, t, day.number)
            )
            self._work(day)
        return self._report

    def _work(self, day: Day) -> None:
        in_trouble = 0
        for _ in range(MOST_ROUNDS):
            known = len(self._report.errors)
            for name in self._sensors():
                self._guarded(f"sensor {name}", lambda name=name: self._tick_sensor(name, day.number))
            self._guarded("monitoring", self._close_dead_runs)
            self._guarded("retries", lambda: self._go_on(day.number))
            begun = self._guarded("runs", self._execute_waiting)
            if not begun and len(self._report.errors) == known:
                return
            in_trouble = in_trouble + 1 if len(self._report.errors) > known else 0
            if in_trouble > MOST_ROUNDS_IN_TROUBLE:
                return
            if in_trouble:
                time.sleep(1.0)
        self._report.errors.append("the sensors asked for runs without end")

    def _guarded(self, what: str, work: Any) -> Any:
        """A daemon outlives whatever fails in it; what failed is done again by the next round."""
        try:
            return work()
        except Exception as error:
            traceback.print_exc()
            words = " ".join(str(error).split())[:WORDS_KEPT]
            self._report.errors.append(f"{what}: {type(error).__name__}: {words}")
            return None

    # -- ticks ------------------------------------------------------------------------------

    def _sensors(self) -> list[str]:
        from dagster import DefaultSensorStatus, RunStatusSensorDefinition

        # Those of run failures wake alerts that `surroundings` looks at, too.
        return [
            sensor.name
            for sensor in self._repository.sensor_defs
            if sensor.default_status is DefaultSensorStatus.RUNNING
            and not isinstance(sensor, RunStatusSensorDefinition)
        ]

    def _tick_sensor(self, name: str, day: int) -> None:
        import dagster as dg
        from dagster._core.definitions.partitions.context import partition_loading_context

        from almanac_pipeline.defs.resources import Almanac

        sensor = self._repository.get_sensor_def(name)
        cursors = self._read_cursors()
        context = dg.build_sensor_context(
            instance=self._instance,
            cursor=cursors.get(name),
            repository_def=self._repository,
            resources={"almanac": Almanac()},
        )
        with partition_loading_context(dynamic_partitions_store=self._instance):
            told = sensor.evaluate_tick(context)
        for request in told.dynamic_partitions_requests or ():
            self._instance.add_dynamic_partitions(request.partitions_def_name, list(request.partition_keys))
        jobs = [job.name for job in sensor.jobs] if sensor.targets else []
        self._note(name, told.run_requests or (), jobs, day)
        if told.cursor is not None and told.cursor != cursors.get(name):
            self._write_cursors(cursors | {name: told.cursor})

    def _tick_schedule(self, name: str, at: datetime, day: int) -> None:
        import dagster as dg
        from dagster._core.definitions.partitions.context import partition_loading_context

        from almanac_pipeline.defs.resources import Almanac

        schedule = self._repository.get_schedule_def(name)
        context = dg.build_schedule_context(
            instance=self._instance,
            scheduled_execution_time=at,
            repository_def=self._repository,
            resources={"almanac": Almanac()},
        )
        with partition_loading_context(dynamic_partitions_store=self._instance):
            told = schedule.evaluate_tick(context)
        self._note(name, told.run_requests or (), [schedule.job_name], day, f"{at:%Y-%m-%dT%H:%M}")

    def _note(
        self, asked_by: str, requests: Iterable[RunRequest], jobs: list[str], day: int, at: str = ""
    ) -> None:
        """Create the runs asked for that were not asked for before."""
        from dagster import RunsFilter

        for request in requests:
            key = {ASKED_BY_TAG: asked_by}
            if request.run_key or at:
                key[RUN_KEY_TAG] = request.run_key or at
                if self._instance.get_runs(RunsFilter(tags=key), limit=1):
                    continue
            self._create(request.job_name or jobs[0], {**request.tags, **key, DAY_TAG: str(day)})

    def _read_cursors(self) -> dict[str, str]:
        known: dict[str, str] = json.loads(self._cursors.read_text()) if self._cursors.exists() else {}
        return known

    def _write_cursors(self, cursors: Mapping[str, str]) -> None:
        new = Path(f"{self._cursors}.new")
        new.write_text(json.dumps(cursors))
        new.replace(self._cursors)

    # -- runs -------------------------------------------------------------------------------

    def _create(self, job_name: str, tags: Mapping[str, str], again: DagsterRun | None = None) -> None:
        from dagster._core.execution.api import create_execution_plan
        from dagster._core.execution.plan.state import KnownExecutionState
        from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteRepositoryOrigin

        job, loaded = self._repository.get_job(job_name), self._repository.repository_load_data
        origin = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("almanac"), self._repository.name)
        plan = None
        if again is not None:
            steps, state = KnownExecutionState.build_resume_retry_reexecution(self._instance, again)
            plan = create_execution_plan(
                job,
                RUN_CONFIG,
                step_keys_to_execute=steps or None,
                known_state=state,
                tags=tags,
                repository_load_data=loaded,
            )
        self._instance.create_run_for_job(
            job_def=job,
            execution_plan=plan,
            run_config=RUN_CONFIG,
            tags={**tags},
            parent_run_id=again.run_id if again else None,
            root_run_id=(again.root_run_id or again.run_id) if again else None,
            remote_job_origin=origin.get_job_origin(job_name),
            repository_load_data=loaded,
        )

    def _execute_waiting(self) -> int:
        """Execute what nobody has begun, the oldest first; returns how many those were."""
        from dagster import DagsterRunStatus, RunsFilter
        from dagster._core.definitions.job_base import InMemoryJob
        from dagster._core.execution.api import execute_run_iterator

        waiting = self._instance.get_runs(RunsFilter(statuses=[DagsterRunStatus.NOT_STARTED]), ascending=True)
        for run in waiting:
            self._report.runs += 1
            job = InMemoryJob(self._repository.get_job(run.job_name))
            failed = [e for e in execute_run_iterator(job, run, self._instance) if e.is_failure]
            if failed:
                from almanac_pipeline.launch import cause_words

                self._report.failed += 1
                print(f"{run.job_name} {run.run_id[:8]}: {cause_words(failed[0])}", flush=True)
        return len(waiting)

    def _close_dead_runs(self) -> None:
        """Declare failed what says that it goes on, as run monitoring does: between rounds nothing does."""
        from dagster import DagsterRunStatus, RunsFilter

        going_on = [DagsterRunStatus.STARTED, DagsterRunStatus.STARTING, DagsterRunStatus.CANCELING]
        for run in self._instance.get_runs(RunsFilter(statuses=going_on)):
            self._instance.report_run_failed(run, message="The process of the run has died.")
            self._report.closed += 1
        for run in self._instance.get_runs(RunsFilter(statuses=[DagsterRunStatus.FAILURE]), limit=20):
            self._instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)

    def _go_on(self, day: int, *, by_operator: bool = False) -> None:
        """Repeat the day's failed runs, from what failed on: those that may pass, or all."""
        from dagster import DagsterRunStatus, RunsFilter

        from almanac_pipeline.launch import KEPT_TAGS

        runs = self._instance.get_runs(RunsFilter(tags={DAY_TAG: str(day)}))
        repeated = {run.parent_run_id for run in runs}
        for run in runs:
            if run.status is not DagsterRunStatus.FAILURE or run.run_id in repeated:
                continue
            number = 1 if by_operator else int(run.tags.get(RETRY_TAG, "0")) + 1
            if number > MOST_RETRIES or not (by_operator or self._may_pass(run)):
                continue
            kept = {
                name: value
                for name, value in run.tags.items()
                if name.startswith((*KEPT_TAGS, "almanac/chain", "almanac/histograms", DAY_TAG))
            }
            self._create(run.job_name, kept | {RETRY_TAG: str(number)}, run)
            self._report.resumed += 1

    def _may_pass(self, run: DagsterRun) -> bool:
        """Whether no step failed for good: the retries of the jobs and of the daemon leave that alone."""
        from dagster import DagsterEventType

        failures = self._instance.all_logs(run.run_id, of_type=DagsterEventType.STEP_FAILURE)
        kinds = [_innermost_class(entry.dagster_event) for entry in failures]
        return all(kind is None or kind.retriable for kind in kinds)


def _innermost_class(event: DagsterEvent | None) -> type[errors.AlmanacError] | None:
    """Our class of the error that a step failed with; None for one of another's."""
    error = getattr(event.event_specific_data, "error", None) if event is not None else None
    while error is not None and error.cause is not None:
        error = error.cause
    found = getattr(errors, error.cls_name or "", None) if error is not None else None
    return found if isinstance(found, type) and issubclass(found, errors.AlmanacError) else None
