"""Which film an item means, across eras, renames and films given the same address."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Literal

import psycopg
import pytest

from almanac_pipeline.warehouse.films import FilmKey, join_same_titles, resolve_films
from almanac_pipeline.warehouse.opinions import Opinion, merge_opinions
from almanac_pipeline.warehouse.viewings import DiaryEntry, merge_diary


def resolve(connection: psycopg.Connection, *items: FilmKey) -> list[int]:
    """The films of the items, as a merge finds them."""
    with connection.transaction():
        return resolve_films(connection, items)


def films(connection: psycopg.Connection) -> Sequence[tuple[object, ...]]:
    return connection.execute("select slug, uid, lid, title from raw.films order by film_id").fetchall()


def writes(connection: psycopg.Connection) -> list[tuple[object, ...]]:
    """The version (xmin) of every film and alias row."""
    return connection.execute(
        "select film_id::text, xmin::text from raw.films"
        " union all select kind || value, xmin::text from raw.film_aliases order by 1"
    ).fetchall()


def as_of_now(connection: psycopg.Connection) -> Sequence[tuple[object, ...]]:
    """What raw.rating_events says of everybody's opinions now."""
    return connection.execute(
        "select user_id, film_id, rating::float8, liked from raw.ratings_as_of(now()) order by user_id"
    ).fetchall()


CURE = FilmKey("cure", "film:1", "L1", "Cure", 1997)


def test_a_new_film_is_created_once_with_its_aliases(connection: psycopg.Connection) -> None:
    [first] = resolve(connection, CURE)
    before = writes(connection)
    assert resolve(connection, CURE) == [first]
    assert writes(connection) == before
    aliases = connection.execute("select kind, value from raw.film_aliases order by kind").fetchall()
    assert aliases == [("lid", "L1"), ("slug", "cure"), ("uid", "film:1")]
    assert connection.execute("select status from ops.film_metadata_sync").fetchall() == [("pending",)]


@pytest.mark.parametrize(
    "later",
    [
        FilmKey("cure", uid="film:1"),
        FilmKey("cure", lid="L1"),
        FilmKey("cure"),
        FilmKey("cure-1997", "film:1", "L1", "Cure", 1997),
        FilmKey("cure-1997", uid="film:1"),
        FilmKey("cure-1997", lid="L1"),
    ],
)
def test_any_id_finds_the_film(connection: psycopg.Connection, later: FilmKey) -> None:
    assert resolve(connection, CURE) == resolve(connection, later)
    assert len(films(connection)) == 1


def test_a_slug_of_an_old_page_gets_its_ids_from_a_new_one(connection: psycopg.Connection) -> None:
    [first] = resolve(connection, FilmKey("cure"))
    assert films(connection) == [("cure", None, None, "cure")]
    assert resolve(connection, FilmKey("cure", "film:1", None, "Cure", 1997)) == [first]
    assert resolve(connection, CURE) == [first]
    assert films(connection) == [("cure", "film:1", "L1", "Cure")]


def test_a_renamed_slug_is_taken_up_and_the_old_one_still_leads_here(connection: psycopg.Connection) -> None:
    [first] = resolve(connection, CURE)
    connection.execute("update ops.film_metadata_sync set status = 'fetched', page_fetched_at = now()")
    resolve(connection, FilmKey("cure-1997", "film:1", "L1", "Cure!", 1997))
    assert films(connection) == [("cure-1997", "film:1", "L1", "Cure!")]
    assert resolve(connection, FilmKey("cure")) == [first]
    # Its page is read again; a stale page with the old name renames nothing.
    assert connection.execute("select status, page_fetched_at from ops.film_metadata_sync").fetchall() == [
        ("pending", None)
    ]
    resolve(connection, CURE)
    assert films(connection)[0][0] == "cure-1997"


def test_a_slug_given_to_another_film_does_not_join_the_two(connection: psycopg.Connection) -> None:
    [first] = resolve(connection, CURE)
    [second] = resolve(connection, FilmKey("cure", "film:2", "L2", "Cure", 2024))
    assert first != second
    assert films(connection) == [(None, "film:1", "L1", "Cure"), ("cure", "film:2", "L2", "Cure")]
    [again] = resolve(connection, FilmKey("cure-1997", "film:1", "L1", "Cure", 1997))
    assert again == first
    assert films(connection)[0] == ("cure-1997", "film:1", "L1", "Cure")
    assert resolve(connection, FilmKey("cure")) == [second]


