"""The database at the command line: where it is, whether it runs, its schema, a prompt."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from almanac_pipeline.schedules import SCHEDULES
from almanac_pipeline.services import Services
from almanac_pipeline.settings import Settings, get_settings
from almanac_pipeline.warehouse.embedded import EmbeddedServer
from almanac_pipeline.warehouse.migrate import head_revision
from tests.cli.conftest import Almanac
from tests.conftest import new_database

PROGRAM = Path(sys.executable).with_name("almanac")
NOT_RUNNING = "database   not running: `almanac up` or any command that needs it starts it"


@pytest.fixture
def unmigrated(server_url: str, almanac: Almanac, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A database with nothing in it, which the command uses."""
    with new_database(server_url) as url:
        monkeypatch.setenv("ALMANAC_DATABASE_URL", url)
        yield url


@pytest.fixture
def home(almanac: Almanac, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home folder that does not exist yet, below one that the server's user may pass through."""
    parent = Path(tempfile.mkdtemp(prefix="almanac-"))
    parent.chmod(0o711)
    monkeypatch.setenv("ALMANAC_HOME", str(parent / "home"))
    yield parent / "home"
    if (parent / "home").exists():
        EmbeddedServer(parent / "home").stop()
    shutil.rmtree(parent)


def schemas(url: str) -> set[str]:
    with psycopg.connect(url) as connection:
        return {name for (name,) in connection.execute("select nspname from pg_namespace")}


# -- the embedded server -------------------------------------------------------------------------


def test_status_and_down_start_nothing_and_leave_nothing_behind(almanac: Almanac, home: Path) -> None:
    assert almanac("status").lines == [NOT_RUNNING]
    assert almanac("down").lines == ["nothing was running"]
    assert not home.exists()


def test_the_url_of_an_empty_home_starts_a_server_that_runs_until_down(almanac: Almanac, home: Path) -> None:
    outcome = almanac("db", "url")
    assert (outcome.code, outcome.err, len(outcome.lines)) == (0, "", 1)
    assert "raw" in schemas(outcome.lines[0])
    assert almanac("db", "url").out == outcome.out

    running = almanac("status")
    assert (running.code, running.err) == (0, "")
    assert running.lines[0] == f"database   127.0.0.1:{conninfo_to_dict(outcome.lines[0])['port']}/almanac"
    assert running.lines[1] == "no cohort yet: `almanac cohort build SLUG --seed NAME`"

    assert almanac("down").lines == ["stopped: database"]
    assert almanac("down").lines == ["nothing was running"]
    assert almanac("status").lines == [NOT_RUNNING]
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(outcome.lines[0]).close()


def test_down_stops_services_and_spares_a_server_that_is_not_ours(
    almanac: Almanac, home: Path, empty: str
) -> None:
    Services(Settings(home=home)).start("clock", ["sleep", "60"])
    assert almanac("status").lines[0].split() == ["clock", "running"]
    assert almanac("down").lines == ["stopped: clock"]
    assert "raw" in schemas(empty)


# -- a server of one's own -----------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")  # Dagster's own
def test_a_database_is_set_up_by_migrate_and_by_nothing_that_only_looks(
    almanac: Almanac, unmigrated: str
) -> None:
    parts = conninfo_to_dict(unmigrated)
    address = f"{parts['host']}:{parts['port']}/{parts['dbname']}"
    assert almanac("status").lines == [
        f"database   {address}",
        "           not set up yet: `almanac db migrate`",
    ]
    assert "raw" not in schemas(unmigrated)

    done = f"{address} is at revision {head_revision()}\n"
    assert almanac("db", "migrate").out == done
    assert {"raw", "ops", "staging", "intermediate", "almanac"} <= schemas(unmigrated)
    log = get_settings().home / "logs" / "dbt.log"
    words = log.read_bytes()
    assert almanac("db", "migrate").out == done
    # The second time there is nothing to do: no dbt is started, which takes seconds.
    assert log.read_bytes() == words
    assert almanac("cohort", "list").code == 0
    from almanac_pipeline.instance import POOL_LIMITS  # Dagster takes seconds to import

    with psycopg.connect(unmigrated) as connection:
        limits = connection.execute('select concurrency_key, "limit" from dagster.concurrency_limits')
        assert dict(limits.fetchall()) == POOL_LIMITS


def test_status_shows_what_is_published(almanac: Almanac, published: str) -> None:
    outcome = almanac("status")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.lines[1].split()[:4] == ["cohort", "status", "members", "ratings"]
    row = outcome.lines[2].split()
    # No member was ever read: the fixture's ratings came from nowhere.
    assert (row[:4], row[6:]) == (["friends", "active", "3", "11"], ["never", "0", "%", "0"])


def test_status_says_how_old_and_whole_a_cohort_is_and_what_comes_next(
    almanac: Almanac, published: str
) -> None:
    with psycopg.connect(published) as connection:
        connection.execute(
            "insert into ops.scrape_runs (cohort_id, subject, status, started_at, finished_at)"
            " select cohort_id, 'ratings', 'succeeded', now() - interval '3 hours',"
            " now() - interval '150 minutes' from raw.cohorts"
        )
        connection.execute(
            "update intermediate.cohort_audits set observed = 0.9999 where starts_with(rule, 'coverage_')"
        )
        assert "held back" not in almanac("status").out
        connection.execute("update intermediate.cohort_audits set passed = rule <> 'global_histogram_total'")
        connection.execute(
            "insert into ops.scrape_failures (user_id, page_kind, error_kind, message)"
            " select user_id, 'ratings', 'RetriableError', 'slow' from raw.users where username = 'ann'"
        )
    outcome = almanac("status")
    assert outcome.lines[2].split()[1:4] == ["active,", "held", "back"]
    assert outcome.lines[2].split()[10:] == ["2", "h", "99.9", "%", "1"]
    schedules = [line.split()[0] for line in outcome.lines[4:-1]]
    assert sorted(schedules) == sorted(schedule.name for schedule in SCHEDULES)
    assert outcome.lines[-1].startswith("No daemon runs")
    # One in another container is known by its sign of life.
    with psycopg.connect(published, autocommit=True) as connection:
        connection.execute(
            "insert into dagster.daemon_heartbeats (daemon_type, daemon_id, timestamp)"
            " values ('SCHEDULER', 'elsewhere', now() at time zone 'UTC')"
        )
    assert "No daemon" not in almanac("status").out


@pytest.mark.parametrize("command", [("status",), ("cohort", "list"), ("db", "url"), ("db", "psql")])
def test_a_server_that_is_not_there_is_named_without_the_password(
    command: tuple[str, ...], almanac: Almanac, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        monkeypatch.setenv("ALMANAC_DATABASE_URL", f"postgresql://me:s3cret@127.0.0.1:{port}/films")
        message = almanac(*command).error
    assert message.startswith(f"The database at 127.0.0.1:{port}/films cannot be reached: ")
    assert "s3cret" not in message


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:s3cret@127.0.0.1:notaport/films",
        "postgresql://me:s3cret@[127.0.0.1/films",
        "postgresql://me:s3%zzcret@127.0.0.1/films",
        "postgresql://me:s3cret@127.0.0.1/films?nosuchoption=1",
    ],
)
def test_what_is_no_url_is_refused_without_the_password(
    url: str, almanac: Almanac, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALMANAC_DATABASE_URL", url)
    message = almanac("status").error
    assert "s3" not in message


def test_a_wrong_password_is_said_and_not_shown(
    almanac: Almanac, empty: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    password = str(conninfo_to_dict(empty)["password"])
    monkeypatch.setenv("ALMANAC_DATABASE_URL", empty.replace(password, "s3cret"))
    message = almanac("cohort", "list").error
    assert "password authentication failed" in message
    assert "s3cret" not in message


# -- psql ----------------------------------------------------------------------------------------


def test_psql_answers_and_its_arguments_are_psqls(empty: str) -> None:
    answer = subprocess.run(
        [PROGRAM, "db", "psql", "-X", "-At", "-c", "select 1, current_database()"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert answer.stdout == f"1|{conninfo_to_dict(empty)['dbname']}\n"


def test_the_password_is_in_no_command_line(empty: str) -> None:
    password = str(conninfo_to_dict(empty)["password"]).encode()
    process = subprocess.Popen(
        [PROGRAM, "db", "psql", "-X", "-c", "select pg_sleep(30)"], stdout=subprocess.PIPE
    )
    try:
        commands: set[bytes] = set()
        deadline = time.monotonic() + 30
        while not any(b"psql\0-X" in command for command in commands) and time.monotonic() < deadline:
            commands.add(Path(f"/proc/{process.pid}/cmdline").read_bytes())
            time.sleep(0.02)
    finally:
        process.kill()
        process.communicate()
    assert any(b"psql\0-X" in command for command in commands)
    assert not any(password in command for command in commands)


def test_a_missing_psql_is_said(
    almanac: Almanac, empty: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "psql").write_text("no program")
    (tmp_path / "psql").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert almanac("db", "psql").error == (
        "psql could not be run (Exec format error); any client works with `almanac db url`."
    )
