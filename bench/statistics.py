"""Seconds and memory of all that numpy computes of a cohort, and of writing it, for invented circles.

The circles rate, like and log as real ones do: most films are known to one or two members. Each is
measured in a process of its own, so that its peak memory is its own.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import psycopg

from almanac_pipeline.flows.circle import compute_statistics
from almanac_pipeline.statistics import divergence
from almanac_pipeline.statistics.parameters import RankingParameters
from almanac_pipeline.warehouse.statistics_tables import CohortOpinions, replace_circle
from bench.stand_in import database

CIRCLES = {
    "25 members, 600 films, 5,000 ratings": (25, 600, 5_000),
    "100 members, 40,000 films, 150,000 ratings": (100, 40_000, 150_000),
    "300 members, 40,000 films, 600,000 ratings": (300, 40_000, 600_000),
    "1,000 members, 40,000 films, 500,000 ratings": (1_000, 40_000, 500_000),
}


def run() -> dict[str, object]:
    """Per circle: seconds to compute and to write, rows written, peak memory."""
    results: dict[str, object] = {}
    spawn = multiprocessing.get_context("spawn")
    with database() as url:
        for name, size in CIRCLES.items():
            with ProcessPoolExecutor(1, mp_context=spawn) as child:
                results[name] = child.submit(_measure, url, *size).result()
    return results


def _measure(url: str, members: int, films: int, ratings: int) -> dict[str, float]:
    opinions = invent(members, films, ratings)
    before = _peak_megabytes()
    started, worked = time.perf_counter(), time.process_time()
    statistics = compute_statistics(opinions, RankingParameters())
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - worked
    peak = _peak_megabytes()
    rows = statistics.rows
    with psycopg.connect(url, autocommit=True) as connection:
        cohort = connection.execute(
            "insert into raw.cohorts (slug, label, definition) values (%s, 'bench', '{}')"
            " returning cohort_id",
            [f"bench-{members}-{ratings}"],
        ).fetchone()
        assert cohort is not None
        connection.execute(
            "insert into raw.users (user_id, username) overriding system value"
            " select n, 'member-' || n from generate_series(1, %s) as n on conflict do nothing",
            [members],
        )
        written = []
        for _ in range(2):
            started = time.perf_counter()
            replace_circle(connection, cohort[0], rows)
            written.append(time.perf_counter() - started)
    return {
        "ratings": int((opinions.half_stars > 0).sum()),
        "films": rows.parameters["films_count"],
        "eligible_films": int(statistics.rankings["almanac"].eligible.sum()),
        "score_rows": sum(len(scores["film_id"]) for scores in rows.scores.values()),
        "pair_rows": len(rows.pairs["overlap"]),
        "compute_seconds": round(seconds, 2),
        "compute_cpu_seconds": round(cpu_seconds, 2),
        "write_seconds": round(written[0], 2),
        "replace_seconds": round(written[1], 2),
        "peak_megabytes": round(peak),
        "peak_megabytes_before": round(before),
    }


def invent(members: int, films: int, ratings: int) -> CohortOpinions:
    """A circle of which every film has been rated by somebody; ids are positions, from 1."""
    generator = np.random.default_rng(1)
    popular = (films * generator.random(2 * ratings) ** 3).astype(np.int64)
    pairs = np.unique(generator.integers(members, size=2 * ratings) * films + popular)
    pairs = np.sort(generator.permutation(pairs)[:ratings])
    users, member = np.unique(pairs // films, return_inverse=True)
    numbers, film = np.unique(pairs % films, return_inverse=True)
    size = pairs.size
    quality, strictness = generator.normal(3.4, 0.5, films), generator.normal(0, 0.4, members)
    stars = quality[film] + strictness[member] + generator.normal(0, 0.8, size)
    half_stars = np.clip(np.round(stars * 2), 1, 10).astype(np.int64)
    crowd = generator.integers(1, 5_000, (numbers.size, 10))
    return CohortOpinions(
        cohort_id=1,
        ranking_parameters={},
        members_count=members,
        user_ids=users + 1,
        film_ids=numbers + 1,
        titles=tuple(f"Film {number}" for number in numbers.tolist()),
        member=member,
        film=film,
        half_stars=half_stars,
        liked=(half_stars >= 8) & (generator.random(size) < 0.5),
        favorite=generator.random(size) < 0.005,
        logged=generator.random(size) < 0.5,
        rated_at=np.datetime64("2020-01-01", "us") + generator.integers(2_000, size=size).astype("m8[D]"),
        recorded=generator.random(size) < 0.5,
        global_source="letterboxd",
        global_average=divergence.means(crowd),
        global_ratings=crowd.sum(axis=1).astype(np.float64),
        global_counts=crowd,
    )


def _peak_megabytes() -> float:
    """Peak resident memory of this process; Linux counts in KiB, macOS in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2 ** (20 if sys.platform == "darwin" else 10)
