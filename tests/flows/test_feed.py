"""sync_feed: what the feeds of those who agreed tell, where pages do not; and what may be missing in them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from almanac_pipeline.errors import BlockedError, ConfigurationError, NotFoundError
from almanac_pipeline.flows.feed import FEED_ENTRIES, leaves_a_gap
from almanac_pipeline.flows.imports import import_exports
from almanac_pipeline.flows.members import sync_members
from almanac_pipeline.flows.opinions import OpinionsReport
from almanac_pipeline.flows.ratings import sync_ratings
from almanac_pipeline.http.client import PoliteClient
from almanac_pipeline.sandbox.options import GeneratedWorld
from almanac_pipeline.sandbox.server import SandboxServer, build_world
from almanac_pipeline.settings import LETTERBOXD_URL, Settings
from almanac_pipeline.sources.feed import FeedSource
from almanac_pipeline.sources.pages.source import PagesSource
from almanac_pipeline.sources.records import Feed, FeedEntry
from almanac_pipeline.warehouse.cohorts import create_cohort
from almanac_pipeline.warehouse.member_state import MemberState
from almanac_pipeline.warehouse.staging import ScrapeState
from tests import exports
from tests.flows.conftest import Query
from tests.flows.world import World, film

NOW = datetime.now(UTC).replace(microsecond=0)


def entry(number: int, hours_ago: float, rating: float | None = 4.0, **changes: Any) -> FeedEntry:
    """A viewing of film number so-and-so, logged so many hours ago."""
    moment = NOW - timedelta(hours=hours_ago)
    values: dict[str, Any] = {
        "guid": f"letterboxd-watch-{number}{round(hours_ago * 10):05}",
        "film": film(number, uid=None, lid=None, rating=rating),
        "tmdb_media_type": "movie",
        "tmdb_id": 1000 + number,
        "watched_on": moment.date(),
        "published_at": moment,
        "rewatch": False,
        "liked": None,
        "is_review": False,
    }
    return FeedEntry(**values | changes)


@dataclass
class Feeds:
    """The feeds of the site in memory."""

    entries: dict[str, list[FeedEntry]] = field(default_factory=dict)
    permitted: bool = True
    calls: list[str] = field(default_factory=list)

    def permits(self) -> bool:
        return self.permitted

    def read_feed(self, username: str) -> Feed:
        self.calls.append(username)
        if username not in self.entries:
            raise NotFoundError("the member does not exist")
        return Feed(username.title(), tuple(self.entries[username]), lists_count=0)


@pytest.fixture
def feeds() -> Feeds:
    return Feeds()


@pytest.fixture
def sync(
    database_url: str, settings: Settings, world: World, cohort: str, feeds: Feeds
) -> Callable[[], OpinionsReport]:
    """No pages; ada agreed to have her feed read, bea did not."""
    world.permitted = set()
    with psycopg.connect(database_url) as connection:
        connection.execute("update raw.users set feed_opted_in_at = now() where username = 'ada'")

    def run() -> OpinionsReport:
        feeds.calls.clear()
        return sync_ratings(database_url, settings, world, cohort, feeds=feeds)

    return run


OPINIONS = """
    select slug, rating::float8 as rating, liked, rated_at_source, ratings.source
    from raw.ratings join raw.films using (film_id) where removed_at is null order by slug
