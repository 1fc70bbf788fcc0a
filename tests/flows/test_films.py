"""enrich_films and refresh_histograms against a site and a TMDB in memory."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import psycopg
import pytest
import yaml

from almanac_pipeline.errors import (
    BlockedError,
    ConfigurationError,
    LayoutChangedError,
    LongPauseError,
    PermanentError,
    RetriableError,
)
from almanac_pipeline.flows.films import Asking, Discovery, FilmsReport, discover, enrich_films
from almanac_pipeline.flows.histograms import HistogramsReport, refresh_histograms
from almanac_pipeline.flows.ratings import sync_ratings
from almanac_pipeline.settings import PROJECT_ROOT, Settings
from almanac_pipeline.sources.records import FilmPage, MediaType, PersonLink
from almanac_pipeline.tally import count_request
from almanac_pipeline.tmdb.client import TmdbAnswer
from almanac_pipeline.tmdb.titles import TmdbCountry, TmdbTitle
from almanac_pipeline.warehouse import matches
from almanac_pipeline.warehouse.enrichment import DueFilm, FilmFields, combine, learn_tmdb_ids
from almanac_pipeline.warehouse.histograms import TOLERANCE_SHARE
from tests.conftest import database_name, new_database
from tests.flows.conftest import Query, two_people
from tests.flows.world import World, film, film_page, histogram


@dataclass
class Tmdb:
    """TMDB in memory; every title has an etag and is fresh for an hour."""

    titles: dict[tuple[MediaType, int], dict[str, Any]] = field(default_factory=dict)
    max_age_seconds: int = 3600
    calls: Counter[tuple[str, int]] = field(default_factory=Counter)
    etags: list[str | None] = field(default_factory=list)
    error: Exception | None = None
    is_silent: bool = False
    """Nothing is sent: the client knows beforehand what would come of it."""

    def _called(self, kind: str, number: int) -> None:
        self.calls[kind, number] += 1
        if not self.is_silent:
            count_request()

    def fetch_title(self, media_type: MediaType, tmdb_id: int, *, etag: str | None = None) -> TmdbAnswer:
        self._called(media_type, tmdb_id)
        self.etags.append(etag)
        if self.error is not None:
            raise self.error
        if (media_type, tmdb_id) not in self.titles:
            return TmdbAnswer(404, None, None, None)
        if etag == f'"{tmdb_id}"':
            return TmdbAnswer(304, None, etag, self.max_age_seconds)
        payload = json.dumps(self.titles[media_type, tmdb_id])
        return TmdbAnswer(200, payload, f'"{tmdb_id}"', self.max_age_seconds)

    def search(self, media_type: MediaType, text: str, year: int | None) -> str:
        self._called(f"search {media_type}", year or 0)
        if self.error is not None:
            raise self.error
        name = "title" if media_type == "movie" else "name"
        found = [
            document
            for (kind, _), document in self.titles.items()
            if kind == media_type and text.casefold() in document[name].casefold()
            and (year is None or document.get("release_date", "").startswith(str(year)))
        ]  # fmt: skip
        return json.dumps({"results": found, "total_results": len(found)})

    def find(self, imdb_id: str) -> str:
        self._called("find", int(imdb_id[2:]))
        found = [
            document
            for (kind, _), document in self.titles.items()
            if kind == "movie" and document.get("external_ids", {}).get("imdb_id") == imdb_id
        ]
        return json.dumps({"movie_results": found, "tv_results": []})

    def further_titles(self, media_type: MediaType, tmdb_id: int) -> str:
        self._called(f"further titles of a {media_type}", tmdb_id)
        return json.dumps({"titles": []})


def title(tmdb_id: int, **changes: Any) -> dict[str, Any]:
    return {
        "id": tmdb_id, "title": "As TMDB says", "original_title": "Wie TMDB sagt", "runtime": 123,
        "release_date": "1999-05-01", "overview": "Things happen.", "poster_path": "/p.jpg",
        "genres": [{"id": 1, "name": "Drama"}], "vote_average": 7.25, "vote_count": 12,
        "production_countries": [{"iso_3166_1": "FR", "name": "France"}],
        "credits": {
            "cast": [{"id": 7, "name": "Bo Lake", "character": "The clerk", "order": 0}],
            "crew": [{"id": 8, "name": "Agnes Field", "job": "Director"},
                     {"id": 8, "name": "Agnes Field", "job": "Writer"}],
        },
        "external_ids": {"imdb_id": "tt7654321"},
        **changes,
    }  # fmt: skip


Enrich = Callable[..., FilmsReport]


@pytest.fixture
def tmdb() -> Tmdb:
    return Tmdb({("movie", 1000 + number): title(1000 + number) for number in range(1, 10)})


@pytest.fixture
def world() -> World:
    """Each of the nine rated films has a page and a histogram."""
    world = two_people()
    for number in range(1, 10):
        page = film_page(film(number))
        world.film_pages[page.slug] = page
        assert page.histogram_url is not None
        world.histograms[page.histogram_url] = histogram(*range(10))
    world.person("ada").favorites = []
    return world


@pytest.fixture(scope="module")
def rated_template(server_url: str, circle_template: str) -> Iterator[str]:
    """The name of a database whose cohort has its ratings."""
    settings = Settings(_env_file=None, fresh_minutes=0, likes_max_age_hours=0)  # type: ignore[call-arg]
    world = two_people()
    world.person("ada").favorites = []
    with new_database(server_url, circle_template) as url:
        sync_ratings(url, settings, world, "circle")
        yield database_name(url)


@pytest.fixture
def database_url(server_url: str, rated_template: str) -> Iterator[str]:
    with new_database(server_url, rated_template) as url:
        yield url


@pytest.fixture
def rated(database_url: str) -> str:
    """The cohort with nine rated films."""
    return "circle"


@pytest.fixture
def enrich(database_url: str, settings: Settings, world: World, tmdb: Tmdb, rated: str) -> Enrich:
    def run(use_tmdb: bool = True) -> FilmsReport:
        world.calls.clear()
        tmdb.calls.clear()
        return enrich_films(database_url, settings, world, tmdb if use_tmdb else None, rated)

    return run


def one(query: Query, sql: str) -> dict[str, Any]:
    [row] = query(sql)
    return row


FILM_1 = "select * from raw.films where slug = 'film-1'"
SYNC_1 = (
    "select sync.* from ops.film_metadata_sync as sync join raw.films using (film_id) where slug = 'film-1'"
)


def test_without_pages_films_whose_tmdb_id_is_known_have_what_tmdb_says(
    enrich: Enrich, world: World, query: Query, database_url: str
) -> None:
    with psycopg.connect(database_url) as connection:
        assert learn_tmdb_ids(connection, {"film-1": ("movie", 1001), "film-2": ("movie", 1002)}) == 2
    everything, world.permitted = world.permitted, set()
    # The other seven are searched for, in vain, and wait.
    for due, found in ((9, 2), (0, 0)):
        report = enrich()
        assert (report.due_count, report.tmdb_count, report.failures_count) == (due, found, 0)
        assert "Pages of films may not be fetched" in report.notes[0]
        assert world.total_calls() == 0
    assert one(query, FILM_1)["overview"] == "Things happen."
    assert enrich(use_tmdb=False).due_count == 0
    # Once pages are permitted, all of them are due for theirs, those in vain when their day is over.
    world.permitted = everything
    assert (enrich().due_count, enrich().due_count) == (2, 0)
    with psycopg.connect(database_url) as connection:
        connection.execute("update ops.film_metadata_sync set next_attempt_at = now() - interval '1 second'")
    assert (enrich().due_count, enrich().due_count) == (7, 0)


def test_a_film_has_what_its_page_and_tmdb_say(enrich: Enrich, query: Query) -> None:
    report = enrich()
    assert (report.due_count, report.fetched_count, report.tmdb_count, report.failures_count) == (9, 9, 9, 0)
    assert report.requests_count == 18
    assert report.notes == ()
    assert report.preview[0].directors == "Agnes Field"
    row = one(query, FILM_1)
    assert row["title"] == "Film 1"
    assert row["original_title"] == "Wie TMDB sagt"
    assert row["runtime_minutes"] == 123
    assert row["overview"] == "Things happen."
    assert (row["tmdb_media_type"], row["tmdb_id"], row["imdb_id"]) == ("movie", 1001, "tt7654321")
    assert float(row["tmdb_vote_average"]) == 7.25
    assert float(row["stated_average"]) == 3.5
    assert row["poster_url"].endswith("/p.jpg")
    assert row["field_sources"]["title"] == "page"
    assert row["field_sources"]["runtime_minutes"] == "tmdb"
    people = query(
        "select name, role, tmdb_person_id, letterboxd_slug, character_name from raw.film_people"
        " join raw.people using (person_id) join raw.films using (film_id)"
        " where slug = 'film-1' order by role"
    )
    assert people == [
        {"name": "Bo Lake", "role": "actor", "tmdb_person_id": 7, "letterboxd_slug": None,
         "character_name": "The clerk"},
        {"name": "Agnes Field", "role": "director", "tmdb_person_id": 8, "letterboxd_slug": "agnes-field",
         "character_name": None},
        {"name": "Agnes Field", "role": "writer", "tmdb_person_id": 8, "letterboxd_slug": "agnes-field",
         "character_name": None},
    ]  # fmt: skip
    assert query("select iso_code, name from raw.countries") == [{"iso_code": "FR", "name": "France"}]
    assert query("select name from raw.genres") == [{"name": "Drama"}]
    payload = one(query, "select * from raw.tmdb_payloads where tmdb_id = 1001")
    assert payload["payload"] == title(1001)
    assert payload["expires_at"] > payload["fresh_until"] > payload["fetched_at"]
    assert one(query, SYNC_1)["histogram_url"] == "/csi/film/film-1/rating-histogram/"
    run = one(query, "select * from ops.enrichment_runs")
    assert (run["status"], run["films_count"], run["requests_count"]) == ("succeeded", 9, 18)


def test_a_repeat_asks_nothing_and_writes_nothing(
    enrich: Enrich, world: World, written: Callable[[], int]
) -> None:
    enrich()
    before = written()
    report = enrich()
    assert (report.due_count, report.requests_count, world.total_calls()) == (0, 0, 0)
    assert written() == before


def test_without_a_token_the_page_is_enough_and_the_report_says_so(
    enrich: Enrich, tmdb: Tmdb, query: Query, world: World
) -> None:
    report = enrich(use_tmdb=False)
    assert (report.fetched_count, report.tmdb_count) == (9, 0)
    assert "ALMANAC_TMDB_TOKEN" in report.notes[0]
    row = one(query, FILM_1)
    assert (row["runtime_minutes"], row["field_sources"]["runtime_minutes"]) == (100, "page")
    assert row["tmdb_id"] == 1001
    assert query("select name, role from raw.film_people join raw.people using (person_id) limit 1") == [
        {"name": "Agnes Field", "role": "director"}
    ]
    # With a token later on, only TMDB is asked, and the person stays one person.
    report = enrich()
    assert (report.requests_count, world.total_calls(), tmdb.calls.total()) == (9, 0, 9)
    assert one(query, FILM_1)["runtime_minutes"] == 123
    assert query("select count(*) as n from raw.people where name = 'Agnes Field'") == [{"n": 1}]
    # And without it again, what TMDB said stays.
    assert enrich(use_tmdb=False).due_count == 0


def test_a_film_that_tmdb_does_not_know_keeps_its_page(enrich: Enrich, tmdb: Tmdb, query: Query) -> None:
    del tmdb.titles["movie", 1001]
    report = enrich()
    assert (report.fetched_count, report.tmdb_count, report.not_found_count) == (8, 8, 1)
    assert match_of(query, "film-1") == ("not_found", "movie", 1001, "page")
    assert "no title movie/1001" in one(query, SYNC_1)["last_error"]
    assert one(query, FILM_1)["runtime_minutes"] == 100
    assert one(query, "select status, payload from raw.tmdb_payloads where tmdb_id = 1001") == {
        "status": 404, "payload": None
    }  # fmt: skip
    assert enrich().due_count == 0


def test_a_series_is_keyed_as_tv(enrich: Enrich, tmdb: Tmdb, world: World, query: Query) -> None:
    world.film_pages["film-1"] = replace(world.film_pages["film-1"], tmdb_media_type="tv")
    tmdb.titles["tv", 1001] = {"id": 1001, "name": "A series", "original_name": "Serie"}
    enrich()
    row = one(query, FILM_1)
    assert (row["tmdb_media_type"], row["tmdb_id"], row["original_title"]) == ("tv", 1001, "Serie")


def test_a_held_answer_is_used_while_fresh_and_revalidated_after(
    enrich: Enrich, tmdb: Tmdb, query: Query, database_url: str
) -> None:
    enrich()
    with psycopg.connect(database_url) as connection:
        connection.execute("update ops.film_metadata_sync set tmdb_fetched_at = null")
    report = enrich()
    assert (report.requests_count, report.cache_hits_count, report.tmdb_count) == (0, 9, 9)
    with psycopg.connect(database_url) as connection:
        connection.execute("update ops.film_metadata_sync set tmdb_fetched_at = null")
        connection.execute("update raw.tmdb_payloads set fresh_until = now() - interval '1 hour'")
    tmdb.etags.clear()
    report = enrich()
    assert (report.requests_count, report.cache_hits_count) == (9, 9)
    assert None not in tmdb.etags
    assert one(query, "select status, payload from raw.tmdb_payloads where tmdb_id = 1001") == {
        "status": 200, "payload": title(1001)
    }  # fmt: skip


def test_a_missing_film_is_not_asked_for_again(enrich: Enrich, world: World, query: Query) -> None:
    del world.film_pages["film-1"]
    report = enrich()
    assert (report.fetched_count, report.not_found_count, report.failures_count) == (8, 1, 0)
    assert one(query, SYNC_1)["status"] == "not_found"
    assert enrich().due_count == 0


def test_a_failing_film_is_tried_three_times_and_then_rests_ever_longer(
    enrich: Enrich, world: World, query: Query, database_url: str
) -> None:
    def fail(kind: str, key: str, page: int) -> None:
        if key == "film-1":
            raise RetriableError("Timed out.")

    world.on_call = fail
    for attempt in (1, 2, 3):
        assert enrich().failures_count == 1
        assert one(query, SYNC_1)["attempts"] == attempt
    rests = """
        select round(extract(epoch from next_attempt_at - now()) / 86400)::int as days
        from ops.film_metadata_sync join raw.films using (film_id) where slug = 'film-1'
    """
    for days in (1, 2, 4, 8, 16, 30, 30):
        assert one(query, rests) == {"days": days}
        assert enrich().due_count == 0
        with psycopg.connect(database_url) as connection:
            connection.execute("update ops.film_metadata_sync set next_attempt_at = now()")
        assert enrich().failures_count == 1
    world.on_call = lambda kind, key, page: None
    with psycopg.connect(database_url) as connection:
        connection.execute("update ops.film_metadata_sync set next_attempt_at = now()")
    assert enrich().fetched_count == 1
    assert query("select count(*) as n from ops.scrape_failures where resolved_at is null") == [{"n": 0}]


def test_a_changed_layout_rests_at_once(enrich: Enrich, world: World) -> None:
    def fail(kind: str, key: str, page: int) -> None:
        if key == "film-1":
            raise LayoutChangedError("No title.")

    world.on_call = fail
    assert enrich().failures_count == 1
    assert enrich().due_count == 0


def test_a_tmdb_failure_keeps_the_page_and_asks_tmdb_alone_next_time(
    enrich: Enrich, world: World, tmdb: Tmdb, query: Query
) -> None:
    tmdb.error = RetriableError("503")
    with pytest.raises(RetriableError, match="None of the 9 films"):
        enrich()
    assert one(query, FILM_1)["runtime_minutes"] == 100
    tmdb.error = None
    assert enrich().fetched_count == 9
    assert world.total_calls() == 0


@pytest.mark.parametrize("error", [BlockedError("403"), ConfigurationError("401")])
def test_what_concerns_the_whole_source_stops_the_run(enrich: Enrich, tmdb: Tmdb, error: Exception) -> None:
    tmdb.error = error
    with pytest.raises(type(error)):
        enrich()
    assert tmdb.calls.total() <= 4


def test_a_killed_enrichment_goes_on_with_the_rest(
    enrich: Enrich, world: World, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("almanac_pipeline.flows.workers.BATCH_SIZE", 2)

    def kill(kind: str, key: str, page: int) -> None:
        if world.total_calls() == 6:
            raise KeyboardInterrupt

    world.on_call = kill
    with pytest.raises(KeyboardInterrupt):
        enrich()
    fetched = one(query, "select count(*) as n from ops.film_metadata_sync where status = 'fetched'")["n"]
    assert 2 <= fetched < 9
    world.on_call = lambda kind, key, page: None
    assert enrich().fetched_count == 9 - fetched
    assert query("select count(*) as n from raw.film_people") == [{"n": 27}]


def test_a_renamed_film_keeps_its_id_and_its_old_name(enrich: Enrich, world: World, query: Query) -> None:
    before = one(query, FILM_1)["film_id"]
    world.film_pages["film-1"] = replace(world.film_pages["film-1"], slug="film-1-1951")
    enrich()
    row = one(query, "select film_id, slug from raw.films where slug = 'film-1-1951'")
    assert row["film_id"] == before
    aliases = query(
        "select value from raw.film_aliases where kind = 'slug' and film_id = %s order by 1", before
    )
    assert [alias["value"] for alias in aliases] == ["film-1", "film-1-1951"]
    assert enrich().due_count == 0


def test_an_address_that_now_shows_another_film_is_a_missing_film(
    enrich: Enrich, world: World, query: Query
) -> None:
    world.film_pages["film-1"] = replace(world.film_pages["film-1"], uid="film:999")
    assert enrich().not_found_count == 1
    assert one(query, FILM_1)["uid"] == "film:1"


def test_the_preview_and_the_sources_survive_an_empty_run(enrich: Enrich) -> None:
    enrich()
    assert enrich().preview == ()


def test_a_second_enrichment_of_a_cohort_waits_for_the_first_and_asks_nothing(
    enrich: Enrich, world: World, database_url: str, settings: Settings, tmdb: Tmdb, rated: str
) -> None:
    def begin(kind: str, key: str, page: int) -> None:
        world.on_call = lambda kind, key, page: None
        second.append(executor.submit(enrich_films, database_url, settings, world, tmdb, rated))

    second: list[Future[FilmsReport]] = []
    world.on_call = begin
    with ThreadPoolExecutor(1) as executor:
        assert (enrich().due_count, second[0].result().due_count) == (9, 0)
    assert (world.total_calls(), tmdb.calls.total()) == (9, 9)


def test_requests_are_those_that_were_sent_and_none_that_a_pause_kept_back(
    enrich: Enrich, world: World, tmdb: Tmdb, query: Query
) -> None:
    tmdb.error = LongPauseError("Later.", pause_seconds=3000)
    tmdb.is_silent = True
    world.on_call = lambda kind, key, page: count_request() if key == "film-1" else None  # a second attempt
    report = enrich()
    assert (report.postponed_count, report.requests_count) == (9, 10)
    assert query("select requests_count from ops.enrichment_runs") == [{"requests_count": 10}]


# -- which title it is ------------------------------------------------------------------------


def unlinked(world: World, slug: str, **changes: Any) -> None:
    """Take the TMDB title from a film's page."""
    page = world.film_pages[slug]
    world.film_pages[slug] = replace(page, tmdb_media_type=None, tmdb_id=None, **changes)


