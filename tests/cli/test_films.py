"""`almanac films match`: what waits, why, and an end to it."""

from __future__ import annotations

import psycopg
import pytest

from almanac_pipeline.tmdb.matching import Candidate
from almanac_pipeline.tmdb.titles import TitleSummary
from almanac_pipeline.warehouse.enrichment import FetchedFilm, store_films
from almanac_pipeline.warehouse.films import FilmKey, resolve_films
from tests.cli.conftest import Almanac


@pytest.fixture
def waiting(empty: str) -> int:
    """A film of two candidates; beside it one that nothing is like, and one that is fetched."""
    found = (
        Candidate(TitleSummary("movie", 4105, "Black [Rain]", None, 1989, 1200), 1.0, ("same title",)),
        Candidate(
            TitleSummary("movie", 25538, "Black Rain", "黒い雨", None, 120), 0.85, ("undated at TMDB",)
        ),
        Candidate(TitleSummary("tv", 7, "Black Rain", None, 1989, 0), 0.6, ("a series",)),
    )
    with psycopg.connect(empty) as connection:
        with connection.transaction():
            films = resolve_films(
                connection,
                [
                    FilmKey("black-rain", "film:1", "L1", "Black [Rain]", 1989),
                    FilmKey(lid="L2", title="Home Video"),
                    FilmKey("cure", title="Cure", release_year=1997),
                ],
            )
        store_films(
            connection, [FetchedFilm(films[0], candidates=found), FetchedFilm(films[1], candidates=())]
        )
    return films[0]


def test_what_waits_is_listed_with_the_best_candidates(almanac: Almanac, waiting: int) -> None:
    out = almanac("films", "match", "list").out
    assert f"{waiting}  Black [Rain] (1989)" in out
    assert "Black [Rain] (1989) movie:4105 1.00" in out
    assert "Black Rain (undated) movie:25538 0.85" in out
    assert "and 1 more" in out
    assert "nothing like it" in out
    assert "Cure" not in out
    assert "and 1 more: --limit 2" in almanac("films", "match", "list", "-n", "1").out


def test_a_film_whose_title_is_gone_says_so_and_when_it_is_asked_again(
    almanac: Almanac, waiting: int, empty: str
) -> None:
    with psycopg.connect(empty) as connection:
        connection.execute("update raw.films set tmdb_media_type = 'movie', tmdb_id = 9 where lid = 'L2'")
        connection.execute(
            "insert into raw.tmdb_payloads (media_type, tmdb_id, status, expires_at)"
            " values ('movie', 9, 404, now() + interval '1 day')"
        )
    assert "movie:9 is gone" in almanac("films", "match", "list").out
    shown = almanac("films", "match", "show", "L2").out
    assert "TMDB has no title of this number; asked again after " in shown


def test_a_film_is_shown_with_every_candidate_and_why(almanac: Almanac, waiting: int) -> None:
    out = almanac("films", "match", "show", "black-rain").out
    assert f"Black [Rain] (1989)  number {waiting}, black-rain, film:1, lid:L1" in out
    assert "more than one title may be meant, or an uncertain one; asked again after " in out
    assert "Black Rain / 黒い雨 (undated)" in out
    assert "a series" in out
    assert "tv:7" in out
    assert "not looked for yet" in almanac("films", "match", "show", "cure").out
    assert "nothing like it was found" in almanac("films", "match", "show", "L2").out


def test_a_choice_ends_the_waiting_and_is_shown(almanac: Almanac, waiting: int) -> None:
    chosen = almanac("films", "match", "set", "film:1", "https://www.themoviedb.org/movie/4105-black-rain")
    assert chosen.out.startswith("Black [Rain] (1989) is movie:4105 from now on")
    assert almanac("films", "match", "skip", "L2").out.startswith("Home Video is no TMDB title")
    assert almanac("films", "match", "list").lines == ["No film waits for a choice."]
    assert "movie:4105, chosen by a person" in almanac("films", "match", "show", str(waiting)).out
    assert "no TMDB title, chosen by a person" in almanac("films", "match", "show", "L2").out
    assert "is tv:9 from now on" in almanac("films", "match", "set", "L2", "tv:9").out


def test_a_wrong_name_is_one_clear_line(almanac: Almanac, waiting: int) -> None:
    for command in (("show",), ("skip",)):
        assert almanac("films", "match", *command, "nothing").error.startswith("No film is called 'nothing'.")
    assert almanac("films", "match", "set", "nothing", "movie:1").error.startswith("No film is called")
    error = almanac("films", "match", "set", "black-rain", "4105").error
    assert error.startswith("'4105' names no TMDB title. Give movie:123")
    assert "Black" in almanac("films", "match", "list").out
