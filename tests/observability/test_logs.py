"""A log line says which run, cohort, task and member it is about, and never who that is."""

from __future__ import annotations

import json
import logging
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from almanac_pipeline.errors import NotFoundError
from almanac_pipeline.flows.workers import in_parallel
from almanac_pipeline.observability import logs
from almanac_pipeline.settings import Settings, get_settings

KEY = b"k" * 32
NAME = "qqxann"


@pytest.fixture
def logger(
    fresh_logging: logging.Logger, clean_settings: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> logging.Logger:
    """A logger of the project's, with a home of this test's own."""
    monkeypatch.setenv("ALMANAC_HOME", str(tmp_path))
    return fresh_logging.getChild("anywhere")


def lines(home: Path) -> list[dict[str, Any]]:
    [path] = (home / "logs").glob("*.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_says_which_run_cohort_task_and_member_it_is_about(
    logger: logging.Logger, tmp_path: Path
) -> None:
    logs.configure(get_settings)
    with logs.bound(run_id="run-1", cohort="friends", task="raw__ratings", member_key=KEY):
        logger.info("member %s", "unchanged", extra={"user_id": 17, "requests": 1})
        with logs.bound(user_id=17):
            logger.warning("asked again")
    logger.info("alone")
    first, second, third = lines(tmp_path)
    assert datetime.fromisoformat(first.pop("timestamp")).tzinfo is not None
    member = first.pop("member")
    assert first == {
        "level": "INFO",
        "logger": "almanac_pipeline.anywhere",
        "message": "member unchanged",
        "run_id": "run-1",
        "cohort": "friends",
        "task": "raw__ratings",
        "requests": 1,
    }
    assert (second["member"], second["level"]) == (member, "WARNING")
    assert set(third) == {"timestamp", "level", "logger", "message"}


def test_a_members_hash_cannot_be_had_without_the_key() -> None:
    assert logs.member_hash(17, KEY) == logs.member_hash(17, KEY)
    assert len({logs.member_hash(17, KEY), logs.member_hash(18, KEY), logs.member_hash(17, b"other")}) == 3


def test_without_a_key_no_member_is_told(logger: logging.Logger, tmp_path: Path) -> None:
    logs.configure(get_settings)
    logger.info("member read", extra={"user_id": 17})
    [line] = lines(tmp_path)
    assert not {"member", "user_id"} & set(line)


def test_threads_of_a_flow_log_about_what_started_them(logger: logging.Logger, tmp_path: Path) -> None:
    logs.configure(get_settings)

    def work(number: int, stopping: threading.Event) -> None:
        with logs.bound(user_id=number):
            logger.info("reading")

    with logs.bound(run_id="run-1", member_key=KEY):
        list(in_parallel(work, range(8), workers=4))
    assert {line["run_id"] for line in lines(tmp_path)} == {"run-1"}
    assert {line["member"] for line in lines(tmp_path)} == {logs.member_hash(n, KEY) for n in range(8)}


def test_foreign_exceptions_are_named_and_not_quoted(
    logger: logging.Logger, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    logs.configure(get_settings)
    for error in (ValueError(f"Key (username)=({NAME}) exists"), NotFoundError("The film is gone.")):
        try:
            raise error
        except Exception:
            logger.exception("failed")
    assert [line["error"] for line in lines(tmp_path)] == ["ValueError", "NotFoundError: The film is gone."]
    assert NAME not in capfd.readouterr().err


def test_people_read_the_same_beside_it(
    logger: logging.Logger, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    logs.configure(get_settings)
    with logs.bound(run_id="0123456789", cohort="friends", task="likes"):
        logger.info("step begun")
    written = capfd.readouterr()
    assert written.out == ""
    assert written.err.endswith("Z INFO    01234567 friends likes step begun\n")


def test_containers_have_it_as_json_on_standard_output_and_no_file(
    logger: logging.Logger, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALMANAC_LOG_FORMAT", "json")
    logs.configure(get_settings)
    logs.configure(get_settings)
    with logs.bound(cohort="friends"):
        logger.info("step begun")
    [line] = capfd.readouterr().out.splitlines()
    assert json.loads(line)["cohort"] == "friends"
    assert not (tmp_path / "logs").exists()


def test_a_day_has_a_file_of_its_own_and_old_ones_go(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, home=tmp_path, log_keep_days=2)  # type: ignore[call-arg]
    handlers = [logs.DailyFile(lambda: settings) for _ in range(2)]  # as two processes have them
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "daemon.log").write_text("of somebody else")
    for day in range(1, 5):
        record = logging.LogRecord("almanac_pipeline", logging.INFO, "", 0, f"day {day}", None, None)
        record.created = datetime(2026, 1, day, 23, 59, 59, tzinfo=UTC).timestamp()
        for handler in handlers:
            handler.emit(record)
    assert sorted(path.name for path in (tmp_path / "logs").iterdir()) == [
        *(f"almanac-2026-01-{day:02}.jsonl" for day in (2, 3, 4)),
        "daemon.log",
    ]
    assert (tmp_path / "logs" / "almanac-2026-01-04.jsonl").read_text() == "day 4\n" * 2
    for handler in handlers:
        handler.close()


def test_a_folder_that_cannot_be_written_ends_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "logs").write_text("a file where the folder should be")
    settings = Settings(_env_file=None, home=tmp_path)  # type: ignore[call-arg]
    handler = logs.DailyFile(lambda: settings)
    handler.emit(logging.LogRecord("almanac_pipeline", logging.INFO, "", 0, "lost", None, None))
    handler.close()
    assert capfd.readouterr().err == ""
