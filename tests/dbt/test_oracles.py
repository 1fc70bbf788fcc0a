"""All strategies, labels and tastes of MovieLens cohorts, as they stand in the marts, computed once more.

The second opinion is plain Python, scipy and statsmodels over the same opinions. MovieLens has no hearts,
favourites or diaries: they are invented. Everybody's stars are the crowd. One database, one build.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest
from scipy.stats import (
    false_discovery_control,
    norm,
    pearsonr,
    rankdata,
    t,
    ttest_ind_from_stats,
    wasserstein_distance,
    zscore,
)

from almanac_pipeline.quality.suites import SUITES
from almanac_pipeline.warehouse.quality import measure, measurements
from tests.dbt.world import NewWarehouse, Warehouse
from tests.statistics.movielens import opinions, titles
from tests.statistics.plain_agreement import peeled
from tests.statistics.plain_circle import PlainFit, plain_circle
from tests.statistics.plain_strategies import Plain, Said, plain_strategies

pytestmark = pytest.mark.shared

SIZES = (2, 5, 20, 80, 300)
FEW_RATINGS = 40
"""Of most members of the larger cohorts so many ratings are told: plain Python is slow."""
STARS = np.arange(1, 11) / 2
STRATEGIES = {
    "almanac", "forecast", "bayesian", "wilson", "discovery", "recency", "hybrid", "engagement", "consensus",
    "loved",
}  # fmt: skip


@dataclass
class Oracle:
    """A cohort with all that its members said, films and members by MovieLens' numbers."""

    size: int
    said: list[Said]
    names: dict[int, str]
    crowd: dict[int, list[int]]
    """Ratings of everybody per half-star."""

    @cached_property
    def stars(self) -> dict[int, list[float]]:
        found: dict[int, list[float]] = defaultdict(list)
        for s in self.said:
            if s.stars is not None:
                found[s.film].append(s.stars)
        return found

    @cached_property
    def taste(self) -> dict[int, dict[int, float]]:
        found: dict[int, dict[int, float]] = defaultdict(dict)
        for s in self.said:
            if s.stars is not None:
                found[s.member][s.film] = s.stars
        return found

    @cached_property
    def watchers(self) -> dict[int, int]:
        return count(s.film for s in self.said)

    @cached_property
    def liked(self) -> dict[int, int]:
        return count(s.film for s in self.said if s.liked)

    @cached_property
    def average(self) -> dict[int, float]:
        return {film: float(np.average(STARS, weights=row)) for film, row in self.crowd.items()}

    @cached_property
    def agreement(self) -> dict[int, float]:
        return {
            film: peeled([given.count(half / 2) for half in range(1, 11)])
            for film, given in self.stars.items()
            if len(given) >= 8
        }

    @cached_property
    def fit(self) -> PlainFit:
        return plain_circle(self.triples)

    @cached_property
    def triples(self) -> list[tuple[int, int, float]]:
        return [(s.member, s.film, s.stars) for s in self.said if s.stars is not None]

    @cached_property
    def strategies(self) -> Plain:
        """With forecast."""
        plain = plain_strategies(self.said, self.average, self.agreement, self.fit)
        crowd = {film: (self.average[film], sum(self.crowd[film])) for film in self.stars}
        informed = plain_circle(self.triples, crowd)
        bound = {film: informed.theta[film] - 1.2815515655 * informed.sd[film] for film in informed.theta}
        for column, values in zip(plain, (bound, informed.theta, informed.sd), strict=True):
            column["forecast"] = values
        return plain

    @cached_property
    def min_raters(self) -> int:
        return min(8, max(2, math.ceil(self.size / 5)))

    def eligible(self, strategy: str) -> set[int]:
        votes = (
            self.watchers if strategy == "loved" else {film: len(given) for film, given in self.stars.items()}
        )
        needed = 3 if strategy == "forecast" else self.min_raters
        return {film for film in self.strategies.score[strategy] if votes[film] >= needed}


