"""A container per run, with the settings of the daemon that launches it. Named in docker/dagster-docker.yaml.

Needs dagster-docker, which only the container images have; nothing else imports this module.
"""

from __future__ import annotations

from dagster import DagsterRun
from dagster_docker import DockerRunLauncher
from dagster_docker.container_context import DockerContainerContext

from almanac_pipeline.settings import variables_of_runs


class AlmanacDockerRunLauncher(DockerRunLauncher):
    """dagster-docker's launcher, whose containers get every ALMANAC_ and OTEL_ variable there is.

    A list in a file would leave out one that the operator sets later, and a run without
    its rate limit would be impolite.
    """

    def get_container_context(self, dagster_run: DagsterRun) -> DockerContainerContext:
        context: DockerContainerContext = super().get_container_context(dagster_run)
        return context._replace(env_vars=[*context.env_vars, *variables_of_runs()])