def test_two_rows_that_turn_out_to_be_one_film_are_joined(connection: psycopg.Connection) -> None:
    """Seen by uid under its old name and, on an old page, by its new name alone."""
    [by_uid] = resolve(connection, FilmKey("cure", "film:1", None, "Cure", 1997))
    [by_slug] = resolve(connection, FilmKey("cure-1997"))
    user, other = (
        connection.execute(
            "insert into raw.users (username) values (%s) returning user_id", [name]
        ).fetchone()
        for name in ("ada", "bea")
    )
    assert user is not None
    assert other is not None
    connection.execute(
        """
        insert into raw.ratings (user_id, film_id, rating, liked, source)
        values (%(a)s, %(uid)s, null, true, 'pages'), (%(a)s, %(slug)s, 4, false, 'pages'),
               (%(b)s, %(slug)s, 3, false, 'pages')
        """,
        {"a": user[0], "b": other[0], "uid": by_uid, "slug": by_slug},
    )
    connection.execute(
        """
        insert into raw.rating_events (user_id, film_id, kind, new_rating, new_liked, source)
        values (%(a)s, %(uid)s, 'added', null, true, 'pages'), (%(a)s, %(slug)s, 'added', 4, false, 'pages'),
               (%(b)s, %(slug)s, 'added', 3, false, 'pages')
        """,
        {"a": user[0], "b": other[0], "uid": by_uid, "slug": by_slug},
    )
    assert resolve(connection, FilmKey("cure-1997", "film:1", "L1", "Cure", 1997)) == [by_uid]
    assert films(connection) == [("cure-1997", "film:1", "L1", "Cure")]
    ratings = connection.execute(
        "select user_id, film_id, rating::float8, liked from raw.ratings order by user_id"
    ).fetchall()
    assert ratings == [(user[0], by_uid, 4.0, True), (other[0], by_uid, 3.0, False)]
    assert connection.execute("select distinct film_id from raw.rating_events").fetchall() == [(by_uid,)]
    assert as_of_now(connection) == [(user[0], by_uid, 4.0, True), (other[0], by_uid, 3.0, False)]
    aliases = connection.execute("select value from raw.film_aliases order by 1").fetchall()
    assert aliases == [("L1",), ("cure",), ("cure-1997",), ("film:1",)]


@pytest.mark.parametrize(
    ("page_film", "old_film", "kept", "told"),
    [
        ((2, 3.0), (1, 4.0), 3.0, None),
        ((1, 3.0), (2, 4.0), 4.0, None),
        ((2, None), (1, 4.0), 4.0, (4.0, None)),
        ((1, 3.0), (2, None), 3.0, (3.0, None)),
        ((1, 3.0), (1, 4.0), 3.0, (3.0, 4.0)),
    ],
)
def test_of_two_ratings_of_one_film_the_newer_stays_with_both_events_and_a_third_only_where_they_say_else(
    connection: psycopg.Connection,
    page_film: tuple[int, float | None],
    old_film: tuple[int, float | None],
    kept: float,
    told: tuple[float, float | None] | None,
) -> None:
    """Day and rating of both; None: taken away on that day."""
    [by_uid] = resolve(connection, FilmKey("cure", "film:1", title="Cure", release_year=1997))
    [by_slug] = resolve(connection, FilmKey("cure-1997"))
    row = connection.execute("insert into raw.users (username) values ('ada') returning user_id").fetchone()
    assert row is not None
    for film_id, (day, rating) in ((by_uid, page_film), (by_slug, old_film)):
        ids = {"user": row[0], "film": film_id, "day": day, "rating": rating}
        connection.execute(
            """
            insert into raw.ratings (user_id, film_id, rating, source, removed_at)
            values (%(user)s, %(film)s, %(rating)s, 'pages',
                    case when %(rating)s::numeric is null then now() end)
            """,
            ids,
        )
        connection.execute(
            """
            insert into raw.rating_events (user_id, film_id, kind, new_rating, as_of, source)
            values (%(user)s, %(film)s, 'added', coalesce(%(rating)s, 1), '2026-01-01', 'pages')
            """,
            ids,
        )
        connection.execute(
            """
            insert into raw.rating_events (user_id, film_id, kind, old_rating, new_rating, as_of, source)
            values (%(user)s, %(film)s, 'changed', 0.5, %(rating)s,
                    timestamptz '2026-01-01' + make_interval(days => %(day)s), 'pages')
            """,
            ids,
        )
    resolve(connection, FilmKey("cure-1997", "film:1", "L1", "Cure", 1997))
    stored = connection.execute("select film_id, rating::float8, removed_at from raw.ratings").fetchall()
    assert stored == [(by_uid, kept, None)]
    events = connection.execute(
        "select new_rating::float8, old_rating::float8 from raw.rating_events order by rating_event_id"
    ).fetchall()
    assert events[4:] == ([told] if told else [])
    assert as_of_now(connection) == [(row[0], by_uid, kept, False)]


