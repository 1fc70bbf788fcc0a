"""The planner as a function, and that a sync does what was planned."""

from __future__ import annotations

import multiprocessing
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from almanac_pipeline.flows.likes import sync_likes
from almanac_pipeline.flows.members import sync_members
from almanac_pipeline.flows.opinions import OpinionsReport, plan_sync
from almanac_pipeline.flows.ratings import sync_ratings
from almanac_pipeline.flows.routes import Permissions, Route, add_requests, circle_requests, plan_route
from almanac_pipeline.http.client import PoliteClient
from almanac_pipeline.sandbox.options import GeneratedWorld
from almanac_pipeline.sandbox.server import SandboxServer, build_world
from almanac_pipeline.settings import Settings
from almanac_pipeline.sources.pages.source import PagesSource
from almanac_pipeline.sources.protocol import PageClass
from almanac_pipeline.sources.records import ProfilePage
from almanac_pipeline.warehouse.cohorts import create_cohort
from almanac_pipeline.warehouse.member_state import MemberState
from almanac_pipeline.warehouse.staging import ScrapeState
from tests.flows.conftest import Query
from tests.flows.world import World, film

NOW = datetime(2026, 10, 1, 12, tzinfo=UTC)
ALL_PAGES = Permissions(frozenset({"profile", "rated", "rated_by_date", "likes", "likes_unrated"}))
NOT_BY_DATE = Permissions(frozenset({"profile", "rated", "likes", "likes_unrated"}), feed=True)
FEED_ONLY = Permissions(frozenset(), feed=True)
SETTINGS = Settings(_env_file=None)  # type: ignore[call-arg]


def read_before(hours: float, full_hours: float | None = None, **changes: Any) -> ScrapeState:
    """A subject that was last read so many hours ago, and in full as many or more."""
    ago = timedelta(hours=hours)
    full_ago = ago if full_hours is None else timedelta(hours=full_hours)
    return replace(ScrapeState(last_success_at=NOW - ago, last_full_at=NOW - full_ago, now=NOW), **changes)


def known(hours: float = 1.0, **changes: Any) -> MemberState:
    """A member who was read completely so many hours ago: 1,000 ratings, 100 likes."""
    return replace(
        MemberState(
            1,
            "ann",
            ratings_count=1000,
            likes_count=100,
            changed_at=NOW - timedelta(hours=hours + 1),
            states={
                "ratings": read_before(hours),
                "likes": read_before(hours),
                "profile": read_before(hours),
            },
        ),
        **changes,
    )


def steps(route: Route) -> list[tuple[str, int, int | None]]:
    return [(step.reads, step.requests_min, step.requests_max) for step in route.steps]


def with_state(member: MemberState, **states: ScrapeState) -> MemberState:
    return replace(member, states={**member.states, **states})  # type: ignore[dict-item]


# -- pages in every order ---------------------------------------------------------------------


def test_a_new_member_is_read_in_full_and_the_profile_comes_first() -> None:
    assert steps(plan_route(MemberState(1, "ann"), ALL_PAGES, SETTINGS)) == [
        ("profile", 1, 1),
        ("rated", 1, None),
        ("likes_unrated", 1, None),
    ]


def test_stated_counts_tell_how_many_pages_there_are() -> None:
    member = MemberState(1, "ann", stated_ratings_count=1000, listed_likes_count=150)
    assert plan_route(member, ALL_PAGES, SETTINGS).requests == (1 + 14 + 1, 1 + 14 + 3)