def match_of(query: Query, slug: str) -> tuple[object, ...]:
    [row] = query(
        """
        select sync.status, tmdb_media_type, tmdb_id::int, tmdb_matched_by
        from raw.films join ops.film_metadata_sync as sync using (film_id) where slug = %s
        """,
        slug,
    )
    return tuple(row.values())


def film_due(**changes: Any) -> DueFilm:
    """A film that nothing is known of but a name."""
    nameless = DueFilm(
        film_id=1, slug="film-1", uid=None, lid=None, title="Film 1", release_year=1951, imdb_id=None,
        needs_page=False, tmdb_media_type=None, tmdb_id=None, matched_by=None, is_chosen=False,
    )  # fmt: skip
    return replace(nameless, **changes)


def test_who_says_which_title_it_is_is_believed_in_one_order() -> None:
    titles: dict[tuple[MediaType, int], dict[str, Any]] = {
        ("movie", 5): title(5, external_ids={"imdb_id": "tt0000001"}),
        ("movie", 6): title(6, title="Film 1", release_date="1951-05-01", vote_count=900),
    }
    linked = film_page(film(1))
    attributes = replace(linked, is_tmdb_linked=False)
    silent = replace(linked, tmdb_media_type=None, tmdb_id=None)
    bare = replace(silent, imdb_id=None)
    by_feed = {"tmdb_media_type": "tv", "tmdb_id": 7, "matched_by": "feed"}
    by_search = {**by_feed, "matched_by": "search"}
    cases: list[tuple[str, dict[str, Any], FilmPage | None, object, int]] = [
        ("a person before the page", {"is_chosen": True, **by_feed}, linked, ("tv", 7), 0),
        ("a person's no before the page", {"is_chosen": True}, linked, None, 0),
        ("the page's link before the feed", by_feed, linked, ("movie", 1001), 0),
        ("the feed before the page's attributes", by_feed, attributes, ("tv", 7), 0),
        ("the attributes before an earlier search", by_search, attributes, ("movie", 1001), 0),
        ("an earlier search before a new one", by_search, bare, ("tv", 7), 0),
        ("attributes before the IMDb id", {}, attributes, ("movie", 1001), 0),
        ("the IMDb id before a search", {}, silent, ("movie", 5), 1),
        ("a search at last", {}, bare, ("movie", 6), 1),
        ("a search without a page", {}, None, ("movie", 6), 1),
        ("an IMDb id that TMDB does not know", {"imdb_id": "tt0000009"}, None, ("movie", 6), 2),
    ]
    for name, known, page, expected, requests in cases:
        tmdb = Tmdb(titles)
        assert discover(film_due(**known), page, Asking(tmdb)).key == expected, name
        assert tmdb.calls.total() == requests, name


