"""The main job: one command, from an empty folder to a ranked cohort."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from almanac_pipeline.sandbox.options import GeneratedWorld
from almanac_pipeline.sandbox.server import build_world
from almanac_pipeline.sandbox.truth import member_truth
from tests.end_to_end.conftest import Once
from tests.end_to_end.home import DagsterRun, Outcome, Tables, new_home

# What `almanac demo` shows unless told otherwise.
WORLD = GeneratedWorld()
# Read from exports, feeds or profiles of a later source, or only while something is under way or wrong.
EMPTY_FOR_NOW = {
    "almanac.watchlist_overlap",
    "ops.alert_messages",
    "ops.alerts",
    "ops.changed_cohorts",
    "ops.changed_films",
    "ops.changed_members",
    "ops.cohort_build_requests",
    "ops.film_match_candidates",
    "ops.forgotten_members",
    "ops.imports",
    "ops.quality_measurements",
    "ops.run_heartbeats",
    "ops.scrape_failures",
    "ops.staged_items",
    "ops.tmdb_change_cursors",
    "raw.diary_entries",
    "raw.list_entries",
    "raw.lists",
    "raw.user_aliases",
    "raw.watchlist_entries",
}
PLACES = re.compile(
    r"""
    ^\ *(?P<rank>\d+)\ +(?P<low>\d+)–(?P<high>\d+)
    \ +(?P<title>\S.*?)\ {2,}(?:(?P<year>\d{4})\ {2,})?
    (?P<stars>\d\.\d\d)\ +(?P<mean>\d\.\d\d)\ +(?P<raters>\d+)\ +(?P<label>\S.*?)\ *$
    """,
    re.MULTILINE | re.VERBOSE,
)


@dataclass(frozen=True)
class MainJob:
    """The traces of `almanac demo --exit` in an empty home."""

    outcome: Outcome
    tables: Tables
    reader: dict[str, bool]
    """{table or view: whether the role almanac_reader may select from it}."""
    reader_rows: int
    runs: list[DagsterRun]
    still_running: str


def run_main_job() -> MainJob:
    with new_home() as home:
        outcome = home.demo()
        still_running = home.run("status").stdout
        with psycopg.connect(home.address()) as connection:
            reader: dict[str, bool] = dict(
                connection.execute(
                    """
                    select n.nspname || '.' || c.relname,
                        has_schema_privilege('almanac_reader', n.oid, 'usage')
                        and has_table_privilege('almanac_reader', c.oid, 'select')
                    from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
                    where c.relkind in ('r', 'v', 'm', 'p')
                        and n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast')
                    """
                ).fetchall()
            )
            connection.execute("set role almanac_reader")
            counted = connection.execute("select count(*) from almanac.film_rankings").fetchone()
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("select * from raw.ratings")
        assert counted is not None
        return MainJob(
            outcome,
            home.tables("raw", "ops", "almanac") | home.views("almanac.film_rankings"),
            reader,
            counted[0],
            home.dagster_runs(),
            still_running,
        )


@pytest.fixture(scope="module")
def job(once: Once) -> MainJob:
    done: MainJob = once(run_main_job)
    return done


@pytest.fixture(scope="module")
def truth() -> dict[str, dict[str, Any]]:
    """{member: all that is true of them} for the circle of the demo's world."""
    world = build_world(WORLD)
    circle = world.following(world.members[world.seed_member])
    return {member.key: member_truth(world, member) for member in circle}


def test_it_ends_well_with_one_line_that_scripts_can_read(
    job: MainJob, truth: dict[str, dict[str, Any]]
) -> None:
    assert job.outcome.code == 0, job.outcome.stderr
    assert job.outcome.error_lines == []
    line = job.outcome.stdout.splitlines()[-1]
    found = re.fullmatch(
        r"published cohort=demo members=(\d+) films=(\d+) ratings=(\d+) seconds=[\d.]+", line
    )
    assert found is not None, line
    members, films, ratings = map(int, found.groups())
    assert members == len(truth) == WORLD.members
    assert ratings == sum(len(member["ratings"]) for member in truth.values())
    known = {uid for m in truth.values() for uid in {*m["ratings"], *m["likes"], *m["favorites"]}}
    assert films == len(known)


