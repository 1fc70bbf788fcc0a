"""The files of docker/ as their own programs read them, and what an operator relies on in them.

No container engine is needed: `docker compose config`, hadolint and Caddy run by themselves.
"""

from __future__ import annotations

import http.server
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from almanac_pipeline import __version__
from almanac_pipeline.settings import PROJECT_ROOT, Settings

DOCKER = PROJECT_ROOT / "docker"
DOCKERFILE = (DOCKER / "Dockerfile").read_text()
BIN = Path(sys.executable).parent
PROFILES = ("--profile", "proxy", "--profile", "observability")
ONE_SHOT = {"init"}
# What is mounted and only the operator's machine has.
OPERATORS = {
    "/var/run/docker.sock",
    str(DOCKER / "secrets/ui_users"),
    str(DOCKER / "secrets/grafana_password"),
}

# What is tested here runs in Linux containers only; hadolint's and Caddy's wheels are for Linux, too.
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the programs are installed on Linux only")


def compose(*files: str) -> dict[str, Any]:
    """What `docker compose` makes of the files, with every profile."""
    arguments = [argument for file in files for argument in ("--file", str(DOCKER / file))]
    environment = {"PATH": os.environ["PATH"], "POSTGRES_PASSWORD": "letters"}
    shown = subprocess.run(
        [BIN / "docker-compose", *arguments, *PROFILES, "config", "--format", "json"],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert shown.returncode == 0, shown.stderr
    found: dict[str, Any] = json.loads(shown.stdout)
    return found


@pytest.fixture(scope="module", params=["usual", "a container per run"])
def config(request: pytest.FixtureRequest) -> dict[str, Any]:
    more = ["compose.run-per-container.yaml"] if request.param != "usual" else []
    return compose("compose.yaml", *more)


def locked(path: Path) -> dict[str, str]:
    return dict(re.findall(r"^([\w.-]+)==([^\s;\\]+)", path.read_text(), re.MULTILINE))


# -- the image -------------------------------------------------------------------------------------


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    found = subprocess.run(
        [BIN / "hadolint", DOCKER / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stdout) == (0, "")


def test_nobody_in_a_container_is_root_and_no_secret_is_built_in() -> None:
    stages = re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)[1:]
    runtime = next(stage for stage in stages if " AS runtime" in stage.partition("\n")[0])
    assert re.findall(r"^USER (.+)$", runtime, re.MULTILINE) == ["10001:10001"]
    for role in ("code", "webserver", "daemon"):
        stage = next(stage for stage in stages if stage.startswith(f"runtime AS {role}\n"))
        assert "HEALTHCHECK" in stage
        assert "USER" not in stage
    assert not re.search("PASSWORD|TOKEN|DATABASE_URL", DOCKERFILE)


def test_what_the_dockerfile_copies_is_there_and_let_into_the_build() -> None:
    let_in = set(re.findall(r"^!(.+)$", (DOCKER / "Dockerfile.dockerignore").read_text(), re.MULTILINE))
    lines = re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE)
    sources = {source for line in lines for source in line.split()[:-1]}
    assert sources == let_in
    assert [source for source in sources if not (PROJECT_ROOT / source).exists()] == []


def test_the_images_have_what_was_tested_and_nothing_that_only_tests_need() -> None:
    tested, shipped = locked(PROJECT_ROOT / "requirements.lock"), locked(DOCKER / "requirements.lock")
    assert {name: version for name, version in shipped.items() if tested.get(name, version) != version} == {}
    assert {"dagster-docker", "dagster-k8s"} <= set(shipped)
    assert not {"pytest", "mypy", "ruff", "sqlfluff", "mkdocs"} & set(shipped)


# -- compose ---------------------------------------------------------------------------------------


def test_every_service_says_whether_it_is_well_or_ends(config: dict[str, Any]) -> None:
    silent = [
        name
        for name, service in config["services"].items()
        if name not in ONE_SHOT and "healthcheck" not in service and "build" not in service
    ]
    assert silent == []  # the images that are built here bring their own
    assert all(config["services"][name]["restart"] == "no" for name in ONE_SHOT)
    assert all(s.get("restart") for name, s in config["services"].items())


def test_images_are_of_a_stated_version_and_ours_of_this_one(config: dict[str, Any]) -> None:
    for name, service in config["services"].items():
        tag = service["image"].rpartition(":")[2]
        assert re.match(r"v?\d", tag), f"{name}: {service['image']}"
        if "build" in service:
            assert tag == __version__
            assert f"AS {service['build']['target']}\n" in DOCKERFILE


def test_only_the_proxy_listens_beyond_this_machine(config: dict[str, Any]) -> None:
    open_to_all = {
        name
        for name, service in config["services"].items()
        for port in service.get("ports", ())
        if port.get("host_ip") != "127.0.0.1"
    }
    assert open_to_all == {"proxy"}