def test_a_known_member_costs_one_request_if_there_is_no_news() -> None:
    route = plan_route(known(), ALL_PAGES, SETTINGS)
    assert steps(route) == [("rated_by_date", 1, 14), ("likes", 0, 2)]
    assert steps(plan_route(known(), ALL_PAGES, SETTINGS, ratings_are_read=True)) == [
        ("rated_by_date", 1, 14)
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"changed_at": NOW},
        {"listed_likes_count": 101},
        {"states": {**known().states, "likes": read_before(25)}},
        {"states": {**known().states, "likes": read_before(1, suspicious_at=NOW)}},
    ],
    ids=["an opinion changed", "another count is listed", "too long ago", "not believed"],
)
def test_signs_of_likes_make_them_due(changes: dict[str, Any]) -> None:
    route = plan_route(known(**changes), ALL_PAGES, SETTINGS, ratings_are_read=True)
    assert [step.reads for step in route.steps if step.reads == "likes"] == ["likes"]


def test_the_listed_count_of_the_last_look_is_no_sign() -> None:
    member = with_state(known(listed_likes_count=103), likes=read_before(1, listed_count=103))
    assert [step.reads for step in plan_route(member, ALL_PAGES, SETTINGS, ratings_are_read=True).steps] == [
        "rated_by_date"
    ]


def test_who_was_found_private_not_long_ago_is_asked_for_nothing_but_by_a_full_reading() -> None:
    member = known(30, status="private", unreadable_hours=2.0)
    assert plan_route(member, ALL_PAGES, SETTINGS).steps == ()
    assert plan_route(member, ALL_PAGES, SETTINGS, full=True).steps
    assert plan_route(replace(member, unreadable_hours=25.0), ALL_PAGES, SETTINGS).steps


def test_an_overlap_is_counted() -> None:
    settings = SETTINGS.model_copy(update={"overlap_pages": 2})
    assert plan_route(known(), ALL_PAGES, settings).steps[0].requests_min == 3


def test_full_reads_everything_again() -> None:
    assert [step.reads for step in plan_route(known(0.01), ALL_PAGES, SETTINGS, full=True).steps] == [
        "profile",
        "rated",
        "likes_unrated",
    ]


def test_an_answer_that_was_not_believed_is_followed_by_a_full_reading() -> None:
    member = with_state(known(0.5), ratings=read_before(0.5, suspicious_at=NOW))
    assert plan_route(member, ALL_PAGES, SETTINGS).steps[0].reads == "rated"
    # What the profile counts is too old to be compared with.
    member = with_state(member, profile=read_before(2))
    assert [step.reads for step in plan_route(member, ALL_PAGES, SETTINGS).steps][:2] == ["profile", "rated"]


def test_totals_of_a_longer_list_make_the_full_reading_a_cadence() -> None:
    counted = with_state(known(), ratings=read_before(1, full_hours=200))
    assert plan_route(counted, ALL_PAGES, SETTINGS).steps[0].reads == "rated_by_date"
    uncounted = with_state(known(), ratings=read_before(1, full_hours=200, stated_surplus=300))
    assert "rated" in [step.reads for step in plan_route(uncounted, ALL_PAGES, SETTINGS).steps]


# -- robots.txt forbids newest ratings first --------------------------------------------------


def test_without_newest_first_the_grid_is_read_on_a_cadence_and_likes_as_ever() -> None:
    route = plan_route(known(), NOT_BY_DATE, SETTINGS)
    assert steps(route) == []
    assert "robots.txt" in route.reasons[0]
    old = with_state(known(), ratings=read_before(169), likes=read_before(25))
    assert steps(plan_route(old, NOT_BY_DATE, SETTINGS)) == [
        ("profile", 1, 1),
        ("rated", 14, 14),
        ("likes", 1, 2),
    ]


def test_without_newest_first_the_feed_tells_the_newest_of_who_agreed() -> None:
    route = plan_route(known(feed_opted_in_at=NOW), NOT_BY_DATE, SETTINGS)
    assert steps(route) == [("feed", 1, 1), ("likes", 0, 2)]


def test_a_gap_in_the_feed_makes_a_full_reading_due() -> None:
    member = with_state(known(feed_opted_in_at=NOW), feed=ScrapeState(suspicious_at=NOW, now=NOW))
    assert "rated" in [step.reads for step in plan_route(member, NOT_BY_DATE, SETTINGS).steps]


# -- no pages at all --------------------------------------------------------------------------


