"""Whose word counts when sources disagree, and what a merge writes, keeps and refuses."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from almanac_pipeline.errors import ForgottenError, RetriableError
from almanac_pipeline.sources.records import FilmItem
from almanac_pipeline.warehouse import opinions, staging
from almanac_pipeline.warehouse.films import FilmKey, resolve_films
from almanac_pipeline.warehouse.opinions import Changes, Opinion, Part, SourceName, merge_opinions
from tests.conftest import new_database

DAY = timedelta(days=1)
LONG_AGO = datetime(2020, 2, 2, tzinfo=UTC)
ALL: frozenset[Part] = frozenset({"rated", "likes", "favorites"})
RANK: dict[SourceName, int] = {"rss": 1, "pages": 2, "api": 3, "export": 4}


def key(number: int) -> FilmKey:
    return FilmKey(lid=f"L{number}", title=f"Film {number}", release_year=1990)


def film(number: int, rating: float | None = None, **more: Any) -> Opinion:
    return Opinion(key(number), rating, **more)


def item(number: int, rating: float | None = None, liked: bool = False) -> FilmItem:
    return FilmItem(f"film-{number}", f"Film {number}", 1990, f"film:{number}", f"L{number}", rating, liked)


class Member:
    """A member of whom sources tell. Day 0 is ten days ago."""

    def __init__(self, connection: psycopg.Connection, name: str = "ada") -> None:
        self.connection = connection
        row = connection.execute(
            "insert into raw.users (username) values (%s) returning user_id, now() - interval '10 days'",
            [name],
        ).fetchone()
        assert row is not None
        self.user_id, self.start = row

    def tell(
        self,
        source: SourceName,
        day: float,
        *said: Opinion,
        complete: Collection[Part] = (),
        guard: float = 0,
    ) -> Changes:
        """What an export or a feed says, as of that day."""
        return merge_opinions(
            self.connection, self.user_id, said, complete_parts=frozenset(complete),
            as_of=self.start + day * DAY, source=source, run_id=1, shrink_guard_share=guard,
        )  # fmt: skip

    def show(self, *items: FilmItem, part: str = "rated", complete: bool = True) -> Changes:
        """What the member's pages show now."""
        subject: Any = "ratings" if part == "rated" else "likes"
        staging.stage_page(self.connection, self.user_id, subject, "full", 1, items, len(items))
        chosen: Any = part
        return opinions.merge_staged(
            self.connection, self.user_id, subject, chosen,
            complete=complete, observed=True, source="pages", run_id=2, stated_total=len(items),
        )  # fmt: skip

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return self.connection.execute(sql, {"user": self.user_id}).fetchall()

    def stored(self) -> dict[str, tuple[float | None, bool, bool]]:
        """Rating, like and favourite by the film's lid."""
        rows = self.rows(
            "select lid, rating::float8, liked, favorite from raw.ratings join raw.films using (film_id)"
            " where user_id = %(user)s and removed_at is null"
        )
        return {lid: (rating, liked, favorite) for lid, rating, liked, favorite in rows}

    def thought(self, day: float) -> dict[str, tuple[float | None, bool, bool]]:
        """The same as it was on that day, from raw.rating_events alone."""
        rows = self.connection.execute(
            "select lid, rating::float8, liked, favorite"
            " from raw.ratings_as_of(%s) join raw.films using (film_id) where user_id = %s",
            [self.start + day * DAY, self.user_id],
        )
        return {lid: (rating, liked, favorite) for lid, rating, liked, favorite in rows}

    def ratings(self) -> dict[str, float | None]:
        return {lid: rating for lid, (rating, _, _) in self.stored().items()}

    def dates(self) -> dict[str, tuple[datetime | None, str | None]]:
        rows = self.rows(
            "select lid, rated_at, rated_at_source from raw.ratings join raw.films using (film_id)"
        )
        return {lid: (rated_at, known_by) for lid, rated_at, known_by in rows}

    def events(self) -> list[tuple[Any, ...]]:
        return self.rows(
            "select lid, kind, old_rating::float8, new_rating::float8, source, scrape_run_id"
            " from raw.rating_events join raw.films using (film_id) order by rating_event_id"
        )

    def versions(self) -> list[tuple[Any, ...]]:
        """The version of every row that a merge may write."""
        return self.rows(
            "select 'rating', film_id, xmin::text, ctid::text from raw.ratings"
            " union all select 'event', rating_event_id, xmin::text, ctid::text from raw.rating_events"
            " union all select 'film', film_id, xmin::text, ctid::text from raw.films order by 1, 2"
        )


