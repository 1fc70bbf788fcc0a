"""What Dagster's instance knows of our runs, in words of ours. Reads only; `launch` executes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from dagster import DagsterEventType, DagsterInstance, DagsterRunStatus, EventLogEntry, RunRecord, RunsFilter

from almanac_pipeline.cohort_tags import COHORTS_TAG, PARTITION_TAG, cohorts_of
from almanac_pipeline.errors import ConfigurationError
from almanac_pipeline.instance import close_dead_runs, prepare_dagster_home
from almanac_pipeline.launch import cause_words, is_final, partition_words
from almanac_pipeline.settings import get_settings
from almanac_pipeline.terminal import SUMMARY_KEY
from almanac_pipeline.warehouse.connection import prepared_database_url

# A run is looked for by the beginning of its id among so many, the newest.
FINDABLE_RUNS = 10_000
# A cohort's runs are picked out of so many: those over a range of cohorts name only its ends.
SEARCHED_RUNS = 2_000


@dataclass(frozen=True, slots=True)
class Run:
    """One run, of the command line or the daemon."""

    run_id: str
    job: str
    cohorts: str
    cohort: str | None
    """The cohort, if it is of one only."""
    status: str
    """As Dagster names it, in lower case."""
    began_at: datetime | None
    seconds: float | None
    """How long it took, or has been going on for; None before it began."""


@dataclass(frozen=True, slots=True)
class Step:
    """What one step of a run did."""

    name: str
    status: str
    seconds: float | None
    summary: str


@dataclass(frozen=True, slots=True)
class RunReport:
    """A run with its steps in the order in which they began."""

    run: Run
    repeats: str | None
    """The run that this one repeats."""
    steps: tuple[Step, ...]
    failures: tuple[str, ...]
    is_final: bool
    """Whether a step failed such that the same would fail again until somebody mends it."""


def last_runs(
    *, cohort: str | None = None, job: str | None = None, status: str | None = None, limit: int
) -> list[Run]:
    """The newest runs, newest first, of those that are asked for."""
    with _instance() as instance:
        records = instance.get_run_records(
            RunsFilter(job_name=job, statuses=[DagsterRunStatus(status.upper())] if status else []),
            limit=limit if cohort is None else SEARCHED_RUNS,
        )
        known = instance.get_dynamic_partitions("cohorts")
    chosen = [record for record in records if cohort is None or _concerns(record, cohort, known)]
    return [_run(record) for record in chosen[:limit]]


def find_run(beginning: str) -> Run:
    """The one run whose id begins so.

    Raises:
        ConfigurationError: there is none, or more than one.
    """
    with _instance() as instance:
        return _run(_find(instance, beginning))


def run_report(beginning: str) -> RunReport:
    """Everything worth knowing of one run.

    Raises:
        ConfigurationError: as `find_run`.
    """
    with _instance() as instance:
        record = _find(instance, beginning)
        run_id = record.dagster_run.run_id
        steps = instance.get_run_step_stats(run_id)
        summaries: dict[str, list[str]] = {}
        for entry in instance.all_logs(run_id, of_type=DagsterEventType.ASSET_MATERIALIZATION):
            summaries.setdefault(entry.step_key or "", []).extend(_summary(entry))
        ended_badly = {DagsterEventType.STEP_FAILURE, DagsterEventType.RUN_FAILURE}
        events = [entry.dagster_event for entry in instance.all_logs(run_id, of_type=ended_badly)]
    of_steps = [event for event in events if event and event.is_step_failure]
    failures = [cause_words(event) for event in of_steps]
    # A run's own failure only repeats those of its steps, if there are any.
    failures = failures or [cause_words(event) for event in events if event]
    return RunReport(
        run=_run(record),
        repeats=record.dagster_run.parent_run_id,
        steps=tuple(
            Step(
                name=step.step_key,
                status=(step.status.value if step.status else "began").lower(),
                seconds=step.end_time - step.start_time if step.end_time and step.start_time else None,
                summary="; ".join(summaries.get(step.step_key, [])),
            )
            for step in sorted(steps, key=lambda step: step.start_time or float("inf"))
        ),
        failures=tuple(failures),
        is_final=any(is_final(event) for event in of_steps),
    )


@contextmanager
def _instance() -> Iterator[DagsterInstance]:
    settings = get_settings()
    prepared_database_url(settings)
    prepare_dagster_home(settings)
    with DagsterInstance.get() as instance:
        # One that was killed would be shown as if it were going on.
        close_dead_runs(instance)
        yield instance


def _find(instance: DagsterInstance, beginning: str) -> RunRecord:
    ids = [run_id for run_id in instance.get_run_ids(limit=FINDABLE_RUNS) if run_id.startswith(beginning)]
    if not ids:
        raise ConfigurationError(f"There is no run {beginning!r}: `almanac runs list` shows the last ones.")
    if len(ids) > 1:
        raise ConfigurationError(f"{len(ids):,} runs begin with {beginning!r}: give more of the id.")
    [record] = instance.get_run_records(RunsFilter(run_ids=ids))
    return record


def _concerns(record: RunRecord, cohort: str, known: Sequence[str]) -> bool:
    return cohort in cohorts_of(record.dagster_run.tags, known)


def _run(record: RunRecord) -> Run:
    run, began, ended = record.dagster_run, record.start_time, record.end_time
    until = ended if run.is_finished else datetime.now(UTC).timestamp()
    return Run(
        run_id=run.run_id,
        job=run.job_name,
        cohorts=partition_words(run.tags),
        cohort=None if COHORTS_TAG in run.tags else run.tags.get(PARTITION_TAG),
        status=run.status.value.lower(),
        began_at=datetime.fromtimestamp(began, UTC) if began else None,
        seconds=until - began if began and until else None,
    )


def _summary(entry: EventLogEntry) -> list[str]:
    materialization = entry.asset_materialization
    summary = materialization.metadata.get(SUMMARY_KEY) if materialization else None
    return [str(summary.value)] if summary and summary.value else []
