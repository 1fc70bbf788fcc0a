"""`almanac member`: who is known, feeds, and forgetting with everything that was computed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from almanac_pipeline.flows.forgetting import forget_member
from almanac_pipeline.flows.publication import changed_cohorts
from almanac_pipeline.settings import get_settings
from tests.cli.conftest import Almanac

# Dagster and its libraries warn of themselves while they are imported and execute.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def rows() -> Callable[..., list[tuple[Any, ...]]]:
    """Rows of a query against the database that the command uses."""

    def run(query: str, *parameters: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(get_settings().database_url.get_secret_value()) as connection:  # type: ignore[union-attr]
            return connection.execute(query, parameters).fetchall()

    return run


def derived(rows: Any) -> dict[str, int]:
    """How many rows each table of statistics and each mart has."""
    tables = rows(
        "select table_schema || '.' || table_name from information_schema.columns"
        " join information_schema.tables using (table_schema, table_name)"
        " where table_type = 'BASE TABLE' and table_schema in ('intermediate', 'almanac')"
        " and column_name in ('cohort_id', 'cohort')"
    )
    return {table: rows(f"select count(*) from {table}")[0][0] for (table,) in tables}


def test_every_derived_table_with_people_in_it_belongs_to_cohorts(published: str, rows: Any) -> None:
    """What forgetting empties is found by these columns."""
    assert rows(
        "select table_schema, table_name from information_schema.columns"
        " join information_schema.tables using (table_schema, table_name)"
        " where table_type = 'BASE TABLE' and table_schema in ('staging', 'intermediate', 'almanac')"
        " group by 1, 2 having bool_or(column_name in ('user_id', 'username', 'member'))"
        " and not bool_or(column_name in ('cohort_id', 'cohort') and table_schema <> 'staging')"
    ) == []  # fmt: skip


def test_forgetting_rebuilds_the_circle_without_the_person(
    almanac: Almanac, published: str, rows: Any, tmp_path: Path
) -> None:
    inbox = tmp_path / "home" / "inbox"
    inbox.mkdir(parents=True)
    (inbox / "letterboxd-cat-2026-01-01.zip").write_bytes(b"")
    (inbox / "letterboxd-catherine-2026-01-01.zip").write_bytes(b"")
    outcome = almanac("member", "forget", "Cat", "--yes")
    assert outcome.code == 0, outcome
    assert "raw.ratings" in outcome.out
    assert "almanac.cohort_film_stats" in outcome.out
    assert "letterboxd-cat-2026" in outcome.out
    assert "catherine" not in outcome.out
    # Cat gave 5, 3.5 and 1.5; ann and bob are what is left.
    assert rows(
        "select slug, raters, rating_sum from almanac.cohort_film_stats order by slug"
    ) == [("film-1", 2, 9.5), ("film-2", 2, 8), ("film-3", 2, 3), ("film-4", 2, 6)]  # fmt: skip
    assert rows("select distinct user_id from intermediate.int_cohort_ratings order by 1") == rows(
        "select user_id from raw.users order by 1"
    )
    assert rows("select username from raw.users order by 1") == [("ann",), ("bob",)]
    assert rows("select members_count from ops.publications order by publication_id") == [(3,), (0,), (2,)]
    again = almanac("member", "forget", "cat", "--yes")
    assert "Nothing was stored of cat." in again.out
    assert rows("select count(*) from ops.publications") == [(3,)]


def test_a_circle_that_cannot_be_built_stays_empty_until_it_can(
    almanac: Almanac, published: str, rows: Any
) -> None:
    with psycopg.connect(published) as connection:
        # A film that ann has rated states a total that its buckets contradict.
        connection.execute(
            "insert into raw.film_histograms (film_id, source, count_3_0, stated_ratings)"
            " select film_id, 'letterboxd', 90, 100 from raw.films where slug = 'film-1'"
        )
    outcome = almanac("member", "forget", "cat", "--yes")
    assert outcome.code == 1
    assert "friends could not be built" in outcome.err
    assert "cat is forgotten" in outcome.out
    assert {table: count for table, count in derived(rows).items() if table.startswith("almanac.")} == {
        "almanac.cohort_film_stats": 0,
        "almanac.member_profiles": 0,
        "almanac.person_rankings": 0,
        "almanac.ranking_insights": 0,
        "almanac.watchlist_overlap": 0,
    }
    # Said again by the next attempt, and by every later one.
    assert forget_member(published, get_settings(), "cat").cohorts_to_build == ("friends",)


def test_a_forgetting_killed_before_the_rebuild_has_left_nothing_and_is_finished_later(
    almanac: Almanac, published: str, rows: Any
) -> None:
    before = derived(rows)
    assert 0 not in (before["intermediate.int_cohort_ratings"], before["almanac.cohort_film_stats"])
    report = forget_member(published, get_settings(), "cat")
    assert set(derived(rows).values()) == {0}
    assert report.cohorts_to_build == ("friends",)
    # Here the process dies: the rebuild never begins. Both ways to it know of the cohort.
    assert forget_member(published, get_settings(), "cat").cohorts_to_build == ("friends",)
    with psycopg.connect(published) as connection:
        assert set(changed_cohorts(connection, ["friends"])) == {"friends"}


def test_without_a_yes_nobody_is_forgotten(
    almanac: Almanac, published: str, rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builtins.input", lambda *_: "n")
    outcome = almanac("member", "forget", "cat")
    assert outcome.code == 1
    assert rows("select count(*) from raw.users where username = 'cat'") == [(1,)]


def test_a_forgotten_member_has_no_feed_until_they_are_allowed_again(
    almanac: Almanac, empty: str, rows: Any
) -> None:
    assert "agreed" in almanac("member", "feed", "Ann", "on").out
    assert rows("select username, feed_opted_in_at is not null from raw.users") == [("ann", True)]
    assert "ann" in almanac("member", "list").out
    assert almanac("member", "feed", "ann", "off").code == 0
    assert rows("select feed_opted_in_at from raw.users") == [(None,)]
    almanac("member", "forget", "ann", "--yes")
    assert almanac("member", "list").lines == ["Nobody is known yet."]
    assert "asked to be forgotten" in almanac("member", "feed", "ann", "on").error
    assert almanac("member", "allow", "ann").lines == ["ann may be read again."]
    assert almanac("member", "allow", "ann").lines == ["ann was not forgotten."]
    assert almanac("member", "feed", "ann", "on").code == 0


def test_the_list_says_what_each_person_is_known_from(almanac: Almanac, published: str) -> None:
    [ann] = [line for line in almanac("member", "list").lines if line.startswith("ann")]
    assert ann.split() == ["ann", "friends", "pages", "4", "never", "off", "active"]


def test_what_cannot_be_a_user_name_is_refused(almanac: Almanac, empty: str) -> None:
    assert almanac("member", "forget", "a/b", "--yes").error == "'a/b' is not a user name."
