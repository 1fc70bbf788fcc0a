"""Van der Eijk's A by the book, in fractions, as a second opinion."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations


def peeled(counts: list[int]) -> float:
    """A with fractions, layer by layer, every triple of buckets looked at."""
    left, total = [Fraction(count) for count in counts], Fraction(0)
    while any(left):
        height = min(count for count in left if count)
        full = [bool(count) for count in left]
        total += height * sum(full) / Fraction(sum(counts)) * of_pattern(full)
        left = [count - height if count else count for count in left]
    return float(total)


def of_pattern(full: list[bool]) -> Fraction:
    buckets, size = len(full), sum(full)
    if size == 1:
        return Fraction(1)
    if size == buckets:
        return Fraction(0)
    triples = ["".join("01"[full[k]] for k in chosen) for chosen in combinations(range(buckets), 3)]
    together, apart = triples.count("110") + triples.count("011"), triples.count("101")
    unimodality = Fraction(
        (buckets - 2) * together - (buckets - 1) * apart, (buckets - 2) * (together + apart)
    )
    return unimodality * (1 - Fraction(size - 1, buckets - 1))