def test_a_slug_that_a_film_had_before_is_its_name_again_once_the_present_one_is_not_new(
    connection: psycopg.Connection,
) -> None:
    for slug in ("cure", "a", "b", "cure"):
        resolve(connection, FilmKey(slug, "film:1", "L1", "Cure", 1997))
    assert films(connection)[0][0] == "b"
    connection.execute("update raw.film_aliases set first_seen_at = now() - interval '2 days'")
    resolve(connection, FilmKey("cure", title="Cure", release_year=1997))
    assert films(connection)[0][0] == "b"  # who knows the slug alone may mean another film
    resolve(connection, CURE)
    assert films(connection)[0][0] == "cure"
    resolve(connection, FilmKey("b", "film:1", "L1", "Cure", 1997))
    assert films(connection)[0][0] == "cure"


# What was learnt of a film that is known by its slug alone.
ENRICHED = """
    with film as (
        update raw.films
        set title = 'Cure', release_year = 1997, overview = 'A trance.', tmdb_media_type = 'movie',
            tmdb_id = 1001, imdb_id = 'tt1',
            field_sources = '{"title": "page", "overview": "tmdb", "directors": "page"}'
        where slug = 'cure' returning film_id
    ), person as (
        insert into raw.people (name) values ('Kiyoshi') returning person_id
    ), part as (
        insert into raw.film_people (film_id, person_id, role, credit_order)
        select film_id, person_id, 'director', 0 from film, person
    ), histogram as (
        insert into raw.film_histograms (film_id, source) select film_id, 'letterboxd' from film
    )
    update ops.film_metadata_sync
    set status = 'fetched', tmdb_matched_by = 'page', page_fetched_at = now(), histogram_url = '/h'
    from film where film_metadata_sync.film_id = film.film_id
"""
LEARNT = """
    select lid, uid, title, overview, tmdb_id, imdb_id, status, tmdb_matched_by, histogram_url,
           page_fetched_at is not null,
           (select count(*) from raw.film_people), (select count(*) from raw.film_histograms)
    from raw.films join ops.film_metadata_sync using (film_id)
"""


def test_joining_keeps_what_was_learnt_of_the_better_known_film(connection: psycopg.Connection) -> None:
    [known] = resolve(connection, FilmKey("cure"))
    connection.execute(ENRICHED)
    resolve(connection, FilmKey(lid="L1", title="Kyua"))
    assert resolve(connection, CURE) == [known]
    assert connection.execute(LEARNT).fetchall() == [
        ("L1", "film:1", "Cure", "A trance.", 1001, "tt1", "fetched", "page", "/h", True, 1, 1)
    ]


def test_what_only_the_dropped_film_knew_fills_the_gaps_but_not_what_another_title_said(
    connection: psycopg.Connection,
) -> None:
    [poor] = resolve(connection, FilmKey("cure"))
    connection.execute(ENRICHED)
    [kept] = resolve(connection, FilmKey(lid="L1", title="Kyua"))
    connection.execute(
        "update raw.films set tmdb_media_type = 'movie', tmdb_id = 7 where film_id = %s", [kept]
    )
    connection.execute(
        "update ops.film_metadata_sync set status = 'overridden', tmdb_matched_by = 'person'"
        " where film_id = %s",
        [kept],
    )
    assert resolve(connection, CURE) == [kept]
    assert connection.execute(LEARNT).fetchall() == [
        ("L1", "film:1", "Kyua", None, 7, "tt1", "overridden", "person", "/h", True, 1, 1)
    ]
    assert poor != kept


