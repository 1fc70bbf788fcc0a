"""maintain_titles against the stand-in: only what changed is asked for, and nothing outlives its terms."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta

import psycopg
import pytest
from pydantic import SecretStr

from almanac_pipeline.errors import ConfigurationError
from almanac_pipeline.flows.maintenance import MaintenanceReport, maintain_titles
from almanac_pipeline.sandbox.options import GeneratedWorld, SandboxOptions
from almanac_pipeline.sandbox.server import SandboxServer, build_world
from almanac_pipeline.tmdb.client import TmdbClient
from almanac_pipeline.warehouse.cohorts import create_cohort
from bench.stand_in import enrich, outside, settings_for, sync
from tests.flows.conftest import Query

Execute = Callable[..., None]
Maintain = Callable[..., MaintenanceReport]


@pytest.fixture(scope="module")
def site() -> Iterator[SandboxServer]:
    world = build_world(GeneratedWorld(seed=3, members=3, films=60, ratings=30))
    with SandboxServer(world, SandboxOptions(tmdb_token="sandbox")) as server:
        yield server


@pytest.fixture
def today(site: SandboxServer) -> date:
    """The world's own day."""
    return datetime.fromisoformat(site.summary()["now"]).date()


@pytest.fixture
def execute(database_url: str) -> Execute:
    def run(sql: str, *parameters: object) -> None:
        with psycopg.connect(database_url) as connection:
            connection.execute(sql, parameters)

    return run


@pytest.fixture
def enriched(site: SandboxServer, database_url: str, execute: Execute, today: date) -> None:
    """A cohort whose films are enriched, and TMDB's lists read until three days ago."""
    with psycopg.connect(database_url) as connection:
        seed = site.summary()["seed_member"]
        create_cohort(connection, "circle", "Circle", {"kind": "following", "seed": seed})
    sync(database_url, settings_for(site.url), "circle")
    enrich(database_url, settings_for(site.url), "circle")
    execute(
        "insert into ops.tmdb_change_cursors select unnest(array['movie', 'tv']), %s::date",
        today - timedelta(days=3),
    )
    site.reset_report()


@pytest.fixture
def maintain(site: SandboxServer, database_url: str, today: date, enriched: None) -> Maintain:
    def run(day: date = today) -> MaintenanceReport:
        settings = settings_for(site.url)
        with outside(database_url, settings, backoff_seconds=0.01) as (_, tmdb):
            return maintain_titles(database_url, settings, tmdb, today=day)

    return run


def served(site: SandboxServer) -> dict[str, int]:
    return {kind: count for kind, count in site.report()["by_kind"].items() if kind.startswith("tmdb_")}


def settle(maintain: Maintain, site: SandboxServer) -> None:
    """Read what the stand-in calls changed at random."""
    maintain()
    site.reset_report()


def a_film(query: Query) -> dict[str, object]:
    [film] = query(
        "select slug, tmdb_id from raw.films where tmdb_media_type = 'movie' order by film_id limit 1"
    )
    return film


def test_only_what_tmdb_lists_as_changed_is_asked_for_and_the_film_follows(
    maintain: Maintain, site: SandboxServer, query: Query, today: date
) -> None:
    film = a_film(query)
    site.change(edit_film=[{"film": film["slug"], "runtime_minutes": 241}])
    report = maintain()
    [held] = query("select count(*) as n from raw.tmdb_payloads")
    assert 1 <= report.changed_count < held["n"] / 4
    assert report.refreshed_count == report.due_count == report.changed_count
    # Everything but the edited title was still as we hold it.
    assert report.refreshed_count - report.unchanged_count == 1
    assert served(site)["tmdb_changes"] == 2
    assert sum(served(site).values()) == report.requests_count == 2 + report.refreshed_count
    assert query("select runtime_minutes from raw.films where slug = %s", film["slug"]) == [
        {"runtime_minutes": 241}
    ]
    assert query("select distinct known_until from ops.tmdb_change_cursors") == [{"known_until": today}]
    [run] = query("select * from ops.enrichment_runs where subject = 'maintenance'")
    assert (run["status"], run["requests_count"]) == ("succeeded", report.requests_count)