def test_an_imdb_id_of_a_series_finds_the_series_and_one_of_two_films_decides_nothing() -> None:
    @dataclass
    class Finding(Tmdb):
        found: dict[str, Any] = field(default_factory=dict)

        def find(self, imdb_id: str) -> str:
            return json.dumps(self.found)

    tmdb = Finding()
    series = {"id": 9, "name": "Film 1", "first_air_date": "1951-01-01"}
    tmdb.found = {"movie_results": [], "tv_results": [series], "person_results": [{"id": 1}]}
    assert discover(film_due(imdb_id="tt1"), None, Asking(tmdb)).key == ("tv", 9)
    tmdb.found = {"movie_results": [title(1), title(2)], "tv_results": [series]}
    assert discover(film_due(imdb_id="tt1"), None, Asking(tmdb)) == Discovery(candidates=())


def test_a_film_whose_page_names_no_title_is_searched_for(
    enrich: Enrich, tmdb: Tmdb, world: World, query: Query
) -> None:
    unlinked(world, "film-1", imdb_id=None)
    unlinked(world, "film-2")
    tmdb.titles["movie", 70] = title(70, title="Film 1", release_date="1951-01-02", vote_count=500)
    tmdb.titles["movie", 71] = title(71, title="Other", external_ids={"imdb_id": "tt0000002"})
    tmdb.titles["tv", 70] = {"id": 70, "name": "Film 1", "first_air_date": "1951-01-02"}
    report = enrich()
    assert (report.fetched_count, report.tmdb_count, report.ambiguous_count) == (9, 9, 0)
    assert match_of(query, "film-1") == ("fetched", "movie", 70, "search")
    assert match_of(query, "film-2") == ("fetched", "movie", 71, "imdb")
    assert match_of(query, "film-3") == ("fetched", "movie", 1003, "page")
    assert enrich().due_count == 0


