"""TMDB's answers as records: every saved one, and the traps one at a time."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from almanac_pipeline.errors import LayoutChangedError, NotFoundError
from almanac_pipeline.sources.records import MediaType
from almanac_pipeline.tmdb.matching import Wanted, decided, rank
from almanac_pipeline.tmdb.titles import (
    TitleSummaries,
    TitleSummary,
    TmdbCountry,
    TmdbTitle,
    parse_find,
    parse_further_titles,
    parse_search,
    parse_title,
)


def movie(**given: Any) -> TmdbTitle:
    return parse_title(json.dumps({"id": 1, "title": "A Film"} | given), "movie")


def series(**given: Any) -> TmdbTitle:
    return parse_title(json.dumps({"id": 2, "name": "A Series"} | given), "tv")


def person(number: int, **given: Any) -> dict[str, Any]:
    return {"id": number, "name": f"Person {number}", "profile_path": None} | given


def test_a_bare_answer_says_nothing_more_than_it_does() -> None:
    assert movie() == TmdbTitle(
        media_type="movie",
        tmdb_id=1,
        title="A Film",
        original_title=None,
        release_date=None,
        release_year=None,
        runtime_minutes=None,
        overview=None,
        poster_path=None,
        genres=(),
        countries=(),
        vote_average=None,
        vote_count=None,
        imdb_id=None,
        directors=(),
        writers=(),
        cast=(),
    )


@pytest.mark.parametrize("value", ["", None, "soon", "2024-00-00", 2024])
def test_a_date_that_is_none_is_unknown(value: object) -> None:
    assert movie(release_date=value).release_date is None
    assert series(first_air_date=value).release_year is None


@pytest.mark.parametrize("value", [0, None, -5, "90", True])
def test_a_runtime_that_is_none_is_unknown(value: object) -> None:
    assert movie(runtime=value).runtime_minutes is None


def test_an_average_without_votes_is_unknown() -> None:
    assert movie(vote_average=0.0, vote_count=0).vote_average is None
    assert movie(vote_average="7.5", vote_count=3).vote_average == 7.5


def test_numbers_that_no_table_can_hold_are_unknown() -> None:
    title = movie(
        vote_count=3 * 10**9, vote_average=7.5, runtime=99_999_999_999, release_date="0001-01-01",
        imdb_id="tt" + "1" * 3_000, credits={"cast": [person(10**30)], "crew": []},
    )  # fmt: skip
    assert title == movie()
    assert movie(vote_average=100, vote_count=3).vote_average is None
    assert movie(vote_average=10**400, vote_count=3).vote_average is None
    found = {"id": 5, "title": "Home", "vote_count": 10**10}
    assert parse_search(json.dumps({"results": [found]}), "movie").titles[0].vote_count is None


def test_one_person_with_three_jobs_is_one_credit_per_role() -> None:
    jobs = ["Director", "Screenplay", "Story", "Producer", "Novel"]
    crew = [person(7, job=job) for job in jobs] + [person(8, job="Writer")]
    title = movie(credits={"crew": crew, "cast": [person(7, order=0, character="Herself")]})
    assert [credit.person_id for credit in title.directors] == [7]
    assert [(credit.person_id, credit.order) for credit in title.writers] == [(7, 0), (8, 1)]
    assert [credit.character for credit in title.cast] == ["Herself"]


def test_authors_of_the_novel_did_not_write_the_film() -> None:
    assert movie(credits={"crew": [person(1, job="Novel"), person(2, job="Characters")]}).writers == ()


def test_the_cast_is_in_the_order_of_billing_and_two_parts_are_one_credit() -> None:
    cast = [
        person(1, order=2, character="Twin B"),
        person(2, order=0, character=""),
        person(1, order=1, character="Twin A", profile_path="/face.jpg"),
        person(3),
    ]
    title = movie(credits={"cast": cast})
    assert [(credit.person_id, credit.order, credit.character) for credit in title.cast] == [
        (2, 0, None),
        (1, 1, "Twin A / Twin B"),
        (3, 2, None),
    ]
    assert title.cast[1].profile_path == "/face.jpg"


def test_a_credit_without_a_name_or_id_is_left_out() -> None:
    cast = [{"id": 1}, {"name": "X"}, {"id": 2, "name": " "}, "noise", None]
    assert movie(credits={"cast": cast}).cast == ()


def test_a_series_takes_creators_first_and_all_seasons_before_the_last() -> None:
    title = series(
        created_by=[person(5)],
        episode_run_time=[0, 45],
        credits={"cast": [person(9)], "crew": []},
        aggregate_credits={
            "cast": [person(6, order=0, roles=[{"character": "Hero"}, {"character": "Ghost"}])],
            "crew": [person(7, jobs=[{"job": "Director"}, {"job": "Writer"}])],
        },
    )
    assert title.runtime_minutes == 45
    assert [credit.person_id for credit in title.writers] == [5, 7]
    assert [credit.person_id for credit in title.directors] == [7]
    assert [(credit.person_id, credit.character) for credit in title.cast] == [(6, "Hero / Ghost")]


def test_countries_and_genres_are_named_once() -> None:
    title = movie(
        genres=[{"name": "Drama"}, {"name": "Drama"}, {"id": 3}, {"name": "War"}],
        production_countries=[
            {"iso_3166_1": "FR", "name": "France"},
            {"iso_3166_1": "FR", "name": "France"},
            {"iso_3166_1": "XX"},
        ],
    )
    assert title.genres == ("Drama", "War")
    assert title.countries == (TmdbCountry("FR", "France"),)


@pytest.mark.parametrize("value", ["", None, "nm0000001", "tt", 5])
def test_an_imdb_id_that_is_none_is_looked_for_in_the_external_ids(value: object) -> None:
    assert movie(imdb_id=value).imdb_id is None
    assert movie(imdb_id=value, external_ids={"imdb_id": "tt0000001"}).imdb_id == "tt0000001"


def test_text_that_the_database_cannot_hold_is_cleaned() -> None:
    assert movie(title="A\u0000 Film\ud800", overview=" \u0000 ").title == "A Film"


@pytest.mark.parametrize(
    ("payload", "media_type", "reason"),
    [
        ("", "movie", "not JSON"),
        ("<html></html>", "movie", "not JSON"),
        ("[" * 100_000, "movie", "not JSON"),
        ("[]", "movie", "not a JSON object"),
        ('{"title": "x"}', "movie", "no id"),
        ('{"id": "1", "title": "x"}', "movie", "no id"),
        ('{"id": 1, "name": "x"}', "movie", "no title"),
        ('{"id": 1, "title": "x"}', "tv", "no name"),
        ('{"status_code": 25, "success": false}', "movie", "no id"),
    ],
)
def test_what_is_no_title_is_refused_by_name(payload: str, media_type: MediaType, reason: str) -> None:
    with pytest.raises(LayoutChangedError, match=reason):
        parse_title(payload, media_type)


def test_results_without_an_id_or_name_are_left_out_and_blank_dates_are_unknown() -> None:
    results = [
        {"id": 1, "title": "A Film", "release_date": "", "vote_count": "3"},
        {"id": 2, "title": "Another", "original_title": "Ein anderer", "release_date": "1999-04-01",
         "vote_count": 3},
        {"id": 3, "name": "A Series"},
        {"title": "No id"},
        None,
    ]  # fmt: skip
    found = parse_search(json.dumps({"results": results, "total_results": 40}), "movie")
    assert found == TitleSummaries(
        (TitleSummary("movie", 1, "A Film"), TitleSummary("movie", 2, "Another", "Ein anderer", 1999, 3)), 40
    )
    assert parse_search('{"results": []}', "movie") == TitleSummaries((), 0)


def test_an_imdb_id_leads_to_films_before_series_and_never_to_people_or_episodes() -> None:
    found = parse_find(
        json.dumps(
            {
                "tv_results": [{"id": 2, "name": "A Series", "first_air_date": "2001-01-01"}],
                "movie_results": [{"id": 1, "title": "A Film"}],
                "person_results": [{"id": 3, "name": "Person"}],
                "tv_episode_results": [{"id": 4, "name": "Episode"}],
            }
        )
    )
    assert found == (TitleSummary("movie", 1, "A Film"), TitleSummary("tv", 2, "A Series", None, 2001))


def test_further_titles_are_read_of_films_and_of_series() -> None:
    names = [{"title": "Zerkalo"}, {"title": "Zerkalo"}, {"title": ""}, {"iso_3166_1": "RU"}]
    assert parse_further_titles(json.dumps({"titles": names})) == ("Zerkalo",)
    assert parse_further_titles(json.dumps({"results": names})) == ("Zerkalo",)


@pytest.mark.parametrize("payload", ["", "[]", "<html></html>", "{}", '{"status_code": 25}'])
def test_what_is_no_list_of_titles_is_refused_by_name(payload: str) -> None:
    for parse in (lambda text: parse_search(text, "movie"), parse_find, parse_further_titles):
        with pytest.raises(LayoutChangedError, match="TMDB's answer"):
            parse(payload)
        with pytest.raises(NotFoundError):
            parse('{"status_code": 34}')


@pytest.mark.shared
def test_every_saved_search_and_look_up_loads(shared_dir: Path) -> None:
    folder = shared_dir / "fixtures/tmdb"
    found = {
        file.name: parse_search(saved(file), "tv" if "search_tv" in file.name else "movie")
        for file in sorted(folder.rglob("search_*.json"))
    }
    assert len(found) == 6
    assert all(answer.titles and answer.total_count >= len(answer.titles) for answer in found.values())
    [unannounced] = found["search_tv_unannounced_200.json"].titles
    assert (unannounced.release_year, unannounced.vote_count) == (None, 0)
    assert unannounced.original_title != unannounced.title
    [taken] = parse_find(saved(folder / "recorded-2017-flexget/find_tt0936501.json"))
    assert (taken.tmdb_id, taken.title, taken.release_year) == (8681, "Taken", 2008)


@pytest.mark.shared
def test_saved_searches_of_2017_are_decided_as_they_were_meant(shared_dir: Path) -> None:
    folder = shared_dir / "fixtures/tmdb/recorded-2017-flexget"
    matrix = parse_search(saved(folder / "search_movie_the-matrix.json"), "movie").titles
    assert len(matrix) == 20
    for wanted, expected in (
        (Wanted("Matrix, The", 1999), 603),
        (Wanted("the matrix", None), 603),
        (Wanted("The Matrix Reloaded", 2003), 604),
        (Wanted("The Matrix", 2021), None),
        (Wanted("The Matrix Resurrections", 2021), None),
    ):
        taken = decided(wanted, rank(wanted, matrix))
        assert (taken and taken.title.tmdb_id) == expected, wanted
    # Found under its Russian name, which the answer does not have.
    mirrors = parse_search(saved(next(folder.glob("search_movie_-D0*"))), "movie").titles
    wanted = Wanted("Зеркала", 2008)
    assert decided(wanted, rank(wanted, mirrors)) is None
    key = (mirrors[0].media_type, mirrors[0].tmdb_id)
    assert decided(wanted, rank(wanted, mirrors, {key: ("Зеркала",)})) is not None


SAVED: dict[str, tuple[MediaType, str, int]] = {
    "php-tmdb/movie_all.json": ("movie", "Riddick", 87421),
    "php-tmdb/tv_all.json": ("tv", "Breaking Bad", 1396),
    "real-2025-2026/movie_27205_200.json": ("movie", "Inception", 27205),
    "real-2025-2026/movie_84892_append_credits_TRIMMED.json": (
        "movie",
        "The Perks of Being a Wallflower",
        84892,
    ),
    "real-2025-2026/tv_321518_unannounced_200.json": ("tv", "世界最强魔女，始动", 321518),
    "recorded-2017-flexget/movie_13515_lang-en.json": ("movie", "Mirrors", 13515),
    "recorded-2017-flexget/movie_603.json": ("movie", "The Matrix", 603),
    "recorded-2017-flexget/movie_603_lang-en.json": ("movie", "The Matrix", 603),
    "recorded-2017-flexget/movie_604.json": ("movie", "The Matrix Reloaded", 604),
    "recorded-2017-flexget/movie_8681_lang-en.json": ("movie", "Taken", 8681),
    "tv/tv-series.json": ("tv", "Game of Thrones", 1399),
    "tv/tv-series-blank-homepage-first-air-date.json": ("tv", "Secret Invasion", 114472),
    "tv/tv-series-details-append-response.json": ("tv", "Game of Thrones", 1399),
}


def saved(file: Path) -> str:
    """The body in a saved answer, with or without the recording around it."""
    document = json.loads(file.read_text())
    return json.dumps(document["response"].get("json", {}) if "response" in document else document)


@pytest.mark.shared
def test_every_saved_title_loads_and_everything_else_is_refused_by_name(shared_dir: Path) -> None:
    folder = shared_dir / "fixtures/tmdb"
    loaded: dict[str, tuple[MediaType, str, int]] = {}
    for file in sorted(folder.rglob("*.json")):
        media_types: tuple[MediaType, ...] = ("movie", "tv")
        for media_type in media_types:
            try:
                title = parse_title(saved(file), media_type)
            except (LayoutChangedError, NotFoundError):
                continue
            loaded[str(file.relative_to(folder))] = (media_type, title.title, title.tmdb_id)
    assert loaded == SAVED


@pytest.mark.shared
def test_a_real_answer_with_credits_is_read_whole(shared_dir: Path) -> None:
    folder = shared_dir / "fixtures/tmdb/real-2025-2026"
    title = parse_title(saved(folder / "movie_84892_append_credits_TRIMMED.json"), "movie")
    assert title.release_date == date(2012, 9, 20)
    assert (title.runtime_minutes, title.imdb_id, title.vote_count) == (103, "tt1659337", 11045)
    assert [credit.name for credit in title.directors] == ["Stephen Chbosky"]
    assert [credit.name for credit in title.writers] == ["Stephen Chbosky"]
    assert (title.cast[0].name, title.cast[0].character) == ("Logan Lerman", "Charlie")
    with pytest.raises(NotFoundError):
        parse_title(saved(folder / "movie_999999999_404.json"), "movie")
