"""The embedded server: starting, stopping, and coming back from whatever was done to it."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from almanac_pipeline.errors import DatabaseAwayError, WarehouseError
from almanac_pipeline.settings import Settings
from almanac_pipeline.warehouse import embedded
from almanac_pipeline.warehouse.connection import connect_to, describe
from almanac_pipeline.warehouse.embedded import EmbeddedServer, ServerAddress

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def server_in(home: Path) -> Iterator[EmbeddedServer]:
    server = EmbeddedServer(home)
    yield server
    server.stop()
    shutil.rmtree(server.root)  # as root it is outside pytest's folder, 100 MB each


@pytest.fixture
def new_server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    """A server of this test's own that was never started."""
    with server_in(tmp_path / "home") as server:
        yield server


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    with server_in(tmp_path_factory.mktemp("embedded") / "home") as server:
        yield server


@pytest.fixture
def server(shared_server: EmbeddedServer) -> EmbeddedServer:
    """A server with data, stopped. Another test's, to save the time of creating it."""
    shared_server.start()
    shared_server.stop()
    return shared_server


def fill(address: ServerAddress) -> None:
    with psycopg.connect(address.url) as connection:
        connection.execute("drop table if exists kept")
        connection.execute("create table kept as select 42 as answer")


def answer(address: ServerAddress) -> int:
    with psycopg.connect(address.url) as connection:
        row = connection.execute("select answer from kept").fetchone()
    assert row is not None
    return int(row[0])


def postmaster(server: EmbeddedServer) -> int:
    return int((server.data / "postmaster.pid").read_text().splitlines()[0])


def test_starting_twice_finds_the_running_server(server: EmbeddedServer) -> None:
    assert server.running() is None
    first = server.start()
    pid = postmaster(server)
    assert EmbeddedServer(server.home).start() == first
    assert postmaster(server) == pid
    assert server.running() == first


def test_data_and_address_survive_a_stop(server: EmbeddedServer) -> None:
    first = server.start()
    fill(first)
    assert server.stop()
    assert server.running() is None
    assert not server.stop()
    assert server.start().password == first.password
    assert answer(server.start()) == 42


def test_kill_9_of_the_postmaster_costs_only_the_next_start(server: EmbeddedServer) -> None:
    fill(server.start())
    with psycopg.connect(server.start().url) as connection:
        connection.execute("checkpoint")
    os.kill(postmaster(server), signal.SIGKILL)
    assert answer(server.start()) == 42


def test_a_server_that_does_not_come_up_yet_may_be_tried_again(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "RESTART_ATTEMPTS", 2)
    control = server.data / "global" / "pg_control"
    control.rename(control.with_suffix(".away"))
    with pytest.raises(DatabaseAwayError, match="pg_ctl start"):
        server.start()
    control.with_suffix(".away").rename(control)
    assert server.start().port


def test_a_server_that_recovers_from_the_crash_of_a_session_is_waited_for(server: EmbeddedServer) -> None:
    address = server.start()
    with psycopg.connect(address.url) as connection:
        os.kill(connection.info.backend_pid, signal.SIGKILL)
    while "all server processes terminated; reinitializing" not in server.log_file.read_text():
        time.sleep(0.01)
    assert server.start() == address
    with psycopg.connect(address.url) as connection:
        assert connection.execute("select 1").fetchone() == (1,)


def test_kill_9_of_whoever_started_it_leaves_it_running(server: EmbeddedServer) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path;"
        "from almanac_pipeline.warehouse.embedded import EmbeddedServer;"
        "EmbeddedServer(Path(sys.argv[1])).start(); os.killpg(os.getpgid(0), signal.SIGKILL)"
    )
    killed = subprocess.run(
        [sys.executable, "-c", script, str(server.home)], cwd=ROOT, start_new_session=True, timeout=90
    )
    assert killed.returncode == -signal.SIGKILL
    assert server.running() is not None


def test_two_starters_after_a_half_finished_initdb_get_one_server(new_server: EmbeddedServer) -> None:
    (new_server.data / "base").mkdir(parents=True)
    (new_server.data / "PG_VERSION").write_text("18")
    addresses: list[ServerAddress] = []
    errors: list[BaseException] = []

    def start() -> None:
        try:
            addresses.append(EmbeddedServer(new_server.home).start())
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=start) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
    assert errors == []
    assert len(set(map(repr, addresses))) == 1
    assert len(addresses) == 3
    fill(addresses[0])
    assert answer(new_server.start()) == 42


def test_data_whose_password_file_is_lost_is_not_thrown_away(server: EmbeddedServer) -> None:
    address = server.start()
    server.stop()
    kept = (server.home / "postgres.json").read_bytes()
    (server.home / "postgres.json").unlink()
    with pytest.raises(WarehouseError, match="Restore that file"):
        server.start()
    (server.home / "postgres.json").write_bytes(kept)
    assert server.start().password == address.password


def test_a_port_taken_meanwhile_is_avoided(server: EmbeddedServer) -> None:
    import socket

    before = server.start()
    server.stop()
    with socket.socket() as squatter:
        squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        squatter.bind(("127.0.0.1", before.port))
        squatter.listen()
        assert server.start().port != before.port


def test_a_process_that_got_the_postmasters_number_is_left_alone(server: EmbeddedServer) -> None:
    """After a crash of the machine: neither stopped in its place, nor a reason not to start."""
    stranger = subprocess.Popen(["sleep", "60"], user=server.data.stat().st_uid)
    (server.data / "postmaster.pid").write_text(
        f"{stranger.pid}\n{server.data}\n0\n1\n\n127.0.0.1\n\nready\n"
    )
    try:
        assert server.running() is None
        assert not server.stop()
        server.start()
        assert postmaster(server) != stranger.pid
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_the_password_is_in_no_text_but_the_url(server: EmbeddedServer) -> None:
    address = server.start()
    assert address.password not in repr(address)
    assert address.password in address.url
    assert address.password not in describe(address.url)
    assert stat.S_IMODE((server.home / "postgres.json").stat().st_mode) & 0o077 == 0
    wrong = address.url.replace(address.password, "not-the-password")
    with pytest.raises(WarehouseError) as caught:
        connect_to(wrong)
    assert "not-the-password" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert address.password not in repr(Settings(_env_file=None, database_url=address.url))  # type: ignore[call-arg,arg-type]


def test_cache_and_room_for_sorting_follow_the_memory_that_the_container_may_have(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(embedded, "MEMORY_LIMIT", limit)
    pages = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 16 * 2**20}
    monkeypatch.setattr(embedded.os, "sysconf", pages.__getitem__)
    sizes = []
    for words in ("max", str(8 * 2**30), str(2**29)):
        limit.write_text(words)
        settings = embedded._memory_settings(embedded._memory_bytes())
        sizes.append((settings["shared_buffers"], settings["work_mem"]))
    assert sizes == [("1024MB", "256MB"), ("512MB", "64MB"), ("128MB", "32MB")]


def test_an_unreachable_server_is_named_without_its_password() -> None:
    with pytest.raises(WarehouseError, match=r"127\.0\.0\.1:1/almanac") as caught:
        connect_to("postgresql://someone:secret-word@127.0.0.1:1/almanac")
    assert "secret-word" not in str(caught.value)


def test_a_malformed_url_is_not_repeated() -> None:
    with pytest.raises(WarehouseError) as caught:
        connect_to("postgresql://someone:secret word@@host:port/x?y")
    assert "secret" not in str(caught.value)
