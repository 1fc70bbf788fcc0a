"""How far a circle is from the crowd: difference, its certainty, false discovery rate, and shape.

The crowd is a histogram of half-stars per film. Arrays of F films in and out, NaN for "cannot be
said". Which films are called divisive is decided in SQL.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

MIN_RATERS = 5
"""Below this, a film is not compared with the crowd's histogram."""
CONFIDENCE = 0.95
STARS = np.arange(1, 11) / 2


@dataclass(frozen=True, slots=True)
class Difference:
    """F differences of means, in stars, by Welch's unequal variances."""

    low: Floats
    high: Floats
    p: Floats
    """Two-sided."""


def welch(mean: Floats, counts: Integers, crowd_mean: Floats, crowd_counts: Integers) -> Difference:
    """Welch's test and 95 % interval of `mean - crowd_mean`, with the spreads of two histograms.

    Args:
        mean, crowd_mean: (F,) stars. Means of the histograms give the textbook test; a pulled mean
            (the circle's estimate) a cautious one.
        counts, crowd_counts: (F, 10) ratings per half-star.

    NaN where a side has fewer than two ratings or neither has any spread.
    """
    n, crowd_n = counts.sum(axis=1), crowd_counts.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        own, crowd = _variance(counts) / n, _variance(crowd_counts) / crowd_n
        error = np.sqrt(own + crowd)
        freedom = (own + crowd) ** 2 / (own**2 / (n - 1) + crowd**2 / (crowd_n - 1))
        difference = mean - crowd_mean
        p = 2 * stdtr(freedom, -np.abs(difference / error))
        reach = stdtrit(freedom, (1 + CONFIDENCE) / 2) * error
    unknown = ~(error > 0)
    return Difference(*(np.where(unknown, np.nan, x) for x in (difference - reach, difference + reach, p)))


def _variance(counts: Integers) -> Floats:
    """(F,) sample variance of a histogram; whole half-stars make "no spread" exactly 0."""
    half_stars = np.arange(1, 11)
    n, total, squares = counts.sum(axis=1), counts @ half_stars, counts @ half_stars**2
    result: Floats = (n * squares - total**2) / (4.0 * n * (n - 1))
    return result


def false_discovery_rates(p: Floats) -> Floats:
    """(F,) Benjamini-Hochberg q of each p; those that are NaN stay so and count for nothing."""
    q = np.full(p.size, np.nan)
    tested = np.flatnonzero(~np.isnan(p))
    ascending = tested[np.argsort(p[tested], kind="stable")]
    rates = p[ascending] * tested.size / np.arange(1, tested.size + 1)
    q[ascending] = np.minimum.accumulate(rates[::-1])[::-1].clip(max=1)
    return q


def wasserstein(counts: Integers, crowd_counts: Integers) -> Floats:
    """(F,) Wasserstein-1 distance of two histograms of half-stars, in stars; NaN where one is empty."""
    with np.errstate(invalid="ignore"):
        gap = counts.cumsum(axis=1) / counts.sum(axis=1, keepdims=True) - crowd_counts.cumsum(
            axis=1
        ) / crowd_counts.sum(axis=1, keepdims=True)
    result: Floats = np.abs(gap[:, :-1]).sum(axis=1) / 2
    return result


def means(counts: Integers) -> Floats:
    """(F,) mean stars of histograms; NaN where empty."""
    with np.errstate(invalid="ignore"):
        result: Floats = counts @ STARS / counts.sum(axis=1)
    return result
