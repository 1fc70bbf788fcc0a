"""Faults, the report and exports, over HTTP as others use them."""

from __future__ import annotations

import csv
import io
import time
import zipfile
from pathlib import Path

import pytest
import requests

from almanac_pipeline.errors import BlockedError, LayoutChangedError, RetriableError, WrongPageError
from almanac_pipeline.sandbox.server import SandboxServer
from almanac_pipeline.sandbox.world import Film, Member
from almanac_pipeline.sources.pages.parsers import (
    parse_film_page,
    parse_grid,
    parse_people,
    parse_profile,
    require_page,
)

RATED = "films/rated/.5-5/"
NEWEST = "films/rated/.5-5/by/rated-date/"


def get(server: SandboxServer, path: str, **headers: str) -> requests.Response:
    return requests.get(server.url + path, headers=headers, timeout=10, allow_redirects=False)


@pytest.fixture
def member(server: SandboxServer) -> Member:
    return max(server.world.members.values(), key=lambda member: member.ratings_count)


@pytest.fixture
def unseen(server: SandboxServer, member: Member) -> Film:
    """A film that the member has not seen, with enough ratings for an average."""
    return next(film for n, film in server.world.films.items() if n not in member.opinions and film.average)


def test_a_change_over_http_moves_the_world_and_its_clock() -> None:
    with SandboxServer() as server:
        before = server.summary()
        answer = server.change(like=[{"member": "almanac", "film": "film:900000002"}])
        assert answer["applied"] == {"like": 1}
        assert answer["now"] > before["now"]
        assert server.member("almanac")["likes"][0] == "film:900000002"
        get(server, "/almanac/")
        assert server.summary()["now"] == answer["now"]
        with pytest.raises(ValueError, match="no such change"):
            server.change(explode=[])