def test_films_that_only_an_export_has_named_are_found_without_any_page(
    enrich: Enrich, tmdb: Tmdb, world: World, query: Query, database_url: str
) -> None:
    world.permitted -= {"film"}
    with psycopg.connect(database_url) as connection:
        connection.execute("update raw.films set slug = null")
    for number in range(1, 10):
        tmdb.titles["movie", 1000 + number] |= {
            "title": f"Film {number}", "release_date": f"{1950 + number}-06-01", "vote_count": 900
        }  # fmt: skip
    report = enrich()
    assert (report.due_count, report.fetched_count, report.tmdb_count) == (9, 9, 9)
    assert report.requests_count == 18
    assert world.total_calls() == 0
    row = one(query, "select overview, tmdb_id from raw.films where lid = 'L1'")
    assert row == {"overview": "Things happen.", "tmdb_id": 1001}
    assert enrich().due_count == 0


def test_what_is_uncertain_waits_for_a_person_and_is_asked_again_later(
    enrich: Enrich, tmdb: Tmdb, world: World, query: Query, database_url: str
) -> None:
    for slug in ("film-1", "film-2"):
        unlinked(world, slug, imdb_id=None)
    for number in (70, 71):
        tmdb.titles["movie", number] = title(number, title="Film 1", release_date="1951-01-02")
    report = enrich()
    assert (report.ambiguous_count, report.not_found_count, report.failures_count) == (1, 1, 0)
    assert "almanac films match list" in report.notes[0]
    assert match_of(query, "film-1") == ("ambiguous", None, None, None)
    assert match_of(query, "film-2") == ("not_found", None, None, None)
    # Their pages are stored all the same, and nobody calls that a failure.
    assert one(query, FILM_1)["runtime_minutes"] == 100
    assert query("select * from ops.scrape_failures") == []
    assert enrich().due_count == 0
    for _ in range(2):
        with psycopg.connect(database_url) as connection:
            connection.execute("update ops.film_metadata_sync set next_attempt_at = now()")
        report = enrich()
        assert (report.due_count, report.ambiguous_count, report.not_found_count) == (2, 1, 1)
    with psycopg.connect(database_url) as connection:
        film_id = matches.find_film(connection, "film-1")
        matches.choose(connection, film_id, "movie", 71)
        matches.skip(connection, matches.find_film(connection, "film-2"))
    report = enrich()
    assert (report.due_count, report.tmdb_count) == (1, 1)
    assert match_of(query, "film-1") == ("overridden", "movie", 71, "person")
    assert match_of(query, "film-2") == ("overridden", None, None, "person")
    assert one(query, FILM_1)["overview"] == "Things happen."
    assert enrich().due_count == 0


