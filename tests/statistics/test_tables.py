"""What numpy reads and writes, in a real database; dbt's snapshot is put there by hand."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import psycopg
import pytest

from almanac_pipeline.errors import ConfigurationError, NotFoundError
from almanac_pipeline.flows.circle import compute_circle
from almanac_pipeline.warehouse.statistics_tables import read_opinions

SNAPSHOT = """
create table intermediate.int_cohort_members (cohort_id bigint, user_id bigint, username text);
create table intermediate.int_cohort_ratings (
    cohort_id bigint, user_id bigint, film_id bigint, rating numeric(2, 1), liked boolean, favorite boolean,
    logged boolean, rated_at timestamptz, rated_at_source text);
create table intermediate.int_cohort_film_globals (
    cohort_id bigint, film_id bigint, global_average double precision, global_ratings bigint,
    global_source text);
insert into raw.cohorts (cohort_id, slug, label, definition) overriding system value
    values (1, 'ours', 'Ours', '{}'), (2, 'theirs', 'Theirs', '{}'), (3, 'empty', 'Empty', '{}');
insert into raw.users (user_id, username) overriding system value
    values (11, 'zoe'), (12, 'ann'), (13, 'bob'), (14, 'silent');
insert into raw.films (film_id, uid, slug, title) overriding system value
    values (21, 'film:900', 'late', 'Late'), (22, 'film:100', 'early', 'Early'),
    (23, null, 'nameless', 'None'), (24, 'film:500', 'hearts-only', 'Hearts');
