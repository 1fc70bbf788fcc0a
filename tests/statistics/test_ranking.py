"""Order, ties, eligibility, rank intervals and tiers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, norm

from almanac_pipeline.statistics import ranking
from almanac_pipeline.statistics.ranking import (
    Ranking,
    bound,
    default_min_raters,
    rank_films,
    rank_intervals,
    standard_draws,
    tiers,
    title_order,
    top_decile_probability,
)

Film = tuple[float, float, int]


def rank(score: Any, estimate: Any, sd: Any, raters: Any, names: list[str], *, min_raters: int) -> Ranking:
    return rank_films(
        score,
        estimate,
        sd,
        raters,
        title_order(names),
        raters >= min_raters,
        standard_draws(score.size),
        np.arange(score.size),
    )


films = st.lists(
    st.tuples(st.floats(0.5, 5, allow_subnormal=False), st.floats(0.05, 1), st.integers(1, 12)),
    min_size=1,
    max_size=40,
)


@pytest.mark.parametrize(
    ("members", "expected"), [(0, 2), (1, 2), (10, 2), (11, 3), (25, 5), (36, 8), (40, 8), (300, 8)]
)
def test_a_fifth_of_the_members_must_have_rated_a_film_kept_in_two_to_eight(
    members: int, expected: int
) -> None:
    assert default_min_raters(members) == expected


def test_ties_break_by_raters_then_title_by_code_point_then_order_of_input() -> None:
    score = np.array([4.0, 4.0 + 4e-10, 4.0, 4.0, 4.0, 4.1])
    raters = np.array([5, 5, 6, 5, 5, 5])
    names = ["b", "Z", "x", "a", "a", "c"]
    ranked = rank(score, score, np.ones(6), raters, names, min_raters=2)
    # c leads; x has more raters; Z sorts before a in code points; the two a's keep their order.
    assert ranked.rank.tolist() == [6, 3, 2, 4, 5, 1]


def test_a_film_seen_by_few_keeps_its_score_and_has_no_place() -> None:
    score = np.array([4.9, 4.0])
    ranked = rank(score, score, np.full(2, 0.2), np.array([1, 9]), ["few", "many"], min_raters=2)
    assert ranked.score.tolist() == [4.9, 4.0]
    assert ranked.eligible.tolist() == [False, True]
    assert ranked.rank.tolist() == [ranking.UNRANKED, 1]
    assert (ranked.rank_low.tolist(), ranked.rank_high.tolist()) == ([0, 1], [0, 1])
    assert ranked.tier.tolist() == [ranking.UNRANKED, 1]


@settings(deadline=None, max_examples=40)
@given(films, st.integers(1, 12))
def test_places_run_without_gaps_and_follow_the_score(rows: list[Film], min_raters: int) -> None:
    estimate, sd, raters = (np.array(column) for column in zip(*rows, strict=True))
    score = bound(estimate, sd)
    ranked = rank(score, estimate, sd, raters, ["t"] * len(rows), min_raters=min_raters)
    places = sorted(ranked.rank[ranked.eligible].tolist())
    assert places == list(range(1, len(places) + 1))
    assert (ranked.rank[~ranked.eligible] == ranking.UNRANKED).all()
    best_first = np.argsort(ranked.rank[ranked.eligible])
    assert (np.diff(np.round(score[ranked.eligible][best_first], 9)) <= 0).all()
    low, high = ranked.rank_low[ranked.eligible], ranked.rank_high[ranked.eligible]
    assert ((low >= 1) & (low <= high) & (high <= len(places))).all()
    steps = np.diff(np.concatenate([[1], ranked.tier[ranked.eligible][best_first]]))
    assert np.isin(steps, [0, 1]).all()


def test_rank_intervals_are_places_that_one_in_twenty_draws_passes() -> None:
    # Of two films the better loses with P = Phi(-d / sqrt(2)); its interval reaches 2 when that exceeds 5 %.
    def interval(difference: float) -> list[int]:
        low, high = rank_intervals(
            np.array([4.0 + difference, 4.0]), np.ones(2), standard_draws(2), np.arange(2)
        )
        return [low[0], high[0]]

    assert interval(1.2) == [1, 2]
    assert interval(3.5) == [1, 1]


def test_what_a_bound_takes_off_the_estimate_comes_off_its_draws_too() -> None:
    # One film is known exactly. Of a hundred that few know, each is better with P = Phi(-1), but sure to
    # be better only with Phi(-1 - 1.28): how many pass it is a matter of the second.
    estimate, sd = np.full(101, 3.7), np.full(101, 0.3)
    estimate[0], sd[0] = 4.0, 1e-9
    ranked = rank(bound(estimate, sd), estimate, sd, np.full(101, 9), ["t"] * 101, min_raters=2)
    passed_by = binom(100, norm.cdf(-1 - 1.2815515655))
    assert ranked.rank[0] == 1
    assert [ranked.rank_low[0], ranked.rank_high[0]] == [1 + passed_by.ppf(share) for share in (0.05, 0.95)]


def test_rank_intervals_equal_those_of_unrounded_draws_that_are_fully_sorted() -> None:
    generator = np.random.default_rng(5)
    estimate, sd = generator.normal(3.4, 0.4, 700), generator.uniform(0.1, 0.5, 700)
    draws = standard_draws(700)
    low, high = rank_intervals(estimate, sd, draws, np.arange(700))
    places = np.argsort(np.argsort(-(estimate + sd * draws.astype(float)), axis=1), axis=1) + 1
    expected = np.quantile(places, [0.05, 0.95], axis=0, method="inverted_cdf")
    assert np.abs(low - expected[0]).max() <= 1
    assert np.abs(high - expected[1]).max() <= 1


def test_rank_intervals_do_not_depend_on_how_much_memory_they_may_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    estimate, sd, draws = np.linspace(3, 4, 50), np.full(50, 0.3), standard_draws(50)
    at_once = rank_intervals(estimate, sd, draws, np.arange(50))
    monkeypatch.setattr(ranking, "CHUNK_CELLS", 17_000)
    in_chunks = rank_intervals(estimate, sd, draws, np.arange(50))
    assert [a.tolist() for a in at_once] == [b.tolist() for b in in_chunks]


def test_a_film_is_as_lucky_in_one_ranking_as_in_another() -> None:
    estimate, sd, draws = np.array([3.0, 3.5, 4.0]), np.full(3, 0.4), standard_draws(5)
    direct = rank_intervals(estimate, sd, np.ascontiguousarray(draws[:, [4, 0, 2]]), np.arange(3))
    shared = rank_intervals(estimate, sd, draws, np.array([4, 0, 2]))
    assert [a.tolist() for a in direct] == [b.tolist() for b in shared]


def test_films_without_any_doubt_or_difference_keep_the_order_in_which_they_are_given() -> None:
    low, high = rank_intervals(np.full(3, 4.0), np.zeros(3), standard_draws(3), np.arange(3))
    assert (low.tolist(), high.tolist()) == ([1, 2, 3], [1, 2, 3])


def test_nothing_to_rank_is_no_error() -> None:
    empty = np.empty(0)
    ranked = rank(empty, empty, empty, np.empty(0, dtype=np.int64), [], min_raters=2)
    assert ranked.rank.size == 0


def test_a_film_joins_the_tier_while_it_may_be_better_than_the_tiers_first() -> None:
    # P(better) of a film d below the first is Phi(-d / (0.3 sqrt 2)); 0.3 of probability is d = 0.2225.
    limit = 0.5244005 * 0.3 * math.sqrt(2)
    estimate = 4.0 - np.array([0, limit - 0.001, limit + 0.001, limit + 0.001 + limit - 0.001, 2.0])
    assert tiers(estimate, np.full(5, 0.3)).tolist() == [1, 1, 2, 2, 3]


def test_films_known_exactly_share_a_tier_only_when_even() -> None:
    assert tiers(np.array([4.0, 4.0, 3.5]), np.zeros(3)).tolist() == [1, 1, 2]


def test_the_top_decile_is_that_of_eligible_films() -> None:
    estimate = np.array([5.0, 4.0, 3.0])
    eligible = np.array([False, True, True])
    found = top_decile_probability(estimate, np.full(3, 1.0), eligible)
    # The 90 % quantile of 3 and 4 is 3.9; the film above it counts too, though it has no place.
    assert found == pytest.approx([0.8643339, 0.5398278, 0.1840601], abs=1e-6)
    assert np.isnan(top_decile_probability(estimate, np.ones(3), np.zeros(3, dtype=bool))).all()
