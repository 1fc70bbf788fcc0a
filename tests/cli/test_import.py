"""`almanac import` and `almanac parse` with exports: what is printed, exit codes, what is built."""

from __future__ import annotations

import json
from pathlib import Path

import psycopg
import pytest

from almanac_pipeline.settings import get_settings
from tests import exports
from tests.cli.conftest import Almanac
from tests.dbt.world import Warehouse

ADA, BEA = exports.FILE_NAME, "bea.zip"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two exports and a broken one."""
    inbox = tmp_path / "exports"
    inbox.mkdir()
    (inbox / ADA).write_bytes(exports.pack(exports.whole_export()))
    (inbox / BEA).write_bytes(exports.pack(exports.whole_export() | {"profile.csv": exports.profile("Bea")}))
    bad = exports.whole_export() | {"ratings.csv": exports.ratings((1, 3), (2, "not-a-number"))}
    (inbox / "broken.zip").write_bytes(exports.pack(bad))
    return inbox


def test_a_folder_is_imported_and_the_broken_file_named(almanac: Almanac, empty: str, folder: Path) -> None:
    outcome = almanac("import", str(folder))
    assert outcome.code == 1
    assert outcome.err.splitlines() == [
        "Error: broken.zip: ratings.csv, row 3: the rating is no number from 0.5 to 5 in steps of a half. "
        "Correct it or download the export again."
    ]
    assert "ada as of 2026-05-01 12:00: 15 added, 0 changed, 0 removed" in outcome.out
    assert "2 imported, 0 known before, 1 refused" in outcome.out
    table = [
        line.split() for line in outcome.lines if line.startswith(("opinions", "diary", "watchlist", "lists"))
    ]
    assert table == [
        ["opinions", "16", "15", "0", "0", "0"], ["diary", "6", "6", "0", "0", "0"],
        ["watchlist", "6", "6", "0", "0", "0"], ["lists", "6", "2", "0", "0", "0"],
    ]  # fmt: skip


def test_importing_again_says_that_nothing_changed(almanac: Almanac, empty: str, folder: Path) -> None:
    almanac("import", str(folder / ADA))
    outcome = almanac("import", str(folder / ADA))
    assert outcome.code == 0
    assert "ada: this export was imported before; nothing changed" in outcome.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.zip"], "none.zip: The file cannot be read: No such file or directory."),
        ([ADA, "--member", "bea"], "--member"),
        ([ADA, "--cohort", "My friends"], "slug"),
        (["."], "There is no ZIP in ."),
    ],
)
def test_what_cannot_be_imported_is_one_line(
    almanac: Almanac,
    empty: str,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path if arguments == ["."] else folder)
    outcome = almanac("import", *arguments)
    assert outcome.code == 1
    assert len(outcome.err.splitlines()) == 1
    assert message in outcome.err


def test_with_a_cohort_its_statistics_are_built(
    almanac: Almanac, published: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[tuple[str, str]] = []
    monkeypatch.setattr("almanac_pipeline.cli.import_.run", lambda job, cohort: started.append((job, cohort)))
    outcome = almanac("import", str(folder / ADA), str(folder / BEA), "--cohort", "imported")
    assert outcome.code == 0, outcome.err
    assert started == [("statistics", "imported")]
    assert outcome.lines[-1] == "Next: `almanac rank show --cohort imported`"

    # What the job does with it: films that no page was read of are ranked all the same.
    with psycopg.connect(published, autocommit=True) as connection:
        warehouse = Warehouse(published, connection, get_settings())
        warehouse.build("imported")
        stats = warehouse.rows(
            "select count(*)::int as films, sum(raters)::int as ratings, sum(watchers)::int as watchers"
            " from almanac.cohort_film_stats where cohort = 'imported'"
        )
    # Films 1 to 6 rated by both, 7 liked and 8 logged by both; 30 is a favourite that nobody logged.
    assert stats == [{"films": 9, "ratings": 12, "watchers": 16}]


def test_an_export_is_printed_without_private_columns(almanac: Almanac, folder: Path) -> None:
    outcome = almanac("parse", str(folder / ADA))
    assert outcome.code == 0
    printed = json.loads(outcome.out)
    assert (printed["page"], printed["owner"], len(printed["ratings"])) == ("export", "ada", 6)
    assert printed["ratings"][0] == {
        "lid": "L1", "slug": None, "title": "Film 1", "release_year": 1951, "recorded_on": "2026-04-01",
        "rating": 0.5,
    }  # fmt: skip
    assert [viewing["film_match"] for viewing in printed["diary"]] == ["name_year"] * 3
    assert not any(private in outcome.out for private in ("Adelheid", "quelle", "secret", "Grauburg"))