def test_without_pages_there_is_the_feed_of_who_agreed() -> None:
    assert steps(plan_route(known(feed_opted_in_at=NOW), FEED_ONLY, SETTINGS)) == [("feed", 1, 1)]


@pytest.mark.parametrize("member", [known(), MemberState(1, "ann")])
def test_without_pages_and_feed_nothing_is_asked_and_an_export_is_called_for(member: MemberState) -> None:
    route = plan_route(member, FEED_ONLY, SETTINGS)
    assert (route.steps, route.is_nowhere) == ((), True)
    assert "import an export" in route.reasons[0]


# -- freshness --------------------------------------------------------------------------------


def test_who_was_read_a_moment_ago_is_not_read_again() -> None:
    for may in (ALL_PAGES, NOT_BY_DATE, FEED_ONLY):
        fresh = with_state(known(0.1, feed_opted_in_at=NOW), feed=read_before(0.1))
        assert steps(plan_route(fresh, may, SETTINGS)) == []


def test_a_site_of_this_machine_may_be_read_again_at_once() -> None:
    settings = SETTINGS.model_copy(update={"letterboxd_url": "http://127.0.0.1:8000"})
    assert plan_route(known(0.1), ALL_PAGES, settings).steps
    settings = settings.model_copy(update={"fresh_minutes": 10.0})
    assert not plan_route(known(0.1), ALL_PAGES, settings).steps


def test_what_another_run_has_read_since_we_began_is_not_read_again() -> None:
    settings = SETTINGS.model_copy(update={"fresh_minutes": 0.0})
    began_at = NOW - timedelta(hours=2)
    for full in (False, True):
        route = plan_route(known(1), ALL_PAGES, settings, full=full, began_at=began_at)
        assert not [step for step in route.steps if step.requests_min]


def test_requests_add_up_as_far_as_they_are_known() -> None:
    assert add_requests([(1, 1), (2, 5)]) == (3, 6)
    assert add_requests([(1, 1), (2, None)]) == (3, None)
    assert add_requests([]) == (0, 0)


FOLLOWING = {"kind": "following", "depth": 1}


@pytest.mark.parametrize(
    ("definition", "may", "seed", "is_settled", "requests"),
    [
        ({"kind": "usernames"}, (), ScrapeState(), False, (0, 0)),
        ({"kind": "list", "relation": "owner"}, (), ScrapeState(), False, (0, 0)),
        ({"kind": "list", "relation": "fans"}, ("list", "fans"), ScrapeState(), False, (2, None)),
        ({"kind": "film", "relation": "fans"}, ("members",), ScrapeState(), False, None),
        (FOLLOWING, ("following",), read_before(1), True, (2, None)),
        (FOLLOWING, (), read_before(1), True, None),
        (FOLLOWING, ("following",), read_before(0.1), True, (0, 0)),
        (FOLLOWING, ("following",), read_before(0.1), False, (0, None)),
        (FOLLOWING | {"depth": 2}, ("following",), read_before(0.1), True, (0, None)),
        ({"kind": "followers"}, ("followers",), read_before(0.1), True, (0, 0)),
    ],
)
def test_finding_the_circle_takes_what_its_definition_permissions_and_freshness_say(
    definition: dict[str, Any],
    may: tuple[PageClass, ...],
    seed: ScrapeState,
    is_settled: bool,
    requests: tuple[int, int | None] | None,
) -> None:
    found = circle_requests(
        definition, frozenset(may), SETTINGS, seed=seed, stored_count=43, is_settled=is_settled
    )
    assert found == requests


