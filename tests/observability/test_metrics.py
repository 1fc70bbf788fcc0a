"""/metrics: complete, bounded, without names, and answered also while the database is away."""

from __future__ import annotations

import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from prometheus_client import start_http_server
from prometheus_client.parser import text_string_to_metric_families

from almanac_pipeline.observability import metrics
from almanac_pipeline.observability.metrics import AlmanacCollector, exposition, registry
from almanac_pipeline.settings import Settings
from almanac_pipeline.warehouse.alert_rules import GIGABYTE, Access
from almanac_pipeline.warehouse.telemetry import MEASURES
from tests.cli.conftest import Almanac, almanac  # noqa: F401

MEMBER, COHORTS = "qqxann", 3
ACCESS = Access(pages=True, feeds=True, titles=True)


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    return Settings(_env_file=None, home=tmp_path, database_url=database_url)  # type: ignore[call-arg]


@pytest.fixture
def busy(database_url: str) -> Iterator[psycopg.Connection]:
    """A database in which something has happened in three cohorts."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("insert into raw.users (username) values (%s)", [MEMBER])
        connection.execute(
            "insert into raw.cohorts (slug, label, definition)"
            " select 'c' || n, 'C', '{}' from generate_series(1, %s) as n",
            [COHORTS],
        )
        connection.execute(
            "insert into ops.scrape_runs (cohort_id, subject) select cohort_id, 'ratings' from raw.cohorts"
        )
        connection.execute(
            "insert into ops.http_requests (host, path_class, status, milliseconds)"
            " values ('site', 'grid', 200, 5)"
        )
        yield connection


def samples(text: str) -> dict[str, float]:
    """{name{labels}: value} as Prometheus reads it."""
    return {
        f"{sample.name}{sample.labels or ''}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_what_happened_is_read_as_prometheus_reads_it(busy: psycopg.Connection, settings: Settings) -> None:
    text = exposition(settings, ACCESS)
    found = samples(text)
    assert found["almanac_database_up"] == 1
    assert found["almanac_collection_failures"] == 0
    labels = {"host": "site", "path_class": "grid", "status": "200"}
    assert found[f"almanac_http_requests_total{labels}"] == 1
    assert found["almanac_cohorts{'status': 'active'}"] == COHORTS
    assert 0 < found["almanac_disk_free_bytes"] <= found["almanac_disk_size_bytes"]
    assert "# TYPE almanac_http_requests_total counter" in text


def test_no_member_is_named_whatever_is_wrong_with_them(busy: psycopg.Connection, settings: Settings) -> None:
    busy.execute(
        "insert into ops.scrape_failures (user_id, page_kind, error_kind, message)"
        " select user_id, 'grid', 'NotFoundError', 'gone' from raw.users"
    )
    busy.execute("select ops.raise_alert('suspicious', 'member 1 likes', 'too few', null, 1)")
    text = exposition(settings, ACCESS)
    assert "almanac_open_failures" in text
    assert MEMBER not in text


def test_a_cohort_has_a_handful_of_series_and_one_that_is_archived_none(
    busy: psycopg.Connection, settings: Settings
) -> None:
    busy.execute("update raw.cohorts set status = 'archived' where slug = 'c3'")
    found = [name for name in samples(exposition(settings, ACCESS)) if "'cohort'" in name]
    assert {name.partition("{")[2] for name in found} == {"'cohort': 'c1'}", "'cohort': 'c2'}"}
    assert all("cohort" in measure.name for measure in MEASURES if "cohort" in measure.labels)


def test_what_is_stale_or_too_full_is_what_the_settings_and_a_cohorts_own_cadence_say(
    busy: psycopg.Connection, settings: Settings
) -> None:
    busy.execute("update raw.cohorts set created_at = now() - interval '30 hours'")
    busy.execute("update raw.cohorts set sync_every_hours = 168 where slug = 'c1'")
    found = samples(exposition(settings, ACCESS))
    assert found["almanac_cohorts_stale"] == COHORTS - 1
    assert found["almanac_disk_wanted_bytes"] == 5 * GIGABYTE
    patient = settings.model_copy(update={"stale_hours": 31, "disk_alert_gigabytes": 2})
    found = samples(exposition(patient, ACCESS))
    assert (found["almanac_cohorts_stale"], found["almanac_disk_wanted_bytes"]) == (0, 2 * GIGABYTE)


def test_while_the_database_is_away_it_is_said_and_the_disk_still_measured(tmp_path: Path) -> None:
    settings = Settings(  # type: ignore[call-arg]
        _env_file=None, home=tmp_path / "not" / "there", database_url="postgresql://nobody@127.0.0.1:1/none"
    )
    found = samples(exposition(settings, ACCESS))
    assert found.pop("almanac_database_up") == 0
    assert found["almanac_disk_size_bytes"] > 0
    assert set(found) < set(metrics.OWN_GAUGES)


def test_one_measure_that_fails_takes_no_other_with_it(busy: psycopg.Connection, settings: Settings) -> None:
    busy.execute("drop table ops.http_request_totals cascade")
    found = samples(exposition(settings, ACCESS))
    assert found["almanac_collection_failures"] == 5
    assert found["almanac_cohorts{'status': 'active'}"] == COHORTS


def test_what_is_slow_is_read_again_only_after_a_while(busy: psycopg.Connection, settings: Settings) -> None:
    now = [0.0]
    collector = AlmanacCollector(settings, ACCESS, clock=lambda: now[0])

    def films_due() -> float:
        return next(f.samples[0].value for f in collector.collect() if f.name == "almanac_films_due")

    assert films_due() == 0
    busy.execute("insert into raw.films (slug, title) values ('heat', 'Heat')")
    busy.execute("insert into ops.film_metadata_sync (film_id) select film_id from raw.films")
    assert films_due() == 0
    now[0] = metrics.SLOW_MEASURE_SECONDS
    assert films_due() == 1


def test_it_is_served_over_http(busy: psycopg.Connection, settings: Settings) -> None:
    server, thread = start_http_server(0, addr="127.0.0.1", registry=registry(settings, ACCESS))
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/metrics", timeout=30) as answer:
            assert "almanac_database_up 1.0" in answer.read().decode()
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_the_command_prints_the_numbers_once_and_starts_nothing(
    almanac: Almanac,  # noqa: F811
    tmp_path: Path,
) -> None:
    outcome = almanac("metrics", "--print")
    assert (outcome.code, outcome.err) == (0, "")
    assert samples(outcome.out)["almanac_database_up"] == 0
    assert not (tmp_path / "home").exists()


def test_a_port_that_is_taken_is_one_clear_line(almanac: Almanac) -> None:  # noqa: F811
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        outcome = almanac("metrics", "--port", port)
    assert f"127.0.0.1:{port}: Address already in use" in outcome.error