def test_a_chosen_title_is_fetched_though_the_page_is_gone(
    enrich: Enrich, tmdb: Tmdb, world: World, query: Query, database_url: str
) -> None:
    del world.film_pages["film-1"]
    enrich()
    with psycopg.connect(database_url) as connection:
        matches.choose(connection, matches.find_film(connection, "film-1"), "movie", 1002)
    enrich()
    assert match_of(query, "film-1") == ("overridden", "movie", 1002, "person")
    assert one(query, FILM_1)["overview"] == "Things happen."
    assert enrich().due_count == 0


def test_a_title_that_tmdb_does_not_have_leaves_the_choice_and_is_not_asked_for_for_ever(
    enrich: Enrich, tmdb: Tmdb, query: Query, database_url: str
) -> None:
    enrich()
    with psycopg.connect(database_url) as connection:
        film_id = matches.find_film(connection, "film-1")
        matches.choose(connection, film_id, "movie", 999)
    enrich()
    with psycopg.connect(database_url) as connection:
        found = matches.matched_film(connection, film_id)
    assert (found.status, found.tmdb_id, found.is_unknown_to_tmdb) == ("overridden", 999, True)
    assert enrich().due_count == 0


def test_a_choice_made_while_the_film_is_read_stands(
    enrich: Enrich, world: World, query: Query, database_url: str
) -> None:
    def choose(kind: str, key: str, page: int) -> None:
        if key == "film-1":
            with psycopg.connect(database_url) as connection:
                matches.choose(connection, matches.find_film(connection, "film-1"), "movie", 1009)

    world.on_call = choose
    enrich()
    world.on_call = lambda kind, key, page: None
    assert match_of(query, "film-1") == ("overridden", "movie", 1009, "person")
    assert one(query, FILM_1)["overview"] is None
    enrich()
    assert one(query, FILM_1)["overview"] == "Things happen."


