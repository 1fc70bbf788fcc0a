"""Runs after the first one: without news they cost one request per member, with news only what is new."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from almanac_pipeline.sandbox.options import GeneratedWorld
from almanac_pipeline.sandbox.server import SandboxServer, build_world
from tests.end_to_end.conftest import Once
from tests.end_to_end.home import Home, Row, Tables, new_home, site_settings

WORLD = GeneratedWorld(seed=11, members=9, films=220, ratings=100)
PAGE_SIZE = 72
MARTS = ("cohort_film_stats", "film_histograms", "film_rankings", "ranking_insights")


@dataclass(frozen=True)
class Visit:
    """One command: what it asked of the site, and the database afterwards."""

    report: dict[str, Any]
    tables: Tables
    truth: dict[str, dict[str, Any]]
    """{member of the circle: all that is true of them}."""


@dataclass(frozen=True)
class History:
    """The first build of a cohort, what followed without news, and the build after some news."""

    first: Visit
    rebuilt: Visit
    scraped: Visit
    news: dict[str, dict[str, str]]
    """What happened: {change: {member, film}}."""
    after_news: Visit


def make_history(database_url: str) -> History:
    with SandboxServer(build_world(WORLD)) as site, new_home(database_url, **site_settings(site)) as home:
        seed = site.summary()["seed_member"]
        first = visit(home, site, "cohort", "build", "circle", "--seed", seed)
        rebuilt = visit(home, site, "cohort", "build", "circle")
        scraped = visit(home, site, "scrape")
        news = make_news(site, first.truth, seed)
        return History(first, rebuilt, scraped, news, visit(home, site, "cohort", "build", "circle"))


def visit(home: Home, site: SandboxServer, *command: str) -> Visit:
    site.reset_report()
    home.build(*command)
    report = site.report()
    truth = {name: site.member(name) for name in site.summary()["following"]}
    tables = home.tables("raw", "ops", "almanac") | home.views("almanac.film_rankings")
    return Visit(report, tables, truth)


def make_news(site: SandboxServer, truth: dict[str, dict[str, Any]], seed: str) -> dict[str, dict[str, str]]:
    """One change of every kind, each at another member, and somebody new to the circle."""
    known = {uid for member in truth.values() for uid in {*member["ratings"], *member["likes"]}}
    new_film = next(f["uid"] for f in site.films() if f["released"] and f["uid"] not in known)
    everybody = sorted(set(site.summary()["members"]) - {seed, *truth})
    newcomer = next(name for name in everybody if site.member(name)["ratings"])
    changer, rater, remover, liker, unliker = list(truth)[:5]
    changed = next(uid for uid, stars in truth[changer]["ratings"].items() if stars != 0.5)
    unliked = next(uid for uid in truth[unliker]["likes"] if uid in truth[unliker]["ratings"])
    liked = next(uid for uid in truth[liker]["ratings"] if uid not in truth[liker]["likes"])
    removed = next(u for u in truth[remover]["ratings"] if u not in truth[remover]["likes"])
    news = {
        "changed": {"member": changer, "film": changed},
        "added": {"member": rater, "film": new_film},
        "removed": {"member": remover, "film": removed},
        "liked": {"member": liker, "film": liked},
        "unliked": {"member": unliker, "film": unliked},
        "followed": {"member": newcomer},
    }
    site.change(
        rate=[news["changed"] | {"rating": 0.5}, news["added"] | {"rating": 4.5}],
        unrate=[news["removed"]],
        like=[news["liked"]],
        unlike=[news["unliked"]],
        follow=[{"member": seed, "target": newcomer}],
    )
    return news


@pytest.fixture(scope="module")
def history(once: Once, ready_database: Callable[[], str]) -> History:
    def make_history_once() -> History:
        return make_history(ready_database())

    made: History = once(make_history_once)
    return made


def asked(visit: Visit) -> dict[str, int]:
    """How many requests of which kind the site saw, without robots.txt."""
    return {kind: count for kind, count in visit.report["by_kind"].items() if kind != "robots"}


def asked_by_member(visit: Visit) -> dict[str, dict[str, int]]:
    return {name: kinds for name, kinds in visit.report["by_member"].items() if name in visit.truth}


def of_schema(tables: Tables, schema: str) -> Tables:
    return {name: rows for name, rows in tables.items() if name.startswith(f"{schema}.")}


def test_a_run_without_news_asks_each_member_once_and_no_film(history: History) -> None:
    for visit in (history.rebuilt, history.scraped):
        # The seed's list of whom they follow, and per member the newest ratings.
        assert asked(visit) == {"following": 1, "rated_by_date": WORLD.members}
        assert asked_by_member(visit) == {name: {"rated_by_date": 1} for name in visit.truth}


def test_a_run_without_news_writes_no_raw_row_and_rebuilds_nothing(history: History) -> None:
    for visit in (history.rebuilt, history.scraped):
        for schema in ("raw", "almanac"):
            # Rows carry the transaction that wrote them: not even an update to the same values.
            assert of_schema(visit.tables, schema) == of_schema(history.first.tables, schema)
        assert visit.tables["ops.publications"] == history.first.tables["ops.publications"]


def test_only_what_is_new_is_asked_for(history: History) -> None:
    visit, news = history.after_news, history.news
    before = uids(history.first.tables).keys()
    films = {film for film in uids(visit.tables) if film not in before}
    assert news["added"]["film"] in uids(visit.tables).values()
    kinds = asked(visit)
    assert kinds["following"] == 1
    assert kinds["film"] == kinds["histogram"] == len(films)
    assert kinds["tmdb_movie"] + kinds.get("tmdb_tv", 0) <= len(films)
    newcomer = news["followed"]["member"]
    pages = -(-len(visit.truth[newcomer]["ratings"]) // PAGE_SIZE)
    # Who rated a film may like it, and the list of whom the seed follows counts everybody's likes.
    with_signs = {news[change]["member"] for change in ("changed", "added", "removed", "liked", "unliked")}
    remover = news["removed"]["member"]
    unliker = news["unliked"]["member"]
    for name, requests in asked_by_member(visit).items():
        member = visit.truth[name]
        usual = {"rated_by_date": 1} | ({"likes": 1} if name in with_signs else {})
        if name == newcomer:
            assert requests == {"profile": 1, "rated": pages, "likes_unrated": 1}
        elif name == remover:
            # Nothing on the first page is new, but one is missing: which one, only the others tell.
            assert requests == usual | {"rated_by_date": -(-len(member["ratings"]) // PAGE_SIZE)}
        elif name == unliker:
            assert requests == usual | {"likes": max(1, -(-len(member["likes"]) // PAGE_SIZE))}
        else:
            assert requests == usual, name


def test_every_change_has_its_event_and_no_other_has(history: History) -> None:
    news, tables = history.news, history.after_news.tables
    old = {row["rating_event_id"] for row in history.first.tables["raw.rating_events"]}
    names = {row["user_id"]: row["username"] for row in tables["raw.users"]}
    films = uids(tables)
    events = {
        (names[row["user_id"]], films[row["film_id"]]): row
        for row in tables["raw.rating_events"]
        if row["rating_event_id"] not in old and names[row["user_id"]] != news["followed"]["member"]
    }
    assert {row["rating_event_id"] for row in tables["raw.rating_events"]} > old

    def event(change: str) -> Row:
        return events.pop((news[change]["member"], news[change]["film"]))

    changed = event("changed")
    assert (changed["kind"], changed["new_rating"]) == ("changed", 0.5)
    before = history.first.truth[news["changed"]["member"]]["ratings"][news["changed"]["film"]]
    assert changed["old_rating"] == before
    added = event("added")
    assert (added["kind"], added["old_rating"], added["new_rating"]) == ("added", None, 4.5)
    removed = event("removed")
    assert (removed["kind"], removed["new_rating"]) == ("removed", None)
    liked = event("liked")
    assert (liked["kind"], liked["old_liked"], liked["new_liked"]) == ("changed", False, True)
    unliked = event("unliked")
    assert (unliked["kind"], unliked["old_liked"], unliked["new_liked"]) == ("changed", True, False)
    assert events == {}


def test_the_marts_show_the_circle_as_it_is_now(history: History) -> None:
    for visit in (history.first, history.after_news):
        opinions: defaultdict[str, list[tuple[float | None, bool]]] = defaultdict(list)
        for member in visit.truth.values():
            for uid in {*member["ratings"], *member["likes"]}:
                opinions[uid].append((member["ratings"].get(uid), uid in member["likes"]))
        films = uids(visit.tables)
        stats = {films[row["film_id"]]: row for row in visit.tables["almanac.cohort_film_stats"]}
        for uid, voices in opinions.items():
            row, stars = stats[uid], [rating for rating, _ in voices if rating is not None]
            assert (row["watchers"], row["raters"]) == (len(voices), len(stars)), uid
            assert row["rating_sum"] == (sum(stars) if stars else None), uid
            assert row["liked_count"] == sum(liked for _, liked in voices), uid
        for uid in stats.keys() - opinions.keys():
            # Known as somebody's favourite only.
            assert (stats[uid]["watchers"], stats[uid]["raters"]) == (0, 0)
        ranked = {
            films[row["film_id"]]
            for row in visit.tables["almanac.film_rankings"]
            if row["strategy"] == "almanac"
        }
        assert ranked == {uid for uid, voices in opinions.items() if any(stars for stars, _ in voices)}


def test_news_are_published_once_before_and_once_after_the_new_films_are_read(history: History) -> None:
    publications = history.after_news.tables["ops.publications"]
    assert len(publications) == len(history.first.tables["ops.publications"]) + 2
    for latest in sorted(publications, key=lambda row: int(row["publication_id"]))[-2:]:
        assert latest["members_count"] == len(history.after_news.truth) == WORLD.members + 1
        assert latest["ratings_count"] == sum(
            len(member["ratings"]) for member in history.after_news.truth.values()
        )


def uids(tables: Tables) -> dict[int, str]:
    """{film_id: uid}."""
    return {row["film_id"]: row["uid"] for row in tables["raw.films"]}
