"""How alike members rate: every pair of a circle at once, through products of sparse matrices.

Pearson's r of the films that both have rated, its interval, and plainer measures beside it. NaN
where nothing can be said, never 0. Cosine is left out: it mostly measures how people use the stars.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

MIN_OVERLAP = 5
"""Below this many films in common, no correlation."""
MIN_RESIDUAL_OVERLAP = 50
SHRINK_OVERLAP = 25
INTERVAL_Z = 1.959963984540054
HALF_STARS = range(1, 11)
# Residuals are sums of rounded numbers: a variance below this share of their squares is none.
NO_SPREAD = 1e-12
NOBODY = -1


@dataclass(frozen=True, slots=True)
class Correlation:
    """Pearson's r of P pairs, shrunk for small overlap, and the 95 % interval of the raw r."""

    pearson: Floats
    shrunk: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True, slots=True)
class Pairs:
    """All P = M (M - 1) / 2 pairs of M members."""

    first: Integers
    """(P,) index of a member; always below `second`."""
    second: Integers
    overlap: Integers
    """(P,) films that both have rated."""
    star_gap: Floats
    """(P,) mean distance of the two ratings, in stars; NaN without overlap."""
    equal_share: Floats
    """(P,) share of films with the very same half-star; NaN without overlap."""
    ratings: Correlation
    """Of the stars; NaN below `MIN_OVERLAP` and without variance."""
    residuals: Correlation
    """Beyond what the film and the member's strictness explain; NaN below `MIN_RESIDUAL_OVERLAP`."""


@dataclass(frozen=True, slots=True)
class Companions:
    """Who of a circle rates most and least like each of its M members."""

    compared: Integers
    """(M,) members with whom a similarity is known."""
    most: Integers
    """(M,) index of the member of the highest similarity; NOBODY if none is known."""
    most_similarity: Floats
    """(M,) NaN if none is known."""
    least: Integers
    """(M,) index of the member of the lowest similarity; NOBODY unless two are known."""
    least_similarity: Floats


def compare_members(member: Integers, film: Integers, half_stars: Integers, residual: Floats) -> Pairs:
    """Compare every two members by N ratings.

    Args:
        member, film: (N,) indices from 0 without gaps.
        half_stars: (N,) 1 to 10.
        residual: (N,) stars that strictness and film leave unexplained.
    """
    members, films = int(member.max(initial=-1)) + 1, int(film.max(initial=-1)) + 1
    first, second = np.triu_indices(members, k=1)

    def matrix(values: NDArray[np.generic], where: NDArray[np.bool_] | slice = slice(None)) -> csr_array:
        return csr_array(
            (values[where].astype(np.float64), (member[where], film[where])), shape=(members, films)
        )

    def of_pairs(left: csr_array, right: csr_array) -> tuple[Floats, Floats]:
        """Sums over films of left times right, with either of the pair on the left."""
        product = (left @ right.T).toarray()
        return product[first, second], product[second, first]

    seen = matrix(np.ones(member.size))
    overlap, _ = of_pairs(seen, seen)
    gap, equal = np.zeros(overlap.size), np.zeros(overlap.size)
    for value in HALF_STARS:
        given = half_stars == value
        chosen = matrix(given, given)
        gap += of_pairs(chosen, matrix(np.abs(half_stars - value)))[0]
        equal += of_pairs(chosen, chosen)[0]

    def correlation(values: NDArray[np.generic], min_overlap: int, no_spread: float) -> Correlation:
        scored = matrix(values)
        x, y = of_pairs(scored, seen)
        xx, yy = of_pairs(scored.power(2), seen)
        xy, _ = of_pairs(scored, scored)
        # n^2 times the variances and the covariance: exact for whole half-stars.
        var_x, var_y = overlap * xx - x**2, overlap * yy - y**2
        known = (
            (overlap >= min_overlap) & (var_x > no_spread * overlap * xx) & (var_y > no_spread * overlap * yy)
        )
        with np.errstate(divide="ignore", invalid="ignore"):
            r = ((overlap * xy - x * y) / (np.sqrt(var_x) * np.sqrt(var_y))).clip(-1, 1)
            reach = INTERVAL_Z / np.sqrt(overlap - 3)
            columns = (
                r,
                r * overlap / (overlap + SHRINK_OVERLAP),
                np.tanh(np.arctanh(r) - reach),
                np.tanh(np.arctanh(r) + reach),
            )
        return Correlation(*(np.where(known, column, np.nan) for column in columns))

    with np.errstate(invalid="ignore"):
        return Pairs(
            first=first,
            second=second,
            overlap=overlap.astype(np.int64),
            star_gap=gap / 2 / overlap,
            equal_share=equal / overlap,
            ratings=correlation(half_stars, MIN_OVERLAP, 0.0),
            residuals=correlation(residual, MIN_RESIDUAL_OVERLAP, NO_SPREAD),
        )


def companions(pairs: Pairs, order: Integers) -> Companions:
    """Who rates most and least like each member, by the shrunk r of the stars.

    Args:
        order: (M,) different numbers; of several equally similar members the one with the lowest is taken.
    """
    members = order.size
    by_order = np.argsort(order)
    place = np.argsort(by_order)
    similarity = np.full((members, members), np.nan)
    first, second = place[pairs.first], place[pairs.second]
    similarity[first, second] = similarity[second, first] = pairs.ratings.shrunk
    known = ~np.isnan(similarity)
    compared = known.sum(axis=1)

    def extreme(values: Floats, min_compared: int) -> tuple[Integers, Floats]:
        # Of equal values the first is taken.
        found = values.argmax(axis=1)
        enough = compared >= min_compared
        chosen = np.where(enough, by_order[found], NOBODY)
        return chosen[place], np.where(enough, similarity[np.arange(members), found], np.nan)[place]

    most, most_similarity = extreme(np.where(known, similarity, -np.inf), 1)
    # Of one other member only nothing is the least.
    least, least_similarity = extreme(np.where(known, -similarity, -np.inf), 2)
    return Companions(compared[place], most, most_similarity, least, least_similarity)
