"""Executes a job as a Dagster run in this process, so that the Dagster UI knows of it.

A run handed to the daemon costs about ten seconds of process starts; one person's command
line should not wait for that, and sees its progress directly.
"""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Any, cast

from rich.console import Console

from almanac_pipeline import errors
from almanac_pipeline.cohort_tags import COHORTS_TAG, PARTITION_TAG, RANGE_TAGS, batches
from almanac_pipeline.errors import AlmanacError, ConfigurationError, WarehouseError
from almanac_pipeline.settings import Settings

if TYPE_CHECKING:
    from dagster import DagsterEvent, DagsterInstance, DagsterRun, Definitions

    from almanac_pipeline.liveness import Watch

# What a repetition takes over of a run's tags: its cohorts, and how they were to be built.
KEPT_TAGS = (PARTITION_TAG, *RANGE_TAGS, COHORTS_TAG, "almanac/mode", "almanac/force")

RUN_CONFIG: dict[str, Any] = {
    # The view of the run is what a person reads; the log is in the Dagster UI.
    "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
    # Whoever waits for a command decides whether to try again, and when.
    "execution": {"config": {"retries": {"disabled": {}}}},
}


class RunFailedError(AlmanacError):
    """A Dagster run ended without success; the message says at which step and why."""

    def __init__(self, message: str, *, run_id: str, step: str | None = None) -> None:
        super().__init__(message)
        self.run_id = run_id
        self.step = step


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """What a finished run did."""

    run_id: str
    seconds: float
    step_seconds: dict[str, float]
    skipped_steps: tuple[str, ...]
    failed_checks: tuple[str, ...]


def run_job(
    job_name: str,
    cohorts: Collection[str],
    *,
    settings: Settings,
    console: Console,
    tags: dict[str, str] | None = None,
) -> list[RunOutcome]:
    """Execute `job_name` for some cohorts and show its progress on `console`.

    All share a run, unless they are scattered and more than its tag can name; give one if the job does one at
    a time.

    Raises:
        RunFailedError: a step failed; the cause is named and the run is in the Dagster UI.
        WarehouseError: the database went away.
        KeyboardInterrupt: Ctrl-C ended a step; what it committed stays.
    """
    with _dagster(settings, console) as launcher:
        name = str(launcher.partitions_name)
        launcher.instance.add_dynamic_partitions(name, list(cohorts))
        known = launcher.instance.get_dynamic_partitions(name)
        outcomes = [
            launcher.execute(job_name, {**run_tags, **(tags or {})})
            for run_tags in tags_of_runs(known, cohorts)
        ]
    _empty_queues(settings)
    return outcomes


def run_again(run_id: str, *, only_what_failed: bool, settings: Settings, console: Console) -> RunOutcome:
    """Execute a run that has ended once more: whole, or from the steps on that failed or never began.

    Raises:
        ConfigurationError: the run still goes on, or nothing of it failed.
        RunFailedError, WarehouseError, KeyboardInterrupt: as `run_job`.
    """
    with _dagster(settings, console) as launcher:
        run = launcher.instance.get_run_by_id(run_id)
        if run is None:
            raise ConfigurationError(
                f"There is no run {run_id[:8]}: `almanac runs list` shows the last ones."
            )
        if not run.is_finished:
            raise ConfigurationError(
                f"Run {run_id[:8]} is {run.status.value.lower()}: wait for it, or end it in the Dagster UI."
            )
        if only_what_failed and run.is_success:
            raise ConfigurationError(
                f"Nothing of run {run_id[:8]} failed. `almanac runs retry {run_id[:8]}` does it all again."
            )
        tags = {name: value for name, value in run.tags.items() if name.startswith(KEPT_TAGS)}
        return launcher.execute(run.job_name, tags, again=run, only_what_failed=only_what_failed)


