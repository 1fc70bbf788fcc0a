"""What an operator decides holds for every thread and process: budgets, pauses, blocks and their alerts."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from almanac_pipeline.errors import BlockedError, BudgetSpentError, PausedError, PrivateError
from almanac_pipeline.http.client import PoliteClient, Response
from almanac_pipeline.http.hosts import page_policy
from almanac_pipeline.settings import Settings
from almanac_pipeline.warehouse.alerts import Alert, open_alerts
from almanac_pipeline.warehouse.switches import requests_today, set_fetching
from tests.http.fake_site import Answer, FakeSite

Open = Callable[..., PoliteClient]

OTHER_PROCESS = """
import sys
from almanac_pipeline.errors import BudgetSpentError
from almanac_pipeline.http.client import PoliteClient
from almanac_pipeline.settings import Settings
with PoliteClient.open(Settings(_env_file=None, requests_per_day=20), sys.argv[1]) as client:
    print("ready", flush=True)
    sys.stdin.readline()
    try:
        for number in range(50):
            client.get(f"{sys.argv[2]}/other/{number}/", path_class="film")
    except BudgetSpentError:
        sys.exit(3)
"""


@pytest.fixture
def open_client(database_url: str) -> Iterator[Open]:
    """Opens clients of this test's database that are closed at its end."""
    opened: list[PoliteClient] = []

    def open_(**given: object) -> PoliteClient:
        client = PoliteClient.open(Settings(_env_file=None, **given), database_url, backoff_seconds=0.01)
        opened.append(client)
        return client

    yield open_
    for client in opened:
        client.close()


def alerts(connection: psycopg.Connection) -> list[Alert]:
    connection.rollback()
    return open_alerts(connection)


# -- budget --------------------------------------------------------------------------------------


def test_threads_and_processes_share_one_budget_to_the_last_request(
    site: FakeSite, open_client: Open, database_url: str, connection: psycopg.Connection
) -> None:
    client = open_client(requests_per_day=20)

    def ask(number: int) -> bool:
        try:
            client.get(f"{site.url}/{number}/", path_class="film")
        except BudgetSpentError:
            return False
        return True

    command = [sys.executable, "-c", OTHER_PROCESS, database_url, site.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE) as other:
        assert other.stdin
        assert other.stdout
        assert other.stdout.readline() == b"ready\n"
        other.stdin.close()
        with ThreadPoolExecutor(4) as threads:
            done = sum(threads.map(ask, range(40)))
    assert other.returncode == 3
    assert len(site.asked) == 20, "robots.txt counts too"
    assert done <= 19
    assert requests_today(connection) == {site.host: 20}


def test_a_spent_budget_says_when_it_goes_on_and_tells_the_operator_until_then(
    site: FakeSite, open_client: Open, connection: psycopg.Connection
) -> None:
    client = open_client(requests_per_day=2)
    client.get(f"{site.url}/some-member/", path_class="profile")
    for _ in range(2):
        with pytest.raises(BudgetSpentError, match=r"the 2 requests .* midnight UTC") as caught:
            client.get(f"{site.url}/some-member/", path_class="profile")
        assert "some-member" not in str(caught.value)
        assert isinstance(caught.value, PausedError)
    assert site.paths() == ["/some-member/"]
    [alert] = alerts(connection)
    assert (alert.kind, alert.subject, alert.times_seen) == ("budget", site.host, 2)
    connection.execute("update ops.http_hosts set budget_day = budget_day - 1")
    connection.commit()
    assert client.get(f"{site.url}/a/", path_class="film").status == 200
    assert alerts(connection) == []
    assert requests_today(connection) == {site.host: 1}


def test_retries_and_redirects_are_paid_for(site: FakeSite, open_client: Open) -> None:
    site.script("/a/", Answer(500, b""))
    with pytest.raises(BudgetSpentError):
        open_client(requests_per_day=3).get(f"{site.url}/a/", path_class="film")
    assert site.paths() == ["/a/", "/a/"]


def test_the_world_has_a_budget_by_default_and_this_machine_has_none() -> None:
    assert page_policy(Settings(_env_file=None)).budget_for("letterboxd.com") == 10_000
    assert page_policy(Settings(_env_file=None)).budget_for("127.0.0.1:8000") is None
    assert page_policy(Settings(_env_file=None, requests_per_day=5)).budget_for("127.0.0.1:8000") == 5


