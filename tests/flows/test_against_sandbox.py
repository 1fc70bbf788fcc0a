"""The flows over the real pages source and client, against the stand-in site: the whole way round."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr

from almanac_pipeline.errors import AlmanacError
from almanac_pipeline.flows.films import enrich_films
from almanac_pipeline.flows.histograms import refresh_histograms
from almanac_pipeline.flows.likes import sync_likes
from almanac_pipeline.flows.members import sync_members
from almanac_pipeline.flows.ratings import sync_ratings
from almanac_pipeline.http.client import PoliteClient
from almanac_pipeline.sandbox.options import GeneratedWorld, Markup, SandboxOptions
from almanac_pipeline.sandbox.server import SandboxServer, build_world
from almanac_pipeline.settings import Settings
from almanac_pipeline.sources.pages.parsers import parse_grid
from almanac_pipeline.sources.pages.source import PagesSource
from almanac_pipeline.sources.protocol import PageClass
from almanac_pipeline.sources.records import FilmGrid
from almanac_pipeline.tmdb.client import TmdbClient
from almanac_pipeline.warehouse.cohorts import create_cohort
from tests.flows.conftest import Query

MEMBERS = 5


@contextmanager
def site(markup: Markup = "2026", films: int = 150) -> Iterator[SandboxServer]:
    world = build_world(GeneratedWorld(seed=3, members=MEMBERS, films=films, ratings=90))
    with SandboxServer(world, SandboxOptions(markup=markup)) as server:
        yield server


@pytest.fixture
def opened(database_url: str) -> Callable[[SandboxServer], Any]:
    """Runs a flow by name against a sandbox, each with a client of its own, as the assets do."""

    def prepare(server: SandboxServer, **changes: Any) -> Callable[..., Any]:
        settings = Settings(
            _env_file=None,  # type: ignore[call-arg]
            letterboxd_url=server.url,
            tmdb_url=server.tmdb_url,
            tmdb_token=SecretStr("token"),
            http_workers=2,
            **changes,
        )
        with psycopg.connect(database_url) as connection:
            seed = server.summary()["seed_member"]
            create_cohort(connection, "circle", "Circle", {"kind": "following", "seed": seed})

        def call(flow: Callable[..., Any], *arguments: object) -> Any:
            with PoliteClient.open(settings, database_url, backoff_seconds=0.01) as client:
                source = PagesSource(client, settings.letterboxd_url)
                extra = (
                    (TmdbClient(client, settings.tmdb_url, SecretStr("token")),)
                    if flow is enrich_films
                    else ()
                )
                return flow(database_url, settings, source, *extra, "circle")

        return call

    return prepare


def opinions(query: Query) -> dict[str, dict[str, tuple[float | None, bool, bool]]]:
    """{member: {uid: (rating, liked, favorite)}} as stored."""
    found: dict[str, dict[str, tuple[float | None, bool, bool]]] = {}
    for row in query(
        """
        select username, uid, rating::float8 as rating, liked, favorite
        from raw.ratings join raw.users using (user_id) join raw.films using (film_id)
        where removed_at is null
        """
    ):
        found.setdefault(row["username"], {})[row["uid"]] = (row["rating"], row["liked"], row["favorite"])
    return found


def truth(server: SandboxServer) -> dict[str, dict[str, tuple[float | None, bool, bool]]]:
    """The same as the sandbox knows it."""
    found = {}
    followed = set(server.member(server.summary()["seed_member"])["following"])
    for member in server.members():
        if member["username"].lower() in followed:
            found[member["username"].lower()] = {
                uid: (member["ratings"].get(uid), uid in member["likes"], uid in member["favorites"])
                for uid in dict.fromkeys([*member["ratings"], *member["likes"], *member["favorites"]])
            }
    return found


def without_favorites(
    members: dict[str, dict[str, tuple[float | None, bool, bool]]],
) -> set[tuple[str, str, float | None, bool]]:
    """Ratings and likes alone: profiles that were read a moment ago are not read again."""
    return {
        (name, uid, rating, liked)
        for name, films in members.items()
        for uid, (rating, liked, _) in films.items()
        if rating is not None or liked
    }


@pytest.mark.parametrize("markup", ["2023", "2024", "2025", "2026"])
def test_what_is_stored_is_what_the_site_knows(
    opened: Callable[[SandboxServer], Any], query: Query, markup: Markup
) -> None:
    with site(markup) as server:
        call = opened(server)
        assert call(sync_members).members_count == MEMBERS
        assert call(sync_ratings).failures_count == 0
        assert call(sync_likes).failures_count == 0
        assert opinions(query) == truth(server)


def test_the_whole_chain_and_a_second_run_without_news(
    opened: Callable[[SandboxServer], Any], query: Query, written: Callable[[], int]
) -> None:
    with site() as server:
        call = opened(server)
        flows = (sync_members, sync_ratings, sync_likes, enrich_films, refresh_histograms)
        for flow in flows:
            assert getattr(call(flow), "failures_count", 0) == 0
        [films] = query(
            "select count(*) as n, count(tmdb_id) as keyed, count(overview) as told from raw.films"
        )
        assert films["keyed"] >= 0.99 * films["n"]
        assert films["told"] >= 0.9 * films["n"]
        facts = {film["uid"]: film for film in server.films()}
        rows = query(
            """
            select uid, slug, title, release_year, tmdb_media_type, tmdb_id, imdb_id, h.*
            from raw.films left join raw.film_histograms as h using (film_id)
            """
        )
        for row in rows:
            fact = facts[row["uid"]]
            for name, known in (("slug", "slug"), ("title", "title"), ("release_year", "year")):
                assert row[name] == fact[known]
            assert (row["tmdb_media_type"], row["tmdb_id"]) == (fact["media_type"], fact["tmdb_id"])
            if fact["released"] and sum(fact["counts"]):
                assert [row[f"count_{n // 2}_{n % 2 * 5}"] for n in range(1, 11)] == fact["counts"]
        before = written()
        server.reset_report()
        requests = [call(flow).requests_count for flow in flows]
        assert requests == [1, MEMBERS, 0, 0, 0]
        assert written() == before


def test_changes_of_the_world_arrive(opened: Callable[[SandboxServer], Any], query: Query) -> None:
    with site() as server:
        call = opened(server, likes_max_age_hours=0)  # a like alone is seen at once
        for flow in (sync_members, sync_ratings, sync_likes):
            call(flow)
        before = truth(server)
        ada, bea = sorted(before)[:2]
        rated = [uid for uid, (rating, _, _) in before[ada].items() if rating is not None]
        liked = next(uid for uid, (_, is_liked, _) in before[bea].items() if is_liked)
        unseen = next(film["uid"] for film in server.films() if film["uid"] not in before[ada])
        server.change(
            rate=[
                {"member": ada, "film": unseen, "rating": 0.5},
                {"member": ada, "film": rated[0], "rating": 5.0},
            ],
            unrate=[{"member": ada, "film": rated[-1]}],
            unlike=[{"member": bea, "film": liked}],
            like=[{"member": ada, "film": unseen}],
        )
        renamed = query("select slug, uid from raw.films where uid = %s", rated[0])[0]
        server.change(rename_film=[{"film": renamed["slug"], "slug": "quite-another-name"}])
        assert call(sync_ratings).failures_count == 0
        assert call(sync_likes).failures_count == 0
        assert without_favorites(opinions(query)) == without_favorites(truth(server))
        assert query("select slug from raw.films where uid = %s", rated[0]) == [
            {"slug": "quite-another-name"}
        ]


@pytest.mark.parametrize("fault", ["truncate", "empty", "wrong_owner"])
def test_a_spoilt_page_takes_nothing_away(
    opened: Callable[[SandboxServer], Any], query: Query, fault: str
) -> None:
    with site() as server:
        call = opened(server, likes_max_age_hours=0)
        for flow in (sync_members, sync_ratings, sync_likes):
            call(flow)
        before = opinions(query)
        victim = sorted(before)[0]
        server.fault(fault, member=victim, times=None)
        assert call(sync_ratings).failures_count == 1
        assert call(sync_likes).failures_count >= 1
        assert opinions(query) == before
        server.clear_faults()
        assert call(sync_ratings).failures_count == 0
        assert opinions(query) == before


@pytest.mark.parametrize("full", [False, True])
def test_hearts_drawn_otherwise_take_no_like_away(
    opened: Callable[[SandboxServer], Any], query: Query, monkeypatch: pytest.MonkeyPatch, full: bool
) -> None:
    def without_hearts(body: bytes) -> FilmGrid:
        return parse_grid(body.replace(b"icon-liked", b"icon-fond").replace(b"liked-micro", b"fond-micro"))

    with site() as server:
        call = opened(server, likes_max_age_hours=0, fresh_minutes=0)
        for flow in (sync_members, sync_ratings, sync_likes):
            call(flow)
        before = opinions(query)
        # Everybody rates something, so that everybody's newest ratings are merged.
        films = [film["uid"] for film in server.films()]
        unseen = {member: next(uid for uid in films if uid not in before[member]) for member in before}
        server.change(rate=[{"member": m, "film": uid, "rating": 4.0} for m, uid in unseen.items()])
        monkeypatch.setattr("almanac_pipeline.sources.pages.source.parse_grid", without_hearts)
        with suppress(AlmanacError):  # where everybody's pages were refused, the run fails
            call(partial(sync_ratings, full=full))
        assert query("select count(*) > 0 as found from ops.alerts where kind = 'suspicious'") == [
            {"found": True}
        ]
        assert query("select count(*) as n from raw.rating_events where old_liked and not new_liked") == [
            {"n": 0}
        ]
        monkeypatch.undo()
        call(sync_ratings)
        call(sync_likes)
        assert without_favorites(opinions(query)) == without_favorites(truth(server))


def test_films_that_exports_have_named_are_found_at_tmdb_and_no_other(
    opened: Callable[[SandboxServer], Any], query: Query, database_url: str
) -> None:
    """By title and year through TMDB's search: no page is read, and no series is taken for a film."""

    class WithoutPages(PagesSource):
        def permits(self, page_class: PageClass) -> bool:
            return False

    with site(films=300) as server:
        run = opened(server)
        run(sync_members)
        run(sync_ratings)
        with psycopg.connect(database_url) as connection:
            connection.execute("update raw.films set slug = null")
        settings = Settings(_env_file=None, letterboxd_url=server.url, http_workers=2)  # type: ignore[call-arg]
        with PoliteClient.open(settings, database_url) as client:
            tmdb = TmdbClient(client, server.tmdb_url, SecretStr("token"))
            source = WithoutPages(client, server.url)
            report = enrich_films(database_url, settings, source, tmdb, "circle")
        assert "film" not in server.report()["by_kind"]
        known = {film["uid"]: film for film in server.films()}
    rows = query("select uid, tmdb_media_type, tmdb_id, overview is not null as is_read from raw.films")
    assert report.due_count == len(rows) > 100
    wrong = [
        row
        for row in rows
        if row["tmdb_id"] is not None
        and (row["tmdb_media_type"], row["tmdb_id"]) != ("movie", known[row["uid"]]["tmdb_id"])
    ]
    assert wrong == []
    there = {
        uid for uid, film in known.items() if film["tmdb_id"] is not None and film["media_type"] == "movie"
    }
    findable = [row for row in rows if row["uid"] in there]
    found = [row for row in findable if row["tmdb_id"] is not None]
    assert all(row["is_read"] for row in found)
    assert len(found) >= 0.97 * len(findable)