def test_after_too_long_a_silence_all_titles_are_revalidated(
    maintain: Maintain, site: SandboxServer, query: Query, execute: Execute, today: date
) -> None:
    execute("update ops.tmdb_change_cursors set known_until = %s", today - timedelta(days=91))
    report = maintain()
    assert "tmdb_changes" not in served(site)
    [held] = query("select count(*) as n from raw.tmdb_payloads")
    assert report.refreshed_count == report.unchanged_count == held["n"]


def test_what_could_not_be_refreshed_is_asked_for_again(
    maintain: Maintain, site: SandboxServer, query: Query
) -> None:
    settle(maintain, site)
    film = a_film(query)
    site.change(edit_film=[{"film": film["slug"], "runtime_minutes": 77}])
    site.fault("status", status=503, match=rf"/movie/{film['tmdb_id']}\b", times=3)
    failed = maintain()
    assert (failed.failures_count, failed.due_count - failed.refreshed_count) == (1, 1)
    again = maintain()
    assert again.failures_count == 0
    assert query(
        "select runtime_minutes, status from raw.films join ops.film_metadata_sync using (film_id)"
        " where slug = %s",
        film["slug"],
    ) == [{"runtime_minutes": 77, "status": "fetched"}]


def test_what_ends_soon_is_refreshed_and_never_held_longer_than_allowed(
    maintain: Maintain, site: SandboxServer, query: Query, execute: Execute
) -> None:
    settle(maintain, site)
    execute(
        "update raw.tmdb_payloads set fetched_at = fetched_at - interval '150 days',"
        " expires_at = expires_at - interval '150 days' where media_type = 'movie'"
    )
    [held] = query("select count(*) as n from raw.tmdb_payloads where media_type = 'movie'")
    report = maintain()
    assert report.refreshed_count >= held["n"] > 0
    assert report.purged_count == 0
    assert query(
        "select count(*) as n from raw.tmdb_payloads where expires_at < now() + interval '170 days'"
        " or expires_at > now() + interval '6 months'"
    ) == [{"n": 0}]  # fmt: skip


def test_without_a_token_what_has_expired_is_purged_and_one_line_says_so(
    site: SandboxServer, database_url: str, query: Query, execute: Execute, enriched: None
) -> None:
    execute(
        "update raw.tmdb_payloads set fetched_at = now() - interval '180 days', expires_at = now()"
        " where tmdb_id in (select tmdb_id from raw.tmdb_payloads order by 1 limit 5)"
    )
    report = maintain_titles(database_url, settings_for(site.url), None)
    assert (report.purged_count, report.requests_count, served(site)) == (5, 0, {})
    [note] = report.notes
    assert "ALMANAC_TMDB_TOKEN" in note
    assert query("select count(*) as n from raw.tmdb_payloads where expires_at <= now()") == [{"n": 0}]


def test_what_is_no_films_answer_any_more_goes_in_time_even_if_the_next_maintenance_is_missed(
    site: SandboxServer, database_url: str, execute: Execute, query: Query, maintain: Maintain
) -> None:
    settle(maintain, site)
    execute(
        "insert into raw.tmdb_payloads (media_type, tmdb_id, payload, status, fetched_at, expires_at)"
        " select 'movie', 999000 + days, '{}', 200, now() - interval '110 days',"
        " now() + make_interval(days => days)"
        " from unnest(array[1, 62, 64]) as days"
    )
    assert maintain().purged_count == 2
    assert query("select tmdb_id::int from raw.tmdb_payloads where payload::text = '{}'") == [
        {"tmdb_id": 999064}
    ]


def test_a_refused_token_ends_the_run_but_what_has_expired_is_purged(
    site: SandboxServer, database_url: str, query: Query, execute: Execute, enriched: None
) -> None:
    execute("update raw.tmdb_payloads set fetched_at = now() - interval '180 days', expires_at = now()")
    settings = settings_for(site.url)
    with outside(database_url, settings) as (_, accepted):
        refused = TmdbClient(accepted._client, settings.tmdb_url, SecretStr("revoked"))
        with pytest.raises(ConfigurationError, match="ALMANAC_TMDB_TOKEN"):
            maintain_titles(database_url, settings, refused)
    assert query("select count(*) as n from raw.tmdb_payloads") == [{"n": 0}]
    assert query("select status, requests_count from ops.enrichment_runs where subject = 'maintenance'") == [
        {"status": "failed", "requests_count": 1}
    ]