@dataclass
class World:
    warehouse: Warehouse
    oracles: dict[int, Oracle]
    user_ids: dict[int, int]
    film_ids: dict[int, int]

    def by_film(self, mart: str, size: int, where: str = "true") -> dict[int, dict[str, Any]]:
        """A cohort's rows of a mart by MovieLens' number."""
        numbers = {film_id: number for number, film_id in self.film_ids.items()}
        rows = self.warehouse.rows(
            f"select * from almanac.{mart} where cohort = %s and {where}", f"of-{size}"
        )
        return {numbers[row["film_id"]]: row for row in rows}


def count(films: Any) -> dict[int, int]:
    found: dict[int, int] = defaultdict(int)
    for film in films:
        found[film] += 1
    return found


@pytest.fixture(scope="module")
def world(new_warehouse: NewWarehouse, shared_dir: Path) -> Iterator[World]:
    dice = np.random.default_rng(17)
    rows = opinions(shared_dir)
    names = titles(shared_dir)
    people = sorted({row.user for row in rows})
    # The pair of the two who rated most: they share enough films to look beyond the crowd.
    chosen: dict[int, list[int]] = {2: [414, 599]}
    chosen |= {size: sorted(dice.choice(people, size, replace=False).tolist()) for size in SIZES[1:]}
    all_told = {member for size in (2, 5, 20) for member in chosen[size]}
    crowd: dict[int, list[int]] = defaultdict(lambda: [0] * 10)
    said: dict[int, list[Said]] = defaultdict(list)
    for row in rows:
        crowd[row.movie][round(2 * row.stars) - 1] += 1
        said[row.user].append(
            Said(
                row.user,
                row.movie,
                row.stars if dice.random() < 0.95 else None,
                liked=bool(dice.random() < (0.7 if row.stars >= 4.5 else 0.1)),
                favorite=bool(row.stars == 5 and dice.random() < 0.03),
                logged=bool(dice.random() < 0.3),
                at=datetime.fromtimestamp(row.timestamp, UTC) if dice.random() < 0.8 else None,
            )
        )
    for member, own in said.items():
        if member not in all_told:
            own = [own[n] for n in dice.permutation(len(own))[:FEW_RATINGS]]
        # Who neither rated nor liked nor logged a film said nothing of it.
        said[member] = [
            s if s.stars is not None else s._replace(at=None)
            for s in own
            if s.stars is not None or s.liked or s.logged
        ]
    oracles = {
        size: Oracle(size, [s for member in members for s in said[member]], names, crowd)
        for size, members in chosen.items()
    }
    with new_warehouse() as warehouse:
        user_ids, film_ids = load(warehouse, chosen, said, names, crowd)
        warehouse.build(*(f"of-{size}" for size in SIZES))
        yield World(warehouse, oracles, user_ids, film_ids)


def load(
    warehouse: Warehouse,
    chosen: dict[int, list[int]],
    said: dict[int, list[Said]],
    names: dict[int, str],
    crowd: dict[int, list[int]],
) -> tuple[dict[int, int], dict[int, int]]:
    members = sorted({member for group in chosen.values() for member in group})
    with warehouse.connection.transaction(), warehouse.connection.cursor() as cursor:
        with cursor.copy("copy raw.films (uid, slug, title) from stdin") as copy:
            for film in crowd:
                copy.write_row((f"film:{film}", f"movie-{film}", names[film]))
        with cursor.copy("copy raw.users (username) from stdin") as copy:
            for member in members:
                copy.write_row((f"ml-{member}",))
        films = dict(
            cursor.execute("select substring(uid from 6)::integer, film_id from raw.films").fetchall()
        )
        users = dict(
            cursor.execute("select substring(username from 4)::integer, user_id from raw.users").fetchall()
        )
        buckets = ", ".join(f"count_{half // 2}_{half % 2 * 5}" for half in range(1, 11))
        with cursor.copy(f"copy raw.film_histograms (film_id, source, {buckets}) from stdin") as copy:
            for film, counts in crowd.items():
                copy.write_row((films[film], "letterboxd", *counts))
        columns = "user_id, film_id, rating, liked, favorite, rated_at, rated_at_source, source"
        with cursor.copy(f"copy raw.ratings ({columns}) from stdin") as copy:
            for member in members:
                for s in said[member]:
                    known = (s.at, "observed") if s.at else (None, None)
                    copy.write_row(
                        (users[member], films[s.film], s.stars, s.liked, s.favorite, *known, "pages")
                    )
        columns = "user_id, film_id, source, source_key, film_title"
        with cursor.copy(f"copy raw.diary_entries ({columns}) from stdin") as copy:
            for member in members:
                for s in said[member]:
                    if s.logged:
                        copy.write_row((users[member], films[s.film], "rss", f"{member}-{s.film}", "any"))
    warehouse.execute("analyze")
    for size, group in chosen.items():
        warehouse.cohort(f"of-{size}", [users[member] for member in group])
    return users, films