def test_tmdb_is_asked_although_the_page_fails_and_the_page_stays_due(
    enrich: Enrich, tmdb: Tmdb, world: World, query: Query, database_url: str
) -> None:
    def fail(kind: str, key: str, page: int) -> None:
        if key == "film-2":
            raise RetriableError("503")

    world.on_call = fail
    gone = world.film_pages.pop("film-1")
    with psycopg.connect(database_url) as connection:
        learn_tmdb_ids(connection, {"film-1": ("movie", 1001), "film-2": ("movie", 1002)})
    report = enrich()
    assert (report.fetched_count, report.not_found_count, report.failures_count) == (7, 1, 1)
    assert report.tmdb_count == 9
    for slug, tmdb_id in (("film-1", 1001), ("film-2", 1002)):
        assert match_of(query, slug) == ("fetched", "movie", tmdb_id, "feed")
    assert one(query, FILM_1)["overview"] == "Things happen."
    # The page still fails, and now TMDB has lost the title of which its page was never read.
    lost = tmdb.titles.pop(("movie", 1002))
    with psycopg.connect(database_url) as connection:
        connection.execute("update raw.tmdb_payloads set fresh_until = now()")
    assert enrich().failures_count == 1
    assert match_of(query, "film-2") == ("fetched", "movie", 1002, "feed")
    tmdb.titles["movie", 1002] = lost
    world.film_pages["film-1"] = gone
    world.on_call = lambda kind, key, page: None
    assert (enrich().due_count, tmdb.calls.total()) == (1, 1)
    with psycopg.connect(database_url) as connection:
        connection.execute("update ops.film_metadata_sync set next_attempt_at = now()")
    assert enrich().fetched_count == 1
    assert match_of(query, "film-1") == ("fetched", "movie", 1001, "page")


def test_what_a_search_found_and_tmdb_has_dropped_is_searched_for_again(
    enrich: Enrich, tmdb: Tmdb, world: World, query: Query, database_url: str
) -> None:
    def drop(tmdb_id: int) -> None:
        del tmdb.titles["movie", tmdb_id]
        with psycopg.connect(database_url) as connection:
            connection.execute("update ops.film_metadata_sync set tmdb_fetched_at = null")
            connection.execute("update raw.tmdb_payloads set fresh_until = now()")

    unlinked(world, "film-1", imdb_id=None)
    found = title(70, title="Film 1", release_date="1951-01-02", vote_count=500, external_ids={})
    tmdb.titles["movie", 70] = found
    enrich()
    assert match_of(query, "film-1") == ("fetched", "movie", 70, "search")
    tmdb.titles["movie", 71] = found | {"id": 71}
    drop(70)
    enrich()
    assert match_of(query, "film-1") == ("fetched", "movie", 71, "search")
    drop(71)
    enrich()
    assert match_of(query, "film-1") == ("not_found", None, None, None)
    assert one(query, FILM_1)["overview"] is None
    # A title that the page links is not searched for, and stays with what is known of it.
    drop(1002)
    enrich()
    assert match_of(query, "film-2") == ("not_found", "movie", 1002, "page")
    assert query("select overview from raw.films where slug = 'film-2'") == [{"overview": "Things happen."}]


def test_films_whose_title_tmdb_has_joined_with_another_follow_their_page_or_are_searched_for(
    enrich: Enrich, tmdb: Tmdb, world: World, query: Query, database_url: str
) -> None:
    def a_day_later() -> FilmsReport:
        with psycopg.connect(database_url) as connection:
            connection.execute("update ops.film_metadata_sync set next_attempt_at = now()")
        return enrich()

    enrich()
    for number in range(1, 7):
        del tmdb.titles["movie", 1000 + number]
    with psycopg.connect(database_url) as connection:
        connection.execute("update raw.tmdb_payloads set fresh_until = now()")
        connection.execute("update ops.film_metadata_sync set tmdb_fetched_at = now() - interval '151 days'")
    assert (enrich().not_found_count, enrich().due_count) == (6, 0)
    # All others are complete, and that none of these six is there is no failure.
    assert (a_day_later().not_found_count, world.total_calls()) == (6, 6)
    assert match_of(query, "film-1") == ("not_found", "movie", 1001, "page")
    assert one(query, FILM_1)["overview"] == "Things happen."
    # Film 1's page names the title that is left, film 2 is found by its name.
    world.film_pages["film-1"] = replace(world.film_pages["film-1"], tmdb_id=70)
    tmdb.titles["movie", 70] = title(70, overview="As one.")
    tmdb.titles["movie", 71] = title(71, title="Film 2", release_date="1952-01-02", vote_count=900)
    assert a_day_later().not_found_count == 4
    assert match_of(query, "film-1") == ("fetched", "movie", 70, "page")
    assert one(query, FILM_1)["overview"] == "As one."
    assert match_of(query, "film-2") == ("fetched", "movie", 71, "search")
    # A feed that still names the title that is gone changes nothing.
    with psycopg.connect(database_url) as connection:
        assert learn_tmdb_ids(connection, {"film-2": ("movie", 1002)}) == 0


def test_that_the_pages_of_all_films_are_gone_at_once_is_not_believed_but_once(
    enrich: Enrich, world: World, database_url: str
) -> None:
    def a_month_later() -> FilmsReport:
        with psycopg.connect(database_url) as connection:
            connection.execute(
                "update ops.film_metadata_sync set page_fetched_at = null, next_attempt_at = now()"
            )
            connection.execute("update ops.film_metadata_sync set page_fetched_at = now() where film_id = 1")
        return enrich()

    enrich()
    world.film_pages.clear()
    with pytest.raises(PermanentError, match="all 8 films whose pages"):
        a_month_later()
    assert a_month_later().not_found_count == 8


