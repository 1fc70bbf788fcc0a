"""Everything dies at once, the database too: after `almanac up` the runs that died go on by themselves."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from almanac_pipeline.sandbox.options import GeneratedWorld, SandboxOptions
from almanac_pipeline.sandbox.server import SandboxServer, build_world
from almanac_pipeline.services import MARK
from tests.end_to_end.home import Home, new_home, site_settings

# Starts the daemon and the webserver twice: two minutes.
pytestmark = [
    pytest.mark.soak,
    # It kills what bears the mark in its environment, which only Linux shows of other processes.
    pytest.mark.skipif(
        not Path("/proc/self/environ").exists(), reason="only Linux shows others' environment"
    ),
]

WORLD = GeneratedWorld(seed=5, members=10, films=120, ratings=60)
PATIENCE_SECONDS = 240
HELD = "select run_id from dagster.concurrency_slots where run_id is not null"
PUBLISHED = "select cohort_id from ops.publications"


@pytest.fixture
def home() -> Iterator[Home]:
    """A home with a daemon that is reading a cohort."""
    with (
        SandboxServer(build_world(WORLD), SandboxOptions(latency_ms=200)) as site,
        new_home(**site_settings(site), authorised="true", contact="a@example.org") as home,
    ):
        home.build("up")
        home.rows(
            "insert into raw.cohorts (slug, label, definition)"
            """ values ('circle', 'Circle', '{"kind": "following", "seed": "almanac"}') returning slug"""
        )
        wait_for(lambda: site.report()["by_kind"].get("rated", 0) >= 12)
        yield home


def wait_for(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not happened():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.5)


def processes(home: Home) -> set[int]:
    """Daemon, webserver, metrics, their code servers, the runs."""
    mark = f"{MARK}={home.folder.resolve()}".encode()
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            marked = mark in (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if marked:
            found.add(int(folder.name))
    return found


def kill_everything(home: Home) -> None:
    postmaster = int((home.server.data / "postmaster.pid").read_text().splitlines()[0])
    for pid in (*processes(home), postmaster):
        os.kill(pid, signal.SIGKILL)


def test_after_a_power_cut_up_fails_what_died_and_the_daemon_goes_on_with_it(home: Home) -> None:
    [held] = {row["run_id"] for row in home.rows(HELD)}
    assert home.rows(PUBLISHED) == []
    kill_everything(home)

    outcome = home.build("up")
    assert "had died: marked as failed" in outcome.stdout
    [run] = home.rows("select status from dagster.runs where run_id = %s", held)
    assert run["status"] == "FAILURE"
    assert held not in {row["run_id"] for row in home.rows(HELD)}

    wait_for(lambda: bool(home.rows(PUBLISHED)))
    [again] = home.rows(
        "select run_id from dagster.run_tags where key = 'dagster/parent_run_id' and value = %s", held
    )
    status = "select status from dagster.runs where run_id = %s"
    wait_for(lambda: home.rows(status, again["run_id"]) == [{"status": "SUCCESS"}])


def test_down_leaves_nothing_that_could_start_the_database_again(home: Home) -> None:
    daemon = json.loads((home.folder / "run" / "daemon.json").read_text())
    os.kill(daemon["pid"], signal.SIGKILL)
    outcome = home.build("down")
    assert "left behind" in outcome.stdout
    assert "database" in outcome.stdout
    assert processes(home) == set()
    assert home.server.running() is None