insert into raw.film_histograms (film_id, source, count_0_5, count_4_0) values (22, 'letterboxd', 3, 7);
insert into raw.film_histograms (film_id, source, count_5_0) values (21, 'tmdb', 99);
"""
AT = datetime(2024, 2, 29, 12, 30, 0, 5, tzinfo=UTC)
OPINIONS = [
    (11, 22, 4.5, True, True, False, AT, "export"),
    (11, 21, 0.5, False, False, True, AT, "observed"),
    (12, 22, 5.0, False, False, False, None, None),
    (13, 22, 3.0, False, False, False, None, None),
    (13, 23, 2.0, False, False, False, None, None),
    (13, 24, None, True, False, False, None, None),
    # A film that is not in raw.films: an audit's business.
    (13, 999, 5.0, False, False, False, None, None),
]


@pytest.fixture
def snapshot(connection: psycopg.Connection) -> psycopg.Connection:
    """Ours: three members who said something and a silent one, five films; theirs: bob alone."""
    connection.execute(SNAPSHOT)
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into intermediate.int_cohort_members values (%s, %s, %s)",
            [(1, 11, "zoe"), (1, 12, "ann"), (1, 13, "bob"), (1, 14, "silent"), (2, 13, "bob")],
        )
        cursor.executemany(
            "insert into intermediate.int_cohort_ratings values (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
            [(1, *row) for row in OPINIONS] + [(2, *row) for row in OPINIONS if row[0] == 13],
        )
        cursor.executemany(
            "insert into intermediate.int_cohort_film_globals values (1, %s, %s, %s, 'letterboxd')",
            [(22, 2.95, 10), (21, 3.5, None)],
        )
    connection.commit()
    return connection


def rows(connection: psycopg.Connection, query: str) -> list[tuple[Any, ...]]:
    return connection.execute(query).fetchall()


def test_opinions_are_read_with_hearts_dates_and_the_crowd(snapshot: psycopg.Connection) -> None:
    read = read_opinions(snapshot, "ours")
    assert (read.members_count, read.user_ids.tolist()) == (
        4,
        [12, 13, 11],
    )  # by name; who is silent is left out
    assert read.film_ids.tolist() == [22, 24, 21, 23]  # by Letterboxd's number
    assert read.titles == ("Early", "Hearts", "Late", "None")
    assert list(zip(read.member.tolist(), read.film.tolist(), read.half_stars.tolist(), strict=True)) == [
        (0, 0, 10), (1, 0, 6), (1, 1, 0), (1, 3, 4), (2, 0, 9), (2, 2, 1),
    ]  # fmt: skip
    assert read.liked.tolist() == [False, False, True, False, True, False]
    assert read.favorite.tolist() == [False] * 4 + [True, False]
    assert read.logged.tolist() == [False] * 5 + [True]
    moment = np.datetime64(AT.replace(tzinfo=None), "us")
    assert read.rated_at[4:].tolist() == [moment.item()] * 2
    assert np.isnat(read.rated_at[:4]).all()
    assert read.recorded.tolist() == [False] * 4 + [True, False]
    assert read.global_source == "letterboxd"
    assert np.array_equal(read.global_average, [2.95, np.nan, 3.5, np.nan], equal_nan=True)
    assert np.array_equal(read.global_ratings, [10, np.nan, np.nan, np.nan], equal_nan=True)
    # The histogram of a source that is not compared with is no histogram.
    assert read.global_counts.sum(axis=1).tolist() == [10, 0, 0, 0]
    assert read.global_counts[0].tolist() == [3, 0, 0, 0, 0, 0, 0, 7, 0, 0]


def test_rows_replace_those_of_the_cohort_and_no_others(snapshot: psycopg.Connection) -> None:
    compute_circle(snapshot, "theirs")
    before = rows(snapshot, "select * from intermediate.strategy_scores order by 2, 3")
    for _ in range(2):
        report = compute_circle(snapshot, "ours")
    assert (report.members, report.films, report.ratings) == (4, 3, 5)
    assert (
        rows(snapshot, "select * from intermediate.strategy_scores where cohort_id = 2 order by 2, 3")
        == before
    )
    counts = rows(
        snapshot, "select strategy, count(*) from intermediate.strategy_scores where cohort_id = 1 group by 1"
    )
    assert dict(counts) == dict.fromkeys(
        ("almanac", "forecast", "bayesian", "wilson", "recency", "hybrid", "engagement", "consensus"), 3
    ) | {"loved": 4}
    assert rows(
        snapshot,
        "select user_a, user_b, overlap, equal_share, pearson from intermediate.circle_pairs"
        " where cohort_id = 1 order by 1, 2",
    ) == [(11, 12, 1, 0.0, None), (11, 13, 1, 0.0, None), (12, 13, 1, 0.0, None)]
    assert rows(snapshot, "select count(*) from intermediate.circle_members where cohort_id = 1") == [(3,)]


def test_what_is_not_known_is_null_and_doubles_keep_every_bit(snapshot: psycopg.Connection) -> None:
    compute_circle(snapshot, "ours")
    films = {
        film_id: rest
        for film_id, *rest in rows(
            snapshot,
            "select film_id, estimate, delta, agreement, delta_p, wasserstein from intermediate.circle_films"
            " where cohort_id = 1",
        )
    }
    assert films[23][1:] == [None] * 4
    assert films[22][1] == films[22][0] - 2.95
    assert rows(
        snapshot,
        "select distinct eligible, rank is null, rank_low is null, tier is null"
        " from intermediate.strategy_scores where cohort_id = 1 and not eligible",
    ) == [(False, True, True, True)]
    assert (
        rows(
            snapshot, "select * from intermediate.strategy_scores where score = 'nan' or estimate_sd = 'nan'"
        )
        == []
    )


def test_a_cohort_without_anything_said_keeps_only_its_counts(snapshot: psycopg.Connection) -> None:
    report = compute_circle(snapshot, "empty")
    assert (report.members, report.films, report.ratings, report.overall_mean) == (0, 0, 0, None)
    assert rows(snapshot, "select members_count, overall_mean from intermediate.circle_parameters") == [
        (0, None)
    ]
    assert rows(snapshot, "select * from intermediate.strategy_scores") == []


def test_unknown_cohorts_and_parameters_are_refused_and_change_nothing(snapshot: psycopg.Connection) -> None:
    compute_circle(snapshot, "ours")
    snapshot.execute("""update raw.cohorts set ranking_parameters = '{"tau": 3}' where slug = 'ours'""")
    with pytest.raises(ConfigurationError, match="tau"):
        compute_circle(snapshot, "ours")
    with pytest.raises(NotFoundError, match="nowhere"):
        compute_circle(snapshot, "nowhere")
    assert rows(snapshot, "select count(*) > 0 from intermediate.strategy_scores") == [(True,)]
