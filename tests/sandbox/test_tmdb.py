"""TMDB's answers: one request per title, credentials, caching, errors, searches and changes."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from almanac_pipeline.sandbox.changes import apply_changes
from almanac_pipeline.sandbox.generate import generate
from almanac_pipeline.sandbox.options import SandboxOptions
from almanac_pipeline.sandbox.tmdb import Answer, Tmdb
from almanac_pipeline.sandbox.world import Film, World, moment
from almanac_pipeline.tmdb.titles import parse_title
from tests.sandbox.conftest import SMALL

BEARER = {"authorization": "Bearer anything"}


@pytest.fixture(scope="module")
def tmdb(world: World) -> Tmdb:
    return Tmdb(world, SandboxOptions())


def ask(
    tmdb: Tmdb, path: str, headers: dict[str, str] | None = None, recent: int = 1, **query: str
) -> Answer:
    return tmdb.answer(path, query, BEARER | (headers or {}), recent)


def read(answer: Answer) -> Any:
    assert answer.status == 200, answer.body
    return json.loads(answer.body)


def pick(world: World, media_type: str) -> Film:
    return next(
        film
        for film in world.films.values()
        if film.media_type == media_type and film.tmdb_id and film.imdb_id and film.runtime_minutes
    )


def test_one_request_brings_details_credits_and_external_ids(tmdb: Tmdb, world: World) -> None:
    film = pick(world, "movie")
    movie = read(ask(tmdb, f"movie/{film.tmdb_id}", append_to_response="credits,external_ids"))
    assert (movie["id"], movie["title"], movie["runtime"]) == (film.tmdb_id, film.title, film.runtime_minutes)
    assert movie["release_date"][:4] == str(film.year)
    directors = [row["name"] for row in movie["credits"]["crew"] if row["job"] == "Director"]
    assert directors == [person.name for person in film.directors]
    assert len(movie["credits"]["cast"]) == len(film.cast)
    assert movie["external_ids"]["imdb_id"] == movie["imdb_id"] == film.imdb_id


def test_every_title_reads_back_as_the_world_has_it(tmdb: Tmdb, world: World) -> None:
    for film in world.films.values():
        if film.tmdb_id is None:
            continue
        answer = ask(tmdb, f"{film.media_type}/{film.tmdb_id}", append_to_response="credits,external_ids")
        title = parse_title(answer.body.decode(), film.media_type)
        assert (title.tmdb_id, title.title, title.release_year) == (film.tmdb_id, film.title, film.year)
        assert title.imdb_id == film.imdb_id
        assert [credit.name for credit in title.cast] == [person.name for person in film.cast]
        if film.media_type == "movie":
            assert title.runtime_minutes == film.runtime_minutes
            assert [credit.name for credit in title.directors] == [person.name for person in film.directors]


def test_a_series_answers_under_tv_and_not_under_movie(tmdb: Tmdb, world: World) -> None:
    film = pick(world, "tv")
    series = read(ask(tmdb, f"tv/{film.tmdb_id}", append_to_response="external_ids"))
    assert (series["name"], series["external_ids"]["imdb_id"]) == (film.title, film.imdb_id)
    assert ask(tmdb, f"movie/{film.tmdb_id}").status == 404


def test_parts_answer_on_their_own_with_the_titles_id(tmdb: Tmdb, world: World) -> None:
    film = pick(world, "movie")
    assert read(ask(tmdb, f"movie/{film.tmdb_id}/credits"))["id"] == film.tmdb_id
    assert read(ask(tmdb, f"movie/{film.tmdb_id}/external_ids"))["imdb_id"] == film.imdb_id
    assert ask(tmdb, f"movie/{film.tmdb_id}/images").status == 404


@pytest.mark.parametrize("path", ["movie/999999999", "tv/1", "movie/x", "nothing/1/2/3", ""])
def test_what_tmdb_does_not_have_is_404_with_code_34_and_no_etag(tmdb: Tmdb, path: str) -> None:
    answer = ask(tmdb, path)
    assert (answer.status, json.loads(answer.body)["status_code"]) == (404, 34)
    assert answer.headers == ()


@pytest.mark.parametrize(
    ("authorization", "code"), [("", 7), ("Basic abc", 7), ("Bearer ", 7), ("Bearer wrong", 3)]
)
def test_without_the_right_token_the_answer_is_401(world: World, authorization: str, code: int) -> None:
    film = pick(world, "movie")
    strict = Tmdb(world, SandboxOptions(tmdb_token="right"))
    answer = strict.answer(f"movie/{film.tmdb_id}", {}, {"authorization": authorization}, 1)
    assert (answer.status, json.loads(answer.body)) == (
        401,
        {"success": False, "status_code": code, "status_message": json.loads(answer.body)["status_message"]},
    )
    assert strict.answer(f"movie/{film.tmdb_id}", {}, {"authorization": "Bearer right"}, 1).status == 200


def test_a_known_etag_answers_304_without_a_body(tmdb: Tmdb, world: World) -> None:
    film = pick(world, "movie")
    first = dict(ask(tmdb, f"movie/{film.tmdb_id}").headers)
    assert first["cache-control"].startswith("public, max-age=")
    again = ask(tmdb, f"movie/{film.tmdb_id}", {"if-none-match": f'"other", {first["etag"]}'})
    assert (again.status, again.body, dict(again.headers)["etag"]) == (304, b"", first["etag"])
    assert ask(tmdb, f"movie/{film.tmdb_id}", {"if-none-match": 'W/"other"'}).status == 200


def test_above_the_limit_the_answer_is_429_with_retry_after(world: World) -> None:
    tmdb = Tmdb(world, SandboxOptions(tmdb_requests_per_10_seconds=40))
    film = pick(world, "movie")
    assert ask(tmdb, f"movie/{film.tmdb_id}", recent=40).status == 200
    answer = ask(tmdb, f"movie/{film.tmdb_id}", recent=41)
    assert (answer.status, json.loads(answer.body)["status_code"]) == (429, 25)
    assert dict(answer.headers)["retry-after"] == "10"


def test_a_search_puts_the_exact_title_first_and_may_ask_for_a_year(tmdb: Tmdb, world: World) -> None:
    film = pick(world, "movie")
    found = read(ask(tmdb, "search/movie", query=film.title))
    assert found["results"][0]["id"] == film.tmdb_id
    assert found["total_results"] >= len(found["results"]) > 0
    assert read(ask(tmdb, "search/movie", query=film.title, year="1801"))["results"] == []
    assert read(ask(tmdb, "search/movie", query=""))["total_results"] == 0
    series = pick(world, "tv")
    assert read(ask(tmdb, "search/tv", query=series.title.upper()))["results"][0]["name"] == series.title


def test_a_search_looks_into_every_name_of_a_title_in_any_script() -> None:
    world = generate(SMALL)
    film = pick(world, "movie")
    film.title, film.original_title, film.other_titles = "The Mirror's Edge", "Зеркало", ("Zérkalo",)
    tmdb = Tmdb(world, SandboxOptions())
    for query in ("mirrors edge", "Edge mirrors", "зеркало", "ZERKALO"):
        found = read(ask(tmdb, "search/movie", query=query))
        assert [result["id"] for result in found["results"]] == [film.tmdb_id], query
    assert read(ask(tmdb, "search/movie", query="mirror zerkalo"))["results"] == []
    names = read(ask(tmdb, f"movie/{film.tmdb_id}/alternative_titles"))
    assert [name["title"] for name in names["titles"]] == ["Zérkalo"]
    series = pick(world, "tv")
    assert read(ask(tmdb, f"tv/{series.tmdb_id}/alternative_titles"))["results"] == []


def test_a_search_comes_in_pages_of_twenty(tmdb: Tmdb) -> None:
    first = read(ask(tmdb, "search/movie", query="the"))
    second = read(ask(tmdb, "search/movie", query="the", page="2"))
    assert len(first["results"]) == 20
    assert first["total_pages"] == -(-first["total_results"] // 20) > 1
    ids = [result["id"] for result in first["results"] + second["results"]]
    assert len(set(ids)) == len(ids)
    assert json.loads(ask(tmdb, "search/movie", query="the", page="501").body)["status_code"] == 22


def test_an_imdb_id_finds_its_title(tmdb: Tmdb, world: World) -> None:
    for media_type in ("movie", "tv"):
        film = pick(world, media_type)
        found = read(ask(tmdb, f"find/{film.imdb_id}", external_source="imdb_id"))
        assert [result["id"] for result in found.pop(f"{media_type}_results")] == [film.tmdb_id]
        assert all(results == [] for results in found.values())
    assert read(ask(tmdb, "find/tt0000000"))["movie_results"] == []


def test_an_edit_appears_among_the_changes_of_its_day_and_moves_the_etag() -> None:
    world = generate(SMALL)
    tmdb = Tmdb(world, SandboxOptions())
    film = pick(world, "movie")
    path = f"movie/{film.tmdb_id}"
    before = dict(ask(tmdb, path).headers)["etag"]
    apply_changes(
        world, {"edit_film": [{"film": film.slug, "runtime_minutes": 61, "title": "Renamed Quite"}]}
    )
    assert read(ask(tmdb, path))["runtime"] == 61
    assert dict(ask(tmdb, path).headers)["etag"] != before
    assert read(ask(tmdb, "search/movie", query="renamed quite"))["total_results"] == 1
    assert film.tmdb_id in [row["id"] for row in read(ask(tmdb, "movie/changes"))["results"]]
    early = moment(world.now).date() - timedelta(days=300)
    window = {"start_date": early.isoformat(), "end_date": (early + timedelta(days=14)).isoformat()}
    assert read(ask(tmdb, "movie/changes", **window))["total_results"] > 0


@pytest.mark.parametrize(
    "window", [("2026-01-01", "2026-01-16"), ("2026-01-02", "2026-01-01"), ("soon", "later")]
)
def test_a_window_of_changes_longer_than_fourteen_days_is_refused(
    tmdb: Tmdb, window: tuple[str, str]
) -> None:
    answer = ask(tmdb, "movie/changes", start_date=window[0], end_date=window[1])
    assert (answer.status, json.loads(answer.body)["status_code"]) == (422, 20)


def test_an_undated_title_has_an_empty_release_date(tmdb: Tmdb, world: World) -> None:
    film = next(f for f in world.films.values() if f.year is None and f.tmdb_id and f.media_type == "movie")
    assert read(ask(tmdb, f"movie/{film.tmdb_id}"))["release_date"] == ""
