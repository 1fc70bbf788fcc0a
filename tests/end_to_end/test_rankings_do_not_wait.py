"""Rankings are there while the films are still read, and stay if these cannot be read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from almanac_pipeline.sandbox.options import GeneratedWorld
from almanac_pipeline.sandbox.server import SandboxServer, build_world
from tests.end_to_end.conftest import Once
from tests.end_to_end.home import (
    DagsterRun,
    Home,
    Outcome,
    Tables,
    finish,
    new_home,
    site_settings,
    wait_until,
)

WORLD = GeneratedWorld(seed=8, members=6, films=90, ratings=50)
SCHEMAS = ("almanac", "intermediate", "ops")
TMDB = "^/3/"
# Six at a time: more than a minute for all films, if nothing came between.
DELAY_MS = 5_000


@dataclass(frozen=True)
class Build:
    """A first build at a TMDB that is slow, and refuses to answer after a while."""

    shown: Outcome
    """`almanac rank show` while the films are read."""
    meanwhile: Tables
    outcome: Outcome
    tables: Tables
    runs: list[DagsterRun]


@pytest.fixture(scope="module")
def build(once: Once, ready_database: Callable[[], str]) -> Build:
    def make_build() -> Build:
        database_url = ready_database()
        with SandboxServer(build_world(WORLD)) as site, new_home(database_url, **site_settings(site)) as home:
            site.fault("delay", delay_ms=DELAY_MS, match=TMDB, times=None)
            process = home.start("cohort", "build", "circle", "--seed", "almanac")
            wait_until(lambda: films_read(home) > 0, process, "a film that was read")
            shown, meanwhile = home.build("rank", "show"), home.tables(*SCHEMAS)
            site.clear_faults()
            site.fault("challenge", match=TMDB, times=None)
            outcome = finish(process)
            return Build(shown, meanwhile, outcome, home.tables(*SCHEMAS), home.dagster_runs())

    made: Build = once(make_build)
    return made


def films_read(home: Home) -> int:
    [row] = home.rows("select coalesce(sum(films_count), 0)::int as films from ops.enrichment_runs")
    return int(row["films"])


def identified_share(tables: Tables) -> float:
    """The share of films whose TMDB id was known when the cohort was published."""
    [audit] = [row for row in tables["intermediate.cohort_audits"] if row["rule"] == "coverage_tmdb_id"]
    return float(audit["observed"])


def test_rankings_are_shown_while_the_films_are_read(build: Build) -> None:
    assert [row["status"] for row in build.meanwhile["ops.enrichment_runs"]] == ["running"]
    assert len(build.shown.stdout.splitlines()) > 20
    assert len(build.meanwhile["ops.publications"]) == 1
    rated = [row for row in build.meanwhile["almanac.cohort_film_stats"] if row["raters"]]
    assert {row["global_source"] for row in rated} == {"members"}
    assert identified_share(build.meanwhile) == 0


def test_what_was_read_before_enrichment_failed_is_published_and_the_failure_ends_the_command(
    build: Build,
) -> None:
    published, enriched, again = build.runs
    assert (published.status, enriched.status, again.status) == ("SUCCESS", "FAILURE", "SUCCESS")
    assert len(build.tables["ops.publications"]) == 2
    assert 0 < identified_share(build.tables) < 1
    assert build.outcome.code == 1
    [error] = build.outcome.error_lines
    assert error.startswith("Error: enrich of circle failed at raw__film_metadata: ")
