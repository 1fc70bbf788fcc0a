"""Van der Eijk's agreement A (2001): how much a film's ratings sit together on an ordered scale.

1: all in one bucket; 0: even over all; -1: half at either end. The counts are peeled into layers
of equal height; each layer's pattern of empty and full buckets has an agreement of its own, and
A is their average weighted by how many ratings a layer holds.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

# Below this many ratings A says more about who happened to rate than about the film.
MIN_RATERS = 8


def agreement(counts: NDArray[np.integer] | NDArray[np.float64]) -> float:
    """A of one film's bucket counts, in bucket order, empty ones kept.

    Raises:
        ValueError: fewer than three buckets, or nothing counted.
    """
    left = np.asarray(counts, dtype=np.float64).copy()
    total = left.sum()
    if left.size < 3 or total <= 0:
        raise ValueError("agreement needs at least three buckets and one rating")
    result = 0.0
    for _ in range(left.size):
        full = left > 1e-9
        if not full.any():
            break
        height = left[full].min()
        result += float(height * full.sum() / total) * _pattern_agreement(tuple(full.tolist()))
        left[full] -= height
    return result


@lru_cache(maxsize=1024)
def _pattern_agreement(pattern: tuple[bool, ...]) -> float:
    """A of one layer. Counts triples of buckets: full-full-empty agree, full-empty-full do not."""
    buckets, full = len(pattern), sum(pattern)
    if full == buckets:
        return 0.0
    if full == 1:
        return 1.0
    together = apart = 0
    for triple in combinations(pattern, 3):
        together += triple in ((True, True, False), (False, True, True))
        apart += triple == (True, False, True)
    unimodality = ((buckets - 2) * together - (buckets - 1) * apart) / ((buckets - 2) * (together + apart))
    return unimodality * (1 - (full - 1) / (buckets - 1))