@pytest.mark.parametrize("size", SIZES)
def test_all_strategies_score_and_rank_as_plain_python_does(world: World, size: int) -> None:
    oracle = world.oracles[size]
    # Of two members no film has the three raters that a comparison with the crowd needs.
    assert oracle.strategies.score.keys() == STRATEGIES - ({"discovery"} if size == 2 else set())
    for strategy, score in oracle.strategies.score.items():
        rows = world.by_film("film_rankings", size, f"strategy = '{strategy}'")
        assert rows.keys() == score.keys(), strategy
        for column, expected in zip(("score", "estimate", "estimate_sd"), oracle.strategies, strict=True):
            found = {film: row[column] for film, row in rows.items()}
            assert found == pytest.approx(expected[strategy], abs=1e-7), (strategy, column)
        eligible = oracle.eligible(strategy)
        assert {film for film, row in rows.items() if row["eligible"]} == eligible
        # The film's own number is the last tie-break; scores that differ by rounding only are left out.
        ranked = {film: row["rank"] for film, row in rows.items() if row["rank"] is not None}
        order = sorted(
            eligible,
            key=lambda film: (
                -round(rows[film]["score"], 9),
                -len(oracle.stars.get(film, ())),
                oracle.names[film],
                film,
            ),
        )
        assert ranked == {film: place for place, film in enumerate(order, 1)}, strategy
        assert [rows[film]["tier"] for film in order] == tiers([rows[film] for film in order]), strategy


def tiers(best_first: list[dict[str, Any]]) -> list[int]:
    found: list[int] = []
    first: dict[str, Any] = {}
    for row in best_first:
        if found:
            gap = row["estimate"] - first["estimate"]
            better = norm.cdf(gap / math.hypot(row["estimate_sd"], first["estimate_sd"]))
        if not found or better < 0.3:
            first = row
            found.append(found[-1] + 1 if found else 1)
        else:
            found.append(found[-1])
    return found


@pytest.mark.parametrize("size", SIZES)
def test_rank_intervals_are_those_of_other_draws_and_hold_the_places_beside_them(
    world: World, size: int
) -> None:
    dice = np.random.default_rng(99)
    for strategy in world.oracles[size].strategies.score:
        rows = sorted(
            world.by_film("film_rankings", size, f"strategy = '{strategy}' and eligible").values(),
            key=lambda row: row["rank"],
        )
        if not rows:
            continue
        score, sd, low, high = (
            np.array([row[column] for row in rows])
            for column in ("score", "estimate_sd", "rank_low", "rank_high")
        )
        drawn = rankdata(-dice.normal(score, sd, (1_000, len(rows))), axis=1)
        expected_low, expected_high = np.quantile(drawn, [0.05, 0.95], axis=0)
        width = expected_high - expected_low
        for found, expected in ((low, expected_low), (high, expected_high)):
            # By how much two sets of 1,000 draws may differ: 0.02 widths on average. Films that are
            # alike to the last digit share places here, and are told apart by their order there.
            assert np.abs(found - expected).mean() <= 0.5 + 0.04 * width.mean(), strategy
        # Of two members hundreds of films score alike; any of the places that they share is as good.
        tied: dict[float, list[int]] = defaultdict(list)
        for row in rows:
            tied[round(row["score"], 9)].append(row["rank"])
        inside = [
            row["rank_low"] <= tied[round(row["score"], 9)][-1]
            and row["rank_high"] >= tied[round(row["score"], 9)][0]
            for row in rows[:25]
        ]
        assert fmean(inside) >= 0.9, (strategy, inside)


