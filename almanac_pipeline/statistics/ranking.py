"""From estimates to places: scores, eligibility, order, rank intervals and tiers.

Arrays of F films in, arrays of F films out. The order of the films in the arrays is the last
tie-break and the order of the random draws, so hand them over sorted by a key that does not
depend on how they were stored.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]

# The 90 % quantile of the standard normal: the score is what we are 90 % sure of.
BOUND_Z = 1.2815515655
MIN_RATERS_RANGE = (2, 8)
SCORE_DECIMALS = 9
DRAWS = 1_000
SEED = 20_260_101
# A film shares the tier of a better one while it is at least this likely to be the better of the two.
TIER_PROBABILITY = 0.3
# Bounds the working memory of the draws to a few arrays of 8 MB, whatever the number of films.
CHUNK_CELLS = 1_000_000

UNRANKED = 0
"""Stands for "no place, no tier" in the integer arrays."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """One strategy's verdict on F films. Places and tiers are `UNRANKED` for ineligible films."""

    score: Floats
    estimate: Floats
    sd: Floats
    eligible: Booleans
    rank: Integers
    rank_low: Integers
    rank_high: Integers
    tier: Integers


def default_min_raters(members: int) -> int:
    """How many raters a film needs in a cohort of this many members: a fifth, kept in 2..8."""
    low, high = MIN_RATERS_RANGE
    return min(max(math.ceil(members / 5), low), high)


def bound(estimate: Floats, sd: Floats) -> Floats:
    """The value that the truth exceeds with 90 % probability."""
    return estimate - BOUND_Z * sd


def bayesian(raw_mean: Floats, raters: Integers, overall_mean: float, prior_weight: float) -> Floats:
    """(v R + m C)/(v + m): the raw mean, pulled to the cohort's by `prior_weight` ratings."""
    return (raters * raw_mean + prior_weight * overall_mean) / (raters + prior_weight)


def rank_films(
    score: Floats,
    estimate: Floats,
    sd: Floats,
    raters: Integers,
    titles: Sequence[str],
    *,
    min_raters: int,
    seed: int = SEED,
) -> Ranking:
    """Rank the films with at least `min_raters` raters by score, with rank intervals and tiers.

    Args:
        score, estimate, sd, raters: (F,), finite.
        titles: F of them; the tie-break after score and raters, by code point.
    """
    eligible = raters >= min_raters
    order = _order(score, raters, titles, eligible)
    rank, low, high, tier = (np.full(score.size, UNRANKED, dtype=np.int64) for _ in range(4))
    rank[order] = np.arange(1, order.size + 1)
    drawn = np.flatnonzero(eligible)
    low[drawn], high[drawn] = rank_intervals(estimate[drawn], sd[drawn], seed=seed)
    tier[order] = tiers(estimate[order], sd[order])
    return Ranking(score, estimate, sd, eligible, rank, low, high, tier)


def _order(score: Floats, raters: Integers, titles: Sequence[str], eligible: Booleans) -> Integers:
    """Positions of the eligible films, best first."""
    rounded = np.round(score, SCORE_DECIMALS)
    positions = sorted(
        np.flatnonzero(eligible).tolist(), key=lambda i: (-rounded[i], -int(raters[i]), titles[i], i)
    )
    return np.array(positions, dtype=np.int64)


def rank_intervals(
    estimate: Floats, sd: Floats, *, draws: int = DRAWS, seed: int = SEED
) -> tuple[Integers, Integers]:
    """5 % and 95 % of each film's place among these films, over seeded draws of N(estimate, sd).

    Both are places that were drawn (the 50th and 950th of 1,000), not interpolations.
    """
    films = estimate.size
    if films == 0:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    generator = np.random.default_rng(seed)
    # Two bytes a place do for every circle we know of; four where there are more films than that.
    places = np.empty((draws, films), dtype=np.uint16 if films < 2**16 else np.uint32)
    step = max(1, CHUNK_CELLS // films)
    ascending = np.arange(1, films + 1, dtype=places.dtype)
    for start in range(0, draws, step):
        chunk = places[start : start + step]
        best_first = np.argsort(-(estimate + sd * generator.standard_normal(chunk.shape)), axis=1)
        np.put_along_axis(chunk, best_first, np.broadcast_to(ascending, chunk.shape), axis=1)
    nth = [math.ceil(draws * share) - 1 for share in (0.05, 0.95)]
    places.partition(nth, axis=0)
    return places[nth[0]].astype(np.int64), places[nth[1]].astype(np.int64)


def tiers(estimate: Floats, sd: Floats) -> Integers:
    """Tiers, from 1, of films in ranking order; one unlikely to beat its tier's first opens the next."""
    result = np.empty(estimate.size, dtype=np.int64)
    first, tier = 0, 1
    while first < estimate.size:
        rest = slice(first + 1, None)
        better = _probability_better(estimate[rest], sd[rest], float(estimate[first]), float(sd[first]))
        below = np.flatnonzero(better < TIER_PROBABILITY)
        end = first + 1 + int(below[0]) if below.size else estimate.size
        result[first:end] = tier
        first, tier = end, tier + 1
    return result


def _probability_better(estimate: Floats, sd: Floats, other: float, other_sd: float) -> Floats:
    difference = estimate - other
    scale = np.hypot(sd, other_sd)
    # Two films known exactly: better, worse, or even.
    exact = np.where(difference > 0, 1.0, np.where(difference < 0, 0.0, 0.5))
    result: Floats = np.where(scale > 0, ndtr(difference / np.where(scale > 0, scale, 1.0)), exact)
    return result


def top_decile_probability(estimate: Floats, sd: Floats, eligible: Booleans) -> Floats:
    """(F,) P(theta > 90 % quantile of the eligible films' estimates); NaN when none is eligible."""
    if not eligible.any():
        return np.full(estimate.size, np.nan)
    threshold = np.quantile(estimate[eligible], 0.9)
    result: Floats = ndtr((estimate - threshold) / sd)
    return result
