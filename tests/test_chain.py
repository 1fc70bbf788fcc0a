"""The sensor that carries a cohort on from its first publication, tick by tick."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from almanac_pipeline.settings import get_settings
from tests.conftest import new_database

if TYPE_CHECKING:
    from dagster import DagsterInstance, RunRequest

# What Dagster says about its own beta features is settled in almanac_pipeline/defs/__init__.py.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def circle_url(server_url: str, ready_template: str) -> Iterator[str]:
    """A database with one cohort that was never published."""
    from almanac_pipeline.warehouse.cohorts import create_cohort

    with new_database(server_url, ready_template) as url:
        with psycopg.connect(url) as connection:
            create_cohort(connection, "circle", "Circle", {"kind": "usernames", "usernames": ["ann"]})
        yield url


@pytest.fixture
def instance(
    circle_url: str, clean_settings: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[DagsterInstance]:
    from dagster import DagsterInstance

    monkeypatch.setenv("ALMANAC_DATABASE_URL", circle_url)
    get_settings.cache_clear()
    with DagsterInstance.ephemeral() as opened:
        yield opened


@pytest.fixture
def ended(instance: DagsterInstance) -> Callable[..., str]:
    """Adds a run of the cohort that has ended; returns its id."""
    from dagster import DagsterRunStatus
    from dagster._core.test_utils import create_run_for_test

    def add(job: str, status: str = "SUCCESS", parent: str | None = None, **tags: str) -> str:
        named = {f"almanac/{name}": value for name, value in tags.items()}
        run = create_run_for_test(
            instance,
            job_name=job,
            status=DagsterRunStatus[status],
            tags={"dagster/partition": "circle", **named},
            parent_run_id=parent,
            root_run_id=parent,
        )
        return str(run.run_id)

    return add


def tick(instance: DagsterInstance, cursor: str | None = None) -> list[RunRequest]:
    """What a tick asks for."""
    import dagster as dg

    from almanac_pipeline.defs.automation.chain import chain
    from almanac_pipeline.defs.resources import Almanac

    result: Any = chain(
        dg.build_sensor_context(instance=instance, cursor=cursor, resources={"almanac": Almanac()})
    )
    assert float(result.cursor) == pytest.approx(time.time(), abs=30)
    return list(result.run_requests)


def test_a_published_cohort_is_enriched(instance: DagsterInstance, ended: Callable[..., str]) -> None:
    first = ended("cohort_almanac")
    [request] = tick(instance)
    assert (request.job_name, request.partition_key, request.run_key) == ("enrich", "circle", first)
    assert request.tags["almanac/chain"] == first


@pytest.mark.parametrize("status", ["SUCCESS", "FAILURE"])
def test_what_enrichment_changed_is_published_also_if_it_failed_later(
    instance: DagsterInstance, ended: Callable[..., str], status: str
) -> None:
    run = ended("enrich", status, chain="the first run")
    [request] = tick(instance)
    assert (request.job_name, request.partition_key, request.run_key) == ("statistics", "circle", run)
    assert request.tags["almanac/chain"] == "the first run"


def test_nothing_is_published_again_that_has_not_changed(
    instance: DagsterInstance, ended: Callable[..., str], circle_url: str
) -> None:
    from almanac_pipeline.flows.publication import changed_cohorts
    from almanac_pipeline.warehouse.publications import mark_built, wanted_versions

    ended("enrich", chain="the first run")
    with psycopg.connect(circle_url) as connection:
        [cohort] = changed_cohorts(connection, ["circle"]).values()
        connection.execute(
            "insert into intermediate.cohort_audits"
            " (cohort_id, cohort, input_version, rule, blocking, passed)"
            " values (%s, 'circle', %s, 'no_duplicates', true, true)",
            [cohort.cohort_id, cohort.wanted.data],
        )
        wanted = wanted_versions(connection, cohort.cohort_id, str(cohort.wanted.data))
        shown = {"statistics": wanted.statistics, "marts": wanted.marts, "labels": wanted.labels}
        mark_built(connection, [cohort.cohort_id], shown)
    try:
        assert tick(instance) == []
    finally:
        with psycopg.connect(circle_url) as connection:
            connection.execute("delete from intermediate.cohort_audits")
            connection.execute("delete from intermediate.cohort_stages")


def test_a_part_that_somebody_started_alone_stays_alone(
    instance: DagsterInstance, ended: Callable[..., str]
) -> None:
    for job in ("scrape", "enrich", "statistics"):
        ended(job)
    ended("statistics", chain="the first run")
    assert tick(instance) == []


def test_a_command_carries_its_own_runs_on(instance: DagsterInstance, ended: Callable[..., str]) -> None:
    run = ended("cohort_almanac", process="1:2")
    assert tick(instance) == []
    # Executed again from the UI it is the daemon's, although the tags were copied.
    again = ended("cohort_almanac", parent=run, process="1:2")
    assert [request.run_key for request in tick(instance)] == [again]


def test_a_cohort_that_was_held_back_is_enriched_and_one_that_failed_before_is_not(
    instance: DagsterInstance, ended: Callable[..., str]
) -> None:
    from dagster import DagsterEvent
    from dagster._core.execution.plan.objects import StepFailureData

    def fails(step: str) -> str:
        run_id = ended("cohort_almanac", "FAILURE")
        failure = DagsterEvent(
            "STEP_FAILURE", "cohort_almanac", step_key=step, event_specific_data=StepFailureData(None, None)
        )
        instance.report_dagster_event(failure, run_id)
        return run_id

    fails("raw__ratings")
    held_back = fails("ops__publications")
    assert [request.run_key for request in tick(instance)] == [held_back]


def test_runs_that_ended_long_before_are_past(instance: DagsterInstance, ended: Callable[..., str]) -> None:
    ended("cohort_almanac")
    assert len(tick(instance, str(time.time()))) == 1
    assert tick(instance, str(time.time() + 3_600)) == []
