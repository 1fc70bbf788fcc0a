"""Weights of ratings by age, and dates that are no dates."""

from __future__ import annotations

import math
from datetime import datetime, timedelta

import numpy as np
import pytest

from almanac_pipeline.statistics.recency import weights, without_bulk_days

NEW = datetime(2026, 5, 1, 12)


def moments(*ages_days: float | None) -> np.ndarray[tuple[int], np.dtype[np.datetime64]]:
    return np.array(
        [np.datetime64("NaT") if age is None else NEW - timedelta(days=age) for age in ages_days],
        dtype="datetime64[us]",
    )


def test_a_rating_loses_all_but_a_third_of_its_weight_in_a_year() -> None:
    assert weights(moments(0, 365, 730), 365).tolist() == pytest.approx([1, math.exp(-1), math.exp(-2)])


def test_undated_ratings_weigh_the_mean_of_the_dated() -> None:
    assert weights(moments(0, None, 365, None), 365)[[1, 3]].tolist() == pytest.approx(
        [(1 + math.exp(-1)) / 2] * 2
    )


def test_all_weigh_the_same_when_nothing_is_dated() -> None:
    assert weights(moments(None, None), 365).tolist() == [1, 1]


def test_what_is_made_of_the_weights_is_the_same_a_year_later() -> None:
    young, old = weights(moments(0, 10, 400), 365), weights(moments(365, 375, 765), 365)
    assert young.tolist() == pytest.approx(old.tolist())


def test_ancient_ratings_keep_a_weight_that_can_be_divided_by() -> None:
    weight = weights(moments(0, 40_000, 50_000), 1)
    assert (weight > 0).all()
    assert (weight**2 > 0).all()


def test_a_day_on_which_a_member_logged_more_than_the_limit_dates_nothing() -> None:
    member = np.array([0, 0, 0, 0, 1, 1, 1])
    rated_at = moments(5, 5.2, 5.4, 9, 5, 5, None)
    recorded = np.array([True, True, True, True, True, False, True])
    kept = without_bulk_days(rated_at, member, recorded, 2)
    # Three of member 0 on one day are too many; member 1 has one there that was logged and one that was seen.
    assert np.isnat(kept).tolist() == [True, True, True, False, False, False, True]
    assert np.isnat(without_bulk_days(rated_at, member, recorded, 3)).tolist() == [False] * 6 + [True]


def test_a_day_that_was_observed_is_never_doubted() -> None:
    rated_at = moments(*[3] * 9)
    kept = without_bulk_days(rated_at, np.zeros(9, dtype=int), np.zeros(9, dtype=bool), 2)
    assert not np.isnat(kept).any()
