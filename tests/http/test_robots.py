"""robots.txt is asked first, believed for a while, and shared."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from almanac_pipeline.errors import BlockedError, RetriableError
from almanac_pipeline.http.client import PoliteClient
from almanac_pipeline.http.hosts import HostPolicy
from almanac_pipeline.settings import Settings
from tests.http.fake_site import Answer, FakeSite

NO_SORTING = Answer(body=b"User-agent: *\nDisallow: /*/by/*   # sorting\nDisallow: /private/\n")


@pytest.fixture
def clients(database_url: str) -> Iterator[list[PoliteClient]]:
    settings = Settings(_env_file=None, http_timeout_seconds=5)
    opened = [PoliteClient.open(settings, database_url, backoff_seconds=0.01) for _ in range(2)]
    yield opened
    for client in opened:
        client.close()


def robots_count(site: FakeSite) -> int:
    return site.paths(robots=True).count("/robots.txt")


def test_a_star_inside_a_path_is_understood(site: FakeSite, clients: list[PoliteClient]) -> None:
    site.script("/robots.txt", NO_SORTING)
    assert not clients[0].allows(f"{site.url}/m/films/rated/.5-5/by/rated-date/")
    assert clients[0].allows(f"{site.url}/m/films/rated/.5-5/page/2/")


def test_a_forbidden_path_is_not_fetched_and_blocks_nothing_else(
    site: FakeSite, clients: list[PoliteClient]
) -> None:
    site.script("/robots.txt", NO_SORTING)
    with pytest.raises(BlockedError, match=r"robots\.txt forbids"):
        clients[0].get(f"{site.url}/private/", path_class="film")
    clients[0].get(f"{site.url}/public/", path_class="film")
    assert site.paths() == ["/public/"]


def test_a_redirect_into_a_forbidden_path_is_not_followed(
    site: FakeSite, clients: list[PoliteClient]
) -> None:
    site.script("/robots.txt", NO_SORTING)
    site.script("/a/", Answer(302, b"", {"Location": "/private/"}))
    with pytest.raises(BlockedError, match=r"robots\.txt forbids"):
        clients[0].get(f"{site.url}/a/", path_class="film")
    assert site.paths() == ["/a/"]


def test_it_is_fetched_once_for_all_threads_and_clients(site: FakeSite, clients: list[PoliteClient]) -> None:
    site.script("/robots.txt", replace(NO_SORTING, delay_seconds=0.2))
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda n: clients[n % 2].get(f"{site.url}/{n}/", path_class="film"), range(16)))
    assert robots_count(site) == 1


def test_an_old_one_is_fetched_again(
    site: FakeSite, clients: list[PoliteClient], connection: psycopg.Connection
) -> None:
    assert clients[0].allows(f"{site.url}/private/")
    site.script("/robots.txt", NO_SORTING)
    connection.execute("update ops.http_hosts set robots_fetched_at = now() - interval '25 hours'")
    connection.commit()
    assert clients[0].allows(f"{site.url}/private/"), "still believed in memory"
    assert not clients[1].allows(f"{site.url}/private/")
    assert robots_count(site) == 2


@pytest.mark.parametrize("status", [404, 410])
def test_no_robots_txt_allows_everything(status: int, site: FakeSite, clients: list[PoliteClient]) -> None:
    site.script("/robots.txt", Answer(status, b""))
    assert clients[0].allows(f"{site.url}/private/")


@pytest.mark.parametrize("answer", [Answer(500, b""), Answer(fault="reset")], ids=["500", "reset"])
def test_without_an_answer_nothing_is_allowed_and_four_requests_are_enough(
    answer: Answer, site: FakeSite, clients: list[PoliteClient]
) -> None:
    site.script("/robots.txt", answer)
    for _ in range(3):
        with pytest.raises(RetriableError, match="robots"):
            clients[0].get(f"{site.url}/a/", path_class="film")
    assert site.paths() == []
    assert robots_count(site) == 4


def test_a_site_that_has_recovered_is_asked_for_its_robots_txt_again(
    site: FakeSite, clients: list[PoliteClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("almanac_pipeline.http.robots.FAILURE_SECONDS", 0.0)
    site.script("/robots.txt", *[Answer(500, b"")] * 4, NO_SORTING)
    with pytest.raises(RetriableError):
        clients[0].allows(f"{site.url}/a/")
    assert not clients[0].allows(f"{site.url}/private/")


def test_a_refused_robots_txt_blocks_the_host(site: FakeSite, clients: list[PoliteClient]) -> None:
    site.script("/robots.txt", Answer(403, b""))
    with pytest.raises(BlockedError):
        clients[0].get(f"{site.url}/a/", path_class="film")
    with pytest.raises(BlockedError):
        clients[1].get(f"{site.url}/a/", path_class="film")
    assert site.paths(robots=True) == ["/robots.txt"]


def test_an_api_with_a_token_is_not_asked_for_one(site: FakeSite, clients: list[PoliteClient]) -> None:
    clients[0].get(f"{site.url}/3/movie/1", path_class="tmdb", policy=HostPolicy((), obeys_robots=False))
    assert robots_count(site) == 0


def test_a_robots_txt_with_nul_bytes_can_be_kept(site: FakeSite, clients: list[PoliteClient]) -> None:
    site.script("/robots.txt", Answer(body=b"User-agent: *\nDisallow: /private/\n\x00\xff"))
    assert not clients[0].allows(f"{site.url}/private/")


def test_a_crawl_delay_is_kept(site: FakeSite, clients: list[PoliteClient]) -> None:
    site.script("/robots.txt", Answer(body=b"User-agent: *\nCrawl-delay: 0.6\n"))
    for client in clients:
        client.get(f"{site.url}/a/", path_class="film")
    first, second = [asked.at for asked in site.asked if asked.path == "/a/"]
    assert second - first >= 0.4


@pytest.mark.shared
def test_the_real_file_forbids_sorting_and_allows_what_we_read(
    shared_dir: Path, site: FakeSite, clients: list[PoliteClient]
) -> None:
    site.script("/robots.txt", Answer(body=(shared_dir / "fixtures/robots/2025-07-25.txt").read_bytes()))
    allowed = {
        path: clients[0].allows(f"{site.url}{path}")
        for path in (
            "/m/films/rated/.5-5/page/2/",
            "/m/likes/films/",
            "/m/following/",
            "/film/x/",
            "/csi/film/x/rating-histogram/",
            "/m/films/rated/.5-5/by/rated-date/",
        )
    }
    assert list(allowed.values()) == [True] * 5 + [False]
