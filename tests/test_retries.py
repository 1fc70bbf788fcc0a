"""Who repeats what failed: steps and runs, each by the kind of failure. The third, automation, asks once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import yaml  # type: ignore[import-untyped]

from almanac_pipeline.errors import (
    BlockedError,
    ConfigurationError,
    DatabaseAwayError,
    HeldBackError,
    LayoutDriftError,
    LongPauseError,
    NotFoundError,
    PausedError,
    PermanentError,
    RetriableError,
)
from almanac_pipeline.settings import PROJECT_ROOT, get_settings

if TYPE_CHECKING:
    from dagster import DagsterInstance

pytestmark = pytest.mark.filterwarnings("ignore")

MAY_PASS = [
    RetriableError("a time-out"),
    DatabaseAwayError("being restarted"),
    psycopg.OperationalError("server closed the connection unexpectedly"),
]
FINAL = [
    PermanentError("no such page"),
    NotFoundError("nobody"),
    BlockedError("403"),
    PausedError("switched off"),
    LayoutDriftError("another layout"),
    ConfigurationError("ALMANAC_CONTACT is missing"),
    HeldBackError("sums differ"),
    LongPauseError("an hour", pause_seconds=3600),
    psycopg.errors.UniqueViolation("twice"),
]


@pytest.fixture(scope="module")
def instance() -> Iterator[DagsterInstance]:
    """An instance in memory, with the retries and the monitoring of dagster.yaml."""
    from dagster import DagsterInstance

    ours = yaml.safe_load((PROJECT_ROOT / "dagster.yaml").read_text())
    settings = {name: ours[name] for name in ("run_retries", "run_monitoring")}
    with DagsterInstance.ephemeral(settings=settings) as opened:
        yield opened


@pytest.fixture
def attempts(
    instance: DagsterInstance, database_url: str, clean_settings: None, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., int]:
    """How often a step is tried that fails so, under the policy of our jobs but for its delays."""
    import dagster as dg

    from almanac_pipeline.defs.jobs import RETRIES
    from almanac_pipeline.defs.resources import final_errors

    monkeypatch.setenv("ALMANAC_DATABASE_URL", database_url)
    get_settings.cache_clear()

    def count(error: Exception, **config: Any) -> int:
        tried: list[str] = []

        @dg.op(retry_policy=dg.RetryPolicy(max_retries=RETRIES.max_retries))
        def fails() -> None:
            tried.append("once more")
            with final_errors():
                raise error

        @dg.job(executor_def=dg.in_process_executor)
        def job() -> None:
            fails()

        assert not job.execute_in_process(instance=instance, run_config=config, raise_on_error=False).success
        return len(tried)

    return count


def test_a_step_is_tried_again_three_times_if_its_error_may_pass_and_never_if_not(
    attempts: Callable[..., int],
) -> None:
    assert [attempts(error) for error in MAY_PASS] == [4] * len(MAY_PASS)
    assert [attempts(error) for error in FINAL] == [1] * len(FINAL)


def test_a_command_tells_of_the_first_failure_and_leaves_it_to_the_person_to_try_again() -> None:
    from almanac_pipeline.launch import RUN_CONFIG

    assert RUN_CONFIG["execution"] == {"config": {"retries": {"disabled": {}}}}


def test_a_run_is_repeated_three_times_if_its_process_died_and_never_if_a_step_failed(
    instance: DagsterInstance,
) -> None:
    from dagster import DagsterRun, DagsterRunStatus
    from dagster._core.events import RunFailureReason
    from dagster._core.execution.retries import auto_reexecution_should_retry_run
    from dagster._core.storage.tags import PARENT_RUN_ID_TAG, ROOT_RUN_ID_TAG
    from dagster._core.test_utils import create_run_for_test

    from almanac_pipeline.defs.jobs import LONG, TAGS

    def add(tags: dict[str, str], parent: DagsterRun | None = None) -> DagsterRun:
        root_run_id = parent and (parent.root_run_id or parent.run_id)
        if parent is not None:
            tags = tags | {ROOT_RUN_ID_TAG: str(root_run_id), PARENT_RUN_ID_TAG: parent.run_id}
        run: DagsterRun = create_run_for_test(
            instance,
            job_name="cohort_almanac",
            status=DagsterRunStatus.FAILURE,
            tags=tags,
            parent_run_id=parent and parent.run_id,
            root_run_id=root_run_id,
        )
        return run

    def is_repeated(run: DagsterRun, reason: RunFailureReason) -> bool:
        return bool(auto_reexecution_should_retry_run(instance, run, reason))

    for tags in (TAGS, LONG):
        run = add(tags)
        assert not is_repeated(run, RunFailureReason.STEP_FAILURE)
        for _ in range(3):
            assert is_repeated(run, RunFailureReason.UNKNOWN)
            run = add(tags, run)
        assert not is_repeated(run, RunFailureReason.UNKNOWN)
    # Who starts a command sees that it died, and starts it again.
    assert not is_repeated(add(TAGS | {"dagster/max_retries": "0"}), RunFailureReason.UNKNOWN)