def test_that_tmdb_has_dropped_every_title_is_not_believed(
    enrich: Enrich, tmdb: Tmdb, query: Query, database_url: str
) -> None:
    enrich()
    with psycopg.connect(database_url) as connection:
        connection.execute("update ops.film_metadata_sync set tmdb_fetched_at = null")
        connection.execute("update raw.tmdb_payloads set fresh_until = now()")
    known, tmdb.titles = tmdb.titles, {}
    with pytest.raises(PermanentError, match="all 9 titles"):
        enrich()
    assert query("select count(*) as n from raw.tmdb_payloads where payload is not null") == [{"n": 9}]
    tmdb.titles = known
    with psycopg.connect(database_url) as connection:
        connection.execute("update ops.film_metadata_sync set next_attempt_at = now()")
    assert enrich().cache_hits_count == 9
    assert match_of(query, "film-1") == ("fetched", "movie", 1001, "page")


def test_an_answer_about_another_title_is_refused(
    enrich: Enrich, tmdb: Tmdb, query: Query, database_url: str
) -> None:
    enrich()
    with psycopg.connect(database_url) as connection:
        matches.choose(connection, matches.find_film(connection, "film-1"), "movie", 70)
    tmdb.titles["movie", 70] = title(71)
    assert enrich().failures_count == 1
    assert match_of(query, "film-1") == ("overridden", "movie", 70, "person")
    assert query("select * from raw.tmdb_payloads where tmdb_id in (70, 71)") == []


def test_a_title_that_no_table_can_hold_fails_alone(enrich: Enrich, tmdb: Tmdb, query: Query) -> None:
    # More than an entry of an index can hold, also when it is compressed.
    name = "".join(f"{number:x}" for number in range(40_000, 60_000))
    tmdb.titles["movie", 1001]["genres"] = [{"id": 1, "name": name}]
    report = enrich()
    assert (report.fetched_count, report.failures_count) == (8, 1)
    assert "No table can hold" in report.failures[0]
    assert match_of(query, "film-1") == ("failed", None, None, None)
    [run] = query("select status, films_count, failures_count, error_sample from ops.enrichment_runs")
    assert run == {
        "status": "succeeded", "films_count": 8, "failures_count": 1, "error_sample": report.failures[0]
    }  # fmt: skip
    assert enrich().due_count == 0


def test_a_long_pause_postpones_films_and_counts_no_attempt(
    enrich: Enrich, tmdb: Tmdb, query: Query, database_url: str
) -> None:
    tmdb.error = LongPauseError("TMDB asked for a pause of another 3000 s", pause_seconds=3000)
    report = enrich()
    assert (report.postponed_count, report.failures_count, report.fetched_count) == (9, 0, 0)
    assert "9 films are asked about later: TMDB asked for a pause" in report.notes[0]
    assert query(
        "select status, attempts, round(extract(epoch from next_attempt_at - now()) / 100)::int as rest"
        " from ops.film_metadata_sync group by 1, 2, 3"
    ) == [{"status": "pending", "attempts": 0, "rest": 30}]
    assert one(query, FILM_1)["runtime_minutes"] == 100
    assert query("select * from ops.scrape_failures") == []
    tmdb.error = None
    assert enrich().due_count == 0
    with psycopg.connect(database_url) as connection:
        connection.execute("update ops.film_metadata_sync set next_attempt_at = now()")
    assert enrich().fetched_count == 9


def test_a_film_read_without_a_token_is_searched_for_once_there_is_one(
    enrich: Enrich, tmdb: Tmdb, world: World, query: Query
) -> None:
    unlinked(world, "film-1", imdb_id=None)
    enrich(use_tmdb=False)
    assert match_of(query, "film-1") == ("fetched", None, None, None)
    enrich()
    assert match_of(query, "film-1") == ("not_found", None, None, None)


# -- how page and TMDB are combined -----------------------------------------------------------


def test_tmdb_wins_and_its_word_outlives_its_silence() -> None:
    page = film_page(film(1), overview="From the page.")
    fields, sets = combine(FilmFields("film-1"), page, None)
    assert (fields.runtime_minutes, fields.field_sources["overview"]) == (100, "page")
    assert sets.genres == ("Drama", "War")
    assert sets.countries == (TmdbCountry("", "France"),)
    assert [credit.letterboxd_slug for credit in sets.credits["director"]] == ["agnes-field"]
    fields = replace(
        fields,
        runtime_minutes=123,
        field_sources={**fields.field_sources, "runtime_minutes": "tmdb", "directors": "tmdb"},
    )
    again, sets = combine(fields, page, None)
    assert again.runtime_minutes == 123
    assert sets.credits == {}


def test_a_year_of_tmdb_is_corrected_by_tmdb_and_one_of_the_page_is_not() -> None:
    title = TmdbTitle(
        "movie", 1001, "Film 1", None, None, 1960, None, None, None, (), (), None, None, None, (), (), ()
    )
    fields, _ = combine(FilmFields("film-1"), None, title)
    fields, _ = combine(fields, None, replace(title, release_year=1961))
    assert (fields.release_year, fields.field_sources["release_year"]) == (1961, "tmdb")
    fields, _ = combine(fields, film_page(film(1)), title)
    assert (fields.release_year, fields.field_sources["release_year"]) == (1951, "page")


def test_a_page_that_says_less_takes_nothing_away() -> None:
    fields, _ = combine(FilmFields("film-1"), film_page(film(1)), None)
    poorer = film_page(
        film(1), runtime_minutes=None, tmdb_id=None, tmdb_media_type=None, genres=(), directors=()
    )
    again, sets = combine(fields, poorer, None)
    assert (again.runtime_minutes, again.tmdb_id, sets.genres, sets.credits) == (100, 1001, None, {})