# -- the sync does what was planned -----------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_a_sync_takes_the_planned_steps_and_no_more_requests(
    database_url: str, world: World, cohort: str, seed: int
) -> None:
    chance = random.Random(seed)
    settings = Settings(_env_file=None, http_workers=2, fresh_minutes=0)  # type: ignore[call-arg]
    kinds = ["rated_by_date", "likes", "likes_unrated", "profile"]
    for _ in range(6):
        world.permitted = {"rated", *chance.sample(kinds, chance.randint(0, 4))}  # type: ignore[arg-type]
        if chance.random() < 0.5:
            world.person("ada").rate(film(chance.randrange(40)), chance.randint(1, 10) / 2)
        with psycopg.connect(database_url) as connection:
            planned = {
                route.member.username: route
                for route in plan_sync(connection, settings, world, None, cohort).routes
            }
        world.calls.clear()
        sync_ratings(database_url, settings, world, cohort)
        sync_likes(database_url, settings, world, cohort)
        for name, route in planned.items():
            read = Counter({kind: n for (kind, key), n in world.calls.items() if key == name})
            assert set(read) <= {step.reads for step in route.steps}
            for step in route.steps:
                # One page of the site in memory holds three films, so only the least is told.
                assert read[step.reads] >= step.requests_min, (name, route)


def test_names_nobody_read_yet_are_planned_as_first_readings_and_not_stored(
    database_url: str, settings: Settings, world: World, query: Query
) -> None:
    with psycopg.connect(database_url) as connection:
        create_cohort(connection, "new", "New", {"kind": "usernames", "usernames": ["ada", "bea"]})
        plan = plan_sync(connection, settings, world, None, "new")
    assert [(route.member.username, route.requests) for route in plan.routes] == [
        ("ada", (3, None)),
        ("bea", (3, None)),
    ]
    assert query("select from raw.users") == []


def test_somebody_who_left_takes_a_request_that_the_plan_leaves_room_for(
    database_url: str, settings: Settings, world: World
) -> None:
    with psycopg.connect(database_url) as connection:
        create_cohort(connection, "friends", "Friends", {"kind": "following", "seed": "seed"})
    sync_members(database_url, settings, world, "friends")
    world.person("seed").following = ["Ada"]
    with psycopg.connect(database_url) as connection:
        plan = plan_sync(connection, settings, world, None, "friends")
    assert plan.circle_requests == (1, None)
    assert sync_members(database_url, settings, world, "friends").requests_count == 2


def test_a_lists_owner_is_planned_before_they_are_a_member(
    database_url: str, settings: Settings, world: World
) -> None:
    with psycopg.connect(database_url) as connection:
        create_cohort(
            connection, "own", "Own", {"kind": "list", "owner": "ada", "list": "best", "relation": "owner"}
        )
        plan = plan_sync(connection, settings, world, None, "own")
    assert plan.circle_requests == (0, 0)
    assert [route.member.username for route in plan.routes] == ["ada"]


def test_likes_without_any_sign_wait_for_a_day(
    database_url: str, world: World, cohort: str, query: Query
) -> None:
    settings = Settings(_env_file=None, http_workers=2, fresh_minutes=0)  # type: ignore[call-arg]

    def sync() -> list[str]:
        world.calls.clear()
        sync_ratings(database_url, settings, world, cohort)
        sync_likes(database_url, settings, world, cohort)
        return sorted(kind for kind, key in world.calls if key == "ada")

    sync()
    assert sync() == ["rated_by_date"]
    world.person("ada").like(film(2))
    assert sync() == ["rated_by_date"]
    world.person("ada").rate(film(50), 4.0)
    assert sync() == ["likes", "rated_by_date"]
    assert sync() == ["rated_by_date"]
    world.person("ada").like(film(3))
    with psycopg.connect(database_url) as connection:
        connection.execute("update raw.users set listed_likes_count = 4 where username = 'ada'")
    assert sync() == ["likes", "rated_by_date"]
    assert sync() == ["rated_by_date"]
    liked = "select slug from raw.ratings join raw.films using (film_id) where liked order by slug"
    assert [row["slug"] for row in query(liked)] == ["film-1", "film-2", "film-20", "film-3"]


