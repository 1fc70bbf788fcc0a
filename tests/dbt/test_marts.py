"""Every number of the marts against plain Python over the same opinions."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean, median, pstdev, stdev
from typing import Any

import pytest
from scipy.stats import norm, percentileofscore, skew

from tests.dbt.world import NewWarehouse, Warehouse
from tests.statistics.movielens import Opinion, golden_rankings, opinions, titles
from tests.statistics.plain_circle import plain_circle

STARS = [half / 2 for half in range(1, 11)]

# member -> film number -> stars (None: liked without stars)
TASTES: dict[str, dict[int, float | None]] = {
    "ann": {1: 5.0, 2: 4.0, 3: 0.5, 4: 3.0, 5: 4.5},
    "bob": {1: 4.5, 2: 4.0, 3: 5.0, 4: 2.5, 6: None},
    "cat": {1: 4.0, 2: 4.0, 3: 4.5, 6: None, 7: None},
    "dan": {1: 5.0, 3: 1.0, 4: 3.5, 8: 2.0},
    "eve": {1: 3.5, 2: 1.5, 4: 0.5, 5: 5.0},
}
LIKED = {("ann", 1), ("bob", 1), ("bob", 6), ("cat", 6), ("cat", 7), ("eve", 5)}
FAVORITES = {("ann", 1), ("eve", 5)}
LOGGED = {("dan", 9), ("ann", 1)}


@dataclass
class Circle:
    """The cohort `circle` of five, built once for all tests that only look."""

    warehouse: Warehouse
    films: dict[int, int]
    """Film id by film number."""


@pytest.fixture(scope="module")
def circle(new_warehouse: NewWarehouse) -> Iterator[Circle]:
    with new_warehouse() as warehouse:
        yield Circle(warehouse, build_circle(warehouse))


def build_circle(warehouse: Warehouse) -> dict[int, int]:
    films = {number: warehouse.film(number, f"Film {number}") for number in range(1, 10)}
    members = {name: warehouse.member(name) for name in TASTES}
    for name, taste in TASTES.items():
        for number, stars in taste.items():
            warehouse.rate(
                members[name],
                films[number],
                stars,
                liked=(name, number) in LIKED,
                favorite=(name, number) in FAVORITES,
                at=datetime(2026, 1, number, tzinfo=UTC) if stars and name != "eve" else None,
            )
    for name, number in LOGGED:
        warehouse.log(members[name], films[number], f"{name}-{number}")
    # A rating taken back counts for nothing.
    warehouse.rate(members["eve"], films[8], 5.0)
    warehouse.execute("update raw.ratings set removed_at = now() where rating = 5 and film_id = %s", films[8])
    for number in (1, 2, 3, 4, 5, 6):
        warehouse.histogram(films[number], [number, 0, 0, 0, 0, 10, 0, 20, 0, 30])
    warehouse.cohort("circle", list(members.values()))
    warehouse.build("circle")
    return films


def stars_of(number: int) -> list[float]:
    return [stars for taste in TASTES.values() if (stars := taste.get(number)) is not None]


def test_film_statistics_equal_plain_python(circle: Circle) -> None:
    warehouse, films = circle.warehouse, circle.films
    rows = warehouse.by_film("cohort_film_stats", "circle")
    assert set(rows) == set(films.values())
    for number, film_id in films.items():
        row, stars = rows[film_id], stars_of(number)
        watchers = {name for name, taste in TASTES.items() if number in taste}
        watchers |= {name for name, logged in LOGGED if logged == number}
        liked = sum(film == number for _, film in LIKED)
        favorites = sum(film == number for _, film in FAVORITES)
        dated = [number] if any(number in t for n, t in TASTES.items() if n != "eve") and stars else []
        expected: dict[str, Any] = {
            "title": f"Film {number}",
            "slug": f"film-{number}",
            "watchers": len(watchers),
            "raters": len(stars),
            "average_rating": fmean(stars) if stars else None,
            "rating_sum": sum(stars) if stars else None,
            "rating_stddev": stdev(stars) if len(stars) > 1 else None,
            "rating_skewness": skew(stars, bias=False) if len(set(stars)) > 1 and len(stars) > 2 else None,
            "median_rating": median(stars) if stars else None,
            "high_rating_share": fmean(s >= 4 for s in stars) if stars else None,
            "liked_count": liked,
            "liked_share": liked / len(watchers),
            "favorite_count": favorites,
            "favorite_share": favorites / len(watchers),
            "first_rated_at": datetime(2026, 1, number, tzinfo=UTC) if dated else None,
            "last_rated_at": datetime(2026, 1, number, tzinfo=UTC) if dated else None,
            "agreement": None,
        }
        for column, value in expected.items():
            found = row[column]
            if isinstance(value, float):
                assert float(found) == pytest.approx(value, abs=1e-12), (number, column)
            else:
                assert found == value, (number, column)


def test_one_crowd_is_compared_with_and_films_it_does_not_know_stay_empty(circle: Circle) -> None:
    warehouse, films = circle.warehouse, circle.films
    rows = warehouse.by_film("cohort_film_stats", "circle")
    for number, film_id in films.items():
        row = rows[film_id]
        if number > 6:
            assert (row["global_source"], row["global_average"], row["global_ratings"]) == (None, None, None)
            continue
        average = (number * 0.5 + 10 * 3 + 20 * 4 + 30 * 5) / (60 + number)
        assert (row["global_source"], row["global_ratings"]) == ("letterboxd", 60 + number)
        assert row["global_average"] == pytest.approx(average)
        if number != 6:
            assert row["average_delta"] == pytest.approx(fmean(stars_of(number)) - average)


def test_histograms_keep_their_zeros(circle: Circle) -> None:
    warehouse, films = circle.warehouse, circle.films
    rows = warehouse.rows("select * from almanac.film_histograms where cohort = 'circle'")
    found = {(row["film_id"], float(row["rating"])): row["ratings_count"] for row in rows}
    assert found == {
        (film_id, stars): stars_of(number).count(stars)
        for number, film_id in films.items()
        for stars in STARS
    }


def test_rankings_equal_a_second_implementation(circle: Circle) -> None:
    warehouse, films = circle.warehouse, circle.films
    triples = [(u, i, r) for u, taste in TASTES.items() for i, r in taste.items() if r is not None]
    plain = plain_circle(triples)
    for strategy in ("almanac", "bayesian"):
        rows = {
            row["film_id"]: row
            for row in warehouse.rows("select * from almanac.film_rankings where strategy = %s", strategy)
        }
        expected = {}
        for number in plain.theta:
            stars = stars_of(number)
            if strategy == "almanac":
                estimate, sd = plain.theta[number], plain.sd[number]
                score = estimate - 1.2815515655 * sd
            else:
                score = estimate = (sum(stars) + plain.m * plain.C) / (len(stars) + plain.m)
                sd = math.sqrt(len(stars) * plain.s2) / (len(stars) + plain.m)
            expected[number] = (score, estimate, sd, len(stars))
        assert set(rows) == {films[number] for number in expected}
        for number, (score, estimate, sd, raters) in expected.items():
            row = rows[films[number]]
            assert (row["score"], row["estimate"], row["estimate_sd"]) == pytest.approx(
                (score, estimate, sd), abs=1e-9
            )
            assert (row["raters"], row["eligible"]) == (raters, raters >= 2)
        order = sorted((n for n in expected if expected[n][3] >= 2), key=lambda n: -expected[n][0])
        ranked = sorted((row for row in rows.values() if row["rank"]), key=lambda row: row["rank"])
        assert [row["film_id"] for row in ranked] == [films[number] for number in order]
        assert all(row["params"]["min_raters"] == 2 for row in rows.values())


def test_insights_equal_scipy_and_numpy(circle: Circle) -> None:
    warehouse, films = circle.warehouse, circle.films
    rows = warehouse.by_film("ranking_insights", "circle")
    stats = warehouse.by_film("cohort_film_stats", "circle")
    ranks = {
        row["film_id"]: row
        for row in warehouse.rows("select * from almanac.film_rankings where strategy = 'almanac'")
    }
    scores = {film_id: round(row["score"], 9) for film_id, row in ranks.items()}
    watchers = {film_id: row["watchers"] for film_id, row in stats.items()}
    popularity = {film_id: row["global_ratings"] for film_id, row in stats.items() if row["global_ratings"]}
    averages = {film_id: row["average_rating"] for film_id, row in stats.items() if row["raters"]}
    estimates = sorted(row["estimate"] for row in ranks.values() if row["eligible"])
    position = 0.9 * (len(estimates) - 1)
    below = int(position)
    threshold = estimates[below] + (position - below) * (estimates[below + 1] - estimates[below])

    assert set(rows) == set(stats)
    for film_id, row in rows.items():
        for values, percentile, z in (
            (scores, "score_percentile", "score_z"),
            (watchers, "watcher_percentile", "watcher_z"),
            (averages, "average_percentile", "average_z"),
            (popularity, "popularity_percentile", None),
        ):
            if film_id not in values:
                assert row[percentile] is None
                continue
            all_values = list(values.values())
            expected = percentileofscore(all_values, values[film_id], kind="mean")
            assert row[percentile] == pytest.approx(expected)
            if z:
                assert row[z] == pytest.approx((values[film_id] - fmean(all_values)) / pstdev(all_values))
        if film_id in ranks:
            probability = 1 - norm.cdf(threshold, ranks[film_id]["estimate"], ranks[film_id]["estimate_sd"])
            assert row["top_decile_probability"] == pytest.approx(probability)
            assert row["bucket"] is not None
    # Nobody rated 6 and 7; two liked the one, one the other.
    assert rows[films[6]]["bucket"] == "most liked, unrated"
    assert rows[films[7]]["bucket"] == "steady performer"


@pytest.mark.shared
def test_a_movielens_circle_is_ranked_as_the_golden_file_and_a_second_implementation_say(
    warehouse: Warehouse, shared_dir: Path
) -> None:
    golden = golden_rankings(shared_dir)["cohorts"]["users_1_40"]
    rows = [opinion for opinion in opinions(shared_dir) if opinion.user in set(golden["user_ids"])]
    load_movielens(warehouse, rows, titles(shared_dir))
    report = warehouse.build("movielens")["movielens"]
    assert (report.members, report.films, report.ratings) == (40, 2510, 5658)

    plain = plain_circle([(row.user, row.movie, row.stars) for row in rows])
    raters: dict[int, int] = defaultdict(int)
    for row in rows:
        raters[row.movie] += 1
    score = {i: plain.theta[i] - 1.2815515655 * plain.sd[i] for i in plain.theta}
    found = {
        int(row["uid"].removeprefix("film:")): row
        for row in warehouse.rows(
            "select r.*, f.uid from almanac.film_rankings as r join raw.films as f using (film_id)"
            " where strategy = 'almanac' and cohort = 'movielens'"
        )
    }
    assert {i: row["score"] for i, row in found.items()} == pytest.approx(score, abs=1e-9)
    order = sorted(
        (i for i in score if raters[i] >= 8),
        key=lambda i: (-round(score[i], 9), -raters[i], titles(shared_dir)[i], i),
    )
    ranked = sorted((i for i in found if found[i]["rank"]), key=lambda i: found[i]["rank"])
    assert ranked == order
    top = golden["own"]["top20"]
    for expected in top:
        film = found[expected["movie_id"]]
        assert film["score"] == pytest.approx(expected["score"], abs=5.1e-7)
        assert film["estimate"] == pytest.approx(expected["mean"], abs=5.1e-7)
        assert film["raters"] == expected["raters"]
    eligible = [row["movie_id"] for row in top if row["raters"] >= 8]
    assert ranked[: len(eligible)] == eligible
    agreements = warehouse.scalar("select count(agreement) from almanac.cohort_film_stats")
    assert agreements == sum(n >= 8 for n in raters.values())


@pytest.mark.shared
def test_the_order_in_which_rows_were_stored_changes_no_bit(warehouse: Warehouse, shared_dir: Path) -> None:
    rows = [opinion for opinion in opinions(shared_dir) if opinion.user <= 12]
    load_movielens(warehouse, rows, titles(shared_dir))
    warehouse.build("movielens")
    query = """
        select f.uid, r.strategy, r.score, r.estimate, r.estimate_sd, r.rank, r.rank_low, r.rank_high, r.tier
        from almanac.film_rankings as r join raw.films as f using (film_id) order by f.uid, r.strategy
    """
    first = warehouse.rows(query)
    warehouse.execute("truncate raw.films, raw.users, raw.cohorts cascade")
    load_movielens(warehouse, rows[::-1], titles(shared_dir))
    warehouse.build("movielens")
    assert warehouse.rows(query) == first


def load_movielens(warehouse: Warehouse, rows: list[Opinion], names: dict[int, str]) -> None:
    """Users become ml-N, films film:M; surrogate ids follow the order of the rows."""
    with warehouse.connection.transaction(), warehouse.connection.cursor() as cursor:
        users = {user: warehouse.member(f"ml-{user}") for user in dict.fromkeys(row.user for row in rows)}
        with cursor.copy("copy raw.films (uid, slug, title) from stdin") as copy:
            for movie in dict.fromkeys(row.movie for row in rows):
                copy.write_row((f"film:{movie}", f"movie-{movie}", names[movie]))
        films: dict[str, int] = dict(cursor.execute("select uid, film_id from raw.films").fetchall())
        with cursor.copy("copy raw.ratings (user_id, film_id, rating, source) from stdin") as copy:
            for row in rows:
                copy.write_row((users[row.user], films[f"film:{row.movie}"], row.stars, "pages"))
    warehouse.cohort("movielens", list(users.values()))
