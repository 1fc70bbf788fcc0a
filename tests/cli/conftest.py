"""The `almanac` command in this process, and databases for it: empty, and with published cohorts."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from almanac_pipeline.cli import main
from almanac_pipeline.settings import Settings, get_settings
from almanac_pipeline.warehouse import publications
from tests.conftest import drop_database, new_database, with_database
from tests.dbt.world import Warehouse


@dataclass(frozen=True)
class Outcome:
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def error(self) -> str:
        """The one line of a command that failed, which says nothing else."""
        assert (self.code, self.out) == (1, ""), self
        assert self.err.startswith("Error: "), self
        assert self.err.count("\n") == 1, self
        return self.err.removeprefix("Error: ").rstrip("\n")


Almanac = Callable[..., Outcome]


@pytest.fixture
def almanac(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    clean_settings: None,
) -> Almanac:
    """Runs a command as the entry point does, with a home folder of this test's own."""
    monkeypatch.setenv("ALMANAC_HOME", str(tmp_path / "home"))

    def run(*arguments: str) -> Outcome:
        get_settings.cache_clear()
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["almanac", *arguments])
        code: object = 0
        try:
            main()
        except SystemExit as ended:
            code = ended.code or 0
        captured = capsys.readouterr()
        return Outcome(int(str(code)), captured.out, captured.err)

    return run


@pytest.fixture
def database_url(server_url: str, ready_template: str) -> Iterator[str]:
    """The URL of an empty database with all tables that only this test uses."""
    with new_database(server_url, ready_template) as url:
        yield url


@pytest.fixture
def empty(database_url: str, almanac: Almanac, monkeypatch: pytest.MonkeyPatch) -> str:
    """The same, without a cohort, which the command uses."""
    monkeypatch.setenv("ALMANAC_DATABASE_URL", database_url)
    return database_url


@pytest.fixture(scope="session")
def published_template(
    server_url: str, ready_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The name of a database with the cohort `friends` (ann, bob, cat; four films) published."""
    settings = Settings(_env_file=None, home=tmp_path_factory.mktemp("home"))  # type: ignore[call-arg]
    name = f"template_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"create database {name} template {ready_template}")
    url = with_database(server_url, name)
    with psycopg.connect(url, autocommit=True) as connection:
        warehouse = Warehouse(url, connection, settings)
        members = [warehouse.member(username) for username in ("ann", "bob", "cat")]
        titles = ["Night and Day", "The [Long] Way Home, Part Two: A Title Without End", "Dusk", "Noon"]
        films = [
            warehouse.film(number, title, release_year=1990 + number)
            for number, title in enumerate(titles, start=1)
        ]
        for user_id, stars in zip(members, [(5, 4, 1, 3), (4.5, 4, 2, 3), (5, 3.5, 1.5, None)], strict=True):
            for film_id, rating in zip(films, stars, strict=True):
                if rating is not None:
                    warehouse.rate(user_id, film_id, rating, liked=rating == 5)
        cohort_id = warehouse.cohort("friends", members)
        warehouse.execute("update raw.cohorts set label = 'My [best] friends'")
        warehouse.build("friends")
        publications.record_publication(connection, cohort_id)
    yield name
    drop_database(server_url, name)


@pytest.fixture
def published(
    server_url: str, published_template: str, almanac: Almanac, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """A database like `published_template`, which the command uses."""
    with new_database(server_url, published_template) as url:
        monkeypatch.setenv("ALMANAC_DATABASE_URL", url)
        yield url
