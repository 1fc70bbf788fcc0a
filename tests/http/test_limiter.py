"""One rate per host, measured where it counts: at the server."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from almanac_pipeline.http.client import PoliteClient
from almanac_pipeline.http.hosts import HostPolicy, RateLimit, host_of, is_loopback, page_policy
from almanac_pipeline.http.limiter import HostLimiter
from almanac_pipeline.settings import Settings
from tests.http.fake_site import FakeSite

# Between permission and arrival lie a thread switch and a connection, on a machine that may be busy.
JITTER_SECONDS = 0.15

OTHER_PROCESS = """
import sys
from almanac_pipeline.http.client import PoliteClient
from almanac_pipeline.settings import Settings
with PoliteClient.open(Settings(_env_file=None, requests_per_second=10), sys.argv[1]) as client:
    for number in range(5):
        client.get(f"{sys.argv[2]}/other/{number}/", path_class="film")
"""


def test_threads_and_processes_share_one_rate(site: FakeSite, database_url: str) -> None:
    other = subprocess.Popen([sys.executable, "-c", OTHER_PROCESS, database_url, site.url])
    with (
        PoliteClient.open(Settings(_env_file=None, requests_per_second=10), database_url) as client,
        ThreadPoolExecutor(4) as threads,
    ):
        list(threads.map(lambda n: client.get(f"{site.url}/{n}/", path_class="film"), range(10)))
        assert other.wait(20) == 0
    paths = site.paths()
    assert sum(path.startswith("/other/") for path in paths) == 5
    assert len(paths) == 15
    # Sixteen requests with robots.txt; with a rate for each process they would take 1.0 s.
    times = [asked.at for asked in site.asked]
    assert max(times) - min(times) >= 1.5 - JITTER_SECONDS
    assert max(sum(1 for at in times if 0 <= at - first < 1) for first in times) <= 12


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
