"""5,000 films enriched through the sandbox: seconds and requests per stage, again, and under the default cap.

The sandbox runs as a process of its own on the same machine. Without a cap: film pages with TMDB, then
histograms, beside the fewest requests that could tell as much (one per film and source); then a second
pass, with every answer of TMDB too old to be trusted, which has to revalidate all and download none.
Under the
default cap of 40 per 10 s: three processes at once, and 100 films by one. Run: python -m bench.enrich_films
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import psycopg

from almanac_pipeline.flows.films import enrich_films
from almanac_pipeline.flows.histograms import refresh_histograms
from almanac_pipeline.flows.maintenance import maintain_titles
from almanac_pipeline.sandbox.client import SandboxProcess, spawn_sandbox
from almanac_pipeline.sandbox.options import GeneratedWorld, SandboxConfig
from almanac_pipeline.settings import Settings
from almanac_pipeline.tmdb.client import DEFAULT_REQUESTS_PER_10_SECONDS
from almanac_pipeline.warehouse.cohorts import create_cohort
from bench.stand_in import ROOT, database, outside, settings_for, sync

FILMS_COUNT = 5_000
WORLD = GeneratedWorld(seed=11, members=60, films=6_600, ratings=700)
SMALL_WORLD = GeneratedWorld(seed=13, members=6, films=220, ratings=80)
CAPPED_SECONDS = 15
PROCESSES = 3

Result = TypeVar("Result")


def run() -> dict[str, Any]:
    """Seconds, requests and their minimum of all of that."""
    return {"without_cap": _without_cap(), "with_default_cap": _with_default_cap()}


def _without_cap() -> dict[str, Any]:
    with spawn_sandbox(SandboxConfig(WORLD)) as sandbox, database() as url:
        settings = settings_for(sandbox.url)
        films_count = _rated_films(sandbox, url, settings, at_most=FILMS_COUNT)
        with outside(url, settings) as (source, tmdb):
            started = time.perf_counter()
            films, stage = _measured(
                sandbox, lambda: enrich_films(url, settings, source, tmdb, "circle"), 2 * films_count
            )
            histograms, second_stage = _measured(
                sandbox, lambda: refresh_histograms(url, settings, source, "circle"), films_count
            )
            seconds = time.perf_counter() - started
            again, without_news = _measured(
                sandbox, lambda: enrich_films(url, settings, source, tmdb, "circle"), 0
            )
            held = _age(url)
            refreshed, second_pass = _measured(sandbox, lambda: maintain_titles(url, settings, tmdb), held)
        return {
            "films": films_count,
            "seconds": round(seconds, 1),
            "pages_and_tmdb": stage | {"films_from_tmdb": films.tmdb_count, "failures": films.failures_count},
            "histograms": second_stage | {"changed": histograms.changed_count},
            "again_at_once": without_news | {"films_due": again.due_count},
            "second_pass": second_pass
            | {
                "titles": held,
                "unchanged": refreshed.unchanged_count,
                "downloaded": refreshed.refreshed_count - refreshed.unchanged_count,
            },
        }


def _with_default_cap() -> dict[str, Any]:
    with spawn_sandbox(SandboxConfig(SMALL_WORLD)) as sandbox, database() as url:
        films_count = _rated_films(sandbox, url, settings_for(sandbox.url), at_most=100)
        settings = _capped(sandbox.url)
        with outside(url, settings) as (source, tmdb):
            _, hundred = _measured(
                sandbox, lambda: enrich_films(url, settings, source, tmdb, "circle"), 2 * films_count
            )
        sandbox.reset_report()
        asking = [
            subprocess.Popen(
                [sys.executable, "-m", "bench.enrich_films", url, sandbox.url], cwd=ROOT, text=True
            )
            for _ in range(PROCESSES)
        ]
        for process in asking:
            if process.wait() != 0:
                raise RuntimeError("a process under the cap failed")
        report = sandbox.report()
        return {
            "limit_per_10_seconds": DEFAULT_REQUESTS_PER_10_SECONDS,
            "one_process": hundred | {"films": films_count},
            "three_processes": {
                "seconds": CAPPED_SECONDS,
                "requests": report["by_kind"]["tmdb_movie"],
                "most_in_10_seconds_at_tmdb": report["max_in_10_seconds"]["tmdb"],
            },
        }


def ask_for_a_while(database_url: str, site_url: str) -> None:
    """Ask for the same title over and over under the default cap, on several threads."""
    settings = _capped(site_url)
    with outside(database_url, settings) as (_, tmdb), ThreadPoolExecutor(settings.http_workers) as threads:
        with psycopg.connect(database_url) as connection:
            row = connection.execute(
                "select tmdb_id from raw.tmdb_payloads where media_type = 'movie' limit 1"
            ).fetchone()
        assert row is not None
        until = time.monotonic() + CAPPED_SECONDS

        def ask(_: int) -> None:
            while time.monotonic() < until:
                tmdb.fetch_title("movie", row[0])

        list(threads.map(ask, range(settings.http_workers)))


def _capped(site_url: str) -> Settings:
    return settings_for(site_url, tmdb_requests_per_10_seconds=DEFAULT_REQUESTS_PER_10_SECONDS)


def _rated_films(sandbox: SandboxProcess, url: str, settings: Settings, *, at_most: int) -> int:
    """Sync a cohort and keep at most so many films; returns how many there are."""
    with psycopg.connect(url) as connection:
        create_cohort(connection, "circle", "Circle", {"kind": "following", "seed": sandbox.seed_member})
    sync(url, settings, "circle")
    with psycopg.connect(url) as connection:
        connection.execute(
            """
            delete from raw.ratings where film_id not in (
                select film_id from raw.ratings group by film_id order by count(*) desc, film_id limit %s
            )
            """,
            [at_most],
        )
        row = connection.execute("select count(distinct film_id) from raw.ratings").fetchone()
        assert row is not None
        return int(row[0])


def _age(url: str) -> int:
    """Let TMDB's answers be older than its lists of changes could tell; returns how many there are."""
    with psycopg.connect(url) as connection:
        aged = connection.execute(
            "update raw.tmdb_payloads set fetched_at = fetched_at - interval '100 days',"
            " expires_at = expires_at - interval '100 days'"
        )
        return aged.rowcount


def _measured(
    sandbox: SandboxProcess, call: Callable[[], Result], minimum: int
) -> tuple[Result, dict[str, Any]]:
    """What the call returns, and its seconds and requests beside the fewest possible."""
    sandbox.reset_report()
    started, cpu_started = time.perf_counter(), time.process_time()
    result = call()
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    report = sandbox.report()
    by_kind = {kind: count for kind, count in report["by_kind"].items() if kind != "robots"}
    total = sum(by_kind.values())
    return result, {
        "seconds": round(seconds, 1),
        "own_cpu_seconds": round(cpu_seconds, 1),
        "requests": total,
        "requests_by_kind": by_kind,
        "requests_minimum": minimum,
        "times_minimum": round(total / minimum, 3) if minimum else None,
        "most_in_10_seconds_at_tmdb": report["max_in_10_seconds"]["tmdb"],
    }


if __name__ == "__main__":
    if len(sys.argv) > 1:
        ask_for_a_while(*sys.argv[1:])
    else:
        print(json.dumps(run(), indent=2))
