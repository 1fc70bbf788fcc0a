"""The `almanac` command in this process, and databases for it: empty, and with published cohorts."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from almanac_pipeline.cli import main
from almanac_pipeline.settings import Settings, get_settings
from almanac_pipeline.warehouse import publications
from tests.conftest import database_name, new_database
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

RATED_AT, DAY = datetime(2025, 1, 1, tzinfo=UTC), timedelta(days=1)


@pytest.fixture
def almanac(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    clean_settings: None,
) -> Almanac:
    """Runs a command as the entry point does, with a home folder of this test's own."""
    monkeypatch.setenv("ALMANAC_HOME", str(tmp_path / "home"))
    for name in ("DAGSTER_HOME", "DAGSTER_DISABLE_TELEMETRY"):
        monkeypatch.setenv(name, "what a command sets here is taken back")

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
    with (
        new_database(server_url, ready_template) as url,
        psycopg.connect(url, autocommit=True) as connection,
    ):
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
        connection.close()  # nobody may look at a database while it is copied
        yield database_name(url)


@pytest.fixture
def published(
    server_url: str, published_template: str, almanac: Almanac, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """A database like `published_template`, which the command uses."""
    with new_database(server_url, published_template) as url:
        monkeypatch.setenv("ALMANAC_DATABASE_URL", url)
        yield url


@pytest.fixture(scope="session")
def circles_template(
    server_url: str, published_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The name of a database with two more cohorts published.

    `readers` are m0 to m11, `critics` m6 to m15. Forty films, one a year from 1961: every fourth a horror
    film, directed by Agnès Varda and Orson Welles in turns. Members with an odd number like what the others
    do not, and m15 gives everything 3 stars.
    """
    settings = Settings(_env_file=None, home=tmp_path_factory.mktemp("home"))  # type: ignore[call-arg]
    with (
        new_database(server_url, published_template) as url,
        psycopg.connect(url, autocommit=True) as connection,
    ):
        warehouse = Warehouse(url, connection, settings)
        genres = {
            name: warehouse.scalar("insert into raw.genres (name) values (%s) returning genre_id", name)
            for name in ("Drama", "Horror")
        }
        country = warehouse.scalar("insert into raw.countries (name) values ('France') returning country_id")
        people = [
            warehouse.scalar("insert into raw.people (name) values (%s) returning person_id", name)
            for name in ("Agnès Varda", "Orson Welles")
        ]
        members = [warehouse.member(f"m{number}") for number in range(16)]
        for number in range(40):
            film_id = warehouse.film(
                100 + number, f"Reel {number}", release_year=1961 + number, lid=f"lid{number}",
                tmdb_media_type="movie", tmdb_id=1000 + number, imdb_id=f"tt{number}",
            )  # fmt: skip
            genre = genres["Horror" if number % 4 == 0 else "Drama"]
            warehouse.execute("insert into raw.film_genres values (%s, %s)", film_id, genre)
            if number % 2:
                warehouse.execute("insert into raw.film_countries values (%s, %s)", film_id, country)
            warehouse.execute(
                "insert into raw.film_people (film_id, person_id, role, credit_order)"
                " values (%s, %s, 'director', 0)",
                *(film_id, people[number % 2]),
            )
            warehouse.histogram(film_id, [1, 2, 3, 4, 5, 20, 30 + number, 20, 10, 5])
            for place, user_id in enumerate(members):
                if (number * 7 + place * 3) % 10 > 2:
                    stars = 1 + (number * 13 + place % 2 * 17) % 9 / 2
                    stars = 3 if place == 15 else stars
                    warehouse.rate(user_id, film_id, stars, liked=stars == 5, at=RATED_AT + number * DAY)
            warehouse.execute(
                "insert into raw.watchlist_entries (user_id, film_id, source) select u, %s, 'pages'"
                " from unnest(%s::bigint[]) as u",
                *(film_id, [user for place, user in enumerate(members) if (number + place) % 9 == 0]),
            )
        cohorts = [warehouse.cohort("readers", members[:12]), warehouse.cohort("critics", members[6:])]
        warehouse.build("readers", "critics")
        for cohort_id in cohorts:
            publications.record_publication(connection, cohort_id)
        connection.close()  # nobody may look at a database while it is copied
        yield database_name(url)


@pytest.fixture
def circles(
    server_url: str, circles_template: str, almanac: Almanac, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """A database like `circles_template`, which the command uses."""
    with new_database(server_url, circles_template) as url:
        monkeypatch.setenv("ALMANAC_DATABASE_URL", url)
        yield url