@pytest.fixture(scope="module")
def module_url(server_url: str, template_database: str) -> Iterator[str]:
    with new_database(server_url, template_database) as url:
        yield url


@pytest.fixture
def member(module_url: str) -> Iterator[Member]:
    """Everything that a test does is one transaction, and undone after it."""
    with psycopg.connect(module_url) as connection:
        yield Member(connection)
        connection.rollback()


@pytest.fixture
def committing_url(module_url: str) -> Iterator[str]:
    """The same database for tests that need several transactions; emptied after each."""
    yield module_url
    with psycopg.connect(module_url) as connection:
        connection.execute("truncate raw.users, raw.films, raw.ratings, raw.rating_events cascade")


@pytest.mark.parametrize("first", RANK)
@pytest.mark.parametrize("second", RANK)
def test_the_newer_is_believed_and_of_one_moment_the_better_source(
    member: Member, first: SourceName, second: SourceName
) -> None:
    """The table of docs/precedence.md: the first speaks on day 5, the second before, then or after."""
    for number, day in enumerate((4, 5, 6)):
        member.tell(first, 5, film(number, 3.0))
        member.tell(second, day, film(number, 4.0, liked=True))
        believed = day > 5 or (day == 5 and RANK[second] >= RANK[first])
        assert member.ratings()[f"L{number}"] == (4.0 if believed else 3.0), day
        assert member.stored()[f"L{number}"][1], "nobody had spoken of the like"


@pytest.mark.parametrize("first", ["export", "api", "pages"])
@pytest.mark.parametrize("second", RANK)
def test_nothing_older_than_a_complete_reading_counts(
    member: Member, first: SourceName, second: SourceName
) -> None:
    """Not even of a film that was not there: it was gone by then."""
    whole: frozenset[Part] = frozenset() if second == "rss" else frozenset({"rated"})
    member.tell(first, 5, film(1, 3.0), film(2, 3.0), complete={"rated"})
    assert member.tell(second, 4, film(1, 1.0), film(3, 4.0), complete=whole).total == 0
    assert member.ratings() == {"L1": 3.0, "L2": 3.0}
    member.tell(second, 6, film(1, 1.0), film(3, 4.0), complete=whole)
    assert member.ratings() == {"L1": 1.0, "L3": 4.0} | ({"L2": 3.0} if second == "rss" else {})


def test_a_first_export_is_stored_with_one_event_per_film(member: Member) -> None:
    changes = member.tell(
        "export", 1, film(1, 4.5, rated_at=LONG_AGO), film(2, liked=True), film(3, favorite=True),
        complete=ALL,
    )  # fmt: skip
    assert (changes.added, changes.total, changes.new_films) == (3, 3, 3)
    assert member.stored() == {
        "L1": (4.5, False, False),
        "L2": (None, True, False),
        "L3": (None, False, True),
    }
    assert member.events()[0] == ("L1", "added", None, 4.5, "export", 1)
    assert member.dates()["L1"] == (LONG_AGO, "export")


def test_an_export_counts_as_a_full_read_of_its_own_day(member: Member) -> None:
    member.tell("export", 1, film(1, 4.5), complete=ALL)
    for subject in ("ratings", "likes", "profile"):
        state = staging.read_state(member.connection, member.user_id, subject)
        assert state.last_full_at == state.last_success_at == member.start + DAY
    member.show(item(1, 4.5))
    member.tell("export", 2, film(1, 4.5), complete=ALL)
    state = staging.read_state(member.connection, member.user_id, "ratings")
    assert state.last_full_at == state.now, "an older export does not turn back the clock"


