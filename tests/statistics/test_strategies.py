"""All that is computed of a cohort in memory: scores against a second implementation, and what must hold."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.proportion import proportion_confint

from almanac_pipeline.errors import ConfigurationError
from almanac_pipeline.flows.circle import Statistics, compute_statistics
from almanac_pipeline.statistics import divergence, strategies
from almanac_pipeline.statistics.parameters import RankingParameters
from almanac_pipeline.warehouse.statistics_tables import CohortOpinions
from tests.statistics.movielens import golden_rankings, opinions, titles
from tests.statistics.plain_strategies import Said, plain_strategies

ALL = {
    "almanac", "forecast", "bayesian", "wilson", "discovery", "recency", "hybrid", "engagement", "consensus",
    "loved",
}  # fmt: skip
NEW = datetime(2026, 5, 1, 12)


def cohort(
    said: Sequence[Said],
    *,
    global_average: Mapping[int, float] | None = None,
    global_counts: Mapping[int, list[int]] | None = None,
    source: str = "letterboxd",
    names: Mapping[int, str] | None = None,
    recorded: bool = False,
    members_count: int | None = None,
) -> CohortOpinions:
    """The opinions as they come out of the database, ids being the numbers used."""
    said = sorted(said, key=lambda s: (s.member, s.film))
    members, member = np.unique([s.member for s in said], return_inverse=True)
    films, film = np.unique([s.film for s in said], return_inverse=True)
    averages = dict(global_average or {})
    counts = np.array([(global_counts or {}).get(i, [0] * 10) for i in films]).reshape(-1, 10)
    if global_counts:
        averages |= {i: float(np.average(np.arange(1, 11) / 2, weights=c)) for i, c in global_counts.items()}
    return CohortOpinions(
        cohort_id=1,
        ranking_parameters={},
        members_count=len(members) if members_count is None else members_count,
        user_ids=members.astype(np.int64),
        film_ids=films.astype(np.int64),
        titles=tuple((names or {}).get(i, f"Film {i}") for i in films.tolist()),
        member=member.astype(np.int64),
        film=film.astype(np.int64),
        half_stars=np.array([round((s.stars or 0) * 2) for s in said], dtype=np.int64),
        liked=np.array([s.liked for s in said], dtype=bool),
        favorite=np.array([s.favorite for s in said], dtype=bool),
        logged=np.array([s.logged for s in said], dtype=bool),
        rated_at=np.array([s.at for s in said], dtype="datetime64[us]"),
        recorded=np.full(len(said), recorded),
        global_source=source if averages else None,
        global_average=np.array([averages.get(i, np.nan) for i in films]),
        global_ratings=np.array([100.0 if i in averages else np.nan for i in films]),
        global_counts=counts,
    )


def compute(said: Sequence[Said], parameters: Mapping[str, Any] | None = None, **outside: Any) -> Statistics:
    return compute_statistics(cohort(said, **outside), RankingParameters.from_mapping(parameters or {}))


def column(statistics: Statistics, strategy: str, name: str) -> dict[int, Any]:
    """{film: value} of a strategy's rows."""
    scores = statistics.rows.scores[strategy]
    return dict(zip(scores["film_id"].tolist(), scores[name].tolist(), strict=True))


def film_column(statistics: Statistics, name: str) -> dict[int, Any]:
    films = statistics.rows.films
    return dict(zip(films["film_id"].tolist(), films[name].tolist(), strict=True))


@st.composite
def worlds(draw: st.DrawFn) -> list[Said]:
    """Up to 9 members and 8 films; a third of the opinions without stars."""
    keys = st.tuples(st.integers(0, 8), st.integers(0, 7))
    half = st.one_of(st.none(), st.integers(1, 10), st.integers(1, 10))
    opinion = st.tuples(half, st.booleans(), st.booleans(), st.booleans(), st.none() | st.integers(0, 3_000))
    said = draw(st.dictionaries(keys, opinion, min_size=1, max_size=72))
    return [
        Said(u, i, r and r / 2, like, fav, log, NEW - timedelta(days=age) if r and age is not None else None)
        for (u, i), (r, like, fav, log, age) in said.items()
    ]


