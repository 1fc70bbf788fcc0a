"""An enrichment that is killed: the next one goes on, and counts equal rows."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import psycopg
import pytest

from almanac_pipeline.flows.workers import BATCH_SIZE
from almanac_pipeline.sandbox.options import GeneratedWorld, SandboxOptions
from almanac_pipeline.sandbox.server import SandboxServer, build_world
from almanac_pipeline.warehouse.cohorts import create_cohort
from bench.stand_in import enrich, settings_for, sync
from tests.conftest import PROJECT_ROOT
from tests.flows.conftest import Query

WORKERS = 4
# What a kill may cost: a batch that is not written yet, and what waits for it.
LOST = BATCH_SIZE + 3 * WORKERS
COUNTS = """
    select coalesce(sum(films_count) filter (where subject = 'films'), 0)::int as films,
           (select count(*) from ops.film_metadata_sync where page_fetched_at is not null) as pages,
           coalesce(sum(films_count) filter (where subject = 'histograms'), 0)::int as histograms,
           (select count(*) from ops.film_metadata_sync where histogram_fetched_at is not null) as looked
    from ops.enrichment_runs
"""


@pytest.fixture(scope="module")
def site() -> Iterator[SandboxServer]:
    world = build_world(GeneratedWorld(seed=11, members=4, films=420, ratings=160))
    with SandboxServer(world, SandboxOptions(latency_ms=5)) as server:
        yield server


@pytest.fixture
def due_count(site: SandboxServer, database_url: str, query: Query) -> int:
    """How many films a cohort has brought, none of them enriched."""
    with psycopg.connect(database_url) as connection:
        seed = site.summary()["seed_member"]
        create_cohort(connection, "circle", "Circle", {"kind": "following", "seed": seed})
    sync(database_url, settings_for(site.url), "circle")
    site.reset_report()
    [films] = query("select count(distinct film_id) as n from raw.ratings")
    return int(films["n"])


def served(site: SandboxServer, *kinds: str) -> int:
    return sum(site.report()["by_kind"].get(kind, 0) for kind in kinds)


def killed_after(site: SandboxServer, database_url: str, kind: str, requests: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.flows.enrich_once", database_url, site.url, "circle"], cwd=PROJECT_ROOT
    )
    while process.poll() is None and served(site, kind) < requests:
        time.sleep(0.005)
    assert process.poll() is None, "it was done before it could be killed"
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_killed_twice_it_goes_on_and_the_counts_are_exact(
    site: SandboxServer, database_url: str, query: Query, due_count: int
) -> None:
    assert due_count > 2 * LOST
    killed_after(site, database_url, "film", LOST + 20)
    [counts] = query(COUNTS)
    assert BATCH_SIZE <= counts["films"] == counts["pages"] < due_count
    killed_after(site, database_url, "histogram", LOST + 20)
    [counts] = query(COUNTS)
    assert counts["films"] == counts["pages"] == due_count
    assert BATCH_SIZE <= counts["histograms"] == counts["looked"] < due_count

    enrich(database_url, settings_for(site.url, http_workers=WORKERS), "circle")
    [counts] = query(COUNTS)
    assert counts["films"] == counts["pages"] == due_count
    assert counts["histograms"] == counts["looked"]
    for kinds in (("film",), ("tmdb_movie", "tmdb_tv"), ("histogram",)):
        assert served(site, *kinds) <= due_count + LOST, kinds
    assert {row["status"] for row in query("select status from ops.enrichment_runs")} == {
        "failed",
        "succeeded",
    }
