"""The processes that stay: Dagster's webserver and daemon, the docs site, the sandbox.

Starts them detached with a log file each, remembers them below `<home>/run`, and stops what
it remembers. The database server has its own keeper in warehouse/embedded.py.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from almanac_pipeline.errors import AlmanacError
from almanac_pipeline.settings import PROJECT_ROOT, Settings

STOP_TIMEOUT_SECONDS = 15.0
# Set for every service, to the home folder, and inherited by all that it starts: code servers and runs are
# found by it when those who started them were killed.
MARK = "COHORT_ALMANAC_SERVICE_OF"


class ServiceError(AlmanacError):
    """A service did not start; the message names its log file."""


@dataclass(frozen=True, slots=True)
class Service:
    """A background process of ours."""

    name: str
    pid: int
    started: str
    url: str | None
    log_file: str


class Services:
    """The services of one home folder."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._folder = settings.home / "run"
        self._logs = settings.home / "logs"
        self._mark = str(settings.home.resolve())

    def start_dagster(self, *, port: int | None = None) -> Service:
        """Start webserver and daemon and wait until the UI answers. Returns the webserver."""
        workspace = str(PROJECT_ROOT / "workspace.yaml")
        port = free_port(port or self._settings.webserver_port)
        daemon = self.start("daemon", _module("dagster._daemon", "run", "-w", workspace))
        webserver = self.start(
            "webserver",
            _module("dagster_webserver", "-h", "127.0.0.1", "-p", str(port), "-w", workspace),
            url=f"http://127.0.0.1:{port}",
            ready_path="/server_info",
            timeout_seconds=90,
        )
        # It has nothing that could be asked; by now it has had the time to fail.
        if self.get("daemon") is None:
            raise ServiceError(f"daemon did not start; its last words are in {daemon.log_file}")
        return webserver

    def start_metrics(self) -> Service:
        """Serve /metrics for Prometheus, on another port if its own is taken."""
        port = free_port(self._settings.metrics_port)
        command = [sys.executable, "-c", "from almanac_pipeline.cli import main; main()"]
        return self.start(
            "metrics",
            [*command, "metrics", "--port", str(port)],
            url=f"http://127.0.0.1:{port}",
            ready_path="/metrics",
        )

    def start_docs(self, folder: Path) -> Service:
        """Serve the static documentation in `folder` on a free port."""
        port = free_port(8080)
        return self.start(
            "docs",
            _module("http.server", "--bind", "127.0.0.1", "--directory", str(folder), str(port)),
            url=f"http://127.0.0.1:{port}",
            ready_path="/",
        )

    def start(
        self,
        name: str,
        command: Sequence[str],
        *,
        url: str | None = None,
        ready_path: str = "/",
        timeout_seconds: float = 30,
    ) -> Service:
        """Start a process unless it runs; wait until `url` + `ready_path` answers, if given.

        Raises:
            ServiceError: it ended or did not answer in time.
        """
        if (running := self.get(name)) is not None:
            return running
        self._folder.mkdir(parents=True, exist_ok=True)
        self._logs.mkdir(parents=True, exist_ok=True)
        log_file = self._logs / f"{name}.log"
        with log_file.open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=PROJECT_ROOT,
                env={**os.environ, MARK: self._mark},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Its own session, so that Ctrl-C reaches only us; and both signals as by default: a shell
                # that starts us with `&` has SIGINT ignored, Dagster then SIGTERM like it, and a child
                # would inherit that for good.
                start_new_session=True,
                preexec_fn=_default_signals,
            )
        service = Service(name, process.pid, start_time(process.pid), url, str(log_file))
        (self._folder / f"{name}.json").write_text(json.dumps(asdict(service)))
        ready = url is None or _answers(url + ready_path, process, timeout_seconds)
        # It is meant to outlive us; Popen would warn of that when it is dropped.
        process.returncode = process.returncode or 0
        if not ready:
            self.stop(name)
            raise ServiceError(f"{name} did not start; its last words are in {log_file}")
        return service

    def get(self, name: str) -> Service | None:
        """The service if it runs."""
        try:
            service = Service(**json.loads((self._folder / f"{name}.json").read_text()))
        except (OSError, ValueError, TypeError):
            return None
        return service if start_time(service.pid) == service.started != "gone" else None

    def running(self) -> list[Service]:
        """All services that run, by name."""
        names = sorted(path.stem for path in self._folder.glob("*.json")) if self._folder.is_dir() else []
        return [service for name in names if (service := self.get(name)) is not None]

    def stop(self, name: str) -> bool:
        """Stop a service and its children: politely, then for certain. False if it did not run."""
        service = self.get(name)
        (self._folder / f"{name}.json").unlink(missing_ok=True)
        if service is None:
            return False
        for number in (signal.SIGTERM, signal.SIGKILL):
            _signal_group(service.pid, number)
            deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
            while time.monotonic() < deadline:
                _reap(service.pid)
                if start_time(service.pid) != service.started:
                    # Grandchildren (code servers) may outlive a parent that was killed.
                    _signal_group(service.pid, signal.SIGKILL)
                    return True
                time.sleep(0.05)
        return True

    def stop_all(self) -> list[str]:
        """Stop every service and all that services started; returns the names of those that ran."""
        stopped = [service.name for service in self.running() if self.stop(service.name)]
        left = self._left_behind()
        if left:
            stopped.append(f"{len(left)} left behind")
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid in left:
                _signal(pid, number)
            deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
            while (left := self._left_behind()) and time.monotonic() < deadline:
                time.sleep(0.05)
        return stopped

    def _left_behind(self) -> list[int]:
        """The processes that bear our mark; none where the system does not show the environment of others."""
        marked = f"{MARK}={self._mark}".encode()
        return [
            int(folder.name)
            for folder in Path("/proc").glob("[0-9]*")
            if int(folder.name) != os.getpid() and marked in _environment(folder)
        ]


def free_port(preferred: int) -> int:
    """`preferred` if nobody listens there, else any free loopback port."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            found: int = probe.getsockname()[1]
            return found
    raise ServiceError("No free loopback port was found.")


def start_time(pid: int) -> str:
    """When a process started, in clock ticks since boot; tells a reused process id apart.

    "gone" for a process that ended; "unknown" where the system has no /proc.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return "gone"
        except PermissionError:
            return "unknown"
        return "gone" if Path("/proc/self/stat").exists() else "unknown"
    return "gone" if fields[0] == "Z" else fields[19]


def _module(name: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", name, *arguments]


def _default_signals() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _environment(process: Path) -> list[bytes]:
    """What a process was started with; nothing of one that ended or belongs to somebody else."""
    try:
        return (process / "environ").read_bytes().split(b"\0")
    except OSError:
        return []


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _signal_group(pid: int, number: signal.Signals) -> None:
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        return


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


def _answers(url: str, process: subprocess.Popen[bytes], timeout_seconds: float) -> bool:
    # No proxy has any business between us and this machine.
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + timeout_seconds
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with direct.open(url, timeout=5):
                return True
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    return False
