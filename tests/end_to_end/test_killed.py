"""kill -9 in the middle of everything: the next run goes on, and the result is an undisturbed run's."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from almanac_pipeline.sandbox.options import GeneratedWorld, SandboxOptions
from almanac_pipeline.sandbox.server import SandboxServer, build_world
from tests.end_to_end.conftest import Once
from tests.end_to_end.home import (
    DagsterRun,
    Home,
    Outcome,
    Tables,
    finish,
    new_home,
    site_settings,
    wait_until,
    without,
)

# Seven builds; tests/flows/test_killed_anywhere.py holds the same of one sync in every test run.
pytestmark = pytest.mark.soak

WORLD = GeneratedWorld(seed=5, members=10, films=240, ratings=190)
# Slow enough that a moment can be met, quick enough for a test.
LATENCY_MS = 100
BUILD = ("cohort", "build", "circle", "--seed", "almanac")
# What a kill may cost: pages under way, films in an unwritten batch or in the queue before it.
WORKERS, BATCH = 8, 50
REPEATED = {
    "rated": WORKERS,
    "film": BATCH + 3 * WORKERS,
    # The server's last moments may be lost with it, and with them one batch more.
    "histogram": 2 * BATCH + 3 * WORKERS,
}
# When an attempt is killed: with more done than a kill may cost.
KILLED_AFTER = {"rated": 16, "film": 100, "histogram": 130}

# Numbers that the database gives out, and times: all else has to agree.
COMPARED = {
    "raw.ratings": """
        select username, uid, rating, liked, favorite, rated_at is null as undated, r.source, removed_at
        from raw.ratings as r join raw.users using (user_id) join raw.films using (film_id)
    """,
    "raw.rating_events": """
        select username, uid, kind, old_rating, new_rating, old_liked, new_liked, old_favorite, new_favorite
        from raw.rating_events join raw.users using (user_id) join raw.films using (film_id)
    """,
    "raw.films": """
        select lid, uid, slug, title, original_title, release_year, release_date, runtime_minutes, overview,
            tmdb_media_type, tmdb_id, imdb_id, tmdb_vote_average, tmdb_vote_count, stated_average,
            stated_ratings
        from raw.films
    """,
    "raw.film_people": """
        select uid, tmdb_person_id, letterboxd_slug, name, role, credit_order, character_name
        from raw.film_people join raw.films using (film_id) join raw.people using (person_id)
    """,
    "raw.film_genres": """
        select uid, name
        from raw.film_genres join raw.films using (film_id) join raw.genres using (genre_id)
    """,
    "raw.film_histograms": """
        select uid, source, count_0_5, count_1_0, count_1_5, count_2_0, count_2_5, count_3_0, count_3_5,
            count_4_0, count_4_5, count_5_0, h.stated_ratings, h.stated_average, fans
        from raw.film_histograms as h join raw.films using (film_id)
    """,
    "raw.cohort_members": """
        select username, depth, until from raw.cohort_members join raw.users using (user_id)
    """,
}
SURROGATES = (
    *("xmin", "film_id", "user_id", "person_id", "computed_at"),
    *("most_agreed_user_id", "least_agreed_user_id"),
    # Of a film that TMDB does not know it is the stand-in's, port included.
    "poster_url",
)


@dataclass(frozen=True)
class Content:
    """What a database says, without the numbers and times that it gave out itself."""

    raw: dict[str, Counter[str]]
    marts: dict[str, Counter[str]]
    publications: int
    staged: int


@dataclass(frozen=True)
class Kills:
    """A chain that was killed again and again until it was let through."""

    undisturbed: Content
    undisturbed_requests: dict[str, int]
    disturbed: Content
    requests: dict[str, int]
    """Of all the attempts together."""
    broken_database: Outcome
    """The attempt whose database server was killed."""
    next_attempts: list[Outcome]
    """What each attempt after a killed one printed, as far as it came."""
    runs: list[DagsterRun]
    scrape_runs: Tables


def run_undisturbed(database_url: str) -> tuple[Content, dict[str, int]]:
    with SandboxServer(build_world(WORLD)) as site, new_home(database_url, **site_settings(site)) as home:
        home.build(*BUILD)
        return content(home), site.report()["by_kind"]


def run_with_kills() -> tuple[Content, dict[str, int], Outcome, list[Outcome], list[DagsterRun], Tables]:
    """Kill during ratings, film metadata, histograms (the database server), and the marts in dbt."""
    options = SandboxOptions(latency_ms=LATENCY_MS)
    with (
        SandboxServer(build_world(WORLD), options) as site,
        new_home(**site_settings(site)) as home,
    ):
        home.server.start()

        def served(kind: str) -> Callable[[], bool]:
            """Whether enough requests of a kind have come, over all attempts so far."""
            return lambda: site.report()["by_kind"].get(kind, 0) >= KILLED_AFTER[kind]

        def begun(step: str) -> Callable[[], bool]:
            query = "select from dagster.event_logs where dagster_event_type = 'STEP_START' and step_key = %s"
            before = len(home.rows(query, step))
            return lambda: len(home.rows(query, step)) > before

        attempts = [killed(home, served("rated"), "ratings")]
        attempts.append(killed(home, served("film"), "films"))
        process, reached = home.start(*BUILD), served("histogram")
        wait_until(reached, process, "histograms")
        kill_server(home)
        broken_database = finish(process)
        attempts.append(broken_database)
        home.server.start()
        attempts.append(killed(home, begun("after_statistics"), "marts"))
        attempts.append(home.build(*BUILD))
        return (
            content(home),
            site.report()["by_kind"],
            broken_database,
            attempts[1:],
            home.dagster_runs(),
            home.tables("ops"),
        )


def killed(home: Home, reached: Callable[[], bool], what: str) -> Outcome:
    process = home.start(*BUILD)
    wait_until(reached, process, what)
    process.kill()
    return finish(process)


def kill_server(home: Home) -> None:
    postmaster = int((home.server.data / "postmaster.pid").read_text().splitlines()[0])
    os.kill(postmaster, signal.SIGKILL)


def content(home: Home) -> Content:
    marts = home.tables("almanac")
    [counts] = home.rows(
        "select (select count(*) from ops.publications) as publications,"
        " (select count(*) from ops.staged_items) as staged"
    )
    return Content(
        raw={name: without(home.rows(query)) for name, query in COMPARED.items()},
        marts={name: without(rows, *SURROGATES) for name, rows in marts.items()},
        **counts,
    )


@pytest.fixture(scope="module")
def kills(once: Once, ready_database: Callable[[], str]) -> Kills:
    def make_kills() -> Kills:
        undisturbed, usual = run_undisturbed(ready_database())
        return Kills(undisturbed, usual, *run_with_kills())

    made: Kills = once(make_kills)
    return made


def test_raw_tables_hold_what_an_undisturbed_run_stores(kills: Kills) -> None:
    for table in COMPARED:
        assert kills.disturbed.raw[table].total() > 0, table
        assert kills.disturbed.raw[table] == kills.undisturbed.raw[table], table


def test_the_marts_are_those_of_an_undisturbed_run(kills: Kills) -> None:
    assert kills.disturbed.marts.keys() == kills.undisturbed.marts.keys()
    for name, rows in kills.disturbed.marts.items():
        assert rows.total() > 0 or name == "almanac.watchlist_overlap", name
        assert rows == kills.undisturbed.marts[name], name
    assert kills.undisturbed.publications == 2
    # None was recorded of a build that was killed, and none twice.
    done = ["ops/publications" in run.materialized for run in kills.runs]
    assert kills.disturbed.publications == sum(done)


def test_what_was_committed_is_not_asked_for_again(kills: Kills) -> None:
    for kind, repeated in REPEATED.items():
        usual = kills.undisturbed_requests[kind]
        assert usual > KILLED_AFTER[kind] > repeated, "the moment of the kill must tell something"
        assert usual <= kills.requests[kind] <= usual + repeated, kind
    assert kills.disturbed.staged == 0


def test_the_next_attempt_says_that_the_last_one_was_killed(kills: Kills) -> None:
    for attempt in kills.next_attempts:
        assert "was killed earlier; going on from its last checkpoint." in attempt.stdout


def test_killed_runs_are_closed_as_failed(kills: Kills) -> None:
    failed = [run for run in kills.runs if run.status != "SUCCESS"]
    assert [run.status for run in failed] == ["FAILURE"] * 4
    assert kills.runs[-1] not in failed
    for run in failed:
        assert any("killed" in message for message in run.failures)
    for table in ("ops.scrape_runs", "ops.enrichment_runs"):
        rows = kills.scrape_runs[table]
        assert {row["status"] for row in rows} == {"succeeded", "failed"}
        assert all(row["finished_at"] is not None for row in rows)


def test_a_killed_database_server_is_one_clear_line(kills: Kills) -> None:
    outcome = kills.broken_database
    assert outcome.code == 1
    [line] = outcome.error_lines
    assert line.startswith("Error: ")
    assert "database" in line.lower()
