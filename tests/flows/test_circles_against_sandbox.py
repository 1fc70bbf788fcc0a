"""Members, diaries and watchlists over the real pages source, against the stand-in site."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from almanac_pipeline.flows.members import sync_members
from almanac_pipeline.flows.viewings import sync_diary, sync_watchlist
from almanac_pipeline.http.client import PoliteClient
from almanac_pipeline.sandbox.options import GeneratedWorld
from almanac_pipeline.sandbox.server import SandboxServer, build_world
from almanac_pipeline.settings import Settings
from almanac_pipeline.sources.pages.source import PagesSource
from almanac_pipeline.warehouse.cohorts import create_cohort
from tests.flows.conftest import Query

Call = Callable[..., Any]

CURRENT = """
    select username, depth from raw.cohort_members join raw.users using (user_id) where until is null
"""


@pytest.fixture
def site() -> Iterator[SandboxServer]:
    with SandboxServer(build_world(GeneratedWorld(seed=3, members=8, films=150, ratings=60))) as server:
        yield server


@pytest.fixture
def make(site: SandboxServer, database_url: str) -> Callable[..., Call]:
    """Defines a circle; what it returns runs a flow over it, with a client of its own as the assets do."""
    settings = Settings(_env_file=None, letterboxd_url=site.url, http_workers=2, profile_max_age_hours=0.0)  # type: ignore[call-arg]

    def define(**definition: object) -> Call:
        with psycopg.connect(database_url) as connection:
            create_cohort(connection, "circle", "Circle", definition)

        def call(flow: Callable[..., Any], **options: object) -> Any:
            with PoliteClient.open(settings, database_url, backoff_seconds=0.01) as client:
                source = PagesSource(client, settings.letterboxd_url)
                return flow(database_url, settings, source, "circle", **options)

        return call

    return define


def follow_only(site: SandboxServer, name: str, others: list[str]) -> None:
    """Let somebody follow these people and nobody else."""
    site.change(
        unfollow=[{"member": name, "target": other} for other in site.member(name)["following"]],
        follow=[{"member": name, "target": other} for other in others],
    )


def circle(query: Query) -> dict[str, int]:
    return {row["username"]: row["depth"] for row in query(CURRENT)}


def test_a_circle_of_depth_two_is_who_the_site_says(
    site: SandboxServer, make: Callable[..., Call], query: Query
) -> None:
    seed = site.world.seed_member
    a, b, c, d, *_ = (name for name in sorted(site.world.members) if name != seed)
    follow_only(site, seed, [a, b])
    follow_only(site, a, [c, seed])
    follow_only(site, b, [c, d])
    follow_only(site, c, [])
    call = make(kind="following", seed=seed, depth=2)
    report = call(sync_members)
    assert circle(query) == {a: 1, b: 1, c: 2, d: 2}
    assert (report.requests_count, report.profiles_count) == (3 + 4, 4)
    counts = query("select listed_films_count from raw.users where username = %s", c)
    assert counts == [{"listed_films_count": len(site.member(c)["watched"])}]
    lids = query("select username, lid from raw.users where lid is not null")
    assert {row["username"]: row["lid"] for row in lids} == {
        name: site.member(name)["lid"] for name in (a, b, c, d)
    }


@pytest.mark.parametrize("redirect", [False, True])
def test_a_renamed_member_stays_who_they_were(
    redirect: bool, site: SandboxServer, make: Callable[..., Call], query: Query
) -> None:
    seed = site.world.seed_member
    renamed, *others = site.member(seed)["following"]
    call = make(kind="following", seed=seed)
    call(sync_members)
    [before] = query("select user_id from raw.users where username = %s", renamed)
    site.change(rename_member=[{"member": renamed, "username": "NewName", "redirect": redirect}])
    report = call(sync_members)
    assert circle(query) == dict.fromkeys(["newname", *others], 1)
    assert (report.added_count, report.ended_count, report.failures_count) == (0, 0, 0)
    assert query("select user_id from raw.users where username = 'newname'") == [before]
    assert query("select username from raw.user_aliases") == [{"username": renamed}]


def test_private_and_deleted_members_are_told_apart_from_a_block(
    site: SandboxServer, make: Callable[..., Call], query: Query
) -> None:
    seed = site.world.seed_member
    private, deleted, *others = site.member(seed)["following"]
    follow_only(site, private, [])
    call = make(kind="following", seed=seed, depth=2)
    call(sync_members)
    site.change(hide_member=[{"member": private}], delete_member=[{"member": deleted}])
    report = call(sync_members)
    statuses = query("select username, status from raw.users where status <> 'active' order by username")
    assert {row["username"]: row["status"] for row in statuses} == {private: "private", deleted: "deleted"}
    assert report.failures_count == 1
    assert private in circle(query)
    assert deleted not in circle(query)
    assert query("select blocked_at from ops.http_hosts where blocked_at is not null") == []
    messages = " ".join(row["message"] for row in query("select message from ops.scrape_failures"))
    assert not any(name in messages.lower() for name in (private, deleted, *others))


def test_diaries_and_watchlists_are_what_the_site_knows_and_follow_its_news(
    site: SandboxServer, make: Callable[..., Call], query: Query
) -> None:
    names = site.member(site.world.seed_member)["following"]
    call = make(kind="usernames", usernames=names)
    call(sync_members)

    def stored(table: str, columns: str) -> dict[str, set[Any]]:
        found: dict[str, set[Any]] = {name: set() for name in names}
        for row in query(
            f"""
            select username, ({columns})::text as entry from raw.{table} as entry
            join raw.users using (user_id) join raw.films using (film_id) where removed_at is null
            """
        ):
            found[row["username"]].add(row["entry"])
        return found

    def diaries() -> dict[str, set[str]]:
        return {
            name: {
                f"({each['viewing_id']},{each['film']},{each['watched_on']},"
                f"{each['rating'] or ''},{'t' if each['liked'] else 'f'},{'t' if each['rewatch'] else 'f'})"
                for each in site.member(name)["diary"]
            }
            for name in names
        }

    columns = "source_key, uid, watched_on, entry.rating, entry.liked, rewatch"
    assert call(sync_diary).failures_count == 0
    assert call(sync_watchlist).failures_count == 0
    assert stored("diary_entries", columns) == diaries()
    assert stored("watchlist_entries", "uid") == {
        name: {f"{uid}" for uid in site.member(name)["watchlist"]} for name in names
    }
    assert [call(flow).requests_count for flow in (sync_diary, sync_watchlist)] == [len(names)] * 2
    film = site.films()[0]["uid"]
    site.change(
        log=[
            {"member": names[0], "film": film, "rating": 4.0, "watched_on": "2001-01-01"},
            {"member": names[1], "film": film, "liked": True},
        ],
        watchlist=[{"member": names[2], "film": film}],
    )
    assert call(sync_diary).added_count == 2
    assert stored("diary_entries", columns) == diaries()
    call(sync_watchlist)
    assert stored("watchlist_entries", "uid")[names[2]] == set(site.member(names[2])["watchlist"])
