"""One rate per host, measured where it counts: at the server."""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import psycopg
import pytest

from almanac_pipeline.http import limiter as limiter_module
from almanac_pipeline.http.client import PoliteClient
from almanac_pipeline.http.hosts import HostPolicy, RateLimit, host_of, is_loopback, page_policy
from almanac_pipeline.http.limiter import HostLimiter
from almanac_pipeline.settings import Settings
from tests.http.fake_site import Answer, FakeSite

# Between permission and arrival lie a thread switch and a connection, on a machine that may be busy.
JITTER_SECONDS = 0.15

INTERVAL_SECONDS = 0.1
OTHER_PROCESS = """
import sys
from concurrent.futures import ThreadPoolExecutor
from almanac_pipeline.http.client import PoliteClient
from almanac_pipeline.settings import Settings
print("ready", flush=True)
sys.stdin.readline()
with (
    PoliteClient.open(Settings(_env_file=None, requests_per_second=10), sys.argv[1]) as client,
    ThreadPoolExecutor(2) as threads,
):
    list(threads.map(lambda n: client.get(f"{sys.argv[2]}/{sys.argv[3]}/{n}/", path_class="film"), range(5)))
"""


def assert_spaced(times: list[float], seconds: float) -> None:
    """Any `n` requests in a row take n - 1 intervals, wherever one looks."""
    times = sorted(times)
    crowded = [
        (first, last)
        for first in range(len(times))
        for last in range(first + 1, len(times))
        if times[last] - times[first] < (last - first) * seconds - JITTER_SECONDS
    ]
    assert crowded == []


def test_three_processes_with_threads_share_one_rate(site: FakeSite, database_url: str) -> None:
    commands = [[sys.executable, "-c", OTHER_PROCESS, database_url, site.url, str(n)] for n in range(3)]
    with ExitStack() as running:
        processes = [
            running.enter_context(
                subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)
            )
            for command in commands
        ]
        assert [process.stdout and process.stdout.readline() for process in processes] == ["ready\n"] * 3
        for process in processes:
            assert process.stdin
            process.stdin.close()
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert {path.split("/")[1] for path in site.paths()} == {"0", "1", "2"}
    assert len(site.asked) == 16  # and robots.txt, once
    assert_spaced([asked.at for asked in site.asked], INTERVAL_SECONDS)


def test_those_who_waited_for_the_same_pause_do_not_come_together_after_it(
    site: FakeSite, database_url: str
) -> None:
    site.script("/first/", Answer(429, b"", {"Retry-After": "1"}), Answer())
    with (
        PoliteClient.open(Settings(_env_file=None, requests_per_second=10), database_url) as client,
        ThreadPoolExecutor(6) as threads,
    ):
        paths = ["first", *map(str, range(5))]
        list(threads.map(lambda path: client.get(f"{site.url}/{path}/", path_class="film"), paths))
    refused_at = next(asked.at for asked in site.asked if asked.path == "/first/")
    times = [asked.at for asked in site.asked]
    # One may be on its way while the refusal is.
    assert sum(refused_at + JITTER_SECONDS < at < refused_at + 1 - JITTER_SECONDS for at in times) == 0
    assert_spaced(times, INTERVAL_SECONDS)


def test_jitter_is_added_and_never_taken_away(monkeypatch: pytest.MonkeyPatch, database_url: str) -> None:
    drawn: list[float] = []

    def largest(low: float, high: float) -> float:
        drawn.append(high)
        assert low == 0
        return high

    monkeypatch.setattr(limiter_module.random, "uniform", largest)
    limiter, limits = HostLimiter(database_url), (RateLimit(1, 100),)
    started = time.monotonic()
    for _ in range(4):
        limiter.acquire("example.org", limits)
    seconds = time.monotonic() - started
    limiter.close()
    assert drawn[0] == pytest.approx(0.2 * 0.1)
    assert seconds >= 3 * 0.1 * 1.2 - 0.01


def test_a_second_window_holds_beside_the_first(site: FakeSite, database_url: str) -> None:
    policy = HostPolicy((), (RateLimit(3, 1000), RateLimit(4, 1600)), obeys_robots=False)
    with PoliteClient.open(Settings(_env_file=None), database_url) as client:
        for number in range(5):
            client.get(f"{site.url}/{number}/", path_class="tmdb", policy=policy)
    times = [asked.at for asked in site.asked]
    assert times[2] - times[0] < 0.9, "a burst within the first window is not held back"
    assert times[3] - times[0] >= 1.0 - JITTER_SECONDS
    assert times[4] - times[0] >= 1.6 - JITTER_SECONDS


def test_without_a_limit_nothing_is_counted(
    site: FakeSite, database_url: str, connection: psycopg.Connection
) -> None:
    with PoliteClient.open(Settings(_env_file=None), database_url) as client:
        client.get(f"{site.url}/a/", path_class="film")
    assert connection.execute(
        "select count(*) from pg_tables where tablename like 'ratelimit%'"
    ).fetchone() == (0,)


def test_a_long_host_name_still_gets_a_table_of_its_own(
    database_url: str, connection: psycopg.Connection
) -> None:
    limiter = HostLimiter(database_url)
    for end in ("a", "b"):
        limiter.acquire(f"{'very-long-name.' * 6}{end}", (RateLimit(1, 60_000),))
    limiter.close()
    tables = connection.execute(
        "select schemaname, tablename from pg_tables where tablename like 'ratelimit%'"
    ).fetchall()
    assert {schema for schema, _ in tables} == {"ops"}
    assert len(tables) == 2


def test_the_default_is_slow_for_the_world_and_free_for_this_machine() -> None:
    policy = page_policy(Settings(_env_file=None))
    assert policy.limits_for("letterboxd.com") == (RateLimit(1, 5000),)
    assert policy.limits_for("127.0.0.1:8000") == ()
    stated = page_policy(Settings(_env_file=None, requests_per_second=2))
    assert stated.limits_for("127.0.0.1:8000") == stated.limits_for("example.org") == (RateLimit(1, 500),)


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1", "127.8.0.1:80", "[::1]:8000"])
def test_this_machine_is_recognised(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    ["letterboxd.com", "127.0.0.1.example.org", "localhost.example.org", "10.0.0.1", "0.0.0.0", "128.0.0.1"],
)
def test_the_rest_of_the_world_is_not_taken_for_this_machine(host: str) -> None:
    assert not is_loopback(host)


def test_hosts_are_the_same_however_they_are_written() -> None:
    assert host_of("https://Letterboxd.com:443/a/") == host_of("http://letterboxd.com/") == "letterboxd.com"
    assert host_of("http://[::1]:8000/") == "[::1]:8000"