averages = st.dictionaries(st.integers(0, 7), st.floats(1, 5), max_size=8)


@settings(deadline=None, max_examples=30)
@given(worlds(), averages)
def test_every_score_and_its_doubt_equal_a_second_implementation(
    said: list[Said], outside: dict[int, float]
) -> None:
    outside = {i: average for i, average in outside.items() if i in {s.film for s in said}}
    statistics = compute(said, global_average=outside)
    agreed = (
        {i: a for i, a in film_column(statistics, "agreement").items() if a == a} if statistics.circle else {}
    )
    expected = plain_strategies(said, outside, agreed)
    if not expected.score["loved"]:
        del expected.score["loved"]
    assert statistics.rows.scores.keys() - {"forecast"} == expected.score.keys()
    for strategy, scores in expected.score.items():
        assert column(statistics, strategy, "score") == pytest.approx(scores, abs=1e-7), strategy
        assert column(statistics, strategy, "estimate") == pytest.approx(
            expected.estimate[strategy], abs=1e-7
        )
        assert column(statistics, strategy, "estimate_sd") == pytest.approx(expected.sd[strategy], abs=1e-7)


@settings(deadline=None, max_examples=25)
@given(worlds(), averages, st.integers(1, 4))
def test_whatever_was_said_numbers_are_finite_and_places_have_no_gaps(
    said: list[Said], outside: dict[int, float], min_raters: int
) -> None:
    statistics = compute(said, {"min_raters": min_raters, "forecast_min_raters": 1}, global_average=outside)
    assert statistics.rows.scores.keys() <= ALL
    for strategy, scores in statistics.rows.scores.items():
        assert np.isfinite([scores["score"], scores["estimate"], scores["estimate_sd"]]).all(), strategy
        assert (scores["estimate_sd"] > 0).all()
        ranks = scores["rank"]
        assert sorted(ranks.compressed().tolist()) == list(range(1, ranks.count() + 1))
        assert (np.ma.getmaskarray(ranks) == ~scores["eligible"]).all()
        assert (scores["rank_low"].compressed() <= scores["rank_high"].compressed()).all()
        if strategy not in ("loved", "forecast"):
            assert (scores["eligible"] == (scores["raters"] >= min_raters)).all()
    for name, values in statistics.rows.films.items():
        assert not np.isinf(values).any(), name


@settings(deadline=None, max_examples=10)
@given(worlds())
def test_the_same_opinions_give_the_same_bits(said: list[Said]) -> None:
    once, again = compute(said), compute(said[::-1])
    for strategy, scores in once.rows.scores.items():
        for name, values in scores.items():
            assert values.tolist() == again.rows.scores[strategy][name].tolist()


# -- corner cases ---------------------------------------------------------------------------


def test_an_emptied_cohort_has_no_rows_but_its_counts() -> None:
    statistics = compute([], members_count=0)
    rows = statistics.rows
    assert (rows.members, rows.films, rows.pairs, rows.scores, rows.strategies) == ({}, {}, {}, {}, {})
    assert rows.parameters == {"members_count": 0, "films_count": 0, "ratings_count": 0, "min_raters": 2}


def test_hearts_alone_rank_films_that_nobody_rated() -> None:
    likes = [Said(0, 1, None, liked=True), Said(1, 1, None, liked=True), Said(0, 2, None, logged=True)]
    statistics = compute([*likes, Said(1, 2, None, liked=True), Said(1, 3, None, favorite=True)])
    assert statistics.rows.scores.keys() == {"loved"}
    # A favourite that nobody has seen here is no watcher.
    assert column(statistics, "loved", "rank") == {1: 1, 2: 2}
    assert column(statistics, "loved", "raters") == {1: 0, 2: 0}
    low, high = proportion_confint(1, 2, 0.05, "wilson")
    assert column(statistics, "loved", "score")[2] == pytest.approx(low)
    assert column(statistics, "loved", "estimate")[2] == pytest.approx((low + high) / 2)
    # One of two, and 1.96^2 more that are for and against alike: half is for.
    assert column(statistics, "loved", "estimate_sd")[2] == pytest.approx(
        math.sqrt(2 * 0.5 * 0.5) / (2 + 1.959964**2)
    )


