"""The polite client against a real server that misbehaves, and a real database."""

from __future__ import annotations

import gzip
import logging
import re
import threading
import time
import traceback
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from email.utils import formatdate

import psycopg
import pytest

from almanac_pipeline.errors import (
    AlmanacError,
    BlockedError,
    ConfigurationError,
    DatabaseAwayError,
    LongPauseError,
    NotFoundError,
    PausedError,
    PermanentError,
    RetriableError,
    WrongPageError,
)
from almanac_pipeline.http import client as client_module
from almanac_pipeline.http.client import PoliteClient, Response, user_agent
from almanac_pipeline.settings import Settings
from almanac_pipeline.tally import requests_tally
from tests.http.fake_site import Answer, FakeSite

Open = Callable[..., PoliteClient]
CHALLENGE = b"<!DOCTYPE html><html><head><title>Just a moment...</title></head><body></body></html>"


def settings(**given: object) -> Settings:
    return Settings(_env_file=None, **{"contact": "owner@example.org", "http_timeout_seconds": 5} | given)


@pytest.fixture
def open_client(database_url: str) -> Iterator[Open]:
    """Opens clients of this test's database that are closed at its end."""
    opened: list[PoliteClient] = []

    def open_(run_id: str | None = None, **given: object) -> PoliteClient:
        client = PoliteClient.open(settings(**given), database_url, run_id, backoff_seconds=0.01)
        opened.append(client)
        return client

    yield open_
    for client in opened:
        client.close()


def logged(connection: psycopg.Connection, columns: str = "path_class, status, attempt") -> list[tuple]:
    connection.rollback()
    return connection.execute(
        f"select {columns} from ops.http_requests where path_class <> 'robots' order by http_request_id"
    ).fetchall()


def test_the_answer_comes_with_status_body_headers_and_address(site: FakeSite, open_client: Open) -> None:
    site.script("/a/", Answer(body=b"hello", headers={"X-Kind": "Film"}))
    answer = open_client().get(f"{site.url}/a/", path_class="film")
    assert (answer.status, answer.body, answer.url) == (200, b"hello", f"{site.url}/a/")
    assert answer.headers["x-kind"] == "Film"


def test_the_user_agent_says_who_we_are_and_whom_to_ask(site: FakeSite, open_client: Open) -> None:
    open_client().get(f"{site.url}/a/", path_class="film")
    for asked in site.asked:
        assert re.fullmatch(
            r"CohortAlmanac/\d+\.\d+\.\d+ \(\+owner@example\.org\)", asked.headers["User-Agent"]
        )


def test_only_codings_that_are_decoded_are_asked_for(site: FakeSite, open_client: Open) -> None:
    site.script("/a/", Answer(body=gzip.compress(b"hello" * 100), headers={"Content-Encoding": "gzip"}))
    assert open_client().get(f"{site.url}/a/", path_class="film").body == b"hello" * 100
    assert site.asked[-1].headers["Accept-Encoding"] == "gzip, deflate"


@pytest.mark.parametrize("contact", ["a\r\nX-Evil: 1", "café@example.org", "a) Mozilla/5.0 ("])
def test_a_contact_that_could_forge_the_header_is_refused(contact: str) -> None:
    with pytest.raises(ConfigurationError, match="ALMANAC_CONTACT"):
        user_agent(contact)


def test_cookies_are_neither_kept_nor_sent(site: FakeSite, open_client: Open) -> None:
    site.script("/a/", Answer(headers={"Set-Cookie": "csrf=1; Path=/"}))
    client = open_client()
    client.get(f"{site.url}/a/", path_class="film")
    client.get(f"{site.url}/b/", path_class="film")
    assert all("Cookie" not in asked.headers for asked in site.asked)


