"""The strategies of the methods page once more, film by film in plain Python, as a second opinion.

Shares no code and no technique with almanac_pipeline.statistics; Wilson's bounds are statsmodels'.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from math import exp, log, sqrt
from statistics import fmean, median, pstdev
from typing import NamedTuple

from statsmodels.stats.proportion import proportion_confint

from tests.statistics.plain_circle import plain_circle


class Said(NamedTuple):
    """One member's opinion of one film."""

    member: int
    film: int
    stars: float | None
    liked: bool = False
    favorite: bool = False
    logged: bool = False
    at: datetime | None = None


Scores = dict[str, dict[int, float]]
"""{strategy: {film: score}}, without forecast."""


def plain_scores(
    said: Sequence[Said], global_average: Mapping[int, float], agreement: Mapping[int, float]
) -> Scores:
    """By the default parameters; `agreement` holds A of the films with eight raters."""
    seen = [s for s in said if s.stars is not None or s.liked or s.logged]
    watchers = _count(s.film for s in seen)
    liked = _count(s.film for s in seen if s.liked)
    favorites = _count(s.film for s in seen if s.favorite)
    result: Scores = {"loved": {i: _wilson(liked.get(i, 0), n) for i, n in watchers.items()}}
    rated = [s for s in said if s.stars is not None]
    if not rated:
        return result
    plain = plain_circle([(s.member, s.film, s.stars or 0.0) for s in rated])
    by_film: dict[int, list[Said]] = {}
    for s in rated:
        by_film.setdefault(s.film, []).append(s)
    stars = {i: [s.stars or 0.0 for s in given] for i, given in by_film.items()}
    C, m = plain.C, plain.m
    bayesian = {i: (sum(r) + m * C) / (len(r) + m) for i, r in stars.items()}
    result["almanac"] = {i: plain.theta[i] - 1.2815515655 * plain.sd[i] for i in stars}
    result["bayesian"] = bayesian
    result["wilson"] = {i: _wilson(sum(x >= 3.5 for x in r), len(r)) for i, r in stars.items()}

    dated = [s.at for s in rated if s.at is not None]
    now = max(dated, default=None)
    known = [exp(-_days(now, at) / 365) for at in dated] if now else []
    usual = fmean(known) if known else 1.0
    weight = {
        i: [exp(-_days(now, s.at) / 365) if now and s.at else usual for s in given]
        for i, given in by_film.items()
    }
    result["recency"] = {}
    for i, w in weight.items():
        n = sum(w) ** 2 / sum(x * x for x in w)
        mean = sum(x * r for x, r in zip(w, stars[i], strict=True)) / sum(w)
        result["recency"][i] = (n * mean + m * C) / (n + m)

    z = _z(bayesian)
    z_watchers = _z({i: log(watchers[i]) for i in stars})
    z_recent = _z({i: fmean(w) for i, w in weight.items()})
    result["hybrid"] = {i: z[i] + 0.25 * z_watchers[i] + 0.25 * z_recent[i] for i in stars}
    all_watchers = sum(watchers.values())
    likes = _z({i: _shrunk(liked, watchers, i, sum(liked.values()) / all_watchers) for i in stars})
    favs = _z({i: _shrunk(favorites, watchers, i, sum(favorites.values()) / all_watchers) for i in stars})
    result["engagement"] = {i: z[i] + 0.5 * favs[i] + 0.25 * likes[i] for i in stars}
    middle = median(agreement.values()) if agreement else 0.0
    result["consensus"] = {i: bayesian[i] + 0.5 * (agreement.get(i, middle) - middle) for i in stars}
    compared = [i for i in stars if len(stars[i]) >= 3 and i in global_average]
    if compared:
        own = {i: bayesian[i] for i in compared}
        crowd = {i: global_average[i] for i in compared}
        if pstdev(own.values()) > 1e-9 and pstdev(crowd.values()) > 1e-9:
            z_own, z_crowd = _z(own), _z(crowd)
            result["discovery"] = {i: z_own[i] - z_crowd[i] for i in compared}
    return result


def plain_bayesian_sd(said: Sequence[Said]) -> dict[int, float]:
    """{film: standard error of the damped mean}."""
    rated = [(s.member, s.film, s.stars) for s in said if s.stars is not None]
    plain, raters = plain_circle(rated), _count(film for _, film, _ in rated)
    return {i: sqrt(n * plain.s2) / (n + plain.m) for i, n in raters.items()}


def _count(films: Iterable[int]) -> dict[int, int]:
    counts: dict[int, int] = {}
    for film in films:
        counts[film] = counts.get(film, 0) + 1
    return counts


def _wilson(k: int, n: int) -> float:
    return float(proportion_confint(k, n, 0.05, "wilson")[0])


def _days(now: datetime, at: datetime) -> float:
    return (now - at).total_seconds() / 86_400


def _shrunk(count: Mapping[int, int], watchers: Mapping[int, int], film: int, rate: float) -> float:
    return (count.get(film, 0) + 10 * rate) / (watchers[film] + 10)


def _z(values: Mapping[int, float]) -> dict[int, float]:
    mean, spread = fmean(values.values()), pstdev(values.values())
    return {i: (value - mean) / spread if spread > 1e-9 else 0.0 for i, value in values.items()}
