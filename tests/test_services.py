"""Background processes of a home folder: started once, found again, stopped for certain."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from almanac_pipeline.services import Service, ServiceError, Services, free_port, start_time
from almanac_pipeline.settings import Settings


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    services = Services(Settings(_env_file=None, home=tmp_path / "home"))  # type: ignore[call-arg]
    yield services
    services.stop_all()


@pytest.fixture
def record(tmp_path: Path) -> Callable[[Service], None]:
    """Writes what the folder remembers of a service."""

    def write(service: Service) -> None:
        folder = tmp_path / "home" / "run"
        folder.mkdir(parents=True, exist_ok=True)
        fields = {name: getattr(service, name) for name in ("name", "pid", "started", "url", "log_file")}
        (folder / f"{service.name}.json").write_text(json.dumps(fields))

    return write


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def python(code: str) -> list[str]:
    return [sys.executable, "-S", "-c", code]


def web_server(port: int, folder: Path) -> list[str]:
    return [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "--directory", str(folder), str(port)]


# -- starting ------------------------------------------------------------------------------------


def test_a_service_is_started_once_and_found_by_others(services: Services, tmp_path: Path) -> None:
    port = free_port(0)
    started = services.start("web", web_server(port, tmp_path), url=f"http://127.0.0.1:{port}")
    assert services.start("web", ["false"]) == started
    others = Services(Settings(_env_file=None, home=tmp_path / "home"))  # type: ignore[call-arg]
    assert others.running() == [started]
    assert others.get("web") == started
    assert "GET / HTTP" in Path(started.log_file).read_text()


def test_a_proxy_of_the_environment_does_not_stand_between_us(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    port = free_port(0)
    services.start("web", web_server(port, tmp_path), url=f"http://127.0.0.1:{port}", timeout_seconds=10)


@pytest.mark.parametrize("code", ["raise SystemExit('no such thing')", "pass"])
def test_a_process_that_dies_at_once_is_an_error_that_names_the_log(services: Services, code: str) -> None:
    started = time.monotonic()
    with pytest.raises(ServiceError, match=r"web did not start; its last words are in .*/logs/web\.log"):
        services.start("web", python(code), url="http://127.0.0.1:1")
    assert time.monotonic() - started < 10
    assert services.running() == []


def test_a_process_that_never_answers_is_stopped_again(services: Services, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    code = f"import os, time; open({str(note)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    with pytest.raises(ServiceError, match="did not start"):
        services.start("web", python(code), url="http://127.0.0.1:1", timeout_seconds=1)
    assert start_time(int(note.read_text())) == "gone"


def test_a_service_that_ended_is_started_anew(services: Services) -> None:
    first = services.start("short", python("pass"))
    assert eventually(lambda: services.get("short") is None)
    second = services.start("short", python("import time; time.sleep(60)"))
    assert second.pid != first.pid
    assert services.running() == [second]


def test_ctrl_c_of_the_terminal_does_not_reach_a_service(services: Services) -> None:
    service = services.start("clock", ["sleep", "60"])
    assert os.getpgid(service.pid) == service.pid != os.getpgid(0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_service_heeds_a_signal_even_if_we_were_told_to_ignore_it(
    number: signal.Signals, services: Services
) -> None:
    # As a shell does to what it starts with `&`, and Dagster then to SIGTERM.
    before = signal.signal(number, signal.SIG_IGN)
    try:
        service = services.start("clock", ["sleep", "60"])
    finally:
        signal.signal(number, before)
    os.kill(service.pid, number)
    assert eventually(lambda: services.get("clock") is None)


# -- stopping ------------------------------------------------------------------------------------


def test_stopping_ends_the_process_and_is_no_error_the_second_time(services: Services) -> None:
    service = services.start("clock", ["sleep", "60"])
    assert services.stop("clock")
    assert start_time(service.pid) == "gone"
    assert not services.stop("clock")
    assert services.stop_all() == []


def test_stopping_ends_the_children_too(services: Services, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    code = f"""
import os, signal, time
child = os.fork()
if child == 0:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    open({str(note)!r}, "w").write(str(os.getpid()))
time.sleep(60)
"""
    services.start("family", python(code))
    assert eventually(lambda: note.exists() and note.read_text() != "")
    child = int(note.read_text())
    assert services.stop("family")
    assert eventually(lambda: start_time(child) == "gone")


# A process is known by the mark in its environment, which only Linux shows of others (docs/automation.md).
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="only Linux shows others' environment")
def test_what_a_killed_service_left_behind_is_stopped_too_and_nothing_of_another_home(
    services: Services, tmp_path: Path
) -> None:
    note = tmp_path / "pid"
    # A session of its own, as a run's process may have; the service is killed and forgotten.
    code = f"""