def test_joining_keeps_a_wish_to_see_either_film(connection: psycopg.Connection) -> None:
    ids = resolve(connection, FilmKey(lid="L1", title="Cure")) + resolve(connection, FilmKey("cure"))
    row = connection.execute("insert into raw.users (username) values ('ada') returning user_id").fetchone()
    assert row is not None
    connection.execute(
        """
        insert into raw.watchlist_entries (user_id, film_id, added_on, source, removed_at)
        values (%(user)s, %(one)s, '2024-01-01', 'export', now()), (%(user)s, %(two)s, null, 'pages', null)
        """,
        {"user": row[0], "one": ids[0], "two": ids[1]},
    )
    resolve(connection, CURE)
    stored = connection.execute("select added_on::text, source, removed_at from raw.watchlist_entries")
    assert stored.fetchall() == [("2024-01-01", "pages", None)]


@pytest.mark.parametrize(("source", "liked"), [("pages", False), ("rss", True)])
def test_of_two_opinions_the_newer_stays_as_a_whole_unless_a_feed_is_silent_of_the_like(
    connection: psycopg.Connection, source: str, liked: bool
) -> None:
    older, newer = resolve(connection, FilmKey(lid="L1", title="Cure")) + resolve(connection, FilmKey("cure"))
    row = connection.execute("insert into raw.users (username) values ('ada') returning user_id").fetchone()
    assert row is not None
    for film_id, year, rating, is_liked, who in [
        (older, 2024, 4, True, "export"),
        (newer, 2026, 2, False, source),
    ]:
        connection.execute(
            """
            with event as (
                insert into raw.rating_events
                    (user_id, film_id, kind, new_rating, new_liked, source, as_of)
                values (%(user)s, %(film)s, 'added', %(rating)s, %(liked)s, %(source)s,
                        make_timestamptz(%(year)s, 1, 1, 0, 0, 0, 'UTC'))
            )
            insert into raw.ratings (user_id, film_id, rating, liked, source)
            values (%(user)s, %(film)s, %(rating)s, %(liked)s, %(source)s)
            """,
            {"user": row[0], "film": film_id, "rating": rating, "liked": is_liked, "source": who,
             "year": year},
        )  # fmt: skip
    [film_id] = resolve(connection, CURE)
    stored = connection.execute("select film_id, rating::float8, liked from raw.ratings").fetchall()
    assert stored == [(film_id, 2.0, liked)]
    assert as_of_now(connection) == [(row[0], film_id, 2.0, liked)]
    # A third event only where the two do not tell that the like is gone.
    count = connection.execute("select count(*) from raw.rating_events").fetchone()
    assert count == (2 if liked else 3,)


def test_an_export_film_known_by_lid_meets_the_page_film_known_by_uid(connection: psycopg.Connection) -> None:
    resolve(connection, FilmKey("cure", "film:1", None, "Cure", 1997))
    connection.execute("insert into raw.films (lid, title) values ('L1', 'Cure (export)')")
    connection.execute(
        "insert into raw.film_aliases (kind, value, film_id)"
        " select 'lid', 'L1', film_id from raw.films where lid = 'L1'"
    )
    resolve(connection, CURE)
    assert films(connection) == [("cure", "film:1", "L1", "Cure")]


def test_many_items_are_resolved_in_one_go(connection: psycopg.Connection) -> None:
    items = [FilmKey(f"f{n}", f"film:{n}", f"L{n}", f"F {n}", 2000) for n in range(300)]
    found = resolve(connection, *items)
    assert len(set(found)) == 300
    before = writes(connection)
    assert resolve(connection, *reversed(items)) == found[::-1]
    assert writes(connection) == before


EXPORTED = FilmKey(lid="L1", title="Cure ", release_year=1997)
FED = FilmKey("cure", title="CURE", release_year=1997)


@pytest.mark.parametrize(("first", "second"), [(EXPORTED, FED), (FED, EXPORTED)])
def test_a_film_of_an_export_and_one_of_a_feed_are_one_by_title_and_year(
    connection: psycopg.Connection, first: FilmKey, second: FilmKey
) -> None:
    [known] = resolve(connection, first)
    assert resolve(connection, second, second) == [known, known]
    [row] = films(connection)
    assert row[:3] == ("cure", None, "L1")
    before = writes(connection)
    assert resolve(connection, EXPORTED, FED) == [known, known]
    assert writes(connection) == before


