"""Marts as files: what is in them, and what does not leave the database."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pyarrow import parquet

from almanac_pipeline.warehouse import mart_files
from almanac_pipeline.warehouse.marts import ATTRIBUTION
from tests.cli.conftest import Almanac

LEFT_OUT = "rest on fewer than three members and were left out; --private writes them, for your own eyes."
TITLES = {"Night and Day", "The [Long] Way Home, Part Two: A Title Without End", "Dusk"}
# Rated by two of the three.
OF_TWO = "Noon"


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_a_mart_goes_to_standard_output_and_nothing_else_does(almanac: Almanac, published: str) -> None:
    outcome = almanac("export", "csv", "--strategy", "almanac")
    assert (outcome.code, outcome.err) == (0, f"1 rows {LEFT_OUT}\n")
    rows = rows_of(outcome.out)
    assert [row["rank"] for row in rows] == ["1", "2", "4"]
    assert {row["cohort"] for row in rows} == {"friends"}
    assert rows[0].keys() >= {"strategy", "rank", "rank_low", "rank_high", "title"}
    assert [row["attribution"] for row in rows] == [ATTRIBUTION, "", ""]


def test_what_two_members_think_is_written_for_ones_own_eyes_only(almanac: Almanac, published: str) -> None:
    shared = rows_of(almanac("export", "csv", "--mart", "cohort_film_stats").out)
    private = almanac("export", "csv", "--mart", "cohort_film_stats", "--private")
    assert private.err == ""
    assert {row["title"] for row in shared} == TITLES
    assert {row["title"] for row in rows_of(private.out)} == {*TITLES, OF_TWO}


@pytest.mark.parametrize("mart", sorted(mart_files.PER_MEMBER))
def test_a_mart_per_member_leaves_the_database_only_as_private(
    mart: str, almanac: Almanac, published: str, tmp_path: Path
) -> None:
    target = tmp_path / "mart.csv"
    message = almanac("export", "csv", "--mart", mart, "-o", str(target)).error
    assert (
        message == f"{mart} says what single members think. With --private it is written, for your own eyes."
    )
    assert not target.exists()
    assert almanac("export", "csv", "--mart", mart, "--private").out.startswith("cohort,")


def test_every_mart_that_points_at_members_is_known_as_private(published: str) -> None:
    with psycopg.connect(published) as connection:
        rows = connection.execute(
            "select distinct table_name from information_schema.columns where table_schema = 'almanac'"
            " and (column_name like '%user%' or column_name ~ '(wisher|watcher|member)_ids?$')"
        ).fetchall()
    assert {name for (name,) in rows} == mart_files.PER_MEMBER


def test_a_mart_goes_to_a_file_as_it_goes_to_standard_output(
    almanac: Almanac, published: str, tmp_path: Path
) -> None:
    target = tmp_path / "mart.csv"
    target.write_text("of yesterday")
    outcome = almanac("export", "csv", "--mart", "film_directory", "-o", str(target))
    assert outcome.out == f"{target}: 3 rows of film_directory\n"
    assert target.read_text() == almanac("export", "csv", "--mart", "film_directory").out
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["mart.csv"]


@pytest.mark.parametrize("mart", ["film_ranking", "films; drop schema almanac cascade", "raw.users", ""])
def test_what_is_no_mart_is_refused_and_leaves_no_file(
    mart: str, almanac: Almanac, published: str, tmp_path: Path
) -> None:
    target = tmp_path / "mart.csv"
    message = almanac("export", "csv", "--mart", mart, "-o", str(target)).error
    assert message.startswith(f"There is no mart {mart!r}. Known: by_director, cohort_film_stats, ")
    assert list(tmp_path.glob("mart.csv*")) == []


def test_a_file_that_cannot_be_written_is_named(almanac: Almanac, published: str, tmp_path: Path) -> None:
    target = tmp_path / "missing" / "mart"
    for command in (("csv", "-o", str(target)), ("parquet", str(target))):
        message = almanac("export", *command).error
        assert message == f"{target} cannot be written: No such file or directory."


# -- for Letterboxd --------------------------------------------------------------------------------


def test_a_ranking_is_a_list_that_letterboxd_imports(almanac: Almanac, published: str) -> None:
    with psycopg.connect(published) as connection:
        connection.execute(
            "update almanac.film_directory set lid = 'abc', tmdb_media_type = 'movie', tmdb_id = 7,"
            " imdb_id = 'tt7' where title = 'Night and Day'"
        )
        # Letterboxd's importer takes tmdbID for a film's.
        connection.execute(
            "update almanac.film_directory set tmdb_media_type = 'tv', tmdb_id = 8 where title like 'The %'"
        )
    first, second = rows_of(almanac("export", "csv", "--letterboxd", "--limit", "2").out)
    assert first == {
        "LetterboxdURI": "https://boxd.it/abc",
        "tmdbID": "7",
        "imdbID": "tt7",
        "Title": "Night and Day",
        "Year": "1991",
        "Attribution": ATTRIBUTION,
    }
    assert (second["LetterboxdURI"], second["tmdbID"], second["Attribution"]) == (
        "https://letterboxd.com/film/film-2/",
        "",
        "",
    )


def test_a_slice_is_a_list_in_its_own_order(almanac: Almanac, published: str) -> None:
    with psycopg.connect(published) as connection:
        connection.execute("update almanac.ranking_insights set bucket = 'cult favorite'")
        expected = connection.execute(
            "select title from almanac.cult_favorites where title <> %s order by place", [OF_TWO]
        ).fetchall()
    rows = rows_of(almanac("export", "csv", "--letterboxd", "--mart", "cult_favorites").out)
    assert [(row["Title"],) for row in rows] == expected
    assert len(expected) == 3


def test_what_is_no_list_of_films_is_no_list_for_letterboxd(almanac: Almanac, published: str) -> None:
    message = almanac("export", "csv", "--letterboxd", "--mart", "cohort_film_stats").error
    assert message == (
        "cohort_film_stats is no list of films: take film_rankings or a slice, such as hidden_gems."
    )


# -- Parquet ---------------------------------------------------------------------------------------


def test_parquet_holds_the_values_of_the_mart_in_their_types(
    almanac: Almanac, published: str, tmp_path: Path
) -> None:
    for mart in ("film_rankings", "cohort_film_stats", "film_directory", "watchlist_overlap"):
        target = tmp_path / f"{mart}.parquet"
        outcome = almanac("export", "parquet", str(target), "--mart", mart, "--private")
        assert outcome.code == 0
        table = parquet.read_table(target)
        assert table.schema.metadata[b"attribution"].decode() == ATTRIBUTION
        assert outcome.out == f"{target}: {table.num_rows} rows of {mart}\n"
    stats = parquet.read_table(tmp_path / "cohort_film_stats.parquet").to_pylist()
    with psycopg.connect(published) as connection:
        values = connection.execute(
            "select film_id, average_rating, rating_sum, last_rated_at, global_source"
            " from almanac.cohort_film_stats order by film_id"
        ).fetchall()
    found: list[tuple[Any, ...]] = [
        tuple(
            row[name]
            for name in ("film_id", "average_rating", "rating_sum", "last_rated_at", "global_source")
        )
        for row in sorted(stats, key=lambda row: row["film_id"])
    ]
    assert found == values
    directory = parquet.read_table(tmp_path / "film_directory.parquet")
    assert str(directory.schema.field("genres").type) == "list<element: string>"