import os, time
if os.fork() == 0:
    os.setsid()
    open({str(note)!r}, "w").write(str(os.getpid()))
time.sleep(60)
"""
    other = Services(Settings(_env_file=None, home=tmp_path / "other"))  # type: ignore[call-arg]
    stranger = other.start("clock", ["sleep", "60"])
    killed = services.start("family", python(code))
    assert eventually(lambda: note.exists() and note.read_text() != "")
    os.kill(killed.pid, signal.SIGKILL)
    assert eventually(lambda: services.get("family") is None)
    assert services.stop_all() == ["1 left behind"]
    assert start_time(int(note.read_text())) == "gone"
    assert other.stop_all() == ["clock"]
    assert start_time(stranger.pid) == "gone"
    assert services.stop_all() == []


def test_a_process_that_ignores_the_polite_signal_is_killed(
    services: Services, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("almanac_pipeline.services.STOP_TIMEOUT_SECONDS", 0.5)
    note = tmp_path / "ready"
    code = f"""
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open({str(note)!r}, "w").close()
time.sleep(60)
"""
    service = services.start("deaf", python(code))
    assert eventually(note.exists)
    assert services.stop("deaf")
    assert start_time(service.pid) == "gone"


def test_everything_is_stopped_by_name(services: Services) -> None:
    for name in ("daemon", "clock"):
        services.start(name, ["sleep", "60"])
    assert services.stop_all() == ["clock", "daemon"]


# -- what a stale file says ----------------------------------------------------------------------


def test_a_stranger_who_got_the_process_id_is_neither_shown_nor_stopped(
    services: Services, record: Callable[[Service], None], tmp_path: Path
) -> None:
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as stranger:
        record(Service("web", stranger.pid, "12345", None, str(tmp_path / "web.log")))
        assert services.get("web") is None
        assert services.running() == []
        assert not services.stop("web")
        assert stranger.poll() is None
        stranger.kill()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"name": "web"}', '{"nom": "web", "pid": 1}'])
def test_a_damaged_file_is_as_good_as_none(content: str, services: Services, tmp_path: Path) -> None:
    folder = tmp_path / "home" / "run"
    folder.mkdir(parents=True)
    (folder / "web.json").write_text(content)
    assert services.running() == []
    assert not services.stop("web")
    assert services.start("web", ["sleep", "60"]).name == "web"


def test_a_process_that_was_gone_before_it_was_looked_at_does_not_run(
    services: Services, record: Callable[[Service], None], tmp_path: Path
) -> None:
    with subprocess.Popen(["true"]) as ended:
        pass
    record(Service("web", ended.pid, start_time(ended.pid), None, str(tmp_path / "web.log")))
    assert services.running() == []


# -- ports and process ids -----------------------------------------------------------------------


def test_a_busy_port_gives_way_to_a_free_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        assert free_port(port) != port
    assert free_port(port) == port


def test_a_process_is_told_from_its_predecessor_and_from_its_corpse() -> None:
    assert start_time(os.getpid()) == start_time(os.getpid())
    with subprocess.Popen(["sleep", "60"]) as process:
        first = start_time(process.pid)
        assert first not in ("gone", "unknown")
        process.kill()
        # Not yet waited for: a zombie.
        assert eventually(lambda: start_time(process.pid) == "gone")
    assert start_time(process.pid) == "gone"
