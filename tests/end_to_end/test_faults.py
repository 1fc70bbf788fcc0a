"""A site that misbehaves: nothing is lost, the good goes on, and what is wrong is said in one line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from almanac_pipeline.sandbox.options import GeneratedWorld
from almanac_pipeline.sandbox.server import SandboxServer, build_world
from tests.end_to_end.conftest import Once
from tests.end_to_end.home import Outcome, Row, Tables, new_home, site_settings

WORLD = GeneratedWorld(seed=21, members=9, films=160, ratings=90)
BUILD = ("cohort", "build", "circle", "--seed", "almanac")
WORKERS = 8


@dataclass(frozen=True)
class Attempt:
    """One command against a site in some state."""

    outcome: Outcome
    asked: dict[str, int]
    """{kind: requests}, without robots.txt."""
    tables: Tables


@dataclass(frozen=True)
class Troubles:
    """One cohort's hard life."""

    challenged: Attempt
    """The very first build, with a challenge page after a few pages of ratings."""
    still_blocked: Attempt
    """The site is well again, but nobody has said so."""
    built: Attempt
    refused: Attempt
    """A plain 403 on a day with news."""
    spoilt: Attempt
    """Three members' pages are truncated, somebody else's, empty; a fourth member has news."""
    victims: dict[str, str]
    """{fault: member}"""
    newsmaker: str
    news: str
    wrong_total: Attempt
    """One film's histogram says 5 % more than its bars."""
    wrong_film: str
    corrected: Attempt


def make_troubles(database_url: str) -> Troubles:
    with SandboxServer(build_world(WORLD)) as site, new_home(database_url, **site_settings(site)) as home:
        host = site.url.removeprefix("http://")

        def attempt(*command: str, **settings: str) -> Attempt:
            site.reset_report()
            outcome = home.run(*command, **settings)
            asked = {kind: n for kind, n in site.report()["by_kind"].items() if kind != "robots"}
            site.clear_faults()
            return Attempt(outcome, asked, home.tables("raw", "ops", "almanac"))

        site.fault("challenge", kind="rated", skip=3, times=None)
        challenged = attempt(*BUILD)
        still_blocked = attempt("scrape")
        home.build("unblock", host)
        built = attempt(*BUILD)

        circle = site.summary()["following"]
        newsmaker, *others = circle
        news = next(
            film["uid"]
            for film in site.films()
            if film["released"] and film["uid"] not in site.member(newsmaker)["ratings"]
        )
        site.change(rate=[{"member": newsmaker, "film": news, "rating": 0.5}])
        site.fault("status", kind="rated_by_date", status=403, times=None)
        refused = attempt("scrape")
        home.build("unblock", host)

        victims = dict(zip(("truncate", "wrong_owner", "empty"), others, strict=False))
        for fault, member in victims.items():
            site.change(rate=[{"member": member, "film": unseen(site, member), "rating": 5}])
            site.fault(fault, kind="rated_by_date", member=member, times=None)
        spoilt = attempt(*BUILD)

        wrong_film = next(
            film["slug"]
            for film in site.films()
            if film["uid"] in site.member(newsmaker)["ratings"] and sum(film["counts"]) > 500
        )
        site.change(stated_total=[{"film": wrong_film, "percent": 5}])
        wrong_total = attempt(*BUILD, histogram_max_age_days="0")
        site.change(stated_total=[{"film": wrong_film, "percent": 0}])
        corrected = attempt(*BUILD, histogram_max_age_days="0")
        return Troubles(
            challenged,
            still_blocked,
            built,
            refused,
            spoilt,
            victims,
            newsmaker,
            news,
            wrong_total,
            wrong_film,
            corrected,
        )


def unseen(site: SandboxServer, member: str) -> str:
    """A film that the member has not rated."""
    rated = site.member(member)["ratings"]
    return next(str(f["uid"]) for f in site.films() if f["released"] and f["uid"] not in rated)


@pytest.fixture(scope="module")
def troubles(once: Once, ready_database: Callable[[], str]) -> Troubles:
    def make_troubles_once() -> Troubles:
        return make_troubles(ready_database())

    made: Troubles = once(make_troubles_once)
    return made


def error_line(attempt: Attempt) -> str:
    """The only line on standard error of a command that failed."""
    assert attempt.outcome.code == 1, attempt.outcome
    [line] = attempt.outcome.error_lines
    assert line.startswith("Error: ")
    return line


def marts(tables: Tables) -> Tables:
    return {name: rows for name, rows in tables.items() if name.startswith("almanac.")}


def ratings(tables: Tables, member: str | None = None) -> list[Row]:
    """Present opinions, of one member or of all, with the transaction that wrote them."""
    names = {row["user_id"]: row["username"] for row in tables["raw.users"]}
    found = [row for row in tables["raw.ratings"] if member in (None, names[row["user_id"]])]
    assert all(row["removed_at"] is None for row in found)
    return found


def test_a_challenge_stops_the_run_at_once(troubles: Troubles) -> None:
    attempt = troubles.challenged
    assert "challenge" in error_line(attempt)
    assert "almanac unblock 127.0.0.1" in error_line(attempt)
    # Three pages were let through; then at most what was already under way.
    assert attempt.asked["rated"] <= 3 + WORKERS
    assert attempt.asked.keys() == {"following", "profile", "rated"}
    assert marts(attempt.tables) == {name: [] for name in marts(troubles.built.tables)}