def test_loved_counts_watchers_for_a_place_and_every_other_strategy_raters() -> None:
    said = [Said(u, 1, None, logged=True) for u in range(4)] + [Said(u, 2, 4.0) for u in range(2)]
    statistics = compute([*said, Said(0, 1, 3.0)], {"min_raters": 2})
    assert column(statistics, "loved", "eligible") == {1: True, 2: True}
    assert column(statistics, "wilson", "eligible") == {1: False, 2: True}


def test_one_member_with_one_film_is_scored_by_what_there_is() -> None:
    statistics = compute([Said(0, 1, 3.5)], {"min_raters": 1, "forecast_min_raters": 1})
    assert statistics.rows.scores.keys() == ALL - {"forecast", "discovery"}
    assert {column(statistics, name, "rank")[1] for name in statistics.rows.scores} == {1}
    assert statistics.rows.pairs["overlap"].size == 0
    assert column(statistics, "bayesian", "score") == {1: pytest.approx(3.5)}


def test_where_everybody_gives_five_stars_z_scores_say_nothing() -> None:
    said = [Said(u, i, 5.0) for u in range(4) for i in range(3) if u or i]
    statistics = compute(said, global_average={0: 3.0, 1: 4.0, 2: 3.5})
    assert "discovery" not in statistics.rows.scores
    assert column(statistics, "engagement", "score") == {0: 0, 1: 0, 2: 0}
    assert column(statistics, "bayesian", "score") == pytest.approx({0: 5, 1: 5, 2: 5})


def test_a_crowd_that_thinks_the_same_of_all_films_discovers_nothing() -> None:
    said = [Said(u, i, 1.0 + i) for u in range(3) for i in range(3)]
    assert "discovery" not in compute(said, global_average=dict.fromkeys(range(3), 3.1)).rows.scores


def test_without_hearts_engagement_is_the_z_score_of_the_damped_mean() -> None:
    said = [Said(u, i, 0.5 + (u * i) % 5) for u in range(4) for i in range(5)]
    statistics = compute(said)
    damped = np.array(list(column(statistics, "bayesian", "score").values()))
    expected = (damped - damped.mean()) / damped.std()
    assert list(column(statistics, "engagement", "score").values()) == pytest.approx(expected.tolist())
    sd = np.array(list(column(statistics, "bayesian", "estimate_sd").values()))
    found = list(column(statistics, "engagement", "estimate_sd").values())
    assert found == pytest.approx((sd / damped.std()).tolist())


def test_nothing_dated_leaves_the_damped_mean_and_a_bulk_import_dates_nothing() -> None:
    said = [Said(u, i, 0.5 + (u * i) % 5) for u in range(4) for i in range(5)]
    undated = compute(said)
    assert column(undated, "recency", "score") == pytest.approx(column(undated, "bayesian", "score"))
    imported = [s._replace(at=NEW - timedelta(days=400 * (s.member == 0))) for s in said]
    seen = compute(imported, {"recency_bulk_day_ratings": 4})
    logged = compute(imported, {"recency_bulk_day_ratings": 4}, recorded=True)
    assert column(logged, "recency", "score") == pytest.approx(column(undated, "recency", "score"))
    assert column(seen, "recency", "score") != pytest.approx(column(undated, "recency", "score"), abs=1e-4)


def test_ties_break_by_raters_then_title() -> None:
    said = [Said(u, i, 4.0) for i, raters in ((1, 2), (2, 2), (3, 3)) for u in range(raters)]
    statistics = compute(said, names={1: "b", 2: "a", 3: "c"})
    assert column(statistics, "bayesian", "rank") == {3: 1, 2: 2, 1: 3}


# -- the crowd -------------------------------------------------------------------------------