def test_a_status_fault_strikes_as_often_as_ordered_and_says_when_to_return(
    server: SandboxServer, member: Member
) -> None:
    server.fault("status", kind="rated", status=429, retry_after=7, times=2)
    assert get(server, f"/{member.key}/likes/films/").status_code == 200
    answers = [get(server, f"/{member.key}/{RATED}") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [429, 429, 200]
    assert answers[0].headers["retry-after"] == "7"


def test_a_fault_may_wait_and_choose_its_member_and_path(server: SandboxServer) -> None:
    one, other = server.summary()["following"][:2]
    server.fault("status", member=one, match=r"/page/2/$", skip=1)
    paths = [
        f"/{one}/{RATED}",
        f"/{other}/{RATED}page/2/",
        f"/{one}/{RATED}page/2/",
        f"/{one}/{RATED}page/2/",
    ]
    assert [get(server, path).status_code for path in paths] == [200, 200, 200, 503]


def test_a_delay_takes_its_time(server: SandboxServer) -> None:
    server.fault("delay", kind="robots", delay_ms=120)
    started = time.monotonic()
    assert get(server, "/robots.txt").status_code == 200
    assert time.monotonic() - started >= 0.12


def test_a_truncated_page_lacks_its_end(server: SandboxServer, member: Member) -> None:
    server.fault("truncate", kind="rated")
    with pytest.raises(RetriableError):
        parse_grid(get(server, f"/{member.key}/{RATED}").content)


@pytest.mark.parametrize("status", [403, 200, 503])
def test_a_challenge_is_recognised_whatever_its_status(
    server: SandboxServer, member: Member, status: int
) -> None:
    server.fault("challenge", status=status)
    answer = get(server, f"/{member.key}/")
    assert answer.status_code == status
    with pytest.raises(BlockedError):
        parse_profile(answer.content)


@pytest.mark.parametrize("path", [RATED, "likes/films/", "following/", "watchlist/"])
def test_an_empty_fault_is_a_valid_page_of_the_right_owner(
    server: SandboxServer, member: Member, path: str
) -> None:
    server.fault("empty")
    answer = get(server, f"/{member.key}/{path}")
    assert answer.status_code == 200
    page = (parse_people if path == "following/" else parse_grid)(answer.content)
    assert page.owner == member.username
    assert not (page.people if path == "following/" else page.items)  # type: ignore[union-attr]


def test_a_wrong_owner_is_another_members_page(server: SandboxServer, member: Member) -> None:
    server.fault("wrong_owner", kind="rated")
    page = parse_grid(get(server, f"/{member.key}/{RATED}").content)
    with pytest.raises(WrongPageError):
        require_page(page, kind="films", path=f"/{member.key}/{RATED}", owner=member.key)


def test_a_wrong_film_page_is_another_films(server: SandboxServer, unseen: Film) -> None:
    server.fault("wrong_owner", kind="film")
    assert parse_film_page(get(server, f"/film/{unseen.slug}/").content).uid != unseen.uid


@pytest.mark.parametrize("path", [RATED, NEWEST, "likes/films/"])
def test_another_layout_is_taken_for_no_empty_page(server: SandboxServer, member: Member, path: str) -> None:
    server.fault("layout")
    with pytest.raises((LayoutChangedError, WrongPageError)):
        require_page(
            parse_grid(get(server, f"/{member.key}/{path}").content),
            kind="likes" if path.startswith("likes") else "films",
            path=f"/{member.key}/{path}",
            owner=member.key,
        )


def test_a_reset_breaks_the_connection(server: SandboxServer, member: Member) -> None:
    server.fault("reset")
    with pytest.raises(requests.ConnectionError):
        get(server, f"/{member.key}/")
    assert get(server, f"/{member.key}/").status_code == 200


def test_faults_strike_tmdb_too(server: SandboxServer) -> None:
    server.fault("status", kind="tmdb_movie", status=429, retry_after=1)
    server.fault("truncate", kind="tmdb_movie")
    answers = [get(server, "/3/movie/90000001", Authorization="Bearer x") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [429, 200, 200]
    assert answers[0].json()["status_code"] == 25
    with pytest.raises(requests.JSONDecodeError):
        answers[1].json()
    assert answers[2].json()["id"] == 90000001


@pytest.mark.parametrize(
    "fault", [{"fault": "explode"}, {"fault": "status", "colour": "red"}, {"fault": "status", "match": "("}]
)
def test_an_unknown_fault_is_refused(server: SandboxServer, fault: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"fault|match"):
        server.fault(**fault)


def test_cleared_faults_do_not_strike(server: SandboxServer) -> None:
    server.fault("status", times=None)
    assert get(server, "/robots.txt").status_code == 503
    server.clear_faults()
    assert get(server, "/robots.txt").status_code == 200


def test_the_report_counts_kinds_statuses_members_and_agents(server: SandboxServer, member: Member) -> None:
    for path in (
        f"/{member.key}/{RATED}",
        f"/{member.key.upper()}/{NEWEST}",
        "/film/nowhere/",
        f"/{member.key}",
    ):
        get(server, path, **{"User-Agent": "almanac/1"})
    get(server, "/3/movie/90000001")
    report = server.report()
    assert report["requests"] == 5
    assert report["by_kind"] == {"film": 1, "rated": 1, "rated_by_date": 1, "redirect": 1, "tmdb_movie": 1}
    assert report["by_status"] == {"200": 2, "301": 1, "401": 1, "404": 1}
    assert report["by_member"] == {member.key: {"rated": 1, "rated_by_date": 1}}
    assert report["user_agents"]["almanac/1"] == 4
    assert report["max_in_10_seconds"] == {"site": 4, "tmdb": 1}
    assert 0 < report["smallest_gap_seconds"]["site"] < 10
    assert report["smallest_gap_seconds"]["tmdb"] is None
    server.reset_report()
    assert server.report()["requests"] == 0


def rows(archive: zipfile.ZipFile, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(archive.read(name).decode(), newline="")))


def test_an_export_holds_all_that_is_true_of_a_member(server: SandboxServer, member: Member) -> None:
    truth, lids = server.member(member.key), {film["uid"]: film["lid"] for film in server.films()}
    archive = zipfile.ZipFile(io.BytesIO(server.export(member.key)))

    def links(uids: list[str]) -> set[str]:
        return {f"https://boxd.it/{lids[uid]}" for uid in uids}

    ratings = rows(archive, "ratings.csv")
    assert {row["Letterboxd URI"]: float(row["Rating"]) for row in ratings} == {
        f"https://boxd.it/{lids[uid]}": rating for uid, rating in truth["ratings"].items()
    }
    for name, key in (
        ("watched.csv", "watched"),
        ("watchlist.csv", "watchlist"),
        ("likes/films.csv", "likes"),
    ):
        assert {row["Letterboxd URI"] for row in rows(archive, name)} == links(truth[key]), name
    diary = rows(archive, "diary.csv")
    assert len(diary) == len(truth["diary"])
    assert not {row["Letterboxd URI"] for row in diary} & {
        row["Letterboxd URI"] for row in rows(archive, "watched.csv")
    }
    assert len(rows(archive, "reviews.csv")) == sum(entry["review"] for entry in truth["diary"])
    (profile,) = rows(archive, "profile.csv")
    assert (profile["Username"], profile["Favorite Films"].split(", ")) == (
        member.username,
        [f"https://boxd.it/{lids[uid]}" for uid in truth["favorites"]],
    )
    assert [f"lists/{each.slug}.csv" in archive.namelist() for each in member.lists] == [True] * len(
        member.lists
    )


def test_an_export_is_the_same_every_time_and_may_end_its_lines_with_crlf(
    server: SandboxServer, member: Member
) -> None:
    assert server.export(member.key) == server.export(member.key)
    plain = zipfile.ZipFile(io.BytesIO(server.export(member.key))).read("profile.csv")
    crlf = zipfile.ZipFile(io.BytesIO(server.export(member.key, crlf=True))).read("profile.csv")
    assert b"\r" not in plain
    assert crlf == plain.replace(b"\n", b"\r\n")
    with pytest.raises(ValueError, match="no such member"):
        server.export("nobody")


@pytest.mark.shared
def test_an_export_has_the_files_and_headers_of_a_real_one(
    server: SandboxServer, member: Member, shared_dir: Path
) -> None:
    real = zipfile.ZipFile(shared_dir / "fixtures/export/sample-member-export.zip")
    ours = zipfile.ZipFile(io.BytesIO(server.export(member.key, crlf=True)))

    def first_line(archive: zipfile.ZipFile, name: str) -> bytes:
        return archive.read(name).splitlines()[0]

    names = [name for name in real.namelist() if "lists/" not in name]
    assert {name: first_line(ours, name) for name in names} == {
        name: first_line(real, name) for name in names
    }
    real_list = next(name for name in real.namelist() if name.startswith("lists/"))
    our_list = next(name for name in ours.namelist() if name.startswith("lists/"))
    for line in (0, 1, 3, 4):
        assert ours.read(our_list).splitlines()[line] == real.read(real_list).splitlines()[line]


def test_a_path_without_its_last_slash_redirects(server: SandboxServer, member: Member) -> None:
    answer = get(server, f"/{member.key}/films")
    assert (answer.status_code, answer.headers["location"]) == (301, f"/{member.key}/films/")


def test_answers_say_what_and_whom_they_are_about(
    server: SandboxServer, member: Member, unseen: Film
) -> None:
    film = get(server, f"/film/{unseen.slug}/").headers
    assert (film["x-letterboxd-type"], film["x-letterboxd-identifier"]) == ("Film", unseen.lid)
    assert film["cache-control"] == "s-maxage=300"
    grid = get(server, f"/{member.key}/films/").headers
    assert (grid["x-letterboxd-type"], grid["cache-control"]) == ("Member", "no-store")
    assert (
        requests.head(f"{server.url}/film/{unseen.slug}/", timeout=10).headers["x-letterboxd-identifier"]
        == unseen.lid
    )