@pytest.mark.parametrize("size", SIZES)
def test_percentiles_divergence_and_labels_are_those_of_scipy(world: World, size: int) -> None:
    oracle = world.oracles[size]
    rows = world.by_film("ranking_insights", size)
    assert rows.keys() == oracle.watchers.keys()
    score = {film: round(value, 9) for film, value in oracle.strategies.score["almanac"].items()}
    outside = {film: sum(oracle.crowd[film]) for film in rows}
    means = {film: fmean(given) for film, given in oracle.stars.items()}
    percentile: dict[str, dict[int, float]] = {}
    for name, values in (
        ("score", score), ("average", means), ("watcher", oracle.watchers), ("popularity", outside),
    ):  # fmt: skip
        films = list(values)
        numbers = np.array([values[film] for film in films], dtype=float)
        # Mid-rank: below and half of the ties.
        percentile[name] = dict(zip(films, (rankdata(numbers) - 0.5) / len(films) * 100, strict=True))
        found = {film: rows[film][f"{name}_percentile"] for film in films}
        # Scores tie at nine decimals; where the last one was rounded otherwise, a place may be swapped.
        assert found == pytest.approx(percentile[name], abs=1e-9 if name != "score" else 100 / len(films))
        if numbers.std() > 0:
            spread = dict(zip(films, zscore(numbers), strict=True))
            assert {film: rows[film][f"{name}_z"] for film in films} == pytest.approx(spread, abs=1e-6)
        assert all(rows[film][f"{name}_percentile"] is None for film in rows.keys() - values.keys())

    estimate, sd = oracle.strategies.estimate["almanac"], oracle.strategies.sd["almanac"]
    ranked = [estimate[film] for film in oracle.eligible("almanac")]
    top = {
        film: norm.sf((np.quantile(ranked, 0.9) - estimate[film]) / sd[film]) for film in estimate if ranked
    }
    q = divergence(oracle)
    for film, row in rows.items():
        delta = estimate[film] - oracle.average[film] if film in estimate else None
        assert row["delta"] == (None if delta is None else pytest.approx(delta, abs=1e-9))
        expected = q.get(film, {})
        for column in ("delta_low", "delta_high", "delta_q", "wasserstein"):
            assert row[column] == (pytest.approx(expected[column], abs=1e-9) if column in expected else None)
        known = oracle.agreement.get(film)
        assert row["agreement"] == (None if known is None else pytest.approx(known, abs=1e-9))
        assert row["top_decile_probability"] == (pytest.approx(top[film], abs=1e-7) if film in top else None)
        assert row["distribution_label"] == distribution(oracle, film, row), film
        assert row["bucket"] == bucket(oracle, film, row), film


def divergence(oracle: Oracle) -> dict[int, dict[str, float]]:
    """Of the films that are compared with the crowd's histogram."""
    found: dict[int, dict[str, float]] = {}
    p: dict[int, float] = {}
    for film, given in oracle.stars.items():
        if len(given) < 5:
            continue
        crowd = np.repeat(STARS, oracle.crowd[film])
        found[film] = {"wasserstein": wasserstein_distance(given, crowd)}
        own_sd, crowd_sd = np.std(given, ddof=1), np.std(crowd, ddof=1)
        if own_sd == crowd_sd == 0:
            continue
        estimate = oracle.fit.theta[film]
        test = ttest_ind_from_stats(
            estimate, own_sd, len(given), crowd.mean(), crowd_sd, crowd.size, equal_var=False
        )
        p[film] = test.pvalue
        interval = welch_interval(estimate - crowd.mean(), own_sd, len(given), crowd_sd, crowd.size)
        found[film] |= dict(zip(("delta_low", "delta_high"), interval, strict=True))
    if p:
        for film, rate in zip(p, false_discovery_control(list(p.values())), strict=True):
            found[film]["delta_q"] = rate
    return found