@pytest.mark.shared
@pytest.mark.parametrize("source", ["letterboxd", "members"])
def test_forecasts_equal_the_golden_values_whether_or_not_the_crowd_holds_the_cohort(
    shared_dir: Path, source: str
) -> None:
    golden = golden_rankings(shared_dir)["cohorts"]["heavy_20"]
    inside, pool = set(golden["user_ids"]), defaultdict(list)
    for opinion in opinions(shared_dir):
        if source == "members" or opinion.user not in inside:
            pool[opinion.movie].append(opinion.stars)
    said = [Said(o.user, o.movie, o.stars) for o in opinions(shared_dir) if o.user in inside]
    given = cohort(said, source=source, names=titles(shared_dir))
    films = given.film_ids.tolist()
    given = replace(
        given,
        global_source=source,
        global_average=np.array([np.mean(pool[i]) if pool[i] else np.nan for i in films]),
        global_ratings=np.array([float(len(pool[i])) if pool[i] else np.nan for i in films]),
    )
    statistics = compute_statistics(given, RankingParameters(forecast_min_raters=1, min_raters=1))
    ranks = {rank: film for film, rank in column(statistics, "forecast", "rank").items()}
    top = golden["crowd"]["top20"]
    assert [ranks[place] for place in range(1, len(top) + 1)] == [row["movie_id"] for row in top]
    score = column(statistics, "forecast", "score")
    assert [score[row["movie_id"]] for row in top] == pytest.approx([row["score"] for row in top], abs=5.1e-7)
    own = column(statistics, "almanac", "score")
    top = golden["own"]["top20"]
    assert [own[row["movie_id"]] for row in top] == pytest.approx([row["score"] for row in top], abs=5.1e-7)


def test_a_cohort_that_is_its_own_crowd_gets_no_forecast() -> None:
    said = [Said(u, i, 1.0 + i) for u in range(3) for i in range(3)]
    pool = replace(
        cohort(said, global_average={0: 1.0, 1: 2.0, 2: 3.0}, source="members"),
        global_ratings=np.full(3, 3.0),
    )
    assert "forecast" not in compute_statistics(pool, RankingParameters()).rows.scores


def test_divergence_is_told_from_five_raters_with_a_letterboxd_histogram() -> None:
    crowd = [5, 10, 20, 30, 50, 80, 60, 40, 20, 10]
    said = [Said(u, i, 1.0 + 0.5 * ((u + i) % 8)) for i, n in enumerate((9, 5, 4, 6)) for u in range(n)]
    statistics = compute(said, global_counts={0: crowd, 1: crowd[::-1], 2: crowd}, global_average={3: 3.0})
    estimate, delta = film_column(statistics, "estimate"), film_column(statistics, "delta")
    average = np.average(np.arange(1, 11) / 2, weights=crowd)
    assert delta[0] == pytest.approx(estimate[0] - average)
    assert delta[3] == pytest.approx(estimate[3] - 3.0)
    for name in ("delta_p", "delta_q", "delta_low", "delta_high", "wasserstein"):
        assert [np.isnan(value) for value in film_column(statistics, name).values()] == [
            False,
            False,
            True,
            True,
        ]
    p, q = film_column(statistics, "delta_p"), film_column(statistics, "delta_q")
    # Two films were tested.
    assert sorted([q[0], q[1]]) == pytest.approx(
        sorted([min(2 * min(p[0], p[1]), max(p[0], p[1])), max(p[0], p[1])])
    )
    assert film_column(statistics, "delta_low")[0] < delta[0] < film_column(statistics, "delta_high")[0]
    own = np.bincount([round(s.stars * 2) - 1 for s in said if s.film == 0 and s.stars], minlength=10)
    assert film_column(statistics, "wasserstein")[0] == pytest.approx(
        divergence.wasserstein(own[None, :], np.array([crowd]))[0]
    )


