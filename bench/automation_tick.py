"""One tick of the sensor that asks for rebuilds: 2,000 cohorts, ten of them changed, wherever they stand.

Exactly the ten are to be asked for, in few runs, in less than 10 seconds. The tick is the sensor's own
function with a Dagster instance in memory; the ten are other ones in each repetition, one rating of a
member of theirs changed. Beside it the tick after every histogram of 2,000 films became another, which
concerns nearly everybody, and what the watching costs those who write: COPY of ratings with and without
the triggers.

python -m bench.automation_tick [--cohorts 2000]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
import warnings
from typing import Any

import numpy as np
import psycopg

from almanac_pipeline.settings import get_settings
from bench.marts import HISTOGRAM, copy_rows, settle, warehouse

COHORTS, MEMBERS, RATINGS_OF_A_MEMBER, FILMS = 2_000, 50, 20, 20_000
CHANGED = 10
REFRESHED_FILMS = 2_000
REPEATS = 5
COPIED_RATINGS = 200_000
TARGET_SECONDS = 10


def run(cohorts: int = COHORTS) -> dict[str, Any]:
    """Seconds of a tick, whether just the changed cohorts were asked for, and in how many runs."""
    with warehouse() as (url, settings):
        os.environ |= {"ALMANAC_HOME": str(settings.home), "ALMANAC_DATABASE_URL": url}
        get_settings.cache_clear()
        with psycopg.connect(url) as connection:
            _fill(connection, cohorts)
            settle(connection)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return {
                "cohorts": cohorts,
                "ratings": cohorts * MEMBERS * RATINGS_OF_A_MEMBER,
                "changed": CHANGED,
                **_ticks(url, cohorts),
                "target_seconds": TARGET_SECONDS,
                "copy": _copies(url),
            }


def _ticks(url: str, cohorts: int) -> dict[str, Any]:
    import dagster as dg

    from almanac_pipeline.cohort_tags import cohorts_of
    from almanac_pipeline.defs.automation.changes import changes
    from almanac_pipeline.defs.resources import Almanac

    dice = np.random.default_rng(7)
    slugs = [f"circle-{number}" for number in range(cohorts)]
    with dg.DagsterInstance.ephemeral() as instance, psycopg.connect(url, autocommit=True) as connection:
        instance.add_dynamic_partitions("cohorts", slugs)
        cursor: str | None = None

        def tick() -> tuple[float, list[str], int]:
            nonlocal cursor
            context = dg.build_sensor_context(
                instance=instance, cursor=cursor, resources={"almanac": Almanac()}
            )
            started = time.perf_counter()
            result: Any = changes(context)
            seconds = time.perf_counter() - started
            cursor = result.cursor
            requests = result.run_requests or []
            asked = [
                slug
                for each in requests
                for slug in cohorts_of(each.tags | {"dagster/partition": each.partition_key}, slugs)
            ]
            return seconds, asked, len(requests)

        first_seconds, first, first_runs = tick()
        idle_seconds, nothing, _ = tick()
        seconds, exact, runs = [], [], []
        for _ in range(REPEATS):
            chosen = sorted(dice.choice(slugs, CHANGED, replace=False).tolist())
            _change_ratings(connection, chosen)
            took, asked, run_count = tick()
            seconds.append(took)
            exact.append(sorted(asked) == chosen)
            runs.append(run_count)
        connection.execute(
            "update raw.film_histograms set count_0_5 = count_0_5 + 1 where film_id in"
            " (select film_id from raw.films order by film_id limit %s)",
            [REFRESHED_FILMS],
        )
        films_seconds, films_asked, films_runs = tick()
        return {
            "seconds": round(statistics.median(seconds), 3),
            "seconds_most": round(max(seconds), 3),
            "exactly_the_changed": all(exact),
            "runs": max(runs),
            "idle": {"seconds": round(idle_seconds, 3), "asked": len(nothing)},
            "everything_is_new": {
                "seconds": round(first_seconds, 3),
                "asked": len(first),
                "runs": first_runs,
            },
            f"{REFRESHED_FILMS}_histograms_changed": {
                "seconds": round(films_seconds, 3),
                "asked": len(films_asked),
                "runs": films_runs,
            },
        }


def _fill(connection: psycopg.Connection, cohorts: int) -> None:
    dice = np.random.default_rng(1)
    members = cohorts * MEMBERS
    copy_rows(
        connection,
        "raw.films",
        ("uid", "slug", "title"),
        ((f"film:{n}", f"film-{n}", f"Film {n}") for n in range(FILMS)),
    )
    films = [film_id for (film_id,) in connection.execute("select film_id from raw.films order by film_id")]
    counts = dice.integers(1, 5_000, (FILMS, 10)).tolist()
    copy_rows(
        connection,
        "raw.film_histograms",
        ("film_id", "source", *HISTOGRAM),
        ((film_id, "letterboxd", *row) for film_id, row in zip(films, counts, strict=True)),
    )
    copy_rows(connection, "raw.users", ("username",), ((f"member-{n}",) for n in range(members)))
    connection.execute(
        "insert into raw.cohorts (slug, label, definition)"
        " select 'circle-' || n, 'Circle', '{}' from generate_series(0, %s) as n order by n",
        [cohorts - 1],
    )
    connection.execute(
        """
        with numbered as (select user_id, row_number() over (order by user_id) - 1 as n from raw.users)
        insert into raw.cohort_members (cohort_id, user_id)
        select cohort_id, user_id from numbered
        join (select cohort_id, row_number() over (order by cohort_id) - 1 as n from raw.cohorts) as cohorts
            on cohorts.n = numbered.n / %s
        """,
        [MEMBERS],
    )
    users = [user_id for (user_id,) in connection.execute("select user_id from raw.users order by user_id")]
    chance = (1 + np.arange(FILMS)) ** -0.7
    chance /= chance.sum()

    def ratings() -> Any:
        for user_id in users:
            picks = np.unique(dice.choice(FILMS, 2 * RATINGS_OF_A_MEMBER, p=chance))[:RATINGS_OF_A_MEMBER]
            for number in picks.tolist():
                yield user_id, films[number], 3.5, False, "pages"

    copy_rows(connection, "raw.ratings", ("user_id", "film_id", "rating", "liked", "source"), ratings())


def _change_ratings(connection: psycopg.Connection, slugs: list[str]) -> None:
    for slug in slugs:
        connection.execute(
            """
            update raw.ratings set rating = case when rating = 5 then 4.5 else rating + 0.5 end
            where (user_id, film_id) in (
                select user_id, film_id from raw.ratings
                join raw.cohort_members using (user_id) join raw.cohorts using (cohort_id)
                where slug = %s limit 1)
            """,
            [slug],
        )


def _copies(url: str) -> dict[str, float]:
    """Seconds of a COPY of ratings, with and without the triggers; the middle of three, taking turns."""
    found: dict[str, list[float]] = {"seconds_with_triggers": [], "seconds_without": []}
    with psycopg.connect(url) as connection:
        [user_id] = connection.execute("select max(user_id) from raw.users").fetchone() or [0]
        users = range(user_id + 1, user_id + 1 + COPIED_RATINGS // 200)
        films = [film_id for (film_id,) in connection.execute("select film_id from raw.films limit 200")]
        rows = [(user, film, 3.5, False, "pages") for user in users for film in films]
        for _ in range(3):
            for name, state in (("seconds_with_triggers", "enable"), ("seconds_without", "disable")):
                connection.execute(f"alter table raw.ratings {state} trigger note_insert")
                started = time.perf_counter()
                copy_rows(
                    connection, "raw.ratings", ("user_id", "film_id", "rating", "liked", "source"), rows
                )
                found[name].append(time.perf_counter() - started)
                connection.execute("delete from raw.ratings where user_id > %s", [user_id])
        connection.rollback()
    return {name: round(statistics.median(seconds), 3) for name, seconds in found.items()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A tick of the sensor that asks for rebuilds.")
    parser.add_argument("--cohorts", type=int, default=COHORTS)
    print(json.dumps(run(parser.parse_args().cohorts), indent=2))