def test_proxies_of_the_environment_are_not_used(
    site: FakeSite, open_client: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    assert open_client().get(f"{site.url}/a/", path_class="film").status == 200


def test_a_connection_is_used_again(site: FakeSite, open_client: Open) -> None:
    client = open_client()
    for _ in range(5):
        client.get(f"{site.url}/a/", path_class="film")
    assert len({asked.client_port for asked in site.asked}) == 1


@pytest.mark.parametrize(
    "fault",
    [
        Answer(500, b"oops"),
        Answer(502, b""),
        Answer(503, b""),
        Answer(429, b""),
        Answer(fault="reset"),
        Answer(fault="truncate"),
        Answer(fault="hang"),
        Answer(headers={"Content-Encoding": "gzip"}, body=b"not gzip at all"),
    ],
    ids=["500", "502", "503", "429", "reset", "truncated", "slow", "undecodable"],
)
def test_a_passing_fault_is_asked_again_and_logged(
    fault: Answer, site: FakeSite, open_client: Open, connection: psycopg.Connection
) -> None:
    site.script("/a/", fault, Answer(body=b"whole"))
    client = open_client(http_timeout_seconds=0.5 if fault.fault == "hang" else 5)
    assert client.get(f"{site.url}/a/", path_class="film").body == b"whole"
    client.close()
    first, second = logged(connection)
    assert first[0] == "film"
    assert first[2] == 1
    assert second == ("film", 200, 2)


def test_after_three_retries_it_gives_up(
    site: FakeSite, open_client: Open, connection: psycopg.Connection
) -> None:
    site.script("/a/", Answer(500, b""))
    client = open_client()
    with pytest.raises(RetriableError, match="status 500"):
        client.get(f"{site.url}/a/", path_class="film")
    client.close()
    assert logged(connection) == [("film", 500, attempt) for attempt in (1, 2, 3, 4)]
    assert client.counts.retries == 3


def test_a_body_that_drips_is_given_up(
    site: FakeSite, open_client: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "BODY_TIMEOUTS", 0.1)
    site.script("/a/", Answer(body=b"x" * 200, fault="drip"), Answer(body=b"whole"))
    assert open_client().get(f"{site.url}/a/", path_class="film").body == b"whole"


def test_an_endless_body_is_not_read_to_its_end(
    site: FakeSite, open_client: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "MAX_BODY_BYTES", 100_000)
    site.script("/a/", Answer(body=b"x" * 1_000_000))
    with pytest.raises(PermanentError, match="larger than"):
        open_client().get(f"{site.url}/a/", path_class="film")
    assert site.paths() == ["/a/"]


def test_a_body_of_a_hundred_megabytes_is_left_where_it_is(site: FakeSite, open_client: Open) -> None:
    site.script("/a/", Answer(body=b"x" * 100_000_000))
    client = open_client()
    with pytest.raises(PermanentError, match="larger than 20,000,000 bytes"):
        client.get(f"{site.url}/a/", path_class="film")
    assert client.counts.bytes <= client_module.MAX_BODY_BYTES + client_module.CHUNK_BYTES
    assert client.get(f"{site.url}/b/", path_class="film").status == 200


def test_a_small_body_that_unpacks_to_gigabytes_stops_at_the_limit(site: FakeSite, open_client: Open) -> None:
    bomb = gzip.compress(bytes(10_000_000), 9) * 300  # 3 MB of it are 3 GB
    site.script("/a/", Answer(body=bomb, headers={"Content-Encoding": "gzip"}))
    client = open_client()
    tracemalloc.start()
    try:
        with pytest.raises(PermanentError, match="larger than"):
            client.get(f"{site.url}/a/", path_class="film")
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 3 * client_module.MAX_BODY_BYTES
    assert site.paths() == ["/a/"]


def test_nul_bytes_are_handed_on_for_the_parser_to_judge(site: FakeSite, open_client: Open) -> None:
    site.script("/a/", Answer(body=b"<html>\x00\x00</html>"))
    assert open_client().get(f"{site.url}/a/", path_class="film").body == b"<html>\x00\x00</html>"


def test_a_later_and_shorter_wish_does_not_shorten_the_pause(
    site: FakeSite, open_client: Open, connection: psycopg.Connection
) -> None:
    site.script("/patient/", Answer(429, b"", {"Retry-After": "900"}))
    site.script("/hasty/", Answer(503, b"", {"Retry-After": "200"}, delay_seconds=0.3))
    client = open_client()
    client.allows(f"{site.url}/a/")
    with ThreadPoolExecutor(2) as threads:
        hasty = threads.submit(client.get, f"{site.url}/hasty/", path_class="film")
        while "/hasty/" not in site.paths():
            time.sleep(0.005)
        patient = threads.submit(client.get, f"{site.url}/patient/", path_class="film")
        assert [type(future.exception()) for future in (patient, hasty)] == [LongPauseError] * 2
    with pytest.raises(RetriableError, match=r"^[^;]*; [^;]* UTC \(15 min\)\. [^;]*; what was read stays$"):
        client.get(f"{site.url}/b/", path_class="film")


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_waited_for_in_both_forms(form: str, site: FakeSite, open_client: Open) -> None:
    value = "1" if form == "seconds" else formatdate(time.time() + 2, usegmt=True)
    site.script("/a/", Answer(429, b"", {"Retry-After": value}), Answer())
    open_client().get(f"{site.url}/a/", path_class="film")
    first, second = [asked.at for asked in site.asked if asked.path == "/a/"]
    assert 0.9 <= second - first < 3


def test_an_unreadable_retry_after_is_ignored(site: FakeSite, open_client: Open) -> None:
    site.script("/a/", Answer(429, b"", {"Retry-After": "soon"}), Answer())
    assert open_client().get(f"{site.url}/a/", path_class="film").status == 200


def test_a_long_retry_after_is_handed_back_and_kept_for_all(site: FakeSite, open_client: Open) -> None:
    site.script("/a/", Answer(429, b"", {"Retry-After": "999999999"}))
    until = r"asked not to be asked before .* UTC \((59|60) min\)\. Run again then"
    with pytest.raises(LongPauseError, match=f"status 429; .*{until}") as caught:
        open_client().get(f"{site.url}/a/", path_class="film")
    assert caught.value.pause_seconds == 3600
    with pytest.raises(LongPauseError, match=until) as caught:
        open_client().get(f"{site.url}/b/", path_class="film")
    assert caught.value.pause_seconds == pytest.approx(3600, abs=60)
    assert site.paths() == ["/a/"]


def test_an_answer_that_parse_finds_truncated_is_asked_for_again(site: FakeSite, open_client: Open) -> None:
    site.script("/a/", Answer(body=b"<html>"), Answer(body=b"<html></html>"))

    def parse(response: Response) -> int:
        if not response.body.endswith(b"</html>"):
            raise RetriableError("truncated")
        return len(response.body)

    client = open_client()
    assert client.get_as(f"{site.url}/a/", parse=parse, path_class="film") == 13
    site.script("/a/", Answer(body=b"<html>"))
    with pytest.raises(RetriableError, match="truncated"):
        client.get_as(f"{site.url}/a/", parse=parse, path_class="film")
    assert len(site.paths()) == 2 + 4


@pytest.mark.parametrize(
    ("status", "error"),
    [(404, NotFoundError), (410, NotFoundError), (401, ConfigurationError), (400, PermanentError)],
)
def test_a_final_status_is_not_asked_again(
    status: int, error: type[AlmanacError], site: FakeSite, open_client: Open
) -> None:
    site.script("/a/", Answer(status, b"<html><body>no</body></html>"))
    with pytest.raises(error):
        open_client().get(f"{site.url}/a/", path_class="film")
    assert site.paths() == ["/a/"]


def test_redirects_are_followed_within_the_host(
    site: FakeSite, open_client: Open, connection: psycopg.Connection
) -> None:
    site.script("/old/", Answer(302, b"", {"Location": "/new/"}))
    site.script("/new/", Answer(body=b"here"))
    client = open_client()
    answer = client.get(f"{site.url}/old/", path_class="film")
    client.close()
    assert (answer.body, answer.url) == (b"here", f"{site.url}/new/")
    assert logged(connection) == [("film", 302, 1), ("film", 200, 1)]


def test_a_redirect_to_another_host_is_refused(site: FakeSite, open_client: Open) -> None:
    site.script("/old/", Answer(301, b"", {"Location": "http://example.org/"}))
    with pytest.raises(WrongPageError, match="another host"):
        open_client().get(f"{site.url}/old/", path_class="film")


def test_a_ring_of_redirects_ends(site: FakeSite, open_client: Open) -> None:
    site.script("/a/", Answer(302, b"", {"Location": "/a/"}))
    with pytest.raises(WrongPageError, match="redirects"):
        open_client().get(f"{site.url}/a/", path_class="film")
    assert len(site.paths()) == 4


@pytest.mark.parametrize("refusal", [Answer(403, b"no"), Answer(200, CHALLENGE), Answer(503, CHALLENGE)])
def test_a_refusal_stops_every_client_until_an_operator_clears_it(
    refusal: Answer, site: FakeSite, open_client: Open
) -> None:
    first, second = open_client(), open_client()
    second.get(f"{site.url}/b/", path_class="film")
    site.script("/a/", refusal)
    with pytest.raises(BlockedError, match="refused with"):
        first.get(f"{site.url}/a/", path_class="film")
    for client in (first, second, open_client()):
        with pytest.raises(BlockedError, match="until `almanac unblock"):
            client.get(f"{site.url}/b/", path_class="film")
    assert site.paths() == ["/b/", "/a/"]
    assert second.unblock(site.host)
    assert not second.unblock(site.host)
    assert first.get(f"{site.url}/b/", path_class="film").status == 200


def test_a_challenge_that_only_the_parser_sees_blocks_the_host(site: FakeSite, open_client: Open) -> None:
    def parse(response: Response) -> None:
        raise BlockedError("a challenge")

    client = open_client()
    with pytest.raises(BlockedError, match=r"\(film\): refused with a challenge page.*almanac unblock"):
        client.get_as(f"{site.url}/a/", parse=parse, path_class="film")
    with pytest.raises(BlockedError, match="until `almanac unblock"):
        client.get(f"{site.url}/b/", path_class="film")


def test_the_kill_switch_stops_the_next_request(
    site: FakeSite, open_client: Open, connection: psycopg.Connection
) -> None:
    client = open_client()
    client.get(f"{site.url}/a/", path_class="film")
    connection.execute("update ops.switches set enabled = false where name = 'fetching'")
    connection.commit()
    with pytest.raises(PausedError, match="switched off"):
        client.get(f"{site.url}/a/", path_class="film")
    assert site.paths() == ["/a/"]
    connection.execute("update ops.switches set enabled = true where name = 'fetching'")
    connection.commit()
    assert client.get(f"{site.url}/a/", path_class="film").status == 200


def test_the_log_names_run_host_and_kind_and_no_member(
    site: FakeSite, open_client: Open, connection: psycopg.Connection
) -> None:
    site.script("/some-member/", Answer(body=b"12345"))
    client = open_client("run-7")
    client.get(f"{site.url}/some-member/", path_class="profile")
    client.close()
    [(run_id, host, path_class, size, cache_hit)] = logged(
        connection, "run_id, host, path_class, bytes, cache_hit"
    )
    assert (run_id, host, path_class, size, cache_hit) == ("run-7", site.host, "profile", 5, False)
    everything = connection.execute("select string_agg(r::text, '') from ops.http_requests as r").fetchone()
    assert everything is not None
    assert "some-member" not in everything[0]


def test_the_log_is_complete_after_many_threads(
    site: FakeSite, open_client: Open, connection: psycopg.Connection
) -> None:
    client = open_client()
    with requests_tally() as sent, ThreadPoolExecutor(8) as threads:
        client.get(f"{site.url}/0/", path_class="film")
        # As flows.workers starts threads: what they send is counted here, too.
        asking = copy_context()
        list(
            threads.map(
                lambda n: asking.copy().run(client.get, f"{site.url}/{n}/", path_class="film"), range(1, 450)
            )
        )
    assert sent.count == 451
    client.close()
    assert len(logged(connection)) == 450
    assert client.counts.requests == 451  # and robots.txt


def test_what_is_still_in_memory_is_bounded(
    site: FakeSite, open_client: Open, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("almanac_pipeline.http.request_log.MAX_BUFFERED_SECONDS", 0.0)
    client = open_client()
    client.get(f"{site.url}/a/", path_class="film")
    assert logged(connection) == [("film", 200, 1)]


@pytest.mark.parametrize(
    "answer",
    [Answer(500, b""), Answer(404, b""), Answer(401, b""), Answer(403, b""), Answer(fault="reset")],
    ids=["500", "404", "401", "403", "reset"],
)
def test_a_secret_header_is_in_no_exception_log_line_or_row(
    answer: Answer,
    site: FakeSite,
    open_client: Open,
    connection: psycopg.Connection,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    site.script("/secret-member/", answer)
    client = open_client()
    headers = {"Authorization": "Bearer s3cr3t"}
    with pytest.raises(AlmanacError) as caught:
        client.get(f"{site.url}/secret-member/", path_class="profile", headers=headers)
    client.close()
    assert site.asked[-1].headers["Authorization"] == "Bearer s3cr3t"
    report = "".join(traceback.format_exception(caught.value))
    assert "s3cr3t" not in report + repr(vars(caught.value))
    assert "secret-member" not in str(caught.value)
    assert caught.value.__context__ is None
    assert "s3cr3t" not in caplog.text
    rows = connection.execute(
        "select (select string_agg(r::text, '') from ops.http_requests as r)"
        "    || coalesce((select string_agg(h::text, '') from ops.http_hosts as h), '')"
    ).fetchone()
    assert rows is not None
    assert "s3cr3t" not in rows[0]
    assert "secret-member" not in rows[0]


def test_a_header_that_cannot_be_sent_does_not_show_in_the_error(site: FakeSite, open_client: Open) -> None:
    secret = "-".join(["s3", "cr3t"])
    with pytest.raises(ConfigurationError) as caught:
        open_client().get(f"{site.url}/a/", path_class="film", headers={"Authorization": f"{secret}\r\nX: y"})
    assert secret not in "".join(traceback.format_exception(caught.value))
    assert caught.value.__context__ is None


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/", "http://u:p@127.0.0.1/", "/a/"])
def test_only_plain_web_addresses_are_fetched(url: str, open_client: Open) -> None:
    with pytest.raises(ConfigurationError):
        open_client().get(url, path_class="film")


def test_a_database_that_is_not_there_is_named_as_the_trouble(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(DatabaseAwayError):
        PoliteClient.open(settings(), "postgresql://u:s3cr3t@127.0.0.1:9/x", connect_seconds=0.3)
    assert "s3cr3t" not in caplog.text


def test_threads_ask_at_the_same_time(site: FakeSite, open_client: Open) -> None:
    together = threading.Barrier(4, timeout=5)

    def parse(response: Response) -> None:
        together.wait()

    client = open_client()
    with ThreadPoolExecutor(4) as threads:
        list(
            threads.map(
                lambda n: client.get_as(f"{site.url}/{n}/", parse=parse, path_class="film"),
                range(4),
            )
        )