@pytest.mark.parametrize(
    "others",
    [
        [FilmKey(lid="L2", title="Cure", release_year=1997)],
        [FilmKey("cure-2", "film:2", "L2", "Cure", 1997)],
    ],
)
def test_films_of_the_same_title_and_year_stay_apart(
    connection: psycopg.Connection, others: list[FilmKey]
) -> None:
    known = resolve(connection, EXPORTED, *others)
    assert resolve(connection, FED)[0] not in known


def test_two_new_items_of_one_title_and_year_do_not_share_a_film(connection: psycopg.Connection) -> None:
    [known] = resolve(connection, EXPORTED)
    other = FilmKey("cure-2", title="Cure", release_year=1997)
    assert len({known, *resolve(connection, FED, other)}) == 3


@pytest.mark.parametrize(
    "other",
    [
        FilmKey("cure", title="Cure", release_year=1998),
        FilmKey("cure", title="Cure"),
        FilmKey("cure", "film:2", "L2", "Cure", 1997),
    ],
)
def test_another_year_no_year_or_another_id_joins_nothing(
    connection: psycopg.Connection, other: FilmKey
) -> None:
    assert resolve(connection, EXPORTED) != resolve(connection, other)


def test_joining_twins_makes_one_viewing_of_what_both_sources_told(connection: psycopg.Connection) -> None:
    """The feed's film had no year at first, so that it was taken for another one."""
    fed, exported = resolve(connection, FilmKey("cure", title="Cure")) + resolve(connection, EXPORTED)
    assert fed != exported
    row = connection.execute("insert into raw.users (username) values ('ada') returning user_id").fetchone()
    assert row is not None
    for film_id, source, key, day, liked in [
        (fed, "rss", "7", "2026-01-01", True), (exported, "export", "eA", "2026-01-01", None),
        (exported, "export", "eB", "2026-01-01", None), (exported, "export", "eC", "2026-02-01", None),
    ]:  # fmt: skip
        connection.execute(
            "insert into raw.diary_entries"
            " (user_id, film_id, source, source_key, film_title, watched_on, liked)"
            " values (%s, %s, %s, %s, 'Cure', %s, %s)",
            [row[0], film_id, source, key, day, liked],
        )
    [film_id] = resolve(connection, FED)
    assert len(films(connection)) == 1
    rows = connection.execute(
        "select film_id, watched_on::text, liked from raw.diary_entries order by watched_on, liked nulls last"
    ).fetchall()
    assert rows == [
        (film_id, "2026-01-01", True), (film_id, "2026-01-01", None), (film_id, "2026-02-01", None),
    ]  # fmt: skip


ALADDIN = FilmKey(lid="al1", title="Aladdin", release_year=1992)
OTHER_ALADDIN = FilmKey("aladdin-1992", title="Aladdin", release_year=1992)


def tell(connection: psycopg.Connection, name: str, film: FilmKey, rating: float, source: str) -> int:
    """Store a member's opinion and viewing of a film, as a merge does; returns who it is."""
    row = connection.execute(
        "insert into raw.users (username) values (%s)"
        " on conflict (username) do update set username = excluded.username returning user_id",
        [name],
    ).fetchone()
    assert row is not None
    now = datetime.now(UTC) - timedelta(days=source == "export")
    who: Literal["export", "rss"] = "export" if source == "export" else "rss"
    merge_opinions(
        connection, row[0], [Opinion(film, rating=rating, as_of=now)], complete_parts=frozenset(), as_of=now,
        source=who, run_id=1, shrink_guard_share=0.5,
    )  # fmt: skip
    entry = DiaryEntry(source, "Aladdin", 1992, film, watched_on=date(2026, 1, 1), rating=rating)
    merge_diary(
        connection, row[0], [entry], complete=False, source=who, as_of=now, shrink_guard_share=0.5
    )  # fmt: skip
    return int(row[0])


def told(connection: psycopg.Connection, table: str) -> set[tuple[object, ...]]:
    return set(
        connection.execute(
            f"select username, film_id, rating::float8 from {table} join raw.users using (user_id)"
        ).fetchall()
    )


