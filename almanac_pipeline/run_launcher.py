"""A container per run, with the settings of the daemon that launches it. Named in docker/dagster-docker.yaml.

Needs dagster-docker, which only the container images have; nothing else imports this module.
"""

from __future__ import annotations

from typing import Any

from dagster import DagsterRun
from dagster._core.launcher import CheckRunHealthResult
from dagster_docker import DockerRunLauncher
from dagster_docker.container_context import DockerContainerContext

from almanac_pipeline.instance import is_run_by_command, worker_health
from almanac_pipeline.liveness import Watch
from almanac_pipeline.settings import variables_of_runs


class AlmanacDockerRunLauncher(DockerRunLauncher):
    """dagster-docker's launcher, whose containers get every ALMANAC_ and OTEL_ variable there is.

    A list in a file would leave out one that the operator sets later, and a run without
    its rate limit would be impolite.
    """

    def __init__(self, *arguments: Any, **configuration: Any) -> None:
        super().__init__(*arguments, **configuration)
        self._watch = Watch()

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Whether the run's container runs; a command's run has none and is judged by its heartbeat."""
        if is_run_by_command(run):
            return worker_health(run, self._watch)
        health: CheckRunHealthResult = super().check_run_worker_health(run)
        return health

    def get_container_context(self, dagster_run: DagsterRun) -> DockerContainerContext:
        context: DockerContainerContext = super().get_container_context(dagster_run)
        return context._replace(env_vars=[*context.env_vars, *variables_of_runs()])
