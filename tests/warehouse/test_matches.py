"""Which title a film is: the moves of its state, a person's word, and the names that find a film."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import product
from typing import get_args

import psycopg
import pytest

from almanac_pipeline.errors import ConfigurationError, LayoutChangedError, NotFoundError, RetriableError
from almanac_pipeline.settings import PROJECT_ROOT
from almanac_pipeline.tmdb.matching import Candidate
from almanac_pipeline.tmdb.titles import TitleSummary, TmdbCredit, TmdbTitle
from almanac_pipeline.warehouse import matches
from almanac_pipeline.warehouse.enrichment import FetchedFilm, FetchedTitle, learn_tmdb_ids, store_films
from almanac_pipeline.warehouse.films import FilmKey, resolve_films
from almanac_pipeline.warehouse.matches import Status
from tests.flows.world import film, film_page

FILM_1 = FilmKey("film-1", "film:1", "L1", "Film 1", 1951)
STATUSES: tuple[Status, ...] = get_args(Status)


def the_film(connection: psycopg.Connection, *keys: FilmKey) -> int:
    """The one film that all these keys mean."""
    with connection.transaction():
        [film_id] = set(
            resolve_films(connection, keys or [FilmKey("film-1", "film:1", "L1", "Film 1", 1951)])
        )
    return film_id


def state(connection: psycopg.Connection, film_id: int) -> matches.MatchedFilm:
    return matches.matched_film(connection, film_id)


def candidate(tmdb_id: int, score: float = 0.9) -> Candidate:
    return Candidate(
        TitleSummary("movie", tmdb_id, "Film 1", None, 1951, 7), score, ("same title", "same year")
    )


def told(film_id: int, tmdb_id: int, matched_by: matches.MatchedBy = "search") -> FetchedFilm:
    """What TMDB says of a film, with a word on everything."""
    director = TmdbCredit(7, "Agnes Field", "director", 0, None, None)
    title = TmdbTitle(
        "movie", tmdb_id, f"Title {tmdb_id}", f"Titel {tmdb_id}", None, 1960, 90, f"About {tmdb_id}.",
        "/p.jpg", ("Drama",), (), 7.0, 12, f"tt{tmdb_id:07}", (director,), (), (),
    )  # fmt: skip
    answer = FetchedTitle("movie", tmdb_id, 200, title, "{}", None, None)
    return FetchedFilm(film_id, title=answer, matched_by=matched_by)


def test_a_feed_beats_what_the_body_of_the_page_says_and_the_pages_link_beats_the_feed(
    connection: psycopg.Connection,
) -> None:
    film_id = the_film(connection)
    store_films(connection, [FetchedFilm(film_id, page=film_page(film(1), is_tmdb_linked=False))])
    assert (state(connection, film_id).tmdb_id, state(connection, film_id).matched_by) == (1001, "attributes")
    assert learn_tmdb_ids(connection, {"film-1": ("tv", 9)}) == 1
    assert (state(connection, film_id).tmdb_media_type, state(connection, film_id).matched_by) == (
        "tv",
        "feed",
    )
    store_films(connection, [FetchedFilm(film_id, page=film_page(film(1), is_tmdb_linked=False))])
    assert (state(connection, film_id).tmdb_id, state(connection, film_id).matched_by) == (9, "feed")
    store_films(connection, [FetchedFilm(film_id, page=film_page(film(1)))])
    assert (state(connection, film_id).tmdb_id, state(connection, film_id).matched_by) == (1001, "page")
    assert learn_tmdb_ids(connection, {"film-1": ("tv", 9)}) == 0


# -- states --------------------------------------------------------------------------------------


def documented_moves() -> set[tuple[str, str]]:
    """The moves that docs/matching.md marks in its table of states."""
    text = (PROJECT_ROOT / "docs" / "matching.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \|(.*)\|$", text, re.MULTILINE)
    header = re.search(r"^\| from \\ to \|(.*)\|$", text, re.MULTILINE)
    assert header is not None
    targets = re.findall(r"`(\w+)`", header[1])
    return {
        (source, target)
        for source, cells in rows
        for target, cell in zip(targets, cells.split("|"), strict=True)
        if cell.strip() == "yes"
    }


def put(connection: psycopg.Connection, film_id: int, status: str) -> None:
    """Set a film's state, whatever it was."""
    connection.execute("alter table ops.film_metadata_sync disable trigger status_moves")
    connection.execute("update ops.film_metadata_sync set status = %s where film_id = %s", [status, film_id])
    connection.execute("alter table ops.film_metadata_sync enable trigger status_moves")