def test_a_blocked_site_is_not_asked_until_somebody_says_so(troubles: Troubles) -> None:
    assert "almanac unblock 127.0.0.1" in error_line(troubles.still_blocked)
    assert troubles.still_blocked.asked == {}
    assert ratings(troubles.still_blocked.tables) == ratings(troubles.challenged.tables)


def test_after_the_block_the_run_goes_on_and_completes(troubles: Troubles) -> None:
    assert troubles.built.outcome.code == 0, troubles.built.outcome
    # Before and after the films were read.
    assert len(troubles.built.tables["ops.publications"]) == 2
    before = {(row["user_id"], row["film_id"]): row for row in ratings(troubles.challenged.tables)}
    after = {(row["user_id"], row["film_id"]): row for row in ratings(troubles.built.tables)}
    assert after.keys() > before.keys()
    assert len({user for user, _ in after}) == WORLD.members


def test_a_plain_403_stops_the_run_and_changes_nothing(troubles: Troubles) -> None:
    assert "403" in error_line(troubles.refused)
    assert troubles.refused.asked["rated_by_date"] <= WORKERS
    assert "likes" not in troubles.refused.asked
    assert ratings(troubles.refused.tables) == ratings(troubles.built.tables)
    assert marts(troubles.refused.tables) == marts(troubles.built.tables)


def test_members_whose_pages_are_spoilt_keep_all_they_have(troubles: Troubles) -> None:
    for fault, member in troubles.victims.items():
        stored = ratings(troubles.built.tables, member)
        assert stored
        assert ratings(troubles.spoilt.tables, member) == stored, fault


def test_the_other_members_go_on(troubles: Troubles) -> None:
    attempt = troubles.spoilt
    assert attempt.outcome.code == 0, attempt.outcome
    [film] = [row["film_id"] for row in attempt.tables["raw.films"] if row["uid"] == troubles.news]
    [row] = [r for r in ratings(attempt.tables, troubles.newsmaker) if r["film_id"] == film]
    assert row["rating"] == 0.5
    assert len(attempt.tables["ops.publications"]) > len(troubles.built.tables["ops.publications"])


def test_each_failure_is_recorded_with_its_reason(troubles: Troubles) -> None:
    tables = troubles.spoilt.tables
    names = {row["user_id"]: row["username"] for row in tables["raw.users"]}
    [run] = [
        row
        for row in tables["ops.scrape_runs"]
        if row["subject"] == "ratings"
        and row["scrape_run_id"] > max(r["scrape_run_id"] for r in troubles.refused.tables["ops.scrape_runs"])
    ]
    assert (run["status"], run["failures_count"]) == ("succeeded", len(troubles.victims))
    failures: dict[str, Any] = {
        names[row["user_id"]]: row
        for row in tables["ops.scrape_failures"]
        if row["scrape_run_id"] == run["scrape_run_id"]
    }
    assert failures.keys() == set(troubles.victims.values())
    kinds = {fault: failures[member]["error_kind"] for fault, member in troubles.victims.items()}
    assert kinds == {"truncate": "RetriableError", "wrong_owner": "WrongPageError", "empty": "RetriableError"}
    assert all(row["resolved_at"] is None for row in failures.values())


def test_a_later_run_brings_what_the_spoilt_pages_held_back(troubles: Troubles) -> None:
    for member in troubles.victims.values():
        before = ratings(troubles.spoilt.tables, member)
        assert len(ratings(troubles.wrong_total.tables, member)) == len(before) + 1
    assert all(row["resolved_at"] for row in troubles.wrong_total.tables["ops.scrape_failures"])


def test_a_wrong_histogram_holds_the_cohort_back_with_what_was_published_before(troubles: Troubles) -> None:
    attempt = troubles.wrong_total
    line = error_line(attempt)
    assert "global_histogram_total" in line
    [title] = [row["title"] for row in attempt.tables["raw.films"] if row["slug"] == troubles.wrong_film]
    assert title in line
    # The members' news were shown before the histograms were read; that is what stays.
    counts = [len(at.tables["ops.publications"]) for at in (troubles.spoilt, attempt)]
    assert counts[1] == counts[0] + 1
    assert shown_ratings_count(attempt) == stored_ratings_count(attempt)
    assert shown_ratings_count(attempt) == stored_ratings_count(troubles.spoilt) + len(troubles.victims)


def test_commands_raise_and_resolve_alerts_without_a_daemon(troubles: Troubles) -> None:
    def open_kinds(attempt: Attempt) -> set[str]:
        return {row["kind"] for row in attempt.tables["ops.alerts"] if row["resolved_at"] is None}

    assert "held_back" not in open_kinds(troubles.spoilt)
    assert "held_back" in open_kinds(troubles.wrong_total)
    assert "held_back" not in open_kinds(troubles.corrected)
    assert {"blocked", "repeated_failures"} <= {
        row["kind"] for row in troubles.corrected.tables["ops.alerts"]
    }


def test_a_corrected_histogram_lets_the_cohort_through(troubles: Troubles) -> None:
    attempt = troubles.corrected
    assert attempt.outcome.code == 0, attempt.outcome
    assert "The audits hold the cohort back" in attempt.outcome.stderr
    before = troubles.wrong_total.tables["ops.publications"]
    assert len(attempt.tables["ops.publications"]) == len(before) + 1
    assert shown_ratings_count(attempt) == stored_ratings_count(attempt)


def shown_ratings_count(attempt: Attempt) -> int:
    return sum(row["raters"] for row in attempt.tables["almanac.cohort_film_stats"])


def stored_ratings_count(attempt: Attempt) -> int:
    return sum(row["rating"] is not None for row in ratings(attempt.tables))