def test_a_run_says_what_it_did_for_each_member(
    database_url: str, settings: Settings, world: World, cohort: str, query: Query
) -> None:
    world.people.pop("bea")
    sync_ratings(database_url, settings, world, cohort)
    rows = query(
        """
        select username, outcome, member.pages_count, member.requests_count, member.rows_seen,
               member.rows_changed, member.error_sample is null as is_well
        from ops.scrape_run_members as member join raw.users using (user_id)
        join ops.scrape_runs using (scrape_run_id) where subject = 'ratings' order by username
        """
    )
    assert [tuple(row.values()) for row in rows] == [
        ("ada", "full", 4, 4, 10, 10, True),
        ("bea", "failed", 0, 1, 0, 0, False),
    ]


# -- totals -----------------------------------------------------------------------------------


class WholeListWorld(World):
    """States the number of all watched films on every grid of ratings, as the site might."""

    watched_unrated = 40

    def read_profile(self, username: str) -> ProfilePage:
        rated = len(self.person(username).rated)
        return replace(
            super().read_profile(username), films_count=rated + self.watched_unrated, ratings_count=rated
        )


@pytest.fixture
def whole_list(world: World) -> WholeListWorld:
    whole = WholeListWorld(people=world.people)

    def state_the_whole(page: Any, number: int) -> Any:
        return replace(page, total=page.total + whole.watched_unrated) if page.page == "films" else page

    whole.change_page = state_the_whole
    return whole


def test_totals_of_all_watched_films_neither_fail_a_reading_nor_cost_requests(
    database_url: str, settings: Settings, whole_list: WholeListWorld, cohort: str, query: Query
) -> None:
    def sync() -> OpinionsReport:
        whole_list.calls.clear()
        return sync_ratings(database_url, settings, whole_list, cohort)

    report = sync()
    assert (report.full_count, report.failures_count) == (2, 0)
    whole_list.watched_unrated += 1
    assert (sync().requests_count, whole_list.calls["rated_by_date", "ada"]) == (2, 1)
    whole_list.person("ada").rate(film(50), 4.0)
    report = sync()
    assert (report.added_count, report.requests_count) == (1, 2)
    stated = "select stated_ratings_count from raw.users where username = 'ada'"
    assert query(stated) == [{"stated_ratings_count": 8}]
    # What was taken back is found by the next full reading.
    whole_list.person("ada").unrate(film(2))
    with psycopg.connect(database_url) as connection:
        connection.execute("update ops.user_scrape_state set last_full_at = now() - interval '8 days'")
    assert sync().removed_count == 1


def test_totals_of_all_watched_films_do_not_excuse_a_page_that_lacks_films(
    database_url: str, settings: Settings, whole_list: WholeListWorld, cohort: str, query: Query
) -> None:
    sync_ratings(database_url, settings, whole_list, cohort)
    state_the_whole = whole_list.change_page

    def lose(page: Any, number: int) -> Any:
        page = state_the_whole(page, number)
        return replace(page, items=page.items[:1]) if number == 2 and page.owner == "Ada" else page

    whole_list.change_page = lose
    report = sync_ratings(database_url, settings, whole_list, cohort, full=True)
    assert (report.failures_count, report.removed_count) == (1, 0)
    [alert] = query("select kind, message from ops.alerts where resolved_at is null")
    assert alert["kind"] == "suspicious"
    whole_list.change_page = state_the_whole
    assert sync_ratings(database_url, settings, whole_list, cohort).failures_count == 0
    assert query("select count(*) as n from ops.alerts where resolved_at is null") == [{"n": 0}]


@pytest.mark.parametrize("stated", [None, 0])
def test_an_empty_first_page_is_not_believed_where_the_profile_counts_ratings(
    database_url: str,
    settings: Settings,
    whole_list: WholeListWorld,
    cohort: str,
    ratings_of: Any,
    stated: int | None,
) -> None:
    state_the_whole = whole_list.change_page

    def empty(page: Any, number: int) -> Any:
        return replace(page, items=(), total=stated, next_page=None) if page.owner == "Ada" else page

    whole_list.change_page = empty
    report = sync_ratings(database_url, settings, whole_list, cohort)
    assert (report.failures_count, report.full_count) == (1, 1)
    assert "no film was shown where another page states 8" in report.failures[0]
    whole_list.change_page = state_the_whole
    assert sync_ratings(database_url, settings, whole_list, cohort).failures_count == 0
    assert ratings_of("ada").keys() >= {f"film-{number}" for number in range(1, 9)}


