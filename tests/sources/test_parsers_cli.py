"""`almanac parse` as a person or a script meets it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from almanac_pipeline.cli.parse import MAX_BYTES, parse
from tests.sources.parser_pages import films_page, page, pagination, three_films

app = typer.Typer()
app.command()(parse)
runner = CliRunner()


def run(path: Path | str, **options: Any) -> Any:
    return runner.invoke(app, [str(path)], **options)


def test_a_grid_is_printed_with_exactly_the_promised_fields(tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_bytes(films_page(three_films(), page_links=pagination("/ada_l/films/", 1, 4)))
    result = run(file)
    assert (result.exit_code, result.stderr) == (0, "")
    printed = json.loads(result.stdout)
    assert {key: printed[key] for key in ("page", "owner", "next_page", "last_page", "total")} == {
        "page": "films",
        "owner": "Ada_L",
        "next_page": 2,
        "last_page": 4,
        "total": 3,
    }
    assert printed["items"][0] == {
        "slug": "glass-harbour",
        "title": "Glass Harbour",
        "release_year": 1999,
        "uid": "film:11",
        "lid": "aB1",
        "rating": 4.5,
        "liked": True,
    }


def test_a_dash_reads_standard_input() -> None:
    result = run("-", input=films_page(three_films()))
    assert (result.exit_code, len(json.loads(result.stdout)["items"])) == (0, 3)


def test_letters_of_every_script_are_printed_as_they_are(tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_bytes(films_page(three_films().replace("Glass Harbour", "Līga 港 🎞")))
    assert "Līga 港 🎞" in run(file).stdout


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"\x00" * 64, "NUL"),
        (b"PK\x03\x04\x00\x00", "ZIP"),
        (b"\x89PNG\xff\xfe", "neither"),
        (b"just words", "neither"),
        (b"<html>" + b" " * MAX_BYTES, "bytes"),
        (b'{"id": 603}', "not a film's"),
        (b"<html><title>Just a moment...</title></html>", "challenge"),
        (page("", path="/films/popular/"), "kind"),
        (films_page(three_films())[:600], "truncated"),
        (b"<rss><channel><link>https://letterboxd.com/a/</link>", "truncated"),
    ],
)
def test_what_cannot_be_parsed_ends_with_one_line_that_says_why(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    file = tmp_path / "page.html"
    file.write_bytes(content)
    result = run(file)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert reason in result.stderr
    assert "page.html" in result.stderr


def test_a_missing_file_and_a_folder_end_with_one_line(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing.html", tmp_path):
        result = run(path)
        assert result.exit_code == 1
        assert len(result.stderr.splitlines()) == 1


def test_a_file_name_with_a_line_break_still_gives_one_line(tmp_path: Path) -> None:
    file = tmp_path / "two\nlines.html"
    file.write_bytes(b"words")
    assert len(run(file).stderr.splitlines()) == 1
