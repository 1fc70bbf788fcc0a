"""`almanac doctor`: what it looks at, and when it is content."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from almanac_pipeline.sandbox.generate import generate
from almanac_pipeline.sandbox.options import GeneratedWorld, SandboxOptions
from almanac_pipeline.sandbox.server import SandboxServer
from almanac_pipeline.warehouse.migrate import head_revision
from tests.cli.conftest import Almanac, Outcome

TINY = GeneratedWorld(seed=2, members=3, films=40, ratings=10)


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch, published: str) -> Iterator[SandboxServer]:
    """A stand-in for both sites, which the command asks."""
    with SandboxServer(generate(TINY), SandboxOptions(robots="strict", tmdb_token="right")) as server:
        monkeypatch.setenv("ALMANAC_LETTERBOXD_URL", server.url)
        monkeypatch.setenv("ALMANAC_TMDB_URL", server.tmdb_url)
        monkeypatch.setenv("ALMANAC_TMDB_TOKEN", "right")
        yield server


def findings(outcome: Outcome) -> dict[str, tuple[str, str]]:
    """{subject: (mark, message)}"""
    assert outcome.err == ""
    return {line[2:15].strip(): (line[0], line[15:].strip()) for line in outcome.lines}


def test_a_healthy_installation_passes(almanac: Almanac, published: str) -> None:
    outcome = almanac("doctor")
    found = findings(outcome)
    assert outcome.code == 0
    assert {"configuration", "disk", "database", "schema", "fetching", "dbt", "pages", "TMDB"} <= set(found)
    assert found["schema"] == ("✓", f"at revision {head_revision()}")
    # Worth knowing, but nothing is wrong: without statement and token nothing is asked.
    assert found["pages"][0] == found["TMDB"][0] == "–"
    assert "ALMANAC_AUTHORISED=true" in found["pages"][1]


def test_runs_that_died_and_places_that_ended_runs_hold_are_found(almanac: Almanac, published: str) -> None:
    # Makes Dagster's tables.
    assert almanac("runs", "list").code == 0
    assert findings(almanac("doctor"))["runs"] == ("✓", "0 under way, and each gives signs of life")
    with psycopg.connect(published, autocommit=True) as connection:
        connection.execute(
            """
            insert into dagster.runs (run_id, pipeline_name, run_body, status, start_time, end_time) values
                ('11111111-a', 'enrich', '', 'STARTED', extract(epoch from now()) - 600, null),
                ('22222222-b', 'enrich', '', 'STARTED', extract(epoch from now()) - 10, null),
                ('33333333-c', 'statistics', '', 'FAILURE', 0, extract(epoch from now()) - 600)
            """
        )
        outcome = almanac("doctor")
        assert outcome.code == 1
        assert findings(outcome)["runs"][0] == "✗"
        assert "no sign of life from 11111111:" in findings(outcome)["runs"][1]
        connection.execute(
            "insert into dagster.concurrency_slots (concurrency_key, run_id, step_key, deleted)"
            " values ('dbt', '33333333-c', 'before_statistics', false)"
        )
        connection.execute("delete from dagster.runs where run_id = '11111111-a'")
        mark, words = findings(almanac("doctor"))["runs"]
        assert (mark, words[:46]) == ("✗", "run 33333333 has ended and still holds dbt: fr")
        # Commands alone are a way to use it; a daemon of which a part stands still is not.
        assert findings(almanac("doctor"))["daemon"][0] == "–"
        connection.execute(
            "insert into dagster.daemon_heartbeats (daemon_type, timestamp)"
            " values ('SENSOR', now() at time zone 'UTC')"
        )
        mark, words = findings(almanac("doctor"))["daemon"]
        assert (mark, "SCHEDULER" in words, "SENSOR" in words) == ("✗", True, False)


def test_a_database_out_of_reach_fails_and_the_rest_is_looked_at(
    almanac: Almanac, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"postgresql://me:s3cret@127.0.0.1:{closed.getsockname()[1]}/films"
        monkeypatch.setenv("ALMANAC_DATABASE_URL", url)
        outcome = almanac("doctor")
    assert outcome.code == 1
    assert findings(outcome)["database"][0] == "✗"
    assert "TMDB" in findings(outcome)
    assert "s3cret" not in outcome.out


def test_names_and_places_of_settings_are_shown_and_values_are_not(
    almanac: Almanac, published: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALMANAC_TMDB_TOKEN", "s3cret")
    monkeypatch.setenv("ALMANAC_TMDB_TOKENS", "s3cret")
    outcome = almanac("doctor")
    mark, message = findings(outcome)["configuration"]
    assert mark == "–"
    assert "ALMANAC_TMDB_TOKEN," in message
    assert message.endswith("ignored, no such setting: ALMANAC_TMDB_TOKENS")
    assert "s3cret" not in outcome.out


def test_live_asks_once_per_kind_and_what_is_forbidden_not_at_all(
    almanac: Almanac, sandbox: SandboxServer
) -> None:
    outcome = almanac("doctor", "--live")
    found = findings(outcome)
    assert outcome.code == 0
    assert found["live robots"] == ("✓", "by/rated-date is forbidden: grids are read again on a cadence")
    # The invented site answers, but knows nothing of our world's films.
    assert found["live film"][0] == "–"
    assert found["live TMDB"][0] == "✓"
    assert sandbox.report()["by_kind"] == {"robots": 1, "film": 1, "tmdb_movie": 1}


def test_without_live_nobody_is_asked(almanac: Almanac, sandbox: SandboxServer) -> None:
    assert almanac("doctor").code == 0
    assert sandbox.report()["requests"] == 0


def test_a_site_that_blocks_us_fails_and_stays_unasked_until_it_is_unblocked(
    almanac: Almanac, sandbox: SandboxServer
) -> None:
    sandbox.fault("challenge", kind="film", status=403)
    outcome = almanac("doctor", "--live")
    assert outcome.code == 1
    assert findings(outcome)["live film"][0] == "✗"
    asked = sandbox.report()["by_kind"]["film"]

    host = sandbox.url.removeprefix("http://")
    assert almanac("unblock").lines[0].startswith(f"{host}  since ")
    assert findings(almanac("doctor"))["fetching"][0] == "✗"
    assert almanac("doctor", "--live").code == 1
    assert sandbox.report()["by_kind"]["film"] == asked
    assert almanac("unblock", host).lines == [f"{host} may be asked again"]
    assert almanac("doctor", "--live").code == 0
    assert almanac("unblock", host).code == 1
    assert almanac("unblock").lines == ["no host is blocked"]


def test_nothing_is_asked_while_fetching_is_paused(almanac: Almanac, sandbox: SandboxServer) -> None:
    assert almanac("pause").code == 0
    assert findings(almanac("doctor"))["fetching"][0] == "–"
    outcome = almanac("doctor", "--live")
    assert outcome.code == 1
    assert "almanac unpause" in outcome.out
    assert sandbox.report()["requests"] == 0
    assert almanac("unpause").lines == ["fetching is on"]
    assert almanac("doctor", "--live").code == 0


def test_a_token_that_tmdb_refuses_fails(
    almanac: Almanac, sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALMANAC_TMDB_TOKEN", "s3cret")
    outcome = almanac("doctor", "--live")
    assert outcome.code == 1
    mark, message = findings(outcome)["live TMDB"]
    assert mark == "✗"
    assert "ALMANAC_TMDB_TOKEN" in message
    assert "s3cret" not in outcome.out


def test_a_token_that_is_none_fails_in_one_line(
    almanac: Almanac, sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALMANAC_TMDB_TOKEN", "two words")
    outcome = almanac("doctor", "--live")
    assert outcome.code == 1
    assert findings(outcome)["live TMDB"] == ("✗", "ALMANAC_TMDB_TOKEN must be one word of plain ASCII.")


def test_a_home_that_is_not_there_yet_has_room(almanac: Almanac, published: str, tmp_path: Path) -> None:
    outcome = almanac("doctor")
    assert findings(outcome)["disk"][1].endswith(str(tmp_path)) or (tmp_path / "home").exists()


def test_mail_that_is_set_up_in_part_is_found(
    almanac: Almanac, empty: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert findings(almanac("doctor"))["alerts to"][0] == "–"
    monkeypatch.setenv("ALMANAC_ALERT_EMAIL_TO", "operator@example.org")
    mark, message = findings(almanac("doctor"))["alerts to"]
    assert (mark, "ALMANAC_SMTP_HOST" in message) == ("✗", True)
