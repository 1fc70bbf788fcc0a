"""A full sync of 100 members x 1,500 ratings and one without news: seconds, and requests beside the fewest.

The sandbox runs as a process of its own on the same machine, without a rate cap. The arithmetic
minimum of a full sync is one profile, ceil(ratings / 72) pages of ratings and at least one page of
unrated likes per member, and the pages of whom the seed follows; without news it is one page per
member and those. Run: python -m bench.sync_members
"""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import Any

import psycopg

from almanac_pipeline.sandbox.client import SandboxProcess, spawn_sandbox
from almanac_pipeline.sandbox.options import GeneratedWorld, SandboxConfig
from almanac_pipeline.warehouse.cohorts import create_cohort
from bench.stand_in import Opinions, database, settings_for, stored_opinions, sync

WORLD = GeneratedWorld(seed=11, members=100, films=12_000, ratings=1_500)
FILMS_PER_PAGE, PEOPLE_PER_PAGE = 72, 25


def run(world: GeneratedWorld = WORLD) -> dict[str, Any]:
    """Seconds and requests of a full sync, and of a second one without news."""
    with spawn_sandbox(SandboxConfig(world)) as sandbox, database() as url:
        settings = settings_for(sandbox.url)
        with psycopg.connect(url) as connection:
            create_cohort(connection, "circle", "Circle", {"kind": "following", "seed": sandbox.seed_member})
        following = -(-world.members // PEOPLE_PER_PAGE)
        truth, minimum = _truth(sandbox)
        first = _timed(sandbox, url, settings, minimum + following)
        stored = stored_opinions(url)
        before = _last_transaction(url)
        second = _timed(sandbox, url, settings, world.members + following)
        return {
            "members": world.members,
            "ratings": sum(rating is not None for _, _, rating, _ in stored),
            "stored_is_the_truth": truth <= stored,
            "full": first | {"ratings_per_second": round(len(stored) / first["seconds"])},
            "without_news": second | {"rows_of_opinions_written": _written_since(url, before)},
        }


def _timed(sandbox: SandboxProcess, url: str, settings: Any, minimum: int) -> dict[str, Any]:
    sandbox.reset_report()
    started = time.perf_counter()
    sync(url, settings, "circle")
    seconds = time.perf_counter() - started
    requests = Counter(sandbox.report()["by_kind"])
    requests.pop("robots", None)
    total = sum(requests.values())
    return {
        "seconds": round(seconds, 1),
        "requests": total,
        "requests_by_kind": dict(requests),
        "requests_minimum": minimum,
        "times_minimum": round(total / minimum, 3),
    }


def _truth(sandbox: SandboxProcess) -> tuple[Opinions, int]:
    """What the sandbox knows of the members, and the fewest requests that could tell it."""
    followed = set(sandbox.member(sandbox.seed_member)["following"])
    opinions: Opinions = set()
    requests = 0
    for member in sandbox.members():
        name = member["username"].lower()
        if name not in followed:
            continue
        ratings, likes = member["ratings"], set(member["likes"])
        opinions |= {(name, uid, ratings.get(uid), uid in likes) for uid in dict.fromkeys([*ratings, *likes])}
        unrated = len(likes - set(ratings))
        requests += 1 + -(-len(ratings) // FILMS_PER_PAGE) + max(1, -(-unrated // FILMS_PER_PAGE))
    return opinions, requests


def _last_transaction(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute("select pg_current_xact_id()::text::bigint").fetchone()
        assert row is not None
        return int(row[0])


def _written_since(url: str, transaction: int) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "select (select count(*) from raw.ratings where xmin::text::bigint > %(xid)s)"
            " + (select count(*) from raw.rating_events where xmin::text::bigint > %(xid)s)",
            {"xid": transaction},
        ).fetchone()
        assert row is not None
        return int(row[0])


if __name__ == "__main__":
    print(json.dumps(run(), indent=2))
