"""The sandbox as a process of its own: it starts, says where it is, and ends when it should."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from almanac_pipeline.errors import ConfigurationError
from almanac_pipeline.sandbox.client import spawn_sandbox
from almanac_pipeline.sandbox.options import GeneratedWorld, MovieLensWorld, SandboxConfig, SandboxOptions

TINY = GeneratedWorld(seed=2, members=3, films=40, ratings=10)


def test_a_spawned_sandbox_serves_the_world_and_the_manners_asked_for() -> None:
    options = SandboxOptions(
        markup="2023", histogram="new", robots="strict", tmdb_token="right", latency_ms=1
    )
    with spawn_sandbox(SandboxConfig(TINY, options)) as sandbox:
        assert sandbox.summary()["films"] == 40
        assert len(sandbox.summary()["following"]) == 3
        assert sandbox.seed_member == "almanac"
    with pytest.raises(OSError, match="refused"):
        sandbox.summary()
    sandbox.stop()


def test_every_choice_survives_the_way_to_the_other_process(movielens_folder: Path) -> None:
    world = MovieLensWorld(str(movielens_folder), members=2, member_ids=(2, 7))
    with spawn_sandbox(SandboxConfig(world)) as sandbox:
        assert sandbox.summary()["following"] == ["ml-2", "ml-7"]


def test_a_sandbox_that_cannot_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="is no MovieLens folder"):
        spawn_sandbox(SandboxConfig(MovieLensWorld(str(tmp_path))))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(number: signal.Signals) -> None:
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "almanac_pipeline.sandbox",
            "--members=3",
            "--films=40",
            "--ratings=5",
            "--json",
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["url"].startswith("http://127.0.0.1:")
    process.send_signal(number)
    _, errors = process.communicate(timeout=10)
    assert (process.returncode, errors) == (0, "")


def test_it_ends_when_its_parent_is_killed() -> None:
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import time\n"
            "from almanac_pipeline.sandbox.client import spawn_sandbox\n"
            "from almanac_pipeline.sandbox.options import *\n"
            "print(spawn_sandbox(SandboxConfig(GeneratedWorld(1, 2, 20, 5))).pid, flush=True)\n"
            "time.sleep(60)",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    child = Path(f"/proc/{int(parent.stdout.readline())}")
    parent.kill()
    parent.communicate()
    deadline = time.monotonic() + 10
    while (
        child.exists() and "Z" not in (child / "stat").read_text().split()[2] and time.monotonic() < deadline
    ):
        time.sleep(0.05)
    assert not child.exists() or "Z" in (child / "stat").read_text().split()[2]


@pytest.mark.parametrize(
    ("module", "unwanted"), [("client", ["uvicorn", "numpy", "jinja2"]), ("server", ["dagster", "pandas"])]
)
def test_steering_imports_no_server_and_serving_no_warehouse_tools(module: str, unwanted: list[str]) -> None:
    code = (
        f"import sys, almanac_pipeline.sandbox.{module}; print([m for m in {unwanted} if m in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout == "[]\n"