def test_every_pair_of_states_moves_only_as_the_documented_table_says(
    connection: psycopg.Connection,
) -> None:
    film_id = the_film(connection)
    moved = set()
    for before, after in product(STATUSES, STATUSES):
        put(connection, film_id, before)
        try:
            with connection.transaction():
                connection.execute("update ops.film_metadata_sync set status = %s", [after])
        except psycopg.errors.CheckViolation:
            assert state(connection, film_id).status == before
        else:
            assert state(connection, film_id).status == after
            moved.add((before, after))
    stays = {(status, status) for status in STATUSES}
    assert moved - stays == documented_moves()
    assert stays <= moved
    assert len(documented_moves()) == 24


OUTCOMES = {
    "fetched": FetchedFilm(0, page=film_page(film(1))),
    "ambiguous": FetchedFilm(0, candidates=(candidate(5),)),
    "not_found": FetchedFilm(0, candidates=()),
    "gone": FetchedFilm(0, error=NotFoundError("404")),
    "failed": FetchedFilm(0, error=RetriableError("503")),
    "unread": FetchedFilm(0, error=LayoutChangedError("no id")),
}


def test_whatever_an_enrichment_comes_to_can_be_stored(connection: psycopg.Connection) -> None:
    """No outcome asks for a move that is refused; data and a person's word outlive a failed refresh."""
    film_id = the_film(connection)
    for before, (outcome, fetched) in product(STATUSES, OUTCOMES.items()):
        put(connection, film_id, before)
        store_films(connection, [replace(fetched, film_id=film_id)])
        expected = {"gone": "not_found", "unread": "failed"}.get(outcome, outcome)
        if before == "overridden" or (before == "fetched" and fetched.error is not None):
            expected = before
        assert state(connection, film_id).status == expected, (before, outcome)


def test_the_same_outcome_again_waits_twice_as_long_and_another_starts_anew(
    connection: psycopg.Connection,
) -> None:
    film_id = the_film(connection)

    def days_after(outcome: str) -> int:
        store_films(connection, [replace(OUTCOMES[outcome], film_id=film_id)])
        row = connection.execute(
            """
            select round(extract(epoch from next_attempt_at - now()) / 86400)::int
            from ops.film_metadata_sync
            """
        ).fetchone()
        assert row is not None
        return int(row[0])

    assert [days_after("ambiguous") for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]
    assert [days_after("not_found") for _ in range(3)] == [1, 2, 4]
    assert [days_after("failed") for _ in range(5)] == [0, 0, 1, 2, 4]
    assert [days_after("unread") for _ in range(2)] == [30, 30]


# -- candidates ----------------------------------------------------------------------------------


def test_candidates_are_those_of_the_last_search_and_go_when_one_is_taken(
    connection: psycopg.Connection,
) -> None:
    film_id = the_film(connection)
    store_films(connection, [FetchedFilm(film_id, candidates=(candidate(5), candidate(6, 0.8)))])
    store_films(connection, [FetchedFilm(film_id, candidates=(candidate(6, 0.8), candidate(7, 0.7)))])
    [waiting] = matches.waiting_films(connection)
    assert [(c.tmdb_id, c.score, c.reasons) for c in waiting.candidates] == [
        (6, 0.8, ["same title", "same year"]),
        (7, 0.7, ["same title", "same year"]),
    ]
    # A failed attempt forgets nothing.
    store_films(connection, [FetchedFilm(film_id, error=RetriableError("503"))])
    assert len(state(connection, film_id).candidates) == 2
    store_films(connection, [told(film_id, 6)])
    assert matches.waiting_films(connection) == []
    assert state(connection, film_id).candidates == ()
    assert (state(connection, film_id).tmdb_id, state(connection, film_id).matched_by) == (6, "search")


# -- a person's word -----------------------------------------------------------------------------


