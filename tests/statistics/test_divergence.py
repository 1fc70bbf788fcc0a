"""Differences from the crowd against scipy's own."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from almanac_pipeline.statistics.divergence import false_discovery_rates, means, wasserstein, welch
from tests.statistics.movielens import opinions

STARS = np.arange(1, 11) / 2
histograms = st.lists(st.integers(0, 12), min_size=10, max_size=10)


def ratings(counts: list[int]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.repeat(STARS, counts)


@settings(deadline=None, max_examples=80)
@given(histograms.filter(lambda c: sum(c) >= 2), histograms.filter(lambda c: sum(c) >= 2))
def test_the_textbook_test_and_its_interval_equal_scipys(own: list[int], crowd: list[int]) -> None:
    a, b = ratings(own), ratings(crowd)
    found = welch(np.array([a.mean()]), np.array([own]), np.array([b.mean()]), np.array([crowd]))
    if a.std() == b.std() == 0:
        assert np.isnan([found.p[0], found.low[0], found.high[0]]).all()
        return
    expected = stats.ttest_ind(a, b, equal_var=False)
    interval = expected.confidence_interval(0.95)
    assert found.p[0] == pytest.approx(expected.pvalue, abs=1e-12)
    assert (found.low[0], found.high[0]) == pytest.approx((interval.low, interval.high), abs=1e-9)


def test_a_pulled_mean_is_tested_with_the_spread_of_the_ratings() -> None:
    own, crowd = [0, 0, 0, 1, 0, 2, 0, 4, 2, 1], [9, 9, 10, 20, 30, 60, 90, 110, 60, 40]
    expected = stats.ttest_ind_from_stats(
        3.5, ratings(own).std(ddof=1), 10, ratings(crowd).mean(), ratings(crowd).std(ddof=1), 438, False
    )
    found = welch(np.array([3.5]), np.array([own]), means(np.array([crowd])), np.array([crowd]))
    assert found.p[0] == pytest.approx(expected.pvalue)
    assert (found.low[0] + found.high[0]) / 2 == pytest.approx(3.5 - ratings(crowd).mean())
    # The interval holds 0 exactly if the test does not reject at five per cent.
    assert (found.low[0] <= 0 <= found.high[0]) == (found.p[0] >= 0.05)


def test_one_rating_or_an_empty_crowd_is_not_compared() -> None:
    one, many, none = [0] * 9 + [1], [5] * 10, [0] * 10
    counts, crowd = np.array([one, many, many]), np.array([many, one, none])
    found = welch(np.full(3, 4.0), counts, np.array([2.75, 5.0, np.nan]), crowd)
    assert np.isnan(np.stack([found.p, found.low, found.high])).all()


@settings(deadline=None, max_examples=80)
@given(st.lists(st.one_of(st.floats(0, 1), st.just(float("nan"))), max_size=30))
def test_false_discovery_rates_equal_scipys_over_the_films_that_were_tested(p: list[float]) -> None:
    values = np.array(p)
    q, tested = false_discovery_rates(values), ~np.isnan(values)
    assert np.isnan(q[~tested]).all()
    if tested.any():
        assert q[tested] == pytest.approx(stats.false_discovery_control(values[tested]), abs=1e-12)


@settings(deadline=None, max_examples=80)
@given(histograms.filter(any), histograms.filter(any))
def test_distances_of_histograms_equal_scipys(own: list[int], crowd: list[int]) -> None:
    expected = stats.wasserstein_distance(STARS, STARS, own, crowd)
    assert wasserstein(np.array([own]), np.array([crowd]))[0] == pytest.approx(expected, abs=1e-12)


def test_an_empty_histogram_has_no_mean_and_no_distance() -> None:
    none, some = np.zeros((1, 10), dtype=int), np.ones((1, 10), dtype=int)
    assert np.isnan([means(none)[0], wasserstein(none, some)[0], wasserstein(some, none)[0]]).all()


@pytest.mark.shared
def test_films_that_split_two_crowds_equal_the_golden_values(shared_dir: Path) -> None:
    golden = json.loads((shared_dir / "data/golden/methods.json").read_text())["divergence"]
    with (shared_dir / "data/film-level/sample_histograms.csv").open(newline="") as file:
        crowds = {
            row["slug"]: [int(row[f"n_{stars}"]) for stars in STARS.tolist()] for row in csv.DictReader(file)
        }
    movielens = opinions(shared_dir)
    for row in golden:
        given = [opinion.stars for opinion in movielens if opinion.movie == row["movielens_id"]]
        own = np.array([[given.count(stars) for stars in STARS]])
        crowd = np.array([crowds[row["slug"]]])
        assert (own.sum(), crowd.sum()) == (row["n_cohort"], row["n_global"])
        assert means(own)[0] - means(crowd)[0] == pytest.approx(row["delta"], abs=1e-9)
        assert wasserstein(own, crowd)[0] == pytest.approx(row["wasserstein"], abs=1e-9)
        found = welch(means(own), own, means(crowd), crowd)
        # |t| far beyond 3: nobody would doubt it, and the interval stays on one side of zero.
        assert abs(row["welch_t"]) > 3
        assert found.p[0] < 0.01
        assert found.low[0] * found.high[0] > 0
