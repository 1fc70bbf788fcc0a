"""How a run executes its steps: in one process that says that it lives, and may be ended while it waits.

Dagster's in-process executor otherwise. Dagster's objects only; what a step does stands in defs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import dagster as dg
from dagster._core.definitions.executor_definition import IN_PROC_CONFIG
from dagster._core.errors import DagsterExecutionInterruptedError
from dagster._core.events import EngineEventData
from dagster._core.execution.api import ExecuteRunWithPlanIterable
from dagster._core.execution.context.system import PlanExecutionContext, PlanOrchestrationContext
from dagster._core.execution.context_creation_job import PlanExecutionContextManager
from dagster._core.execution.plan.execute_plan import inner_plan_execution_iterator
from dagster._core.execution.plan.instance_concurrency_context import InstanceConcurrencyContext
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.retries import RetryMode
from dagster._core.execution.step_dependency_config import StepDependencyConfig
from dagster._core.executor.in_process import InProcessExecutor
from dagster._utils.interrupts import pop_captured_interrupt

from almanac_pipeline.liveness import beating

# How soon a run that waits for its place in a pool notices that it is to end.
WAIT_SECONDS = 0.5


class _Slots(InstanceConcurrencyContext):
    """Dagster's claims of places in pools, by a run that does nothing else meanwhile.

    Its own never looks whether it was interrupted, and asks again without a pause.
    """

    def claim(self, concurrency_key: str, step_key: str, step_priority: int = 0) -> bool:
        if pop_captured_interrupt():
            raise DagsterExecutionInterruptedError(f"It was ended while it waited for {concurrency_key}.")
        return super().claim(concurrency_key, step_key, step_priority)

    def interval_to_next_pending_claim_check(self) -> float:
        return WAIT_SECONDS


class AlmanacExecutor(InProcessExecutor):
    """Executes the steps of a run in this process."""

    def execute(
        self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan
    ) -> Iterator[dg.DagsterEvent]:
        yield dg.DagsterEvent.engine_event(
            plan_context,
            f"Executing steps in process (pid: {os.getpid()})",
            event_specific_data=EngineEventData.in_process(os.getpid(), execution_plan.step_keys_to_execute),
        )
        context_manager = PlanExecutionContextManager(
            job=plan_context.job,
            retry_mode=plan_context.retry_mode,
            execution_plan=plan_context.execution_plan,
            run_config=plan_context.run_config,
            dagster_run=plan_context.dagster_run,
            instance=plan_context.instance,
            raise_on_error=plan_context.raise_on_error,
            output_capture=plan_context.output_capture,
            step_dependency_config=self.step_dependency_config,
        )
        with beating(plan_context.run_id):
            yield from ExecuteRunWithPlanIterable(execution_plan, _steps, context_manager)


def _steps(job_context: PlanExecutionContext, execution_plan: ExecutionPlan) -> Iterator[dg.DagsterEvent]:
    with _Slots(job_context.instance, job_context.dagster_run) as slots:
        yield from inner_plan_execution_iterator(job_context, execution_plan, slots)


# Named as Dagster's, whose configuration it has.
@dg.executor(name="in_process", config_schema=IN_PROC_CONFIG)
def in_process(init_context: dg.InitExecutorContext) -> AlmanacExecutor:
    """One process per run: measured at 1.4 s for ten steps beside 35 s with a process per step."""
    config: dict[str, Any] = dict(init_context.executor_config)
    return AlmanacExecutor(
        retries=RetryMode.from_config(config["retries"]) or RetryMode.ENABLED,
        step_dependency_config=StepDependencyConfig.from_config(config.get("step_dependency_config")),
    )