@pytest.mark.parametrize(
    "said",
    [
        [FilmKey("aladdin-1992", lid="al2", title="Aladdin", release_year=1992)],
        [FilmKey("aladdin-1992-1", lid="al1", title="Aladdin", release_year=1992)],
        [FilmKey(lid="al2", title="Aladdin", release_year=1992)],
    ],
)
def test_what_a_feed_told_of_a_namesake_goes_with_it_when_the_guess_turns_out_wrong(
    connection: psycopg.Connection, said: list[FilmKey]
) -> None:
    tell(connection, "uc", ALADDIN, 4, "export")
    tell(connection, "ud", OTHER_ALADDIN, 2, "rss")
    [first] = {film_id for _, film_id, _ in told(connection, "raw.ratings")}
    resolve(connection, *said)
    assert resolve(connection, ALADDIN) == [first]
    [second] = resolve(connection, FilmKey("aladdin-1992"))
    for _ in range(2):
        for table in ("raw.ratings", "raw.diary_entries"):
            assert told(connection, table) == {("uc", first, 4.0), ("ud", second, 2.0)}
        assert first != second
        tell(connection, "ud", OTHER_ALADDIN, 2, "rss")


def test_of_a_member_who_saw_both_namesakes_each_keeps_what_was_said_of_it(
    connection: psycopg.Connection,
) -> None:
    user_id = tell(connection, "uc", ALADDIN, 4, "export")
    tell(connection, "uc", OTHER_ALADDIN, 2, "rss")
    [first], [second] = (
        resolve(connection, FilmKey("aladdin-1992-1", lid="al1")),
        resolve(connection, FilmKey("aladdin-1992", lid="al2")),
    )
    assert told(connection, "raw.ratings") == {("uc", first, 4.0), ("uc", second, 2.0)}
    assert sorted(as_of_now(connection), key=str) == sorted(
        [(user_id, first, 4.0, False), (user_id, second, 2.0, False)], key=str
    )


def test_a_guess_that_a_page_confirms_is_none_any_more(connection: psycopg.Connection) -> None:
    [known] = resolve(connection, ALADDIN)
    assert resolve(connection, OTHER_ALADDIN) == [known]
    page = FilmKey("aladdin-1992", lid="al1", title="Aladdin", release_year=1992)
    assert resolve(connection, page) == [known]
    resolve(connection, FilmKey(lid="al2", title="Aladdin", release_year=1992))
    assert films(connection)[0] == ("aladdin-1992", None, "al1", "Aladdin")
    before = writes(connection)
    resolve(connection, page)
    assert writes(connection) == before


def test_a_slug_that_the_site_numbered_is_joined_to_nothing_by_its_name(
    connection: psycopg.Connection,
) -> None:
    numbered = FilmKey("aladdin-1992-1", title="Aladdin", release_year=1992)
    assert resolve(connection, ALADDIN) != resolve(connection, numbered)


@pytest.mark.parametrize(("third", "count"), [(None, 1), ("L3", 3)])
def test_the_same_tmdb_title_joins_an_exports_film_and_a_feeds_unless_a_third_is_it_too(
    connection: psycopg.Connection, third: str | None, count: int
) -> None:
    resolve(connection, FilmKey(lid="L1", title="Spirited Away", release_year=2001))
    resolve(connection, FilmKey("spirited-away", title="Spirited Away", release_year=2002))
    if third is not None:
        resolve(connection, FilmKey(lid=third, title="Chihiro", release_year=2001))
    connection.execute("update raw.films set tmdb_media_type = 'movie', tmdb_id = 60")
    assert join_same_titles(connection) == (third is None)
    assert len(films(connection)) == count
    assert join_same_titles(connection) == 0


def test_who_named_a_film_is_kept_for_its_title_and_for_its_year(connection: psycopg.Connection) -> None:
    sources = "select field_sources from raw.films"
    resolve_films(connection, [FilmKey(lid="L1", title="Cure")], "export")
    assert connection.execute(sources).fetchone() == ({"title": "export"},)
    resolve_films(connection, [CURE], "pages")
    assert connection.execute(sources).fetchone() == ({"title": "page", "release_year": "page"},)
    tell(connection, "ud", FilmKey("pulse", title="Pulse", release_year=2001), 4, "rss")
    assert connection.execute(f"{sources} where slug = 'pulse'").fetchone() == (
        {"title": "feed", "release_year": "feed"},
    )