def test_the_same_snapshot_again_writes_nothing(member: Member) -> None:
    said = [film(n, n / 2, liked=n % 2 == 0, favorite=n < 3, rated_at=LONG_AGO) for n in range(1, 9)]
    member.tell("export", 1, *said, complete=ALL)
    before = member.versions()
    assert member.tell("export", 1, *reversed(said), complete=ALL).total == 0
    assert member.tell("export", 2, *said, complete=ALL).total == 0
    assert member.versions() == before


def test_what_a_complete_snapshot_lacks_is_removed_and_can_come_back(member: Member) -> None:
    member.tell("export", 1, film(1, 3.0), film(2, 4.0, liked=True), film(3, favorite=True), complete=ALL)
    changes = member.tell("export", 3, film(2, liked=True), complete=ALL)
    assert (changes.removed, changes.changed) == (2, 1)
    assert member.stored() == {"L2": (None, True, False)}
    assert member.tell("export", 5, film(1, 2.0), film(2, liked=True), complete=ALL).restored == 1
    assert member.thought(0) == {}
    assert member.thought(2) == {
        "L1": (3.0, False, False),
        "L2": (4.0, True, False),
        "L3": (None, False, True),
    }
    assert member.thought(4) == {"L2": (None, True, False)}
    assert member.thought(9) == member.stored() == {"L1": (2.0, False, False), "L2": (None, True, False)}


def test_a_complete_snapshot_with_an_unknown_film_takes_away_no_more_than_it_lacks(member: Member) -> None:
    """Such a snapshot is first compared in vain, with nothing that is known to be said."""
    member.tell("export", 1, film(1, 3.0), film(2, 4.0), film(3, 5.0), complete=ALL)
    changes = member.tell("export", 2, film(1, 3.0), film(2, 1.0), film(4, 2.0), complete=ALL)
    assert changes == Changes(added=1, changed=1, removed=1, new_films=1)
    assert member.ratings() == {"L1": 3.0, "L2": 1.0, "L4": 2.0}
    assert len(member.events()) == 6


def test_a_part_that_is_not_complete_loses_nothing(member: Member) -> None:
    member.tell("export", 1, film(1, 3.0, liked=True), film(2, favorite=True), complete=ALL)
    member.tell("export", 2, film(3, 1.0), complete={"rated"})
    assert member.stored() == {
        "L1": (None, True, False),
        "L2": (None, False, True),
        "L3": (1.0, False, False),
    }


def test_a_feed_can_give_a_like_but_never_take_one(member: Member) -> None:
    member.tell("export", 1, film(1, 3.0, liked=True), film(2, 3.0), complete=ALL)
    member.tell("rss", 2, film(1, 3.5, liked=False), film(2, liked=True), film(3, liked=False))
    assert member.stored() == {"L1": (3.5, True, False), "L2": (3.0, True, False)}


def test_entries_of_a_feed_count_from_their_own_moment(member: Member) -> None:
    member.tell("export", 3, film(1, 3.0), film(2, 3.0), complete=ALL)
    entries = [film(n, 5.0, as_of=member.start + day * DAY) for n, day in ((1, 2), (2, 4))]
    member.tell("rss", 6, *entries)
    assert member.ratings() == {"L1": 3.0, "L2": 5.0}
    assert member.thought(4.5) == member.stored()


def test_of_two_entries_for_a_film_the_newer_counts_aspect_by_aspect(member: Member) -> None:
    member.tell("pages", 2, film(1, 1.0))
    first, second, rewatch = (member.start + day * DAY for day in (1, 3, 4))
    member.tell(
        "rss", 5, film(1, as_of=rewatch, liked=True), film(1, 4.0, as_of=second), film(1, 2.0, as_of=first)
    )
    assert member.stored() == {"L1": (4.0, True, False)}
    member.tell("pages", 2.5, film(1, 5.0))
    assert member.ratings() == {"L1": 4.0}
    member.tell("pages", 4.5, film(1, 5.0))
    assert member.ratings() == {"L1": 5.0}


