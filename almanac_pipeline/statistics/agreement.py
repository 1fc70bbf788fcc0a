"""Van der Eijk's agreement A (2001): how much ratings sit together on an ordered scale, and how sure that is.

1: all in one bucket; 0: even over all; -1: half at either end. The counts are peeled into layers
of equal height; each layer's pattern of empty and full buckets has an agreement of its own, and
A is their average weighted by how many ratings a layer holds. What labels A leads to is not said here.
"""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# Below this many ratings A says more about who happened to rate than about the film.
MIN_RATERS = 8
RESAMPLES = 1_000
INTERVAL = (0.05, 0.95)
SEED = 20_260_102
# Bounds the working memory of the bootstrap to some tens of MB, and keeps most of it in the cache.
CHUNK_CELLS = 1_000_000


def agreement(counts: NDArray[np.integer], axis: int = -1) -> Floats:
    """A of bucket counts, the buckets in order along `axis`, empty ones kept; the result lacks that axis.

    Raises:
        ValueError: fewer than three buckets, counts that are not whole, or nothing counted somewhere.
    """
    if not np.issubdtype(counts.dtype, np.integer):
        raise ValueError("agreement needs whole counts")
    buckets = counts.shape[axis]
    totals = counts.sum(axis=axis)
    if buckets < 3 or not (totals > 0).all():
        raise ValueError("agreement needs at least three buckets and one rating")
    # Count and bucket in one number, so that sorting by count carries the bucket along. Whole arrays
    # are compared, neighbour with neighbour: ten times as fast as sorting row by row.
    bits = buckets.bit_length()
    narrow = np.int32 if int(totals.max(initial=0)) < 2 ** (31 - bits) else np.int64
    columns = [(counts.take(k, axis=axis).astype(narrow) << bits) | k for k in range(buckets)]
    for sweep in range(buckets):
        for k in range(sweep % 2, buckets - 1, 2):
            columns[k], columns[k + 1] = (
                np.minimum(columns[k], columns[k + 1]),
                np.maximum(columns[k], columns[k + 1]),
            )
    patterns = _pattern_agreements(buckets)
    full = np.zeros(totals.shape, dtype=np.int32)
    result = np.zeros(totals.shape)
    for k in reversed(range(buckets)):
        # The buckets that reach this height, and how much higher it is than the next lower one.
        full |= np.int32(1) << (columns[k] & (2**bits - 1)).astype(np.int32)
        height = (columns[k] >> bits) - (columns[k - 1] >> bits if k else 0)
        result += height * patterns[full] * (buckets - k)
    agreements: Floats = result / totals
    return agreements


def agreement_intervals(counts: Integers) -> tuple[Floats, Floats]:
    """(F,) ends of the 90 % bootstrap interval of A, from (F, buckets) counts; NaN below `MIN_RATERS`.

    Both are values that were drawn (the 50th and 950th of 1,000), not interpolations. A film's
    interval depends on its own counts alone: films with as many ratings share one seeded set of
    resamples of their positions.
    """
    films, buckets = counts.shape
    raters = counts.sum(axis=1)
    low, high = np.full(films, np.nan), np.full(films, np.nan)
    nth = [math.ceil(RESAMPLES * share) - 1 for share in INTERVAL]
    step = max(1, CHUNK_CELLS // (RESAMPLES * buckets))
    ends = np.zeros((films, buckets + 1), dtype=np.int64)
    np.cumsum(counts, axis=1, out=ends[:, 1:])
    for n in np.unique(raters[raters >= MIN_RATERS]).tolist():
        drawn_before = _resampled_positions(n)
        alike = np.flatnonzero(raters == n)
        for start in range(0, alike.size, step):
            chosen = alike[start : start + step]
            # A bucket holds a run of positions: its resampled count is a difference of two sums.
            values = agreement(np.diff(drawn_before[ends[chosen]], axis=1), axis=1)
            values.partition(nth, axis=1)
            low[chosen], high[chosen] = values[:, nth[0]], values[:, nth[1]]
    return low, high


def _resampled_positions(n: int) -> NDArray[np.int32]:
    """(n + 1, resamples) how many of n draws with replacement fell on positions before each one."""
    drawn = np.random.default_rng([SEED, n]).integers(n, size=(RESAMPLES, n))
    times = np.bincount((drawn * RESAMPLES + np.arange(RESAMPLES)[:, None]).ravel(), minlength=n * RESAMPLES)
    before = np.zeros((n + 1, RESAMPLES), dtype=np.int32)
    np.cumsum(times.reshape(n, RESAMPLES), axis=0, out=before[1:])
    return before


@lru_cache
def _pattern_agreements(buckets: int) -> Floats:
    """(2^buckets,) A of each pattern of full buckets; bit k stands for bucket k."""
    return np.array(
        [
            _pattern_agreement(tuple(bool(pattern >> k & 1) for k in range(buckets)))
            for pattern in range(2**buckets)
        ]
    )


def _pattern_agreement(pattern: tuple[bool, ...]) -> float:
    """A of one layer. Counts triples of buckets: full-full-empty agree, full-empty-full do not."""
    buckets, full = len(pattern), sum(pattern)
    if full == buckets:
        return 0.0
    if full <= 1:
        return 1.0
    together = apart = 0
    for triple in combinations(pattern, 3):
        together += triple in ((True, True, False), (False, True, True))
        apart += triple == (True, False, True)
    unimodality = ((buckets - 2) * together - (buckets - 1) * apart) / ((buckets - 2) * (together + apart))
    return unimodality * (1 - (full - 1) / (buckets - 1))