# -- pause ---------------------------------------------------------------------------------------


def test_a_pause_lets_finish_what_is_under_way_and_nothing_else_begins(
    site: FakeSite, open_client: Open, connection: psycopg.Connection
) -> None:
    workers, ended = 6, []
    under_way = threading.Barrier(workers + 1, timeout=10)
    client = open_client()
    client.get(f"{site.url}/before/", path_class="film")
    for number in range(workers):
        site.script(f"/{number}/", Answer(delay_seconds=0.3))

    def work(number: int) -> int:
        under_way.wait()
        for done in range(100):
            try:
                client.get(f"{site.url}/{number}/", path_class="film")
            except PausedError:
                ended.append(time.monotonic())
                return done
        return 100

    with ThreadPoolExecutor(workers) as threads:
        running = [threads.submit(work, number) for number in range(workers)]
        under_way.wait()
        while len(site.paths()) < 1 + workers:
            time.sleep(0.005)
        set_fetching(connection, enabled=False)
        asked = len(site.paths())
        finished = [future.result() for future in running]
    # What had passed the gate in the very moment of the switch may still arrive: one for each thread.
    assert len(site.paths()) <= asked + workers
    assert sum(finished) == len(site.paths()) - 1, "every answer that was under way was used"
    assert max(finished) <= 2


def test_who_waits_for_a_turn_sees_the_pause_before_asking(
    site: FakeSite, open_client: Open, connection: psycopg.Connection
) -> None:
    client = open_client(requests_per_second=2)
    client.get(f"{site.url}/a/", path_class="film")
    with ThreadPoolExecutor(3) as threads:
        running = [threads.submit(client.get, f"{site.url}/b/", path_class="film") for _ in range(3)]
        set_fetching(connection, enabled=False)
        errors = [type(future.exception()) for future in running]
    assert errors == [PausedError] * 3
    assert site.paths() == ["/a/"]


# -- blocks --------------------------------------------------------------------------------------


def test_a_block_is_an_alert_until_an_operator_unblocks_the_host(
    site: FakeSite, open_client: Open, connection: psycopg.Connection
) -> None:
    client = open_client()
    site.script("/some-member/", Answer(403, b"no"))
    with pytest.raises(BlockedError, match=r"\(profile\).*status 403.*almanac unblock") as caught:
        client.get(f"{site.url}/some-member/", path_class="profile")
    assert "some-member" not in str(caught.value)
    [alert] = alerts(connection)
    assert (alert.kind, alert.subject) == ("blocked", site.host)
    assert alert.message == "it refused us: status 403 in place of profile"
    assert client.unblock(site.host)
    assert alerts(connection) == []


def private(response: Response) -> PrivateError | None:
    return PrivateError("private") if b"private" in response.body else None


def test_a_403_that_the_source_explains_blocks_nothing(
    site: FakeSite, open_client: Open, connection: psycopg.Connection
) -> None:
    client = open_client()
    site.script("/a/", Answer(403, b"private"))
    for _ in range(2):
        with pytest.raises(PrivateError):
            client.get_as(f"{site.url}/a/", parse=bytes, path_class="profile", explains_refusal=private)
    assert site.paths() == ["/a/", "/a/"], "a final answer is not asked for again"
    assert alerts(connection) == []


@pytest.mark.parametrize(
    "answer",
    [
        Answer(403, b"other words"),
        Answer(426, b"private"),
        Answer(403, b"private", {"cf-mitigated": "challenge"}),
        Answer(403, b"<!DOCTYPE html><html><title>Just a moment...</title><p>private</p></html>"),
        Answer(403, b"<!DOCTYPE html><html><title>x</title><i id='cf-error-details'>private</i></html>"),
        Answer(200, b"<!DOCTYPE html><html><title>Just a moment...</title><p>private</p></html>"),
    ],
    ids=["other words", "426", "header", "challenge", "error details", "challenge with 200"],
)
def test_a_gatekeeper_is_never_explained_away(
    answer: Answer, site: FakeSite, open_client: Open, connection: psycopg.Connection
) -> None:
    site.script("/a/", answer)
    with pytest.raises(BlockedError):
        open_client().get_as(f"{site.url}/a/", parse=bytes, path_class="profile", explains_refusal=private)
    assert [alert.kind for alert in alerts(connection)] == ["blocked"]
