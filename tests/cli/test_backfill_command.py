"""`almanac backfill --plan`: what it would take, before anything is asked for."""

from __future__ import annotations

import psycopg
import pytest

from tests.cli.conftest import Almanac
from tests.cli.test_scrape import SITE, know_robots


@pytest.fixture
def permitted(published: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The cohort `friends` by its members' names, on a site that allows 2 requests a second."""
    monkeypatch.setenv("ALMANAC_LETTERBOXD_URL", f"http://{SITE}")
    monkeypatch.setenv("ALMANAC_REQUESTS_PER_SECOND", "2")
    know_robots(published, "User-agent: *\nDisallow:")
    with psycopg.connect(published) as connection:
        connection.execute(
            """
            update raw.cohorts
            set definition = '{"kind": "usernames", "usernames": ["ann", "bob", "cat"]}'
            """
        )
        connection.execute("insert into ops.film_metadata_sync (film_id) select film_id from raw.films")
    return published


def test_either_the_plan_or_the_work_has_to_be_asked_for(almanac: Almanac, permitted: str) -> None:
    message = "Say --plan to see what it takes, or --run to do it."
    assert almanac("backfill").error == almanac("backfill", "--plan", "--run").error == message


def test_the_plan_counts_requests_by_what_they_are_for_and_says_how_long(
    almanac: Almanac, permitted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALMANAC_TMDB_TOKEN", "a-token")
    outcome = almanac("backfill", "--plan")
    assert (outcome.code, outcome.err) == (0, "")
    # Three members of whom nothing is known, and four films without a page, a histogram or an id.
    assert outcome.lines[1].split() == ["friends", "3", "9", "or", "more", "4", "0", "4", "or", "more"]
    assert outcome.lines[2] == "Letterboxd: 13 or more requests, 6 s or more"
    assert outcome.lines[-1] == "nothing was fetched"


def test_two_cohorts_ask_once_for_the_films_that_both_have_seen(almanac: Almanac, permitted: str) -> None:
    with psycopg.connect(permitted) as connection:
        connection.execute(
            "insert into raw.cohorts (slug, label, definition)"
            " select 'same', 'Same', definition from raw.cohorts"
        )
        connection.execute(
            "insert into raw.cohort_members (cohort_id, user_id, since) select c.cohort_id, m.user_id, now()"
            " from raw.cohorts as c, raw.cohort_members as m where c.slug = 'same'"
        )
    lines = almanac("backfill", "--plan").lines
    assert [line.split()[5] for line in lines[1:3]] == ["4", "0"]


def test_a_cohort_that_is_nonsense_is_named_and_the_others_have_their_plan(
    almanac: Almanac, permitted: str
) -> None:
    with psycopg.connect(permitted) as connection:
        connection.execute(
            """
            insert into raw.cohorts (slug, label, definition) values
                ('a-list', 'A', '[]'), ('blank', 'B', '{}'), ('odd', 'C', '{"kind": ["nonsense"]}')
            """
        )
    outcome = almanac("backfill", "--plan")
    assert outcome.code == 1
    assert outcome.lines[1].split()[:2] == ["friends", "3"]
    assert "The definition of the cohort odd cannot be used: A cohort's kind is one of" in outcome.err
    assert outcome.err.endswith("\nError: Without a plan: a-list, blank, odd.\n")
    assert "the cohort blank cannot be used" in almanac("scrape", "--plan", "--cohort", "blank").error
    assert almanac("cohort", "list").code == almanac("status").code == 0


def test_a_circle_that_may_not_be_read_is_said_to_be_so(
    almanac: Almanac, permitted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALMANAC_LETTERBOXD_URL", "https://letterboxd.com")
    with psycopg.connect(permitted) as connection:
        connection.execute("""update raw.cohorts set definition = '{"kind": "following", "seed": "ann"}'""")
    outcome = almanac("backfill", "--plan", "--cohort", "friends")
    assert outcome.code == 0
    assert "`almanac doctor` says what is off." in outcome.out


def test_building_from_the_ground_asks_first_and_no_leaves_everything(
    almanac: Almanac, permitted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import io

    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    outcome = almanac("bootstrap-full-cohort", "friends")
    assert outcome.code == 1
    assert "Read all of friends again" in outcome.out
    with psycopg.connect(permitted) as connection:
        assert connection.execute("select count(*) from ops.scrape_runs").fetchone() == (0,)