def test_an_empty_page_of_which_nothing_tells_is_looked_at_again(
    database_url: str, settings: Settings, world: World, cohort: str, ratings_of: Any
) -> None:
    world.change_page = lambda page, number: replace(page, items=(), total=None, next_page=None)
    assert sync_ratings(database_url, settings, world, cohort).failures_count == 0
    world.change_page = lambda page, number: page
    sync_ratings(database_url, settings, world, cohort)
    assert ratings_of("ada").keys() >= {f"film-{number}" for number in range(1, 9)}


# -- several cohorts, several processes -------------------------------------------------------


def _sync_in_a_process(database_url: str, site_url: str, slug: str, start: Any) -> None:
    settings = Settings(
        _env_file=None,  # type: ignore[call-arg]
        letterboxd_url=site_url,
        http_workers=2,
        fresh_minutes=10,
    )
    with PoliteClient.open(settings, database_url) as client:
        source = PagesSource(client, site_url)
        start.wait(30)
        sync_ratings(database_url, settings, source, slug)
        sync_likes(database_url, settings, source, slug)


def test_two_cohorts_synced_by_two_processes_read_each_shared_member_once(
    database_url: str, query: Query
) -> None:
    with SandboxServer(build_world(GeneratedWorld(seed=5, members=8, films=120, ratings=80))) as site:
        everybody = sorted(site.summary()["following"])
        settings = Settings(_env_file=None, letterboxd_url=site.url)  # type: ignore[call-arg]
        for slug, names in (("one", everybody[:6]), ("two", everybody[2:])):
            with psycopg.connect(database_url) as connection:
                create_cohort(connection, slug, slug, {"kind": "usernames", "usernames": names})
            with PoliteClient.open(settings, database_url) as client:
                sync_members(database_url, settings, PagesSource(client, site.url), slug)
        site.reset_report()
        spawn = multiprocessing.get_context("spawn")
        start = spawn.Barrier(2)
        processes = [
            spawn.Process(target=_sync_in_a_process, args=(database_url, site.url, slug, start))
            for slug in ("one", "two")
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join(90)
        assert [process.exitcode for process in processes] == [0, 0]
        for name in everybody:
            ratings = len(site.member(name)["ratings"])
            asked = site.report()["by_member"][name]
            assert asked["rated"] == -(-ratings // 72), name
            assert asked["likes_unrated"] == 1, name
            assert set(asked) <= {"profile", "rated", "likes_unrated"}, name
        stored = query("select count(rating) as n from raw.ratings")
        assert stored == [{"n": sum(len(site.member(name)["ratings"]) for name in everybody)}]
        assert query("select count(*) as n from ops.scrape_failures") == [{"n": 0}]


def test_a_member_read_by_one_cohort_is_fresh_for_another(
    database_url: str, world: World, cohort: str
) -> None:
    settings = Settings(_env_file=None, http_workers=2)  # type: ignore[call-arg]
    with psycopg.connect(database_url) as connection:
        create_cohort(connection, "other", "Other", {"kind": "usernames", "usernames": ["ada", "bea"]})
    sync_members(database_url, settings, world, "other")
    syncs: tuple[Callable[..., OpinionsReport], ...] = (sync_ratings, sync_likes)
    for sync in syncs:
        assert sync(database_url, settings, world, cohort).full_count == 2
    world.calls.clear()
    for sync in syncs:
        assert sync(database_url, settings, world, "other").skipped_count == 2
    assert world.total_calls() == 0
    assert sync_ratings(database_url, settings, world, "other", full=True).full_count == 2