def test_an_older_export_adds_only_dates_that_are_missing(member: Member) -> None:
    member.show(item(1, 3.0), item(2, 3.0), item(3, 3.0))
    assert {known_by for _, known_by in member.dates().values()} == {"observed"}
    member.tell("rss", 20, film(3, 3.0, rated_at=LONG_AGO + DAY))
    events = member.events()
    said = [film(n, rating, rated_at=LONG_AGO) for n, rating in ((1, 3.0), (2, 4.0), (3, 3.0), (4, 1.0))]
    assert member.tell("export", 1, *said, complete=ALL).total == 0
    assert member.ratings() == {"L1": 3.0, "L2": 3.0, "L3": 3.0}
    assert member.dates()["L1"] == (LONG_AGO, "export")
    assert member.dates()["L2"][1] == "observed"
    assert member.dates()["L3"] == (LONG_AGO + DAY, "feed")
    assert member.events() == events


def test_the_date_of_a_rating_goes_with_the_rating(member: Member) -> None:
    member.tell("export", 1, film(1, 3.0, rated_at=LONG_AGO), complete=ALL)
    member.tell("pages", 2, film(1, liked=True))
    assert member.dates() == {"L1": (LONG_AGO, "export")}
    member.tell("pages", 3, film(1, 4.0))
    assert member.dates() == {"L1": (None, None)}


def test_a_clock_that_is_ahead_does_not_outvote_what_comes_next(member: Member) -> None:
    member.tell("export", 400, film(1, 3.0, as_of=member.start + 500 * DAY), complete=ALL)
    member.connection.execute("update ops.user_scrape_state set known_as_of = known_as_of - interval '1 s'")
    member.connection.execute("update raw.rating_events set as_of = as_of - interval '1 s'")
    member.show(item(1, 5.0))
    assert member.ratings() == {"L1": 5.0}


def test_a_look_without_news_is_as_good_as_a_full_reading(member: Member) -> None:
    member.tell("export", 1, film(1, 3.0), complete=ALL)
    opinions.record_unchanged(member.connection, member.user_id, "ratings")
    member.tell("export", 9, film(1, 5.0, liked=True), complete=ALL)
    assert member.stored() == {"L1": (3.0, True, False)}, "of likes nothing newer was known"


def test_pages_tell_of_the_moment_at_which_their_reading_began(member: Member) -> None:
    items = (item(1, 3.0), item(2, 3.0))
    staging.stage_page(member.connection, member.user_id, "ratings", "full", 1, items, 2)
    member.connection.execute("update ops.user_scrape_state set pages_started_at = now() - interval '1 hour'")
    member.tell("rss", 10 - 1 / 48, film(1, 5.0))
    opinions.merge_staged(
        member.connection, member.user_id, "ratings", "rated",
        complete=True, observed=False, source="pages", run_id=2, stated_total=2,
    )  # fmt: skip
    assert member.ratings() == {"L1": 5.0, "L2": 3.0}


def test_pages_and_profile_take_part_in_the_same_order_of_sources(member: Member) -> None:
    member.tell("export", 1, film(1, 3.0, liked=True, favorite=True), film(2, 2.0), complete=ALL)
    member.show(item(1, 4.0, liked=False))
    opinions.merge_favorites(member.connection, member.user_id, [item(2)], source="pages", run_id=3)
    expected = {"L1": (4.0, False, False), "L2": (None, False, True)}
    assert member.stored() == expected
    member.tell(
        "export", 9, film(1, 3.0, liked=True, favorite=True), film(2, 2.0), complete={"rated", "favorites"}
    )
    assert member.stored() == expected