def test_it_prints_the_top_ten_with_intervals_and_labels(job: MainJob) -> None:
    places = [found.groupdict() for found in PLACES.finditer(job.outcome.stdout)]
    assert [int(place["rank"]) for place in places] == list(range(1, 11))
    ranked = {row["rank"]: row for row in job.tables["almanac.film_rankings"] if row["strategy"] == "almanac"}
    insights = {row["film_id"]: row for row in job.tables["almanac.ranking_insights"]}
    for place in places:
        row = ranked[int(place["rank"])]
        assert int(place["low"]) == row["rank_low"] <= row["rank"]
        assert int(place["high"]) == row["rank_high"] >= row["rank"]
        assert place["title"] == row["title"]
        assert place["year"] == (row["release_year"] and str(row["release_year"]))
        assert place["stars"] == f"{row['estimate']:.2f}"
        assert int(place["raters"]) == row["raters"]
        assert place["label"] == insights[row["film_id"]]["bucket"]


def test_every_table_is_filled(job: MainJob) -> None:
    empty = {name for name, rows in job.tables.items() if not rows}
    assert empty == EMPTY_FOR_NOW
    assert {name for name in job.tables if name.startswith("almanac.")} == {
        "almanac.cohort_film_stats",
        "almanac.film_directory",
        "almanac.film_rankings",
        "almanac.member_profiles",
        "almanac.person_rankings",
        "almanac.ranking_insights",
        "almanac.watchlist_overlap",
    }


def test_ratings_likes_and_favourites_are_those_of_the_site(
    job: MainJob, truth: dict[str, dict[str, Any]]
) -> None:
    names = {row["user_id"]: row["username"] for row in job.tables["raw.users"]}
    uids = {row["film_id"]: row["uid"] for row in job.tables["raw.films"]}
    stored: dict[str, dict[str, tuple[float | None, bool, bool]]] = {name: {} for name in truth}
    for row in job.tables["raw.ratings"]:
        assert row["removed_at"] is None
        stars = None if row["rating"] is None else float(row["rating"])
        stored[names[row["user_id"]]][uids[row["film_id"]]] = (stars, row["liked"], row["favorite"])
    assert stored == {
        name: {
            uid: (member["ratings"].get(uid), uid in member["likes"], uid in member["favorites"])
            for uid in {*member["ratings"], *member["likes"], *member["favorites"]}
        }
        for name, member in truth.items()
    }


def test_the_reader_sees_the_marts_and_nothing_else(job: MainJob) -> None:
    assert job.reader_rows > 0
    visible = {name for name, may_read in job.reader.items() if may_read}
    assert visible == {name for name in job.reader if name.startswith("almanac.")}


def test_dagster_saw_it_publish_enrich_and_publish_again(job: MainJob) -> None:
    for run in job.runs:
        assert run.status == "SUCCESS"
        assert run.planned == run.materialized.keys()
    published, enriched, again = (run.planned for run in job.runs)
    assert enriched == {"raw/film_metadata", "raw/film_histograms"}
    assert {"intermediate/circle_model", "almanac/film_rankings", "ops/publications"} <= again
    assert published == again | {"raw/cohort_members", "raw/ratings", "raw/likes"}


def test_every_asset_says_what_a_person_wants_to_know(job: MainJob) -> None:
    materialized = {asset: metadata for run in job.runs for asset, metadata in run.materialized.items()}
    asked = {asset: metadata for asset, metadata in materialized.items() if asset.startswith("raw/")}
    assert asked.keys() == {
        f"raw/{name}" for name in ("cohort_members", "ratings", "likes", "film_metadata", "film_histograms")
    }
    for asset, metadata in asked.items():
        assert metadata["summary"], asset
        assert metadata["requests_count"] > 0, asset
        assert metadata["seconds"] > 0, asset
        preview = [value for label, value in metadata.items() if label.startswith(("latest_", "first_"))]
        # Members have names only, which Dagster's event log must not hold.
        assert any(preview) or asset == "raw/cohort_members", asset
    assert materialized["raw/ratings"]["stars"].startswith("![")
    assert "data:image/" in materialized["raw/ratings"]["stars"]
    for asset in materialized.keys() - asked.keys():
        assert materialized[asset], asset


def test_nothing_is_left_running(job: MainJob) -> None:
    assert "sandbox" not in job.still_running
    assert "not running" in job.still_running