def test_pairs_are_named_with_the_smaller_id_first_and_residuals_leave_out_what_the_crowd_knows() -> None:
    generator = np.random.default_rng(2)
    base = generator.integers(2, 10, 60)
    said = [
        Said(u, i, float(np.clip(base[i] + shift + generator.integers(-1, 2), 1, 10)) / 2)
        for u, shift in ((7, 0), (3, 1), (5, -1))
        for i in range(60)
    ]
    given = cohort(said, global_average={i: half / 2 for i, half in enumerate(base.tolist())})
    # Members come by name, not by id.
    turned = replace(given, user_ids=np.array([5, 3, 7]))
    pairs = compute_statistics(turned, RankingParameters()).rows.pairs
    assert sorted(zip(pairs["user_a"].tolist(), pairs["user_b"].tolist(), strict=True)) == [
        (3, 5),
        (3, 7),
        (5, 7),
    ]
    assert (pairs["pearson"] > 0.8).all()
    # What is left is noise.
    assert (np.abs(pairs["residual_pearson"]) < 0.3).all()
    silent = replace(turned, global_source=None, global_average=np.full(60, np.nan))
    known = compute_statistics(silent, RankingParameters()).rows.pairs
    assert (known["residual_pearson"] < known["pearson"]).all()


# -- parameters ------------------------------------------------------------------------------


def test_parameters_are_used_and_stored_with_the_strategies() -> None:
    said = [Said(u, i, 0.5 + (u * i) % 5, liked=u == i) for u in range(4) for i in range(5)]
    given = {
        "bayesian_m": 10, "wilson_min_rating": 3, "hybrid_watchers_weight": 0, "tier_probability": 0.1,
        "engagement_likes_weight": 2.5, "recency_tau_days": 100, "min_raters": 3,
    }  # fmt: skip
    statistics = compute(said, given)
    params = statistics.rows.strategies
    assert params["bayesian"]["prior_weight"] == params["consensus"]["prior_weight"] == 10
    assert params["wilson"]["min_rating"] == 3
    assert params["hybrid"]["watchers_weight"] == 0
    assert params["engagement"]["likes_weight"] == 2.5
    assert params["recency"]["tau_days"] == params["hybrid"]["tau_days"] == 100
    assert {each["min_raters"] for each in params.values()} == {3}
    assert {each["tier_probability"] for each in params.values()} == {0.1}
    high = {i: sum(s.film == i and (s.stars or 0) >= 3 for s in said) for i in range(5)}
    expected = {i: proportion_confint(k, 4, 0.05, "wilson")[0] for i, k in high.items()}
    assert column(statistics, "wilson", "score") == pytest.approx(expected)


@pytest.mark.parametrize(
    "given",
    [
        {"min_rater": 3},
        {"min_raters": 2.5},
        {"min_raters": True},
        {"recency_tau_days": "365"},
        {"recency_tau_days": float("inf")},
        {"bayesian_m": 0},
        {"tier_probability": 0.9},
        {"hybrid_recency_weight": -1},
        {"wilson_min_rating": float("nan")},
    ],
)
def test_parameters_that_are_not_understood_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(given))):
        RankingParameters.from_mapping(given)


def test_null_is_the_default() -> None:
    assert (
        RankingParameters.from_mapping({"bayesian_m": None, "recency_tau_days": None}) == RankingParameters()
    )


def test_a_share_of_nothing_and_of_everything_stays_within_zero_and_one() -> None:
    low, centre, error = strategies.wilson(np.array([0, 50, 8]), np.array([50, 50, 10]))
    expected = [proportion_confint(k, n, 0.05, "wilson") for k, n in ((0, 50), (50, 50), (8, 10))]
    assert low.tolist() == pytest.approx([bounds[0] for bounds in expected], abs=1e-12)
    assert centre.tolist() == pytest.approx([sum(bounds) / 2 for bounds in expected])
    # Ten voices of 13.84.
    middle = (8 + 1.96**2 / 2) / (10 + 1.96**2)
    assert error[2] == pytest.approx(math.sqrt(10 * middle * (1 - middle)) / (10 + 1.96**2), rel=1e-4)
    assert low[0] == 0
