"""Pairs of members against scipy's Pearson, the golden values, and counting by hand."""

from __future__ import annotations

import json
import math
from itertools import combinations
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from almanac_pipeline.statistics import taste
from almanac_pipeline.statistics.taste import Pairs, compare_members
from tests.statistics.movielens import opinions

Taste = dict[int, int]
"""Half-stars by film."""


def compare(members: list[Taste], residual: Any = None) -> Pairs:
    """`members` without gaps, films renumbered; the residual is the rating itself unless given."""
    rows = [(u, i, half) for u, given in enumerate(members) for i, half in given.items()]
    member, film, half_stars = (np.array(column, dtype=np.int64) for column in zip(*rows, strict=True))
    film = np.unique(film, return_inverse=True)[1]
    return compare_members(member, film, half_stars, half_stars / 2 if residual is None else residual)


def pair(pairs: Pairs, first: int, second: int) -> int:
    return int(np.flatnonzero((pairs.first == first) & (pairs.second == second))[0])


tastes = st.lists(
    st.dictionaries(st.integers(0, 14), st.integers(1, 10), min_size=1, max_size=15), min_size=1, max_size=5
)


@settings(deadline=None, max_examples=60)
@given(tastes)
def test_every_pair_equals_scipy_and_counting_by_hand(members: list[Taste]) -> None:
    pairs = compare(members)
    assert list(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)) == list(
        combinations(range(len(members)), 2)
    )
    for p, (a, b) in enumerate(combinations(members, 2)):
        common = sorted(a.keys() & b.keys())
        x, y = [a[i] / 2 for i in common], [b[i] / 2 for i in common]
        assert pairs.overlap[p] == len(common)
        if common:
            assert pairs.star_gap[p] == pytest.approx(np.abs(np.subtract(x, y)).mean())
            assert pairs.equal_share[p] == pytest.approx(np.equal(x, y).mean())
        else:
            assert np.isnan([pairs.star_gap[p], pairs.equal_share[p]]).all()
        found = pairs.ratings
        columns = (found.pearson[p], found.shrunk[p], found.low[p], found.high[p])
        if len(common) < 5 or len(set(x)) == 1 or len(set(y)) == 1:
            assert np.isnan(columns).all()
            continue
        expected = stats.pearsonr(x, y)
        assert columns[0] == pytest.approx(expected.statistic, abs=1e-9)
        assert columns[1] == pytest.approx(expected.statistic * len(common) / (len(common) + 25), abs=1e-9)
        if abs(expected.statistic) < 1 - 1e-9:
            interval = expected.confidence_interval(0.95)
            assert columns[2:] == pytest.approx((interval.low, interval.high), abs=1e-6)


@pytest.mark.shared
def test_movielens_pairs_equal_the_golden_values(shared_dir: Path) -> None:
    golden = json.loads((shared_dir / "data/golden/methods.json").read_text())["user_pairs"]
    users = sorted({row[key] for row in golden for key in ("a", "b")})
    members: dict[int, Taste] = {user: {} for user in users}
    for opinion in opinions(shared_dir):
        if opinion.user in members:
            members[opinion.user][opinion.movie] = round(opinion.stars * 2)
    pairs = compare([members[user] for user in users])
    for row in golden:
        p = pair(pairs, *sorted((users.index(row["a"]), users.index(row["b"]))))
        found = pairs.ratings
        assert pairs.overlap[p] == row["overlap"]
        assert pairs.star_gap[p] == pytest.approx(row["mean_abs_diff"], abs=1e-12)
        columns = [found.pearson[p], found.shrunk[p], found.low[p], found.high[p]]
        if row["pearson"] is None:
            assert np.isnan(columns).all()
            continue
        expected = [row["pearson"], row["shrunk_n_over_n_plus_25"], *row["ci95"]]
        assert columns == pytest.approx(expected, abs=1e-9)


def test_residuals_are_compared_from_fifty_films_in_common() -> None:
    generator = np.random.default_rng(3)
    members = [{i: int(generator.integers(1, 11)) for i in range(start, 70)} for start in (0, 20, 21)]
    residual = generator.normal(size=sum(map(len, members)))
    pairs = compare(members, residual)
    first, second, _ = np.split(residual, [70, 120])
    expected = stats.pearsonr(first[20:], second)
    found, interval = pairs.residuals, expected.confidence_interval(0.95)
    assert (found.pearson[0], found.shrunk[0], found.low[0], found.high[0]) == pytest.approx(
        (expected.statistic, expected.statistic * 50 / 75, interval.low, interval.high)
    )
    assert (pairs.overlap.tolist(), np.isnan(found.pearson).tolist()) == ([50, 49, 49], [False, True, True])


def test_residuals_without_any_variance_say_nothing() -> None:
    members = [dict.fromkeys(range(60), 7), {i: 1 + i % 10 for i in range(60)}]
    pairs = compare(members, np.r_[np.full(60, 0.1 + 0.2 - 0.3 + 1 / 3), np.linspace(0, 1, 60)])
    assert math.isnan(pairs.residuals.pearson[0])


def test_perfect_agreement_is_one_with_an_interval_of_one() -> None:
    given = {i: 1 + i % 10 for i in range(12)}
    found = compare([given, given, {i: 11 - half for i, half in given.items()}]).ratings
    assert found.pearson.tolist() == [1, -1, -1]
    assert (found.low.tolist(), found.high.tolist()) == ([1, -1, -1], [1, -1, -1])


def test_one_member_makes_no_pair() -> None:
    assert compare([{1: 5, 2: 6}]).overlap.size == 0


def test_the_limits_are_those_of_the_method() -> None:
    assert (taste.MIN_OVERLAP, taste.MIN_RESIDUAL_OVERLAP, taste.SHRINK_OVERLAP) == (5, 50, 25)


# Three of the same taste are equally similar.
@example(
    [{film: 1 + film % 4 for film in range(6)}] * 3 + [{film: 1 + film % 3 for film in range(6)}], Random(1)
)
@settings(deadline=None, max_examples=60)
@given(tastes, st.randoms(use_true_random=False))
def test_companions_are_the_first_of_the_most_and_of_the_least_similar(
    members: list[Taste], shuffle: Any
) -> None:
    order = list(range(10, 10 + len(members)))
    shuffle.shuffle(order)
    pairs = compare(members)
    found = taste.companions(pairs, np.array(order))
    for member in range(len(members)):
        others = {
            other: similarity
            for other in range(len(members))
            if other != member
            and not math.isnan(similarity := pairs.ratings.shrunk[pair(pairs, *sorted((member, other)))])
        }
        assert found.compared[member] == len(others)
        first = sorted(others, key=order.__getitem__)
        most = max(first, key=others.__getitem__, default=taste.NOBODY)
        # Of one other member only nothing is the least.
        least = min(first, key=others.__getitem__) if len(others) > 1 else taste.NOBODY
        assert (found.most[member], found.least[member]) == (most, least)
        for other, similarity in ((most, found.most_similarity), (least, found.least_similarity)):
            assert np.array_equal(similarity[member], others.get(other, np.nan), equal_nan=True)