def test_two_directors_of_one_name_are_two_people(
    enrich: Enrich, world: World, tmdb: Tmdb, query: Query
) -> None:
    tmdb.titles["movie", 1001]["credits"]["crew"] = [
        {"id": 8, "name": "Agnes Field", "job": "Director"},
        {"id": 9, "name": "Agnes Field", "job": "Director"},
    ]
    world.film_pages["film-1"] = replace(
        world.film_pages["film-1"],
        directors=(PersonLink("Agnes Field", "agnes-field"), PersonLink("Agnes Field", "agnes-field-1")),
    )
    enrich()
    assert one(
        query,
        "select count(*) as n from raw.film_people join raw.films using (film_id)"
        " where slug = 'film-1' and role = 'director'",
    ) == {"n": 2}


# -- histograms -------------------------------------------------------------------------------

Refresh = Callable[[], HistogramsReport]


@pytest.fixture
def refresh(database_url: str, settings: Settings, world: World, enrich: Enrich, rated: str) -> Refresh:
    enrich(use_tmdb=False)

    def run() -> HistogramsReport:
        world.calls.clear()
        return refresh_histograms(database_url, settings, world, rated)

    return run


def make_old(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "update ops.film_metadata_sync set histogram_fetched_at = now() - interval '31 days'"
        )


def test_histograms_are_read_once_a_month_and_written_when_they_change(
    refresh: Refresh, world: World, query: Query, database_url: str, written: Callable[[], int]
) -> None:
    report = refresh()
    assert (report.due_count, report.changed_count, report.requests_count) == (9, 9, 9)
    row = one(
        query, "select h.* from raw.film_histograms as h join raw.films using (film_id) where slug = 'film-1'"
    )
    assert (row["count_0_5"], row["count_5_0"], row["stated_ratings"]) == (0, 9, 45)
    assert (float(row["stated_average"]), row["fans"], row["source"]) == (3.2, "2", "letterboxd")
    before = written()
    assert refresh().due_count == 0
    make_old(database_url)
    report = refresh()
    assert (report.unchanged_count, report.changed_count, report.requests_count) == (9, 0, 9)
    assert written() == before
    make_old(database_url)
    world.histograms["/csi/film/film-1/rating-histogram/"] = histogram(*range(1, 11))
    assert refresh().changed_count == 1
    assert written() == before + 1


def test_a_blank_histogram_is_a_look_without_a_row(refresh: Refresh, world: World, query: Query) -> None:
    world.histograms["/csi/film/film-1/rating-histogram/"] = None
    report = refresh()
    assert (report.blank_count, report.changed_count) == (1, 8)
    assert query("select count(*) as n from raw.film_histograms") == [{"n": 8}]
    assert refresh().due_count == 0


def test_a_wrong_total_is_stored_for_the_audit_to_find(refresh: Refresh, world: World, query: Query) -> None:
    world.histograms["/csi/film/film-1/rating-histogram/"] = replace(histogram(*range(10)), ratings=1000)
    assert refresh().failures_count == 0
    assert query("select stated_ratings from raw.film_histograms where stated_ratings > 45") == [
        {"stated_ratings": 1000}
    ]


def test_a_histogram_that_contradicts_itself_is_read_again_at_once_but_by_schedule_once_a_day(
    refresh: Refresh, world: World, settings: Settings, database_url: str, rated: str
) -> None:
    refresh()
    page = "/csi/film/film-1/rating-histogram/"

    def scheduled() -> int:
        return refresh_histograms(database_url, settings, world, rated, only_new=True).due_count

    with psycopg.connect(database_url, autocommit=True) as connection:
        # Of 1,000 stated there are 991, then 989.
        connection.execute("update raw.film_histograms set count_5_0 = 955, stated_ratings = 1000")
        assert refresh().due_count == 0
        connection.execute(
            "update raw.film_histograms set count_5_0 = 953"
            " where film_id = (select film_id from raw.films where slug = 'film-1')"
        )
        world.histograms[page] = replace(histogram(*range(10)), ratings=1000)
        assert scheduled() == 0
        assert (refresh().due_count, scheduled(), refresh().due_count) == (1, 0, 1)
        connection.execute(
            "update ops.film_metadata_sync set histogram_fetched_at = now() - interval '25 hours'"
        )
        assert (scheduled(), scheduled()) == (1, 0)
    world.histograms[page] = histogram(*range(10))
    assert (refresh().changed_count, refresh().due_count) == (1, 0)


def test_the_audit_and_the_queue_of_histograms_have_the_same_tolerance() -> None:
    variables = yaml.safe_load((PROJECT_ROOT / "dbt_project" / "dbt_project.yml").read_text())["vars"]
    assert variables["histogram_tolerance_share"] == TOLERANCE_SHARE


@pytest.mark.parametrize(
    ("error", "due_again"), [(LayoutChangedError("Odd."), 0), (RetriableError("Timed out."), 1)]
)
def test_a_histogram_that_cannot_be_read_is_a_failure(
    refresh: Refresh, world: World, query: Query, error: Exception, due_again: int
) -> None:
    def fail(kind: str, key: str, page: int) -> None:
        if key == "/csi/film/film-1/rating-histogram/":
            raise error

    world.on_call = fail
    report = refresh()
    assert (report.failures_count, report.changed_count) == (1, 8)
    assert query("select page_kind, film_id is null as lost from ops.scrape_failures") == [
        {"page_kind": "histogram", "lost": False}
    ]
    world.on_call = lambda kind, key, page: None
    assert refresh().due_count == due_again


def test_without_pages_no_histogram_is_due(refresh: Refresh, world: World) -> None:
    world.permitted = set()
    report = refresh()
    assert (report.due_count, report.failures_count) == (0, 0)
    assert "Pages may not be fetched" in report.notes[0]
    assert world.total_calls() == 0


def test_all_histograms_failing_is_an_error(refresh: Refresh, world: World) -> None:
    world.histograms.clear()
    with pytest.raises(Exception, match="None of the 9 histograms"):
        refresh()
