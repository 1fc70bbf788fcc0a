"""kill -9 at any moment of a sync, several times over: the end state is an undisturbed sync's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from almanac_pipeline.sandbox.options import GeneratedWorld, SandboxOptions
from almanac_pipeline.sandbox.server import SandboxServer, build_world
from almanac_pipeline.warehouse.cohorts import create_cohort
from bench.stand_in import Opinions, settings_for, stored_opinions, sync
from tests.conftest import PROJECT_ROOT, new_database

WORKERS = 4
WORLD = GeneratedWorld(seed=17, members=8, films=500, ratings=260)
# `make soak` asks for more than CI has time for.
EXAMPLES = int(os.environ.get("TEST_KILL_EXAMPLES", "3"))


@pytest.fixture(scope="module")
def site() -> Iterator[SandboxServer]:
    """A site slow enough that a process can be killed between any two of its requests."""
    with SandboxServer(build_world(WORLD), SandboxOptions(latency_ms=15)) as server:
        yield server


def truth(site: SandboxServer) -> Opinions:
    """What the site knows of the members that the seed follows."""
    followed = set(site.member(site.summary()["seed_member"])["following"])
    found: Opinions = set()
    for member in site.members():
        ratings, likes = member["ratings"], set(member["likes"])
        if (name := member["username"].lower()) in followed:
            found |= {(name, uid, ratings.get(uid), uid in likes) for uid in {*ratings, *likes}}
    return found


@dataclass(frozen=True)
class Undisturbed:
    """What a sync that nobody kills stores, and how many pages it asks for."""

    opinions: Opinions = field(repr=False)
    requests: int


@pytest.fixture(scope="module")
def undisturbed(site: SandboxServer, server_url: str, template_database: str) -> Undisturbed:
    with new_database(server_url, template_database) as database_url:
        prepare(database_url, site)
        site.reset_report()
        sync(database_url, settings_for(site.url, http_workers=WORKERS), "circle")
        return Undisturbed(stored_opinions(database_url), served(site))


def served(site: SandboxServer) -> int:
    """How many pages the site has served."""
    return sum(count for kind, count in site.report()["by_kind"].items() if kind != "robots")


def kill_after(site: SandboxServer, database_url: str, requests: int) -> bool:
    """Start a sync, kill it once it has asked for so many pages; whether it was still at work."""
    before = served(site)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.flows.sync_once", database_url, site.url, "circle"], cwd=PROJECT_ROOT
    )
    while process.poll() is None and served(site) - before < requests:
        time.sleep(0.002)
    if process.poll() is not None:
        assert process.returncode == 0
        return False
    process.send_signal(signal.SIGKILL)
    process.wait()
    return True


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(kills=st.lists(st.integers(min_value=1, max_value=45), min_size=1, max_size=2))
def test_a_sync_killed_anywhere_ends_as_if_it_had_not_been(
    site: SandboxServer,
    undisturbed: Undisturbed,
    server_url: str,
    template_database: str,
    kills: list[int],
) -> None:
    with new_database(server_url, template_database) as database_url:
        prepare(database_url, site)
        site.reset_report()
        killed = sum(kill_after(site, database_url, requests) for requests in kills)
        sync(database_url, settings_for(site.url, http_workers=WORKERS), "circle")
        # Lost is what each worker was about to commit; a new sync looks for news of those who were done.
        lost, looks = killed * 2 * WORKERS, len(kills) * (1 + 2 * WORLD.members)
        assert served(site) <= undisturbed.requests + lost + looks
        assert truth(site) <= stored_opinions(database_url) == undisturbed.opinions
        assert history_of(database_url) == {(member, uid): 1 for member, uid, *_ in undisturbed.opinions}


def prepare(database_url: str, site: SandboxServer) -> None:
    with psycopg.connect(database_url) as connection:
        seed = site.summary()["seed_member"]
        create_cohort(connection, "circle", "Circle", {"kind": "following", "seed": seed})


def history_of(database_url: str) -> dict[tuple[str, str], int]:
    """How often each opinion was noted as new: once, however often the sync was begun."""
    with psycopg.connect(database_url) as connection:
        rows = connection.execute(
            """
            select username, uid, count(*) filter (where kind = 'added')
            from raw.rating_events join raw.users using (user_id) join raw.films using (film_id)
            group by username, uid
            """
        )
        return {(username, uid): count for username, uid, count in rows}
