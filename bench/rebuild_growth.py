"""How the time to rebuild one cohort grows with the number of others; how soon a changed rating shows.

One cohort of 100 members, rebuilt from its snapshot to its marts (`seconds` by stage, without Dagster) while
the database holds one other cohort like it, and when it holds 200: the ratio of the two should stay below
1.2. Each rebuild follows one changed rating; the middle of several counts. Then, with 200 others, the same
through the command line, in a process of its own: one changed rating, `almanac stats refresh`, and a new
ranking is published.

python -m bench.rebuild_growth [--others 200]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psycopg

from almanac_pipeline.settings import Settings
from bench.marts import HISTOGRAM, add_cohort, build, copy_rows, settle, warehouse

MEMBERS, RATINGS_OF_A_MEMBER, FILMS = 100, 300, 10_000
OTHERS = 200
REPEATS = 5
TARGET_RATIO, TARGET_SECONDS = 1.2, 10
ALMANAC = Path(sys.executable).with_name("almanac")


def run(others: int = OTHERS) -> dict[str, Any]:
    """Seconds per rebuild with one and with many others, their ratio, and the command line's seconds."""
    slugs = [f"circle-{number}" for number in range(others + 1)]
    with warehouse() as (url, settings):
        with psycopg.connect(url) as connection:
            _add_films(connection)
            for slug in slugs[:2]:
                _add_circle(connection, slug)
            settle(connection)
        build(url, settings, slugs[:2])
        few = _rebuild(url, settings)
        with psycopg.connect(url) as connection:
            for slug in slugs[2:]:
                _add_circle(connection, slug)
            settle(connection)
        build(url, settings, slugs[2:])
        with psycopg.connect(url) as connection:
            settle(connection)
        many = _rebuild(url, settings)
        return {
            "members": MEMBERS,
            "ratings_of_a_cohort": MEMBERS * RATINGS_OF_A_MEMBER,
            "with_1_other": few,
            f"with_{others}_others": many,
            "ratio": round(many["seconds"] / few["seconds"], 2),
            "target_ratio": TARGET_RATIO,
            "from_a_changed_rating_to_the_published_ranking": _command(url, settings),
        }


def _add_films(connection: psycopg.Connection) -> None:
    dice = np.random.default_rng(1)
    copy_rows(
        connection,
        "raw.films",
        ("uid", "slug", "title"),
        ((f"film:{n}", f"film-{n}", f"Film {n}") for n in range(FILMS)),
    )
    films = connection.execute("select film_id from raw.films order by film_id").fetchall()
    counts = dice.integers(1, 5_000, (FILMS, 10)).tolist()
    copy_rows(
        connection,
        "raw.film_histograms",
        ("film_id", "source", *HISTOGRAM),
        ((film_id, "letterboxd", *row) for (film_id,), row in zip(films, counts, strict=True)),
    )


def _add_circle(connection: psycopg.Connection, slug: str) -> None:
    dice = np.random.default_rng(int(slug.rpartition("-")[2]))
    films = np.array(
        [film_id for (film_id,) in connection.execute("select film_id from raw.films order by film_id")]
    )
    copy_rows(connection, "raw.users", ("username",), ((f"{slug}-{n}",) for n in range(MEMBERS)))
    users = [
        user_id
        for (user_id,) in connection.execute(
            "select user_id from raw.users where username like %s", [f"{slug}-%"]
        )
    ]
    add_cohort(connection, slug, users)
    chance = (1 + np.arange(FILMS)) ** -0.7
    rows = [
        (user_id, film_id, half_stars / 2, half_stars > 8, "pages")
        for user_id in users
        for film_id, half_stars in zip(
            dice.choice(films, RATINGS_OF_A_MEMBER, replace=False, p=chance / chance.sum()).tolist(),
            dice.integers(3, 11, RATINGS_OF_A_MEMBER).tolist(),
            strict=True,
        )
    ]
    copy_rows(connection, "raw.ratings", ("user_id", "film_id", "rating", "liked", "source"), rows)


def _change_one_rating(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(
            """
            update raw.ratings set rating = case when rating = 5 then 4.5 else rating + 0.5 end
            where (user_id, film_id) in (
                select user_id, film_id from raw.ratings
                join raw.cohort_members using (user_id) join raw.cohorts using (cohort_id)
                where slug = 'circle-0' order by random() limit 1)
            """
        )


def _rebuild(url: str, settings: Settings) -> dict[str, float]:
    """The median of some rebuilds of circle-0, each after one changed rating; by stage."""
    found: list[dict[str, float]] = []
    for _ in range(REPEATS):
        _change_one_rating(url)
        stages = build(url, settings, ["circle-0"])
        found.append({"seconds": sum(stages[stage] for stage in STAGES), **stages})
    return {name: round(statistics.median(each[name] for each in found), 3) for name in found[0]}


STAGES = ("versions", "snapshot", "numpy", "marts")


def _command(url: str, settings: Settings) -> dict[str, Any]:
    """Seconds of `almanac stats refresh` after one changed rating, the process's start included.

    Beside them the process's own work, which other programs on the machine lengthen less.
    """
    environment = os.environ | {"ALMANAC_HOME": str(settings.home), "ALMANAC_DATABASE_URL": url}
    # A second command finds its modules compiled, as a person's does; some containers forbid it.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    seconds, processor_seconds = [], []
    for _ in range(3):
        _change_one_rating(url)
        started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [ALMANAC, "stats", "refresh", "--cohort", "circle-0"],
            env=environment, check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        seconds.append(round(time.perf_counter() - started, 2))
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        processor_seconds.append(round(spent, 2))
    with psycopg.connect(url) as connection:
        row = connection.execute("select count(*) from ops.publications").fetchone()
    return {
        "seconds": seconds,
        "processor_seconds": processor_seconds,
        "publications": row and row[0],
        "target_seconds": TARGET_SECONDS,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Rebuilding one cohort beside others.")
    parser.add_argument("--others", type=int, default=OTHERS)
    print(json.dumps(run(parser.parse_args().others), indent=2))
