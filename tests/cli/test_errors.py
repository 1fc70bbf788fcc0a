"""How a command ends that cannot do what it was asked: one line, the right code, no traceback."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from almanac_pipeline.cli.common import print_error
from tests.cli.conftest import Almanac

PROGRAM = Path(sys.executable).with_name("almanac")


def test_an_error_is_one_line_and_exit_code_1_also_of_the_real_program(tmp_path: Path) -> None:
    environment = os.environ | {"ALMANAC_DATABASE_URL": "mysql://me:s3cret@host/films"}
    result = subprocess.run(
        [PROGRAM, "rank", "show"], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "Error: setting ALMANAC_DATABASE_URL: it has to begin with postgresql://\n"


def test_ctrl_c_ends_with_130_and_one_line() -> None:
    # A server that accepts and never answers: the command waits for it when the signal comes.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(60)
        url = f"postgresql://me:s3cret@127.0.0.1:{silent.getsockname()[1]}/films"
        process = subprocess.Popen(
            [PROGRAM, "status"],
            env=os.environ | {"ALMANAC_DATABASE_URL": url},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # A shell that runs the tests with `&` has it ignored, and that is inherited.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        connection, _ = silent.accept()
        with connection:
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, "")
    assert err == "Interrupted. What was committed stays; the next run goes on from there.\n"


def test_a_reader_that_goes_away_is_no_accident(published: str) -> None:
    with psycopg.connect(published) as connection:
        # More than a pipe holds.
        connection.execute("update almanac.cohort_film_stats set title = repeat('x', 200000)")
    process = subprocess.Popen(
        [PROGRAM, "export", "csv", "--mart", "cohort_film_stats"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("cohort,")
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(30) == 1


def test_a_database_that_breaks_under_a_command_is_one_line(almanac: Almanac, published: str) -> None:
    with psycopg.connect(published) as connection:
        connection.execute("drop table ops.publications cascade")
    assert "ops.cohort_pipelines" in almanac("cohort", "list").error


@pytest.mark.parametrize("command", [("db", "url"), ("down",), ("doctor",)], ids=" ".join)
def test_a_home_that_cannot_be_a_folder_is_named(
    command: tuple[str, ...], almanac: Almanac, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ALMANAC_HOME", str(tmp_path / "file" / "home"))
    outcome = almanac(*command)
    assert "Traceback" not in outcome.err
    if command == ("down",):
        assert outcome.lines == ["nothing was running"]
    else:
        assert outcome.code == 1
        assert str(tmp_path / "file") in outcome.out + outcome.err


def test_a_page_that_is_not_there_is_named(almanac: Almanac, tmp_path: Path) -> None:
    outcome = almanac("parse", str(tmp_path / "missing.html"))
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err == f"almanac parse: {tmp_path / 'missing.html'}: No such file or directory\n"


def test_a_movielens_folder_that_is_not_there_is_a_usage_error(almanac: Almanac, tmp_path: Path) -> None:
    outcome = almanac("demo", "--movielens", str(tmp_path / "missing"))
    assert (outcome.code, outcome.out) == (2, "")
    assert "does not exist" in outcome.err


def test_an_error_is_shown_without_control_characters_and_not_endlessly(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_error("for \x1b[31m\u202equirin\udc80\x07 " + "x" * 100_000)
    shown = capsys.readouterr().err
    assert "for [31mquirin x" in shown
    assert shown.isprintable() or shown.rstrip("\n").isprintable()
    assert len(shown) < 2100