"""


def test_a_feed_tells_ratings_likes_viewings_and_tmdb_ids(
    sync: Callable[[], OpinionsReport], feeds: Feeds, world: World, query: Query
) -> None:
    feeds.entries["ada"] = [
        entry(1, 1, 4.5, liked=True, rewatch=True, is_review=True),
        entry(2, 2, None, liked=False),
        entry(3, 3, 2.0, tmdb_media_type="tv", tmdb_id=77, watched_on=None),
    ]
    report = sync()
    assert (report.feeds_count, report.requests_count, report.failures_count) == (1, 1, 0)
    assert feeds.calls == ["ada"]
    assert world.total_calls() == 0
    assert [tuple(row.values()) for row in query(OPINIONS)] == [
        ("film-1", 4.5, True, "feed", "rss"),
        ("film-3", 2.0, False, "feed", "rss"),
    ]
    viewings = query(
        "select film_title, rating::float8, liked, rewatch, has_review, watched_on is null as undated, source"
        " from raw.diary_entries order by film_title"
    )
    assert [tuple(row.values()) for row in viewings] == [
        ("Film 1", 4.5, True, True, True, False, "rss"),
        ("Film 2", None, False, False, False, False, "rss"),
        ("Film 3", 2.0, None, False, False, True, "rss"),
    ]
    titles = query("select slug, tmdb_media_type || '/' || tmdb_id as title from raw.films order by slug")
    assert [row["title"] for row in titles] == ["movie/1001", "movie/1002", "tv/77"]
    assert query("select count(*) as n from raw.film_aliases where kind = 'tmdb'") == [{"n": 3}]


def test_the_same_feed_again_writes_nothing(
    sync: Callable[[], OpinionsReport], feeds: Feeds, written: Callable[[], int]
) -> None:
    feeds.entries["ada"] = [entry(1, 1), entry(2, 2)]
    sync()
    before = written()
    report = sync()
    assert (report.feeds_count, report.added_count, report.changed_count) == (1, 0, 0)
    assert written() == before


def test_the_newest_viewing_of_a_film_is_the_opinion_and_nothing_is_ever_removed(
    sync: Callable[[], OpinionsReport], feeds: Feeds, query: Query
) -> None:
    feeds.entries["ada"] = [entry(1, 1, 5.0, rewatch=True), entry(1, 30, 2.0), entry(2, 40)]
    sync()
    assert [(row["slug"], row["rating"]) for row in query(OPINIONS)] == [("film-1", 5.0), ("film-2", 4.0)]
    feeds.entries["ada"] = [entry(1, 0.5, None, rewatch=True)]
    assert sync().removed_count == 0
    assert [(row["slug"], row["rating"]) for row in query(OPINIONS)] == [("film-1", 5.0), ("film-2", 4.0)]


def test_a_viewing_that_gets_a_review_stays_one_viewing(
    sync: Callable[[], OpinionsReport], feeds: Feeds, query: Query
) -> None:
    feeds.entries["ada"] = [entry(1, 1, guid="letterboxd-watch-777", watched_on=None)]
    sync()
    feeds.entries["ada"] = [entry(1, 1, guid="letterboxd-review-777", watched_on=None, is_review=True)]
    sync()
    assert query("select source_key, has_review from raw.diary_entries") == [
        {"source_key": "777", "has_review": True}
    ]


def export_of(database_url: str, settings: Settings, folder: Path, minute: int, *numbers: int) -> None:
    """Import an export of ada, made today: films rated 4.0, each logged on the day of `entry(n, 1)`."""
    moment = NOW - timedelta(hours=1)
    day = moment.date().isoformat()
    path = folder / f"letterboxd-ada-{(NOW - timedelta(minutes=minute)):%Y-%m-%d-%H-%M}-utc.zip"
    files: dict[str, str | bytes] = {
        "profile.csv": exports.profile(),
        "ratings.csv": exports.ratings(*((n, 4.0) for n in numbers), day=day),
        "diary.csv": exports.diary(*(exports.viewing(n, f"e{n}", day, 4.0) for n in numbers)),
    }
    path.write_bytes(exports.pack(files, stamp=(2026, 5, 1, 12, minute, 0)))
    [report] = import_exports(database_url, settings, [path]).files
    assert report.outcome == "imported", report.error


@pytest.mark.parametrize("order", ["export feed", "feed export"])
def test_without_pages_an_export_and_a_feed_tell_of_the_same_films(
    order: str,
    sync: Callable[[], OpinionsReport],
    feeds: Feeds,
    query: Query,
    database_url: str,
    settings: Settings,
    tmp_path: Path,
) -> None:
    feeds.entries["ada"] = [entry(n, 1) for n in (1, 2, 3)]
    if order == "feed export":
        sync()
    export_of(database_url, settings, tmp_path, 3, 1, 2, 3)
    sync()
    export_of(database_url, settings, tmp_path, 2, 1, 2, 3)
    sync()
    assert [tuple(row.values()) for row in query("select slug, lid from raw.films order by slug")] == [
        (f"film-{n}", f"L{n}") for n in (1, 2, 3)
    ]
    assert [(row["slug"], row["rating"]) for row in query(OPINIONS)] == [
        (f"film-{n}", 4.0) for n in (1, 2, 3)
    ]
    assert query("select kind, count(*) as n from raw.rating_events group by kind") == [
        {"kind": "added", "n": 3}
    ]
    assert query("select count(*) as n, count(removed_at) as gone from raw.diary_entries") == [
        {"n": 3, "gone": 0}
    ]


def test_a_known_tmdb_id_stays(
    sync: Callable[[], OpinionsReport], feeds: Feeds, query: Query, database_url: str
) -> None:
    feeds.entries["ada"] = [entry(1, 1)]
    sync()
    feeds.entries["ada"] = [entry(1, 0.5, tmdb_id=5), entry(2, 1)]
    sync()
    rows = query("select tmdb_id from raw.films order by slug")
    assert [row["tmdb_id"] for row in rows] == [1001, 1002]


def test_an_entry_older_than_what_the_pages_told_changes_no_opinion(
    sync: Callable[[], OpinionsReport],
    feeds: Feeds,
    world: World,
    query: Query,
    database_url: str,
    settings: Settings,
    cohort: str,
) -> None:
    world.permitted = {"rated"}
    sync_ratings(database_url, settings, world, cohort)
    feeds.entries["ada"] = [entry(1, 5, 0.5)]
    assert sync().feeds_count == 1
    rating = (
        "select rating::float8 from raw.ratings join raw.films using (film_id) join raw.users using (user_id)"
    )
    assert query(f"{rating} where slug = 'film-1' and username = 'ada'") == [{"rating": 3.0}]
    assert query("select rating::float8 from raw.diary_entries") == [{"rating": 0.5}]


def test_who_has_neither_page_nor_feed_is_said_and_is_no_failure(
    sync: Callable[[], OpinionsReport], feeds: Feeds
) -> None:
    feeds.permitted = False
    report = sync()
    assert (report.requests_count, report.failures_count, report.skipped_count) == (0, 0, 2)
    assert "of 2 members neither pages nor feeds" in report.notes[0]
    assert "almanac import" in report.notes[0]


def test_another_members_feed_changes_nothing(
    sync: Callable[[], OpinionsReport], feeds: Feeds, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds, "read_feed", lambda name: Feed("zoe", (entry(1, 1),), 0))
    with pytest.raises(Exception, match="another member"):
        sync()
    assert query("select count(*) as n from raw.ratings") == [{"n": 0}]


# -- gaps -------------------------------------------------------------------------------------


def full_feed(hours_ago: float, hours_apart: float = 1.0) -> list[FeedEntry]:
    return [entry(100 + n, hours_ago + n * hours_apart) for n in range(FEED_ENTRIES)]


def test_a_gap_is_said_until_something_complete_has_closed_it(
    sync: Callable[[], OpinionsReport], feeds: Feeds, query: Query, database_url: str
) -> None:
    gaps = "select count(*) as n from ops.alerts where kind = 'feed_gap' and resolved_at is null"
    feeds.entries["ada"] = [entry(n, n) for n in range(1, 4)]
    assert sync().notes[1:] == ()
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "update ops.user_scrape_state set last_success_at = now() - interval '9 days'"
            " where subject = 'feed'"
        )
    feeds.entries["ada"] = full_feed(0)
    for _ in range(2):
        assert "a new export or full read is due" in sync().notes[1]
        assert query(gaps) == [{"n": 1}]
    with psycopg.connect(database_url) as connection:
        connection.execute(
            """
            insert into ops.user_scrape_state (user_id, subject, last_success_at, last_full_at)
            select user_id, 'ratings', now(), now() from raw.users where username = 'ada'
            """
        )
    assert len(sync().notes) == 1
    assert query(gaps) == [{"n": 0}]


def test_a_full_reading_of_the_pages_in_the_same_run_leaves_no_gap(
    sync: Callable[[], OpinionsReport], world: World, feeds: Feeds, query: Query
) -> None:
    world.permitted = {"rated"}
    feeds.entries["ada"] = full_feed(0.1)
    report = sync()
    assert (report.full_count, report.feeds_count, report.notes) == (2, 1, ())
    assert query("select kind from ops.alerts") == []


@pytest.mark.parametrize(
    ("entries", "full_hours", "feed_hours", "expected"),
    [
        (full_feed(0), 100, None, True),
        (full_feed(0), 40, None, False),
        (full_feed(0), 100, 40, False),
        (full_feed(0), None, 100, True),
        (full_feed(0), None, None, True),
        (full_feed(0)[:-1], 100, None, False),
        ([], None, None, False),
    ],
)
def test_a_gap_is_a_full_feed_that_begins_after_all_that_is_known(
    entries: list[FeedEntry], full_hours: float | None, feed_hours: float | None, expected: bool
) -> None:
    def ago(hours: float | None) -> datetime | None:
        return None if hours is None else NOW - timedelta(hours=hours)

    member = MemberState(
        1,
        "ada",
        states={
            "ratings": ScrapeState(last_full_at=ago(full_hours)),
            "feed": ScrapeState(last_success_at=ago(feed_hours)),
        },
    )
    assert leaves_a_gap(Feed("Ada", tuple(entries), 0), member) is expected


# -- the source -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site() -> Any:
    with SandboxServer(build_world(GeneratedWorld(seed=3, members=3, films=60, ratings=30))) as server:
        yield server


def test_feeds_of_the_stand_in_site_are_stored(site: SandboxServer, database_url: str, query: Query) -> None:
    settings = Settings(
        _env_file=None,  # type: ignore[call-arg]
        letterboxd_url=site.url,
        http_workers=2,
    )
    names = sorted(site.summary()["following"])
    with psycopg.connect(database_url) as connection:
        create_cohort(connection, "circle", "Circle", {"kind": "usernames", "usernames": names})
    with PoliteClient.open(settings, database_url) as client:
        sync_members(database_url, settings, PagesSource(client, site.url), "circle")
        with psycopg.connect(database_url) as connection:
            connection.execute("update raw.users set feed_opted_in_at = now()")
        nowhere = World(permitted=set())
        site.reset_report()
        feeds = FeedSource(client, site.url)
        report = sync_ratings(database_url, settings, nowhere, "circle", feeds=feeds)
    assert (report.feeds_count, report.failures_count) == (len(names), 0)
    assert site.report()["by_kind"]["rss"] == len(names)
    slugs = {known["uid"]: known["slug"] for known in site.films()}
    for name in names:
        logged = site.member(name)["diary"]
        assert 0 < len(logged) <= FEED_ENTRIES
        rows = query(
            "select slug, rating::float8 from raw.diary_entries join raw.users using (user_id)"
            " join raw.films using (film_id) where username = %s",
            name,
        )
        assert sorted((row["slug"], row["rating"] or 0) for row in rows) == sorted(
            (slugs[each["film"]], each["rating"] or 0) for each in logged
        )
    [films] = query("select count(*) as n, count(tmdb_id) as told from raw.films")
    assert films["told"] >= 0.9 * films["n"]


def test_a_feed_needs_a_contact_but_no_authorisation(database_url: str) -> None:
    with PoliteClient.open(Settings(_env_file=None), database_url) as client:  # type: ignore[call-arg]
        source = FeedSource(client, LETTERBOXD_URL)
        assert not source.permits()
        with pytest.raises(ConfigurationError, match="ALMANAC_CONTACT"):
            source.read_feed("ann")
        assert client.counts.requests == 0


def test_a_feed_that_robots_forbids_is_not_read(database_url: str) -> None:
    host = LETTERBOXD_URL.removeprefix("https://")
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "insert into ops.http_hosts (host, robots_txt, robots_fetched_at)"
            " values (%s, 'User-agent: *\nDisallow: /*/rss/', now())",
            [host],
        )
    settings = Settings(_env_file=None, contact="a@example.org")  # type: ignore[call-arg]
    with PoliteClient.open(settings, database_url) as client:
        source = FeedSource(client, LETTERBOXD_URL)
        assert not source.permits()
        with pytest.raises(BlockedError, match=r"robots\.txt"):
            source.read_feed("ann")
        assert client.counts.requests == 0