def test_a_choice_outlives_page_feed_search_and_what_was_under_way(connection: psycopg.Connection) -> None:
    film_id = the_film(connection)
    matches.choose(connection, film_id, "movie", 42)
    store_films(connection, [FetchedFilm(film_id, page=film_page(film(1)), matched_by="page")])
    store_films(connection, [told(film_id, 1001, "page")])
    store_films(connection, [FetchedFilm(film_id, candidates=(candidate(5),))])
    learn_tmdb_ids(connection, {"film-1": ("tv", 9)})
    the_film(connection, FilmKey("film-1-renamed", "film:1", "L1", "Film 1", 1951))
    found = state(connection, film_id)
    assert (found.status, found.tmdb_media_type, found.tmdb_id, found.matched_by) == (
        "overridden", "movie", 42, "person",
    )  # fmt: skip
    row = connection.execute("select overview, runtime_minutes from raw.films").fetchone()
    assert row == (None, 100)
    store_films(connection, [told(film_id, 42)])
    assert connection.execute("select overview, runtime_minutes from raw.films").fetchone() == (
        "About 42.",
        90,
    )
    assert state(connection, film_id).matched_by == "person"


def test_a_skipped_film_stays_without_a_title(connection: psycopg.Connection) -> None:
    film_id = the_film(connection)
    matches.skip(connection, film_id)
    learn_tmdb_ids(connection, {"film-1": ("movie", 9)})
    store_films(connection, [FetchedFilm(film_id, page=film_page(film(1)), matched_by="page")])
    found = state(connection, film_id)
    assert (found.status, found.tmdb_id, found.matched_by) == ("overridden", None, "person")


def test_what_the_wrong_title_said_is_taken_back(connection: psycopg.Connection) -> None:
    film_id = the_film(connection)
    page = film_page(film(1), tmdb_media_type=None, tmdb_id=None, genres=(), imdb_id=None)
    store_films(connection, [replace(told(film_id, 5), page=page)])
    assert state(connection, film_id).tmdb_id == 5
    matches.choose(connection, film_id, "movie", 42)
    row = connection.execute(
        """
        select title, release_year, original_title, overview, runtime_minutes, imdb_id, tmdb_vote_count,
               field_sources, (select count(*) from raw.film_people), (select count(*) from raw.film_genres),
               (select array_agg(kind || ' ' || value order by kind) from raw.film_aliases
                where kind in ('tmdb', 'imdb')),
               (select page_fetched_at is null and tmdb_fetched_at is null and next_attempt_at <= now()
                from ops.film_metadata_sync)
        from raw.films
        """
    ).fetchone()
    assert row is not None
    assert row[:7] == ("Film 1", 1951, None, None, None, None, None)
    assert set(row[7].values()) == {"page"}
    assert row[8:] == (0, 0, ["tmdb movie/42"], True)
    # Said again, it changes nothing and takes nothing back.
    store_films(connection, [told(film_id, 42)])
    matches.choose(connection, film_id, "movie", 42)
    assert connection.execute("select overview from raw.films").fetchone() == ("About 42.",)


def test_a_page_that_links_another_title_than_was_found_takes_back_what_that_had_said(
    connection: psycopg.Connection,
) -> None:
    film_id = the_film(connection)
    store_films(connection, [told(film_id, 5)])
    attributes = film_page(film(1), is_tmdb_linked=False, overview=None)
    store_films(connection, [replace(told(film_id, 5), page=attributes)])
    assert state(connection, film_id).tmdb_id == 5
    linked = film_page(film(1), overview=None)
    store_films(connection, [FetchedFilm(film_id, page=linked, error=RetriableError("503"))])
    assert state(connection, film_id).tmdb_id == 1001
    row = connection.execute("select overview, runtime_minutes, imdb_id from raw.films").fetchone()
    assert row == (None, 100, "tt0000001")


def test_a_feed_is_believed_before_a_search_and_after_a_page(connection: psycopg.Connection) -> None:
    film_id = the_film(connection)
    store_films(connection, [FetchedFilm(film_id, candidates=())])
    assert learn_tmdb_ids(connection, {"film-1": ("movie", 5)}) == 1
    row = connection.execute("select next_attempt_at <= now() from ops.film_metadata_sync").fetchone()
    assert row == (True,)
    store_films(connection, [replace(told(film_id, 5), matched_by=None)])
    assert (state(connection, film_id).status, state(connection, film_id).matched_by) == ("fetched", "feed")
    assert learn_tmdb_ids(connection, {"film-1": ("movie", 6)}) == 0
    connection.execute("update ops.film_metadata_sync set tmdb_matched_by = 'search'")
    assert learn_tmdb_ids(connection, {"film-1": ("movie", 5)}) == 0
    assert learn_tmdb_ids(connection, {"film-1": ("tv", 6)}) == 1
    found = state(connection, film_id)
    assert (found.tmdb_media_type, found.tmdb_id, found.matched_by) == ("tv", 6, "feed")
    row = connection.execute(
        "select overview, tmdb_fetched_at from raw.films join ops.film_metadata_sync using (film_id)"
    ).fetchone()
    assert row == (None, None)
    store_films(connection, [FetchedFilm(film_id, page=film_page(film(1)), matched_by="page")])
    assert learn_tmdb_ids(connection, {"film-1": ("tv", 6)}) == 0
    assert state(connection, film_id).tmdb_id == 1001