def welch_interval(
    difference: float, sd: float, n: int, crowd_sd: float, crowd_n: int
) -> tuple[float, float]:
    """95 %, with Satterthwaite's degrees of freedom."""
    a, b = sd**2 / n, crowd_sd**2 / crowd_n
    freedom = (a + b) ** 2 / (a**2 / (n - 1) + b**2 / (crowd_n - 1))
    low, high = t.interval(0.95, freedom, loc=difference, scale=math.sqrt(a + b))
    return float(low), float(high)


def distribution(oracle: Oracle, film: int, row: dict[str, Any]) -> str:
    given = oracle.stars.get(film, [])
    if not given and oracle.liked.get(film):
        return "likes only"
    if len(given) < 8:
        return "too few"
    low, high = fmean(x <= 2 for x in given), fmean(x >= 4 for x in given)
    if oracle.agreement[film] < 0.2 and low >= 0.2 and high >= 0.2:
        return "two camps"
    if row["agreement_high"] < 0.35:
        return "divided"
    return "tight consensus" if row["agreement_low"] > 0.7 else "mixed"


def bucket(oracle: Oracle, film: int, row: dict[str, Any]) -> str:
    nothing = math.nan  # Compares with no threshold.
    score = nothing if row["score_percentile"] is None else row["score_percentile"]
    watchers = row["watcher_percentile"]
    top = nothing if row["top_decile_probability"] is None else row["top_decile_probability"]
    raters = len(oracle.stars.get(film, ()))
    if score >= 90 and watchers >= 75:
        return "elite acclaim"
    if top >= 0.6 and row["popularity_percentile"] <= 25:
        return "hidden gem"
    if score >= 85 and watchers <= 40:
        return "cult favorite"
    if watchers >= 85 and score >= 60:
        return "crowd pleaser"
    if row["delta_q"] is not None and row["delta_q"] < 0.1 and abs(row["delta"]) >= 0.5:
        return "divisive vs the crowd"
    if raters == 0 and oracle.liked.get(film, 0) >= 2:
        return "most liked, unrated"
    return "skip it" if score <= 15 and raters >= 5 else "steady performer"


