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
Draws = NDArray[np.float32]

# The 90 % quantile of the standard normal: the score is what we are 90 % sure of.
BOUND_Z = 1.2815515655
MIN_RATERS_RANGE = (2, 8)
SCORE_DECIMALS = 9
DRAWS = 1_000
SEED = 20_260_101
# A film shares the tier of a better one while it is at least this likely to be the better of the two.
TIER_PROBABILITY = 0.3
# Draws further out than this many sd count as this far: of 40 million, fewer than 300.
DRAW_REACH, KEY_MAX = 4.5, 2**16 - 1
# Bounds the working memory beside the places to a few MB, whatever the number of films.
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


def title_order(titles: Sequence[str]) -> Integers:
    """(F,) where each title stands among the different ones, by code point."""
    place = {title: i for i, title in enumerate(sorted(set(titles)))}
    return np.array([place[title] for title in titles], dtype=np.int64)


def standard_draws(films: int, *, seed: int = SEED) -> Draws:
    """(draws, films) draws of N(0, 1); one set serves all strategies: a film is lucky in all at once."""
    return np.random.default_rng(seed).standard_normal((DRAWS, films), dtype=np.float32)


def rank_films(
    score: Floats,
    estimate: Floats,
    sd: Floats,
    raters: Integers,
    titles: Integers,
    eligible: Booleans,
    draws: Draws,
    columns: Integers,
    *,
    tier_probability: float = TIER_PROBABILITY,
) -> Ranking:
    """Rank the eligible films by score, with rank intervals and tiers.

    A draw of N(estimate, sd) takes the place that its score has among the scores of the others' draws. What a
    strategy takes off the estimate to be sure (z sd, for a bound) comes off the draw as well: an interval
    of places in another order would not be this ranking's.

    Args:
        score, estimate, sd: (F,), finite.
        raters, titles: (F,) the tie-breaks after score; titles as `title_order` gives them.
        draws: (draws, columns) of N(0, 1); films share columns with other rankings, not with each other.
        columns: (F,) the column of each film; anything for those that are not eligible.
    """
    among = np.flatnonzero(eligible)
    rank, low, high, tier = (np.full(score.size, UNRANKED, dtype=np.int64) for _ in range(4))
    best_first = np.lexsort((titles[among], -raters[among], -np.round(score[among], SCORE_DECIMALS)))
    order = among[best_first]
    rank[order] = np.arange(1, order.size + 1)
    low[among], high[among] = rank_intervals(score[among], sd[among], draws, columns[among])
    tier[order] = tiers(estimate[order], sd[order], tier_probability)
    return Ranking(score, estimate, sd, eligible, rank, low, high, tier)


def rank_intervals(centre: Floats, sd: Floats, draws: Draws, columns: Integers) -> tuple[Integers, Integers]:
    """5 % and 95 % of each film's place among these films, over the draws of N(centre, sd).

    Both are places that were drawn (the 50th and 950th of 1,000), not interpolations. Draws are
    rounded to a 65,536th of their range, some ten-thousandths of a star: a radix sort of two bytes
    orders them ten times as fast as floats. Those that fall together keep the order of the films.
    """
    films = centre.size
    if films == 0:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    best, worst = (centre + DRAW_REACH * sd).max(), (centre - DRAW_REACH * sd).min()
    scale = KEY_MAX / (best - worst) if best > worst else 0.0
    middle, width = ((best - centre) * scale).astype(np.float32), (sd * scale).astype(np.float32)
    # Two bytes a place do for every circle we know of; four where there are more films than that.
    places = np.empty((len(draws), films), dtype=np.uint16 if films < 2**16 else np.uint32)
    ascending = np.arange(1, films + 1, dtype=places.dtype)
    keys = np.empty(films, dtype=np.float32)
    for place, draw in zip(places, draws, strict=True):
        np.multiply(width, draw[columns], out=keys)
        np.subtract(middle, keys, out=keys)
        np.clip(keys, 0, KEY_MAX, out=keys)
        place[np.argsort(keys.astype(np.uint16), kind="stable")] = ascending
    low, high = np.empty(films, dtype=np.int64), np.empty(films, dtype=np.int64)
    nth = [math.ceil(len(draws) * share) - 1 for share in (0.05, 0.95)]
    step = max(1, CHUNK_CELLS // len(draws))
    for start in range(0, films, step):
        # Film by film in a row, which sorts faster than in a column.
        chunk = np.ascontiguousarray(places[:, start : start + step].T)
        chunk.sort(axis=1, kind="stable")
        low[start : start + step], high[start : start + step] = chunk[:, nth[0]], chunk[:, nth[1]]
    return low, high


def tiers(estimate: Floats, sd: Floats, probability: float = TIER_PROBABILITY) -> Integers:
    """Tiers, from 1, of films in ranking order; one unlikely to beat its tier's first opens the next."""
    result = np.empty(estimate.size, dtype=np.int64)
    first, tier = 0, 1
    while first < estimate.size:
        rest = slice(first + 1, None)
        better = _probability_better(estimate[rest], sd[rest], float(estimate[first]), float(sd[first]))
        below = np.flatnonzero(better < probability)
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