def test_a_choice_survives_that_two_films_turn_out_to_be_one(connection: psycopg.Connection) -> None:
    by_uid = the_film(connection, FilmKey("cure", "film:1", None, "Cure", 1997))
    by_slug = the_film(connection, FilmKey("cure-1997", title="Cure", release_year=1997))
    store_films(connection, [told(by_uid, 5)])
    matches.choose(connection, by_slug, "movie", 42)
    both = the_film(connection, FilmKey("cure-1997", "film:1", None, "Cure", 1997))
    assert both == by_slug  # whose title is surer
    found = state(connection, both)
    assert (found.status, found.tmdb_id, found.matched_by) == ("overridden", 42, "person")
    assert connection.execute("select overview from raw.films").fetchone() == (None,)


def test_of_two_films_that_a_batch_joins_the_one_that_was_read_is_stored(
    connection: psycopg.Connection,
) -> None:
    failed = the_film(connection, FilmKey("film-1", "film:1", None, "Film 1", 1951))
    read = the_film(connection, FilmKey("film-1-1951", title="Film 1", release_year=1951))
    page = film_page(film(1), slug="film-1-1951")
    batch = [FetchedFilm(failed, error=RetriableError("503")), replace(told(read, 5), page=page)]
    [stored] = store_films(connection, batch)
    assert (stored.error, state(connection, stored.film_id).status) == (None, "fetched")
    assert state(connection, stored.film_id).tmdb_id == 5


def test_an_unmatched_film_of_which_more_becomes_known_is_looked_for_at_once(
    connection: psycopg.Connection,
) -> None:
    film_id = the_film(connection, FilmKey(lid="L1", title="Film 1"))
    store_films(connection, [FetchedFilm(film_id, candidates=())])
    the_film(connection, FilmKey(lid="L1", title="Film 1", release_year=1951))
    row = connection.execute(
        "select status, attempts, next_attempt_at <= now() from ops.film_metadata_sync"
    ).fetchone()
    assert row == ("pending", 0, True)


# -- names ---------------------------------------------------------------------------------------


def test_a_film_is_found_by_slug_old_slug_lid_uid_and_number(connection: psycopg.Connection) -> None:
    film_id = the_film(connection)
    the_film(connection, FilmKey("film-one", "film:1", "L1"))
    for name in (
        "film-one",
        "FILM-1",
        "L1",
        "film:1",
        str(film_id),
        f"id:{film_id}",
        "lid:L1",
        " slug:film-1 ",
    ):
        assert matches.find_film(connection, name) == film_id, name
    for name in ("film-2", "l1", "film:2", "0", "id:film-1", "", "%", "nobody's film"):
        with pytest.raises(ConfigurationError, match="No film is called"):
            matches.find_film(connection, name)


def test_a_number_that_is_also_another_films_slug_asks_which_is_meant(connection: psycopg.Connection) -> None:
    first = the_film(connection)
    second = the_film(connection, FilmKey(str(first)))
    with pytest.raises(ConfigurationError, match=f"Say id:{first} or slug:{first}"):
        matches.find_film(connection, str(first))
    assert matches.find_film(connection, f"slug:{first}") == second
    assert matches.find_film(connection, f"id:{first}") == first


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("movie:603", ("movie", 603)),
        ("tv/1399", ("tv", 1399)),
        ("https://www.themoviedb.org/movie/603-the-matrix", ("movie", 603)),
        ("https://www.themoviedb.org/tv/1399-game-of-thrones?language=en", ("tv", 1399)),
        ("themoviedb.org/movie/603", ("movie", 603)),
        (" themoviedb ", None),
        ("603", None),
        ("movie:", None),
        ("movie:603x", None),
        ("person:5", None),
        ("https://example.org/movie/603", None),
        ("movie:99999999999999999999", None),
        ("movie:999999999999", None),
        ("movie:0", None),
    ],
)
def test_a_title_is_named_by_kind_and_number_or_address(text: str, expected: tuple[str, int] | None) -> None:
    if expected is None:
        with pytest.raises(ConfigurationError, match="names no TMDB title"):
            matches.title_key(text)
    else:
        assert matches.title_key(text) == expected
