"""Film pages that cannot be read hold back neither the ratings nor the rankings made of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from almanac_pipeline.sandbox.options import GeneratedWorld
from almanac_pipeline.sandbox.server import SandboxServer, build_world
from tests.end_to_end.conftest import Once
from tests.end_to_end.home import Outcome, Tables, new_home, site_settings

WORLD = GeneratedWorld(seed=8, members=6, films=90, ratings=50)


@pytest.fixture(scope="module")
def build(once: Once, ready_database: Callable[[], str]) -> tuple[Outcome, Tables]:
    """A first build at a site that has lost all its film pages."""

    def make_build() -> tuple[Outcome, Tables]:
        database_url = ready_database()
        with SandboxServer(build_world(WORLD)) as site, new_home(database_url, **site_settings(site)) as home:
            site.fault("status", status=404, kind="film", times=None)
            outcome = home.run("cohort", "build", "circle", "--seed", "almanac")
            return outcome, home.tables("almanac", "ops")

    made: tuple[Outcome, Tables] = once(make_build)
    return made


def test_the_rankings_are_published_all_the_same(build: tuple[Outcome, Tables]) -> None:
    _, tables = build
    assert len(tables["ops.publications"]) == 1
    assert any(row["rank"] == 1 for row in tables["almanac.film_rankings"])
    rated = [row for row in tables["almanac.cohort_film_stats"] if row["raters"]]
    assert {row["global_source"] for row in rated} == {"members"}


def test_the_command_fails_and_says_what_could_not_be_read(build: tuple[Outcome, Tables]) -> None:
    outcome, _ = build
    assert outcome.code == 1
    notice, error = outcome.error_lines
    assert notice == "The films could not be read; the rankings are built without them."
    assert error.startswith("Error: cohort_almanac of circle failed at raw__film_metadata: None of the ")
