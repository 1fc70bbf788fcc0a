"""The dead are told from the silent: what follows from a sign of life, and that a process gives them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from almanac_pipeline import liveness
from almanac_pipeline.liveness import DOUBT_SECONDS, SILENCE_SECONDS, Watch, beating, this_process
from almanac_pipeline.warehouse.heartbeats import Process, Sign

LONG = SILENCE_SECONDS + 1


@pytest.fixture(params=[True, False], ids=["embedded database", "own server"])
def watch(request: pytest.FixtureRequest) -> Watch:
    return Watch(is_only_machine=request.param)


def ended() -> Process:
    with subprocess.Popen(["true"]) as process:
        pass
    return replace(this_process(), pid=process.pid, started="12345")


def is_dead_after_a_while(watch: Watch, process: Process | None, silent_seconds: float) -> list[bool]:
    """What is said at the first look, shortly before the doubt is over, and then."""
    sign = Sign("a run", process, silent_seconds)
    return [watch.is_dead(sign, now=now) for now in (0, DOUBT_SECONDS - 1, DOUBT_SECONDS)]


def test_a_process_of_this_machine_that_is_gone_is_dead_at_once(watch: Watch) -> None:
    assert watch.is_dead(Sign("a run", ended(), 0))


def test_a_process_number_that_somebody_else_got_is_dead_at_once(watch: Watch) -> None:
    assert watch.is_dead(Sign("a run", replace(this_process(), started="1"), 0))


def test_a_process_that_is_there_lives_however_long_it_was_silent(watch: Watch) -> None:
    # A suspended machine, or a database that was away.
    assert is_dead_after_a_while(watch, this_process(), 1e6) == [False] * 3


def test_of_another_container_only_a_silence_that_lasts_while_one_looks_is_death(watch: Watch) -> None:
    elsewhere = replace(ended(), pid_namespace="pid:[1]")
    assert is_dead_after_a_while(watch, elsewhere, SILENCE_SECONDS) == [False] * 3
    assert is_dead_after_a_while(watch, elsewhere, LONG) == [False, False, True]


def test_a_run_that_never_gave_a_sign_of_life_is_judged_by_its_silence(watch: Watch) -> None:
    assert is_dead_after_a_while(watch, None, LONG) == [False, False, True]


def test_what_ran_before_the_machine_was_started_is_dead_at_once_if_no_other_machine_has_the_database() -> (
    None
):
    earlier = replace(this_process(), boot_id="an earlier start, or another machine")
    assert Watch(is_only_machine=True).is_dead(Sign("a run", earlier, 0))
    assert is_dead_after_a_while(Watch(is_only_machine=False), earlier, 0) == [False] * 3
    assert is_dead_after_a_while(Watch(is_only_machine=False), earlier, LONG) == [False, False, True]


def test_a_sign_of_life_ends_the_doubt() -> None:
    # The clock jumped, or the machine woke up: silent at the first look, heard of at the next.
    watch = Watch(is_only_machine=False)
    assert not watch.is_dead(Sign("a run", None, LONG), now=0)
    assert not watch.is_dead(Sign("a run", None, 3), now=DOUBT_SECONDS)
    assert not watch.is_dead(Sign("a run", None, LONG), now=2 * DOUBT_SECONDS)
    assert watch.is_dead(Sign("a run", None, LONG), now=3 * DOUBT_SECONDS)


@pytest.fixture
def connection(
    database_url: str, clean_settings: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[psycopg.Connection]:
    monkeypatch.setenv("ALMANAC_HOME", str(tmp_path))
    monkeypatch.setenv("ALMANAC_DATABASE_URL", database_url)
    monkeypatch.setattr(liveness, "BEAT_SECONDS", 0.01)
    with psycopg.connect(database_url, autocommit=True) as opened:
        yield opened


def beats(connection: psycopg.Connection) -> set[tuple[object, ...]]:
    """The moments at which two beats of the run came."""
    seen: set[tuple[object, ...]] = set()
    while len(seen) < 2:
        seen |= set(connection.execute("select seen_at, dagster_run_id, pid from ops.run_heartbeats"))
    return seen


def test_a_run_beats_for_as_long_as_it_goes_on_and_goes_on_beating_after_the_database_broke_off(
    connection: psycopg.Connection, database_url: str
) -> None:
    with beating("a run"):
        assert {row[1:] for row in beats(connection)} == {("a run", os.getpid())}
        for _ in range(5):
            connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where datname = current_database() and pid <> pg_backend_pid()"
            )
        connection.execute("delete from ops.run_heartbeats")
        assert beats(connection)
    connection.execute("delete from ops.run_heartbeats")
    assert connection.execute("select count(*) from ops.run_heartbeats").fetchone() == (0,)
