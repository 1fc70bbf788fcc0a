"""MovieLens day by day: some people's last active days, each one incremental sync through the sandbox.

The end must be the state that one full sync gives. Requests are counted at the sandbox's side, beside
the fewest that could tell the same: one for a member without news, else as many pages as the day's
ratings fill. Run: python -m bench.replay --days 300 --people 60
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter, defaultdict
from typing import Any

import numpy as np
import psycopg

from almanac_pipeline.sandbox.client import spawn_sandbox
from almanac_pipeline.sandbox.options import MovieLensWorld, SandboxConfig
from almanac_pipeline.warehouse.cohorts import create_cohort
from bench.stand_in import MOVIELENS, database, settings_for, stored_opinions, sync

DAYS, PEOPLE = 300, 60
DAY_SECONDS = 86_400
FILMS_PER_PAGE = 72

Rating = tuple[int, int, float, int]
"""(person, movie, stars, Unix seconds)"""


def run(days: int = DAYS, people: int = PEOPLE) -> dict[str, Any]:
    """Replay and compare. Without the MovieLens folder: only why nothing was measured."""
    if not MOVIELENS.is_dir():
        return {"skipped": "the MovieLens folder is not there"}
    with database() as incremental_url, database() as full_url:
        return replay(incremental_url, full_url, days=days, people=people)


def replay(incremental_url: str, full_url: str, *, days: int, people: int) -> dict[str, Any]:
    """Replay into the first database, sync once into the second, and say how they compare.

    `people` are those with the most active days among the last ones, so that there is news to sync.
    """
    ratings = _ratings()
    chosen = _busiest(ratings, people)
    mine = sorted((rating for rating in ratings if rating[0] in chosen), key=lambda rating: rating[3])
    by_day: defaultdict[int, list[Rating]] = defaultdict(list)
    for rating in mine:
        by_day[rating[3] // DAY_SECONDS].append(rating)
    replayed = sorted(by_day)[-days:]
    until = replayed[0] * DAY_SECONDS - 1
    world = MovieLensWorld(str(MOVIELENS), member_ids=tuple(sorted(chosen)), until=until)
    definition = {"kind": "usernames", "usernames": [f"ml-{person}" for person in sorted(chosen)]}
    for url in (incremental_url, full_url):
        with psycopg.connect(url) as connection:
            create_cohort(connection, "replay", "Replay", definition)
    with spawn_sandbox(SandboxConfig(world)) as sandbox:
        settings = settings_for(sandbox.url)
        started = time.perf_counter()
        sync(incremental_url, settings, "replay")
        first_seconds = time.perf_counter() - started
        requests: Counter[str] = Counter()
        minimum = 0
        slowest = 0.0
        for day in replayed:
            sandbox.change(
                rate=[
                    {"member": f"ml-{person}", "film": f"film:{movie}", "rating": stars, "at": at}
                    for person, movie, stars, at in by_day[day]
                ]
            )
            sandbox.reset_report()
            began = time.perf_counter()
            sync(incremental_url, settings, "replay")
            slowest = max(slowest, time.perf_counter() - began)
            requests.update(sandbox.report()["by_kind"])
            news = Counter(person for person, *_ in by_day[day])
            minimum += sum(max(1, -(-news[person] // FILMS_PER_PAGE)) for person in chosen)
        seconds = time.perf_counter() - started - first_seconds
        sync(full_url, settings, "replay")
    incremental, full = stored_opinions(incremental_url), stored_opinions(full_url)
    requests.pop("robots", None)
    total = sum(requests.values())
    return {
        "people": people,
        "days": len(replayed),
        "ratings_before": sum(rating[3] <= until for rating in mine),
        "ratings_replayed": sum(len(by_day[day]) for day in replayed),
        "same_end_state": incremental == full and len(full) == len(mine),
        "opinions": len(full),
        "requests": total,
        "requests_by_kind": dict(requests),
        "requests_minimum": minimum,
        "times_minimum": round(total / minimum, 3),
        "seconds": round(seconds, 1),
        "slowest_sync_seconds": round(slowest, 2),
    }


def _ratings() -> list[Rating]:
    table = np.loadtxt(MOVIELENS / "ratings.csv", delimiter=",", skiprows=1)
    return [(int(person), int(movie), float(stars), int(at)) for person, movie, stars, at in table]


def _busiest(ratings: list[Rating], people: int) -> set[int]:
    active: defaultdict[int, set[int]] = defaultdict(set)
    for person, _, _, at in ratings:
        active[person].add(at // DAY_SECONDS)
    return set(sorted(active, key=lambda person: (-len(active[person]), person))[:people])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.replay", description=__doc__)
    parser.add_argument("--days", type=int, default=DAYS)
    parser.add_argument("--people", type=int, default=PEOPLE)
    options = parser.parse_args()
    print(json.dumps(run(options.days, options.people), indent=2))


if __name__ == "__main__":
    main()