def test_no_merge_is_done_by_the_plan_of_an_earlier_one(member: Member) -> None:
    """A plan for five films joined 5,000 changed ones in 9 s instead of 0.2 s."""
    for rating in range(1, 9):
        member.tell("export", rating, film(1, rating / 2), complete=ALL)
    kept = [sql for (sql,) in member.rows("select statement from pg_prepared_statements")]
    assert kept, "statements are kept"
    assert not [sql for sql in kept if "insert into raw.ratings" in sql]


def test_a_shrunken_snapshot_deletes_nothing_and_is_marked(member: Member) -> None:
    member.tell("export", 1, *[film(n, 3.0) for n in range(20)], complete={"rated"})
    before = member.versions()
    with pytest.raises(RetriableError, match="Only 9 films came as rated where 20 are stored"):
        member.tell("export", 2, *[film(n, 1.0) for n in range(9)], complete={"rated"}, guard=0.5)
    with pytest.raises(RetriableError, match="Only 0 films"):
        member.tell("export", 2, complete={"rated"}, guard=0.5)
    assert member.versions() == before
    assert staging.read_state(member.connection, member.user_id, "ratings").suspicious_at is not None
    member.tell("export", 2, *[film(n, 1.0) for n in range(10)], complete={"rated"}, guard=0.5)
    assert len(member.stored()) == 10
    assert staging.read_state(member.connection, member.user_id, "ratings").suspicious_at is None


def test_an_old_small_export_is_no_shrunken_one(member: Member) -> None:
    member.tell("export", 5, *[film(n, 3.0) for n in range(20)], complete={"rated"})
    member.tell("export", 1, film(1, 3.0), complete={"rated"}, guard=0.5)
    assert len(member.stored()) == 20


def test_nothing_is_stored_of_a_member_who_is_gone(member: Member) -> None:
    member.connection.execute("delete from raw.users")
    with pytest.raises(ForgottenError):
        member.tell("export", 1, film(1, 3.0))
    assert member.rows("select from raw.ratings") == []


@pytest.mark.parametrize("table", ["raw.users", "raw.films"])
def test_who_has_ratings_is_not_deleted_from_under_them(member: Member, table: str) -> None:
    member.tell("export", 1, film(1, 3.0))
    with pytest.raises(psycopg.errors.ForeignKeyViolation, match="still has ratings"):
        member.connection.execute(f"delete from {table}")


@pytest.mark.parametrize("seed", range(3))
def test_events_alone_tell_what_is_stored(member: Member, seed: int) -> None:
    """Random sources, days and parts: the history always ends in the present."""
    chance = random.Random(seed)
    for _ in range(40):
        source = chance.choice(list(RANK))
        parts = [part for part in sorted(ALL) if source != "rss" and chance.random() < 0.4]
        said = [
            film(
                number,
                chance.choice([None, 1.0, 2.0, 3.0]),
                liked=chance.choice([None, False, True]),
                favorite=chance.choice([None, True]),
                rated_at=chance.choice([None, LONG_AGO]),
            )
            for number in chance.choices(range(8), k=6)
        ]
        member.tell(source, chance.uniform(0, 9), *said, complete=parts)
        assert member.thought(10) == member.stored()


def in_threads(url: str, *works: Callable[[psycopg.Connection], object]) -> None:
    """Run all at once, each on its own connection; raises what one of them raised."""
    barrier = threading.Barrier(len(works))

    def run(work: Callable[[psycopg.Connection], object]) -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("set lock_timeout = '20s'")
            barrier.wait()
            work(connection)

    with ThreadPoolExecutor(len(works)) as pool:
        for future in [pool.submit(run, work) for work in works]:
            future.result()


def tell(connection: psycopg.Connection, user_id: int, numbers: Collection[int], **what: Any) -> None:
    merge_opinions(
        connection, user_id, [Opinion(key(n), **what) for n in numbers], complete_parts=frozenset(),
        as_of=datetime.now(UTC), source="api", run_id=0, shrink_guard_share=0,
    )  # fmt: skip


