"""`almanac scrape --plan`, and a cohort on the default configuration, which may fetch no page."""

from __future__ import annotations

import psycopg
import pytest

from tests.cli.conftest import Almanac

SITE = "127.0.0.1:1"  # where nobody listens


@pytest.fixture
def named(published: str) -> str:
    """The cohort `friends`, whose members are found by name."""
    with psycopg.connect(published) as connection:
        connection.execute(
            """
            update raw.cohorts
            set definition = '{"kind": "usernames", "usernames": ["ann", "bob", "cat"]}'
            """
        )
    return published


def know_robots(url: str, text: str, host: str = SITE) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(
            "insert into ops.http_hosts (host, robots_txt, robots_fetched_at) values (%s, %s, now())",
            [host, text],
        )


def read_ann(url: str) -> None:
    """As if ann's ratings had been read two days ago."""
    with psycopg.connect(url) as connection:
        connection.execute(
            """
            insert into ops.user_scrape_state (user_id, subject, last_success_at, last_full_at)
            select user_id, subject, now() - interval '2 days', now() - interval '2 days'
            from raw.users, unnest(array['ratings', 'likes', 'profile']) as subject where username = 'ann'
            """
        )


def rows(lines: list[str]) -> dict[str, str]:
    """{member: the rest of the line} of the plan's table."""
    return {
        line.split()[0]: " ".join(line.split()[1:])
        for line in lines
        if line.split()[0] in ("ann", "bob", "cat")
    }


def test_the_plan_says_how_each_member_would_be_read(
    almanac: Almanac, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALMANAC_LETTERBOXD_URL", f"http://{SITE}")
    know_robots(named, "User-agent: *\nDisallow:")
    read_ann(named)
    outcome = almanac("scrape", "--plan")
    assert (outcome.code, outcome.err) == (0, "")
    plan = rows(outcome.lines)
    assert plan["ann"].startswith("profile, rated_by_date, likes 3 newest ratings, until one is known")
    assert plan["bob"].startswith("profile, rated, likes_unrated 3 or more everything, for the first time")
    assert outcome.lines[-2:] == ["requests: 9 or more, of which 0 to find the circle", "nothing was fetched"]


def test_the_plan_goes_round_what_robots_forbids(
    almanac: Almanac, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALMANAC_LETTERBOXD_URL", "https://pages.invalid")
    monkeypatch.setenv("ALMANAC_AUTHORISED", "true")
    monkeypatch.setenv("ALMANAC_CONTACT", "a@example.org")
    know_robots(named, "User-agent: *\nDisallow: /*/by/*", "pages.invalid")
    read_ann(named)
    with psycopg.connect(named) as connection:
        connection.execute("update raw.users set feed_opted_in_at = now() where username = 'ann'")
    outcome = almanac("scrape", "--plan")
    assert rows(outcome.lines)["ann"].startswith("profile, feed, likes 3")
    assert "time: 45 s or more, at a request per 5 s" in outcome.lines
    assert "budget: 0 requests today (UTC) of 10,000" in outcome.lines


def test_the_plan_without_pages_fetches_nothing_and_asks_for_exports(almanac: Almanac, named: str) -> None:
    outcome = almanac("scrape", "--plan")
    assert outcome.code == 0
    for why in rows(outcome.lines).values():
        assert why.startswith("nothing 0 neither pages nor a feed")
    assert "requests: 0, of which 0 to find the circle" in outcome.lines
    assert outcome.lines[-1] == "nothing was fetched"


def test_the_plan_names_the_settings_that_keep_pages_and_feeds_off(
    almanac: Almanac, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages, feeds = almanac("scrape", "--plan").lines[:2]
    assert "ALMANAC_AUTHORISED=true and ALMANAC_CONTACT" in pages
    assert "feeds" in feeds
    assert "ALMANAC_CONTACT" in feeds
    monkeypatch.setenv("ALMANAC_LETTERBOXD_URL", "https://pages.invalid")
    monkeypatch.setenv("ALMANAC_CONTACT", "a@example.org")
    know_robots(named, "User-agent: *\nDisallow:", "pages.invalid")
    out = almanac("scrape", "--plan").out
    assert "ALMANAC_AUTHORISED=true is set" in out
    assert "ALMANAC_CONTACT" not in out


def test_the_plan_of_a_circle_whose_pages_are_forbidden_ends_there(almanac: Almanac, named: str) -> None:
    with psycopg.connect(named) as connection:
        connection.execute("""update raw.cohorts set definition = '{"kind": "following", "seed": "ann"}'""")
    outcome = almanac("scrape", "--plan")
    assert (outcome.code, outcome.err) == (0, "")
    assert "a sync ends there, with 0 requests" in outcome.lines[-2]
    assert outcome.lines[-1] == "nothing was fetched"


def test_there_is_no_plan_of_viewings(almanac: Almanac, named: str) -> None:
    assert "Leave out --plan or --viewings" in almanac("scrape", "--plan", "--viewings").error


# What Dagster warns of while it executes a run is its own affair.
@pytest.mark.filterwarnings("ignore")
def test_a_cohort_of_names_is_built_without_any_page(
    almanac: Almanac, published: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", "is set by the command")
    outcome = almanac("cohort", "build", "imported", "--member", "ann", "--member", "bob")
    assert (outcome.code, outcome.err) == (0, "")
    assert "of 2 members neither pages nor feeds may be fetched: import their exports" in outcome.out
    with psycopg.connect(published) as connection:
        shown = connection.execute(
            "select count(*) from almanac.film_rankings where cohort = 'imported' and strategy = 'almanac'"
        ).fetchone()
        asked = connection.execute("select count(*) from ops.http_requests").fetchone()
    assert shown is not None
    assert shown[0] == 4
    assert asked == (0,)