def test_our_containers_may_write_nowhere_but_home_and_may_gain_nothing(config: dict[str, Any]) -> None:
    ours = {name: service for name, service in config["services"].items() if "build" in service}
    assert set(ours) == {"init", "code", "webserver", "daemon", "metrics"}
    for service in ours.values():
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert [m["target"] for m in service["volumes"] if not m.get("read_only")] == ["/var/lib/almanac"]


def test_every_setting_given_is_one(config: dict[str, Any]) -> None:
    known = {f"ALMANAC_{field.upper()}" for field in Settings.model_fields}
    given = {name for service in config["services"].values() for name in service.get("environment", {})}
    given |= set(re.findall(r"^#?(ALMANAC_\w+)=", (DOCKER / "env.example").read_text(), re.MULTILINE))
    assert {name for name in given if name.startswith("ALMANAC_")} - known == set()
    assert "ALMANAC_DATABASE_URL" in given


def test_every_file_that_is_mounted_is_there(config: dict[str, Any]) -> None:
    sources = {
        mount["source"]
        for service in config["services"].values()
        for mount in service.get("volumes", ())
        if mount["type"] == "bind"
    } | {secret["file"] for secret in config["secrets"].values()}
    assert [source for source in sources - OPERATORS if not Path(source).exists()] == []


def test_what_an_operator_may_set_for_compose_is_explained() -> None:
    files = [DOCKER / "compose.yaml", DOCKER / "compose.run-per-container.yaml"]
    variables = {name for file in files for name in re.findall(r"\$\{(\w+)", file.read_text())}
    explained = (DOCKER / "env.example").read_text() + (PROJECT_ROOT / "docs/deployment.md").read_text()
    assert {name for name in variables if name not in explained} == set()