def test_merges_of_shared_members_and_films_at_once_lose_and_double_nothing(committing_url: str) -> None:
    """Two read each member's ratings and likes at once, over films that all of them meet first."""
    with psycopg.connect(committing_url, autocommit=True) as connection:
        ids = [Member(connection, name).user_id for name in ("ada", "bea")]

    def work(order: int, **what: Any) -> Callable[[psycopg.Connection], None]:
        def run(connection: psycopg.Connection) -> None:
            chance = random.Random(order)
            for first in range(0, 120, 10):
                for user_id in ids[::order]:
                    tell(connection, user_id, chance.sample(range(first, first + 10), 10), **what)

        return run

    in_threads(
        committing_url,
        work(1, rating=3.0),
        work(-1, rating=3.0),
        work(1, liked=True),
        work(-1, favorite=True),
    )
    with psycopg.connect(committing_url) as connection:
        rows = connection.execute(
            "select count(*), count(rating), count(*) filter (where liked and favorite) from raw.ratings"
        ).fetchone()
        assert rows == (240, 240, 240)
        assert connection.execute("select count(*) from raw.films").fetchone() == (120,)
        told = connection.execute(
            "select count(*) from raw.rating_events where new_rating is distinct from old_rating"
        ).fetchone()
        assert told == (240,)


def test_films_that_turn_out_to_be_one_while_others_rate_them_leave_no_orphan(committing_url: str) -> None:
    """Pages name the film by its slug, exports by its lid; a third source knows that both are one."""
    with psycopg.connect(committing_url, autocommit=True) as connection:
        ids = [Member(connection, name).user_id for name in ("ada", "bea")]
    films = range(40)

    def rate(user_id: int, by_slug: bool) -> Callable[[psycopg.Connection], None]:
        def run(connection: psycopg.Connection) -> None:
            for n in films:
                name = FilmKey(f"film-{n}") if by_slug else FilmKey(lid=f"L{n}")
                merge_opinions(
                    connection, user_id, [Opinion(name, 3.0)], complete_parts=frozenset(),
                    as_of=datetime.now(UTC), source="api", run_id=0, shrink_guard_share=0,
                )  # fmt: skip

        return run

    def join(connection: psycopg.Connection) -> None:
        for n in films:
            with connection.transaction():
                resolve_films(connection, [FilmKey(f"film-{n}", lid=f"L{n}")])

    in_threads(
        committing_url, rate(ids[0], True), rate(ids[0], False), rate(ids[1], True), rate(ids[1], False), join
    )
    with psycopg.connect(committing_url) as connection:
        assert connection.execute("select count(*) from raw.films").fetchone() == (40,)
        for table in ("raw.ratings", "raw.rating_events"):
            assert connection.execute(
                f"select count(distinct (user_id, film_id)) from {table}"
            ).fetchone() == (80,)
            orphans = connection.execute(
                f"select count(*) from {table} where film_id not in (select film_id from raw.films)"
            ).fetchone()
            assert orphans == (0,)


def test_a_member_forgotten_during_a_merge_leaves_nothing(committing_url: str) -> None:
    with psycopg.connect(committing_url, autocommit=True) as connection:
        user_id = Member(connection).user_id
        tell(connection, user_id, range(50), rating=3.0)

    def forget(connection: psycopg.Connection) -> None:
        with connection.transaction():
            connection.execute("select from raw.users where user_id = %s for update", [user_id])
            for table in ("raw.ratings", "raw.rating_events", "ops.user_scrape_state", "raw.users"):
                connection.execute(f"delete from {table} where user_id = %s", [user_id])

    def merge(connection: psycopg.Connection) -> None:
        try:
            for n in range(50):
                tell(connection, user_id, [n], rating=4.0)
        except ForgottenError:
            return

    in_threads(committing_url, merge, forget)
    with psycopg.connect(committing_url) as connection:
        assert connection.execute("select from raw.ratings").fetchall() == []