@pytest.mark.parametrize("size", SIZES)
def test_tastes_are_alike_as_scipy_says(world: World, size: int) -> None:
    oracle = world.oracles[size]
    numbers = {user_id: number for number, user_id in world.user_ids.items()}
    rows = world.warehouse.rows("select * from almanac.taste_similarity where cohort = %s", f"of-{size}")
    assert len(rows) == size * (size - 1) // 2
    middle = fmean(oracle.average[film] for _, film, _ in oracle.triples)
    for row in rows[:: max(1, len(rows) // 400)]:
        a, b = numbers[row["user_a"]], numbers[row["user_b"]]
        one, other = oracle.taste[a], oracle.taste[b]
        common = sorted(one.keys() & other.keys())
        x, y = ([taste[film] for film in common] for taste in (one, other))
        assert row["overlap"] == len(common)
        gaps = [abs(p - q) for p, q in zip(x, y, strict=True)]
        assert row["star_gap"] == (pytest.approx(fmean(gaps)) if gaps else None)
        assert row["equal_share"] == (pytest.approx(fmean(gap == 0 for gap in gaps)) if gaps else None)
        names = ("pearson", "similarity", "pearson_low", "pearson_high")
        assert [row[name] for name in names] == correlation(x, y, 5)
        x, y = (
            [taste[film] - oracle.fit.b[who] - (oracle.average[film] - middle) for film in common]
            for who, taste in ((a, one), (b, other))
        )
        r, *rest = correlation(x, y, 50)
        names = ("residual_pearson", "residual_similarity", "residual_low", "residual_high")
        assert [row[name] for name in names] == [r, *rest]
    assert size != 2 or rows[0]["residual_pearson"] is not None


def correlation(x: list[float], y: list[float], min_overlap: int) -> list[Any]:
    """r, shrunk r and the interval of r, as `pytest.approx` compares them; None where nothing can be said."""
    if len(x) < min_overlap or len(set(x)) == 1 or len(set(y)) == 1:
        return [None] * 4
    found = pearsonr(x, y)
    interval = found.confidence_interval(0.95)
    values = (found.statistic, found.statistic * len(x) / (len(x) + 25), interval.low, interval.high)
    return [pytest.approx(value, abs=1e-7) for value in values]


@pytest.mark.parametrize("size", SIZES)
def test_members_are_described_as_plain_python_does(world: World, size: int) -> None:
    oracle = world.oracles[size]
    rows = world.warehouse.rows("select * from almanac.member_profiles where cohort = %s", f"of-{size}")
    alike: dict[int, dict[int, float]] = defaultdict(dict)
    for pair in world.warehouse.rows(
        "select * from almanac.taste_similarity where cohort = %s and similarity is not null", f"of-{size}"
    ):
        alike[pair["user_a"]][pair["user_b"]] = alike[pair["user_b"]][pair["user_a"]] = pair["similarity"]
    assert len(rows) == size
    by_id = {row["user_id"]: row for row in rows}
    for member in {s.member for s in oracle.said}:
        user_id = world.user_ids[member]
        row, own = by_id[user_id], [s for s in oracle.said if s.member == member]
        stars = list(oracle.taste[member].values())
        assert (row["watched_count"], row["ratings_count"]) == (len(own), len(stars))
        assert (row["likes_count"], row["favorites_count"]) == (
            sum(s.liked for s in own), sum(s.favorite for s in own),
        )  # fmt: skip
        assert row["average_rating"] == pytest.approx(fmean(stars))
        assert [row["strictness"], row["spread"], row["consistency"]] == pytest.approx(
            [oracle.fit.b[member], oracle.fit.s[member], 1 / oracle.fit.v[member]], abs=1e-7
        )
        assert [row[f"share_{half // 2}_{half % 2 * 5}"] for half in range(1, 11)] == pytest.approx(
            [stars.count(half / 2) / len(stars) for half in range(1, 11)]
        )
        others = alike[user_id]
        assert row["compared_members_count"] == len(others)
        assert row["most_agreed_similarity"] == max(others.values(), default=None)
        assert row["least_agreed_similarity"] == (min(others.values()) if len(others) > 1 else None)
        for which in ("most", "least"):
            partner = row[f"{which}_agreed_user_id"]
            assert partner is None or others[partner] == row[f"{which}_agreed_similarity"]


@pytest.mark.parametrize("size", SIZES)
def test_film_statistics_are_those_of_numpy(world: World, size: int) -> None:
    oracle = world.oracles[size]
    favorites = count(s.film for s in oracle.said if s.favorite)
    rows = world.by_film("cohort_film_stats", size)
    assert rows.keys() == oracle.watchers.keys()
    for film, row in rows.items():
        given = np.array(oracle.stars.get(film, []))
        assert (row["watchers"], row["raters"]) == (oracle.watchers[film], given.size)
        assert (row["liked_count"], row["favorite_count"]) == (
            oracle.liked.get(film, 0),
            favorites.get(film, 0),
        )
        assert row["global_average"] == pytest.approx(oracle.average[film])
        assert row["global_ratings"] == sum(oracle.crowd[film])
        if given.size:
            assert float(row["rating_sum"]) == given.sum()
            assert [row["average_rating"], row["median_rating"], row["high_rating_share"]] == pytest.approx(
                [given.mean(), np.median(given), (given >= 4).mean()]
            )
        assert row["rating_stddev"] == (pytest.approx(given.std(ddof=1)) if given.size > 1 else None)


def test_quality_measures_are_those_of_numpy_and_no_real_circle_is_odd(world: World) -> None:
    connection, slugs = world.warehouse.connection, sorted(f"of-{size}" for size in SIZES)
    with connection.transaction(force_rollback=True):
        connection.execute(
            "insert into ops.publications (cohort_id, input_version, members_count, films_count,"
            " ratings_count) select cohort_id, 'any', 0, 0, 0 from raw.cohorts"
        )
        assert measure(connection, slugs) == slugs
        measured = {each.cohort: each.now for each in measurements(connection, slugs)}
    for size, oracle in world.oracles.items():
        now = measured[f"of-{size}"]
        assert now["ratings"].pop("star_counts") == star_counts(oracle)
        for suite, expected in quality_measures(oracle).items():
            found = {name: now[suite].get(name) for name in expected}
            assert found == pytest.approx(expected), (size, suite)
        ranked, rated = len(oracle.eligible("almanac")), len(oracle.stars)
        assert (now["marts"]["ranked_films_count"], now["marts"]["rated_films_count"]) == (ranked, rated)
        assert now["films"]["films_count"] == len(oracle.watchers)
        odd = [
            (size, rule.name, value)
            for suite in SUITES.values()
            for rule in suite.rules
            if (value := now[suite.name].get(rule.name)) is not None
            and (now[suite.name].get(rule.needs[0]) or 0) >= rule.needs[1]
            and not (rule.low or -math.inf) <= value <= (rule.high or math.inf)
        ]
        assert odd == []


def star_counts(oracle: Oracle) -> dict[str, int]:
    given = [round(2 * s.stars) for s in oracle.said if s.stars is not None]
    return {str(half): given.count(half) for half in range(1, 11)}


def quality_measures(oracle: Oracle) -> dict[str, dict[str, Any]]:
    given = np.array([s.stars for s in oracle.said if s.stars is not None])
    tastes = [np.array(list(taste.values())) for taste in oracle.taste.values()]
    numbers = np.array([taste.size for taste in tastes])
    tops = [
        np.unique(taste, return_counts=True)[1].max() / taste.size for taste in tastes if taste.size >= 20
    ]
    shown = [np.array(oracle.crowd[film]) for film in oracle.watchers if sum(oracle.crowd[film]) >= 100]
    compared = [film for film, stars in oracle.stars.items() if len(stars) >= 3]
    means = [fmean(oracle.stars[film]) for film in compared], [oracle.average[film] for film in compared]
    return {
        "ratings": {
            "ratings_count": given.size,
            "watched_count": len(oracle.said),
            "mean_stars": given.mean(),
            "half_star_share": (given % 1 == 0.5).mean(),
            "top_star_share": max(star_counts(oracle).values()) / given.size,
            "stars_used_count": len(set(given)),
            "liked_share": sum(s.liked for s in oracle.said) / len(oracle.said),
        },
        "members": {
            "members_count": oracle.size,
            "prolific_members_count": len(tops),
            "without_ratings_share": 1 - numbers.size / oracle.size,
            "largest_member_share": numbers.max() / numbers.sum(),
            "median_ratings_count": float(np.median(numbers)),
            "uniform_members_share": (np.array(tops) > 0.9).mean(),
        },
        "histograms": {
            "histograms_count": len(shown),
            "crowd_mean_stars": fmean(np.average(STARS, weights=row) for row in shown),
            "crowd_half_star_share": fmean(row[::2].sum() / row.sum() for row in shown),
            "lopsided_histograms_share": fmean(row.max() / row.sum() > 0.75 for row in shown),
            **(
                {
                    "compared_films_count": len(compared),
                    "crowd_correlation": float(np.corrcoef(*means)[0, 1]),
                }
                if compared
                else {}
            ),
        },
    }