@dataclass(frozen=True, slots=True)
class _Launcher:
    """The definitions and the instance, loaded."""

    instance: DagsterInstance
    definitions: Definitions
    partitions_name: str
    console: Console
    watch: Watch

    def execute(
        self,
        job_name: str,
        tags: Mapping[str, str],
        *,
        again: DagsterRun | None = None,
        only_what_failed: bool = False,
    ) -> RunOutcome:
        """Execute a job as a run of this process, or part of it as a repetition of `again`."""
        from dagster._core.definitions.job_base import InMemoryJob
        from dagster._core.execution.api import create_execution_plan, execute_run_iterator
        from dagster._core.execution.plan.state import KnownExecutionState
        from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteRepositoryOrigin

        from almanac_pipeline import instance as almanac_instance
        from almanac_pipeline.terminal import RunView

        started = time.monotonic()
        job = self.definitions.resolve_job_def(job_name)
        repository = self.definitions.get_repository_def()
        origin = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("almanac"), repository.name)
        tags = {
            **tags,
            "dagster/max_retries": "0",
            almanac_instance.RUN_PROCESS_TAG: almanac_instance.process_tag(again.run_id if again else None),
        }
        plan = None
        if again is not None and only_what_failed:
            steps, state = KnownExecutionState.build_resume_retry_reexecution(self.instance, again)
            plan = create_execution_plan(
                job,
                RUN_CONFIG,
                step_keys_to_execute=steps,
                known_state=state,
                tags=tags,
                repository_load_data=repository.repository_load_data,
            )
        run = self.instance.create_run_for_job(
            job_def=job,
            execution_plan=plan,
            run_config=RUN_CONFIG,
            tags=tags,
            parent_run_id=again.run_id if again else None,
            root_run_id=(again.root_run_id or again.run_id) if again else None,
            remote_job_origin=origin.get_job_origin(job_name),
            repository_load_data=repository.repository_load_data,
        )
        failure: DagsterEvent | None = None
        # Closed whatever happens: until then our own output goes into the steps' log.
        executing = cast(
            "Generator[DagsterEvent]", execute_run_iterator(InMemoryJob(job), run, self.instance)
        )
        with RunView(self.console) as view, closing(executing) as events:
            for event in events:
                view.handle(event)
                if (pool := full_pool(event)) is not None:
                    # Who has it may have died; Dagster says every five minutes that the step still waits.
                    almanac_instance.close_dead_runs(self.instance, self.watch)
                    view.waits(str(event.step_key), pool, holders(pool))
                if event.is_step_failure or (event.is_failure and failure is None):
                    failure = event
        if failure is not None:
            if innermost(failure)[0] == "DagsterExecutionInterruptedError":
                raise KeyboardInterrupt
            raise RunFailedError(
                f"{job_name}{_of(run)} failed at {cause_words(failure)} (run {run.run_id[:8]})",
                run_id=run.run_id,
                step=failure.step_key,
            )
        return RunOutcome(
            run_id=run.run_id,
            seconds=time.monotonic() - started,
            step_seconds=view.seconds,
            skipped_steps=tuple(view.skipped),
            failed_checks=tuple(view.failed_checks),
        )


@contextmanager
def _dagster(settings: Settings, console: Console) -> Iterator[_Launcher]:
    """Everything a run needs, prepared; runs whose command was killed are closed."""
    # Dagster takes four seconds to import: not for `almanac --help`.
    with console.status("loading Dagster"), _nothing_collected():
        from dagster import DagsterInstance

        from almanac_pipeline import instance as almanac_instance
        from almanac_pipeline import partitions
        from almanac_pipeline.liveness import Watch
        from almanac_pipeline.observability.steps import record_runs
        from almanac_pipeline.warehouse import dbt
        from almanac_pipeline.warehouse.connection import prepared_database_url

        # The asset definitions are made from dbt's manifest, and the steps read its views.
        dbt.prepare(settings)
        dbt.bootstrap(prepared_database_url(settings), settings=settings)
        almanac_instance.prepare_dagster_home(settings)
        from almanac_pipeline.definitions import defs

    with _one_line_if_the_database_goes(), DagsterInstance.get() as instance:
        almanac_instance.set_pool_limits(instance)
        watch = Watch()
        for run_id in almanac_instance.close_dead_runs(instance, watch):
            console.print(
                f"[yellow]Run {run_id[:8]} was killed earlier; going on from its last checkpoint.[/]"
            )
        try:
            yield _Launcher(instance, defs, str(partitions.cohorts.name), console, watch)
        finally:
            # A database that went away is told by what it ended; then the next command records the run.
            with suppress(WarehouseError):
                record_runs(prepared_database_url(settings))


