"""Whose word counts when sources disagree, and what a merge writes, keeps and refuses."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from almanac_pipeline.errors import ForgottenError, RetriableError
from almanac_pipeline.warehouse.films import FilmKey
from almanac_pipeline.warehouse.opinions import Changes, Opinion, Part, SourceName, merge_opinions
from almanac_pipeline.warehouse.staging import read_state

DAY = timedelta(days=1)
LONG_AGO = datetime(2020, 2, 2, tzinfo=UTC)
ALL: frozenset[Part] = frozenset({"rated", "likes", "favorites"})


def key(number: int) -> FilmKey:
    return FilmKey(lid=f"L{number}", title=f"Film {number}", release_year=1990)


def rated(number: int, rating: float | None = None, **more: Any) -> Opinion:
    return Opinion(key(number), rating, **more)


class Member:
    """A member of whom sources tell; day 0 is ten days ago."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self.connection = connection
        row = connection.execute(
            "insert into raw.users (username) values ('ada') returning user_id, now() - interval '10 days'"
        ).fetchone()
        assert row is not None
        self.user_id, self.start = row
        connection.commit()

    def tell(
        self,
        source: SourceName,
        day: float,
        *said: Opinion,
        complete: Collection[Part] = (),
        guard: float = 0,
    ) -> Changes:
        changes = merge_opinions(
            self.connection, self.user_id, said, complete_parts=frozenset(complete),
            as_of=self.start + day * DAY, source=source, run_id=1, shrink_guard_share=guard,
        )  # fmt: skip
        self.connection.commit()
        return changes

    def stored(self) -> dict[str, tuple[float | None, bool, bool]]:
        rows = self.connection.execute(
            "select lid, rating::float8, liked, favorite from raw.ratings join raw.films using (film_id)"
            " where removed_at is null order by lid"
        )
        return {lid: (rating, liked, favorite) for lid, rating, liked, favorite in rows}

    def events(self) -> list[tuple[Any, ...]]:
        return self.connection.execute(
            "select lid, kind, old_rating::float8, new_rating::float8, source, scrape_run_id"
            " from raw.rating_events join raw.films using (film_id) order by rating_event_id"
        ).fetchall()


@pytest.fixture
def member(connection: psycopg.Connection) -> Member:
    return Member(connection)


def test_a_first_export_is_stored_with_one_event_per_film(member: Member) -> None:
    changes = member.tell(
        "export", 1, rated(1, 4.5, rated_at=LONG_AGO), rated(2, liked=True), rated(3, favorite=True),
        complete=ALL,
    )  # fmt: skip
    assert (changes.added, changes.total, changes.new_films) == (3, 3, 3)
    assert member.stored() == {
        "L1": (4.5, False, False),
        "L2": (None, True, False),
        "L3": (None, False, True),
    }
    assert member.events()[0] == ("L1", "added", None, 4.5, "export", 1)
    for subject in ("ratings", "likes", "profile"):
        state = read_state(member.connection, member.user_id, subject)
        assert state.last_full_at == state.last_success_at == member.start + DAY


def test_a_shrunken_snapshot_deletes_nothing_and_is_marked(member: Member) -> None:
    member.tell("export", 1, *[rated(n, 3.0) for n in range(10)], complete={"rated"})
    before = member.stored()
    with pytest.raises(RetriableError, match="Only 4 films came as rated where 10 are stored"):
        member.tell("export", 2, *[rated(n, 1.0) for n in range(4)], complete={"rated"}, guard=0.5)
    assert member.stored() == before
    assert read_state(member.connection, member.user_id, "ratings").suspicious_at is not None


def test_nothing_is_stored_of_a_member_who_is_gone(member: Member) -> None:
    member.connection.execute("delete from raw.users")
    with pytest.raises(ForgottenError):
        member.tell("export", 1, rated(1, 3.0))
    assert member.connection.execute("select from raw.ratings").fetchall() == []
