"""Directors of films that TMDB does not know get their TMDB id from their own page at the stand-in."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from almanac_pipeline.flows.people import identify_directors
from almanac_pipeline.sandbox.options import GeneratedWorld
from almanac_pipeline.sandbox.server import SandboxServer, build_world
from almanac_pipeline.warehouse.cohorts import create_cohort
from bench.stand_in import enrich, outside, settings_for, sync
from tests.flows.conftest import Query

NOBODY = """
    select letterboxd_slug from raw.people join raw.film_people using (person_id)
    where role = 'director' and tmdb_person_id is null
"""


@pytest.fixture(scope="module")
def site() -> Iterator[SandboxServer]:
    with SandboxServer(build_world(GeneratedWorld(seed=3, members=4, films=150, ratings=70))) as server:
        yield server


def test_after_enrichment_every_director_has_an_id_and_only_few_pages_were_read(
    site: SandboxServer, database_url: str, query: Query
) -> None:
    with psycopg.connect(database_url) as connection:
        seed = site.summary()["seed_member"]
        create_cohort(connection, "circle", "Circle", {"kind": "following", "seed": seed})
    settings = settings_for(site.url)
    sync(database_url, settings, "circle")
    for key in list(site.world.films_by_tmdb)[:12]:  # TMDB has dropped them
        del site.world.films_by_tmdb[key]
    enrich(database_url, settings, "circle")
    assert query(NOBODY) == []
    [run] = query("select * from ops.enrichment_runs where subject = 'people'")
    assert 1 <= run["requests_count"] == site.report()["by_kind"]["director"] < 30
    with outside(database_url, settings) as (source, _):
        assert identify_directors(database_url, settings, source, "circle") == 0