@contextmanager
def _nothing_collected() -> Iterator[None]:
    """Look for no garbage while much is imported, nor ever among what was: a fifth of the time otherwise."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def full_pool(event: DagsterEvent) -> str | None:
    """The pool that a step waits for, if the event says that it does."""
    metadata = getattr(event.event_specific_data, "metadata", {}) if event.step_key else {}
    pool = metadata.get("pool") if event.event_type_value == "ENGINE_EVENT" else None
    return None if pool is None else str(pool.value)


def holders(pool: str) -> list[str]:
    """In words, the runs that have the places of a pool."""
    from almanac_pipeline.warehouse.connection import connect
    from almanac_pipeline.warehouse.heartbeats import held_slots

    with connect() as connection:
        slots = held_slots(connection, pool)
    return [
        f"run {slot.run_id[:8]}"
        + (f" of {slot.job}" if slot.job else "")
        + (f", begun {slot.began_at.astimezone(UTC):%H:%M} UTC" if slot.began_at else "")
        for slot in slots
    ]


def _empty_queues(settings: Settings) -> None:
    """Sum up what the triggers noted of changes: where no daemon runs it would pile up."""
    from almanac_pipeline.warehouse.changes import empty_queues
    from almanac_pipeline.warehouse.connection import connect

    with connect(settings=settings) as connection:
        empty_queues(connection)


def tags_of_runs(ordered: Sequence[str], chosen: Collection[str]) -> list[dict[str, str]]:
    """The tags by which each run is told its cohorts: a range if all chosen partitions stand side by side."""
    keys = [key for key in ordered if key in chosen]
    if len(keys) > 1 and keys == list(ordered[ordered.index(keys[0]) : ordered.index(keys[-1]) + 1]):
        return [{RANGE_TAGS[0]: keys[0], RANGE_TAGS[1]: keys[-1]}]
    return [
        {PARTITION_TAG: batch[0]} | ({COHORTS_TAG: ",".join(batch)} if len(batch) > 1 else {})
        for batch in batches(((key, 1) for key in keys), len(keys))
    ]


def partition_words(tags: Mapping[str, str]) -> str:
    """The cohorts of a run with these tags: all by name, the ends of a range, or nothing."""
    if several := tags.get(COHORTS_TAG):
        return several.replace(",", ", ")
    ends = [tags[name] for name in (PARTITION_TAG, *RANGE_TAGS) if name in tags]
    return " to ".join(ends)


def _of(run: DagsterRun) -> str:
    cohorts = partition_words(run.tags)
    return f" of {cohorts}" if cohorts else ""


@contextmanager
def _one_line_if_the_database_goes() -> Iterator[None]:
    """Say that the database went away as an error of ours; Dagster's storage says it in hundreds of lines.

    Raises:
        WarehouseError: it did.
    """
    import psycopg
    from dagster_postgres.utils import DagsterPostgresException
    from sqlalchemy.exc import InterfaceError, OperationalError

    from almanac_pipeline.postgres import is_disk_full

    def is_news(record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith("Retrying failed database connection")

    logging.getLogger().addFilter(is_news)
    try:
        yield
    except (DagsterPostgresException, OperationalError, InterfaceError, psycopg.OperationalError) as error:
        if is_disk_full(error):
            raise WarehouseError(
                "The database's disk is full. What was committed stays: free some space, then run the same "
                "command again."
            ) from None
        raise WarehouseError(
            "The database went away during the run. What was committed stays: run the same command again."
        ) from None
    finally:
        logging.getLogger().removeFilter(is_news)


def cause_words(event: DagsterEvent) -> str:
    """`step: message` of the innermost error of a failure event, on one line."""
    name, message = innermost(event)
    # Our own messages say it all; of others the class is half the message.
    return f"{event.step_key or 'start'}: {message.removeprefix(f'almanac_pipeline.errors.{name}: ')}"


def is_final(event: DagsterEvent) -> bool:
    """Whether a failure event tells of an error of ours that trying again does not overcome."""
    kind = getattr(errors, innermost(event)[0], None)
    return isinstance(kind, type) and issubclass(kind, AlmanacError) and not kind.retriable


def innermost(event: DagsterEvent) -> tuple[str, str]:
    """Class name and message of the error at the bottom of a failure event."""
    error = getattr(event.event_specific_data, "error", None)
    if error is None:
        return "", event.message or "no reason given"
    while error.cause is not None:
        error = error.cause
    return error.cls_name or "", " ".join(error.message.split())
