"""Seconds of the circle model and of rank intervals, for a small and a large invented circle."""

from __future__ import annotations

import time

import numpy as np

from almanac_pipeline.statistics.circle import fit_circle
from almanac_pipeline.statistics.ranking import bound, default_min_raters, rank_films

CIRCLES = {
    "25 members, 600 films, 5,000 ratings": (25, 600, 5_000),
    "100 members, 40,000 films, 150,000 ratings": (100, 40_000, 150_000),
    "300 members, 40,000 films, 600,000 ratings": (300, 40_000, 600_000),
}


def run() -> dict[str, object]:
    """Per circle: seconds to fit it and seconds to rank its films with intervals and tiers."""
    return {name: _measure(*size) for name, size in CIRCLES.items()}


def _measure(members: int, films: int, ratings: int) -> dict[str, float]:
    generator = np.random.default_rng(1)
    # Popularity falls off as it does in real circles: most films are rated by one or two members.
    popular = (films * generator.random(2 * ratings) ** 3).astype(np.int64)
    pairs = np.unique(generator.integers(members, size=2 * ratings) * films + popular)
    pairs = np.sort(generator.permutation(pairs)[:ratings])
    _, member = np.unique(pairs // films, return_inverse=True)
    _, film = np.unique(pairs % films, return_inverse=True)
    quality, strictness = generator.normal(3.4, 0.5, films), generator.normal(0, 0.4, members)
    stars = quality[film] + strictness[member] + generator.normal(0, 0.8, pairs.size)
    rating = np.clip(np.round(stars * 2) / 2, 0.5, 5.0)

    started = time.perf_counter()
    fit = fit_circle(member, film, rating)
    fitted = time.perf_counter()
    ranked = rank_films(
        bound(fit.estimate, fit.sd),
        fit.estimate,
        fit.sd,
        np.bincount(film),
        [""] * fit.estimate.size,
        min_raters=default_min_raters(members),
    )
    return {
        "ratings": pairs.size,
        "films": fit.estimate.size,
        "eligible_films": int(ranked.eligible.sum()),
        "fit_seconds": round(fitted - started, 3),
        "rank_seconds": round(time.perf_counter() - fitted, 3),
    }