def test_without_a_password_compose_says_what_to_do() -> None:
    refused = subprocess.run(
        [BIN / "docker-compose", "--file", DOCKER / "compose.yaml", "config", "--quiet"],
        env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if not (DOCKER / ".env").exists():
        assert refused.returncode != 0
        assert "copy docker/env.example to docker/.env" in refused.stderr


# -- Dagster's instance with a container per run -----------------------------------------------------


def test_the_instances_differ_in_their_launcher_only() -> None:
    usual = yaml.safe_load((PROJECT_ROOT / "dagster.yaml").read_text())
    per_run = yaml.safe_load((DOCKER / "dagster-docker.yaml").read_text())
    for instance in (usual, per_run):
        del instance["run_launcher"], instance["concurrency"]["runs"]
    assert usual == per_run


@pytest.mark.filterwarnings("ignore")  # Dagster's own
def test_a_run_in_its_own_container_has_every_setting_of_the_daemon(monkeypatch: pytest.MonkeyPatch) -> None:
    from dagster import DagsterRun

    from almanac_pipeline.run_launcher import AlmanacDockerRunLauncher

    monkeypatch.setenv("ALMANAC_REQUESTS_PER_SECOND", "0.1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318")
    described = yaml.safe_load((DOCKER / "dagster-docker.yaml").read_text())["run_launcher"]["config"]
    launcher = AlmanacDockerRunLauncher(**described)
    context = launcher.get_container_context(DagsterRun(job_name="enrich", run_id="1" * 32))
    assert {"ALMANAC_REQUESTS_PER_SECOND", "OTEL_EXPORTER_OTLP_ENDPOINT"} <= set(context.env_vars)
    # The image is that of the code server, which nobody can ask in there.
    assert context.container_kwargs["healthcheck"] == {"test": ["NONE"]}
    assert context.networks == ["cohort-almanac"]
    named = compose("compose.yaml", "compose.run-per-container.yaml")
    assert named["networks"]["inside"]["name"] == "cohort-almanac"
    assert context.container_kwargs["volumes"] == [f"{named['volumes']['home']['name']}:/var/lib/almanac"]


# -- the proxy ---------------------------------------------------------------------------------------


class _Behind(http.server.BaseHTTPRequestHandler):
    """Stands for the Dagster UI; answers with the password it was shown, if any."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"ui {self.headers.get('Authorization')}".encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def proxied(tmp_path: Path) -> Iterator[str]:
    """The address of a Caddy with our file before a stand-in for the UI; user `ann`, password `s3cret`."""
    hashed = subprocess.run(
        [BIN / "caddy", "hash-password", "--bcrypt-cost", "4", "--plaintext", "s3cret"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    (tmp_path / "ui_users").write_text(f"ann {hashed}")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{probe.getsockname()[1]}"
    with http.server.HTTPServer(("127.0.0.1", 0), _Behind) as behind:
        threading.Thread(target=behind.serve_forever, daemon=True).start()
        environment = os.environ | {
            "UI_ADDRESS": address,
            "UI_USERS": str(tmp_path / "ui_users"),
            "UI_UPSTREAM": f"127.0.0.1:{behind.server_port}",
            "CADDY_ADMIN": "unix/admin.sock",  # in its folder: a socket's path has 107 bytes at most
            "XDG_DATA_HOME": str(tmp_path),
            "XDG_CONFIG_HOME": str(tmp_path),
        }
        command = [BIN / "caddy", "run", "--adapter", "caddyfile", "--config", DOCKER / "proxy/Caddyfile"]
        with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL) as caddy:
            deadline = time.monotonic() + 20
            while ask(address) is None and time.monotonic() < deadline:
                time.sleep(0.05)
            yield address
            caddy.terminate()
        behind.shutdown()


def ask(address: str, login: str = "") -> tuple[int, str] | None:
    """Status and body; None if nobody listens."""
    request = urllib.request.Request(address)
    if login:
        request.add_header("Authorization", f"Basic {b64encode(login.encode()).decode()}")
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, refusal.read().decode()
    except urllib.error.URLError:
        return None


def test_nobody_reaches_the_ui_without_a_password_and_dagster_never_sees_it(proxied: str) -> None:
    assert ask(proxied) == (401, "")
    assert ask(proxied, "ann:guess") == (401, "")
    assert ask(proxied, "ann:s3cret") == (200, "ui None")


# -- Kubernetes --------------------------------------------------------------------------------------

# What the chart of dagster 1.13 knows of what we set; its schema refuses anything else.
POD = "image envSecrets envConfigMaps podSecurityContext securityContext resources"
CHART = {
    "global": "postgresqlSecretName",
    "postgresql": "enabled postgresqlHost postgresqlUsername postgresqlDatabase postgresqlParams service",
    "dagsterWebserver": f"{POD} service",
    "dagsterDaemon": f"{POD} enabled runCoordinator runMonitoring runRetries",
    "dagster-user-deployments": "enabled enableSubchart deployments",
    "runLauncher": "type config",
    "computeLogManager": "type",
    "retention": "enabled schedule sensor",
    "telemetry": "enabled",
    "ingress": "enabled",
    "additionalInstanceConfig": "concurrency",
}


def test_the_values_are_of_the_chart_and_of_this_release() -> None:
    values = yaml.safe_load((DOCKER / "helm/values.yaml").read_text())
    assert values.pop("generatePostgresqlPasswordSecret") is False
    for section, content in values.items():
        assert set(content) <= set(CHART[section].split()), section
    (code,) = values["dagster-user-deployments"]["deployments"]
    images = [code["image"], values["dagsterWebserver"]["image"], values["dagsterDaemon"]["image"]]
    roles = [image["repository"].rpartition("-")[2] for image in images]
    assert roles == ["code", "webserver", "daemon"]
    assert {image["tag"] for image in images} == {__version__}
    assert "password" not in json.dumps(values).lower().replace("postgresqlsecretname", "")
    dagster = locked(PROJECT_ROOT / "requirements.lock")["dagster"]
    assert f"--version {dagster}" in (DOCKER / "helm/values.yaml").read_text()


def test_the_cluster_retries_limits_watches_and_prunes_as_the_other_instances_do() -> None:
    values = yaml.safe_load((DOCKER / "helm/values.yaml").read_text())
    usual = yaml.safe_load((PROJECT_ROOT / "dagster.yaml").read_text())
    per_run = yaml.safe_load((DOCKER / "dagster-docker.yaml").read_text())
    daemon = in_snake_case(values["dagsterDaemon"])
    assert daemon["run_retries"] == usual["run_retries"]
    # A pod may take longer to start.
    monitoring = daemon["run_monitoring"] | {"start_timeout_seconds": 180}
    assert monitoring == usual["run_monitoring"]
    queue = daemon["run_coordinator"]["config"]["queued_run_coordinator"]
    assert queue == per_run["concurrency"]["runs"]
    keys = [limit["key"] for limit in queue["tag_concurrency_limits"]]
    assert keys == [limit["key"] for limit in usual["concurrency"]["runs"]["tag_concurrency_limits"]]
    assert in_snake_case(values["retention"]) == {"enabled": True} | usual["retention"]
    pools = values["additionalInstanceConfig"]["concurrency"]["pools"]
    assert pools == usual["concurrency"]["pools"]


def in_snake_case(values: Any) -> Any:
    """The chart's keys as Dagster's instance file has them."""
    if isinstance(values, dict):
        return {
            re.sub("[A-Z]", lambda c: f"_{c[0].lower()}", key): in_snake_case(value)
            for key, value in values.items()
        }
    return [in_snake_case(value) for value in values] if isinstance(values, list) else values


def test_the_job_before_the_chart_migrates_with_the_same_image_and_secret() -> None:
    job = yaml.safe_load((DOCKER / "helm/init-job.yaml").read_text())
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"] == f"cohort-almanac-code:{__version__}"
    assert container["command"] == ["almanac", "db", "migrate"]
    assert pod["securityContext"]["runAsNonRoot"] is True
