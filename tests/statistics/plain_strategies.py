"""The strategies of the methods page once more, film by film in plain Python, as a second opinion.

Shares no code and no technique with almanac_pipeline.statistics; Wilson's bounds are statsmodels'.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from math import exp, log, sqrt
from statistics import fmean, median, pstdev
from typing import NamedTuple

from statsmodels.stats.proportion import proportion_confint

from tests.statistics.plain_circle import PlainFit, plain_circle

Z2 = 1.959963984540054**2


class Said(NamedTuple):
    """One member's opinion of one film."""

    member: int
    film: int
    stars: float | None
    liked: bool = False
    favorite: bool = False
    logged: bool = False
    at: datetime | None = None


Numbers = dict[str, dict[int, float]]
"""{strategy: {film: number}}"""


class Plain(NamedTuple):
    score: Numbers
    estimate: Numbers
    sd: Numbers


def plain_strategies(
    said: Sequence[Said],
    global_average: Mapping[int, float],
    agreement: Mapping[int, float],
    own: PlainFit | None = None,
) -> Plain:
    """All strategies but forecast, by the default parameters.

    `agreement` holds A of the films with eight raters; `own` the plain circle of `said`, if it is at hand.
    """
    seen = [s for s in said if s.stars is not None or s.liked or s.logged]
    watchers = _count(s.film for s in seen)
    liked = _count(s.film for s in seen if s.liked)
    favorites = _count(s.film for s in seen if s.favorite)
    result = Plain({}, {}, {})

    def add(
        strategy: str, score: dict[int, float], sd: dict[int, float], estimate: dict[int, float] | None = None
    ) -> None:
        for column, values in zip(result, (score, estimate or score, sd), strict=True):
            column[strategy] = values

    def add_share(strategy: str, parts: Mapping[int, int], wholes: Mapping[int, int]) -> None:
        bounds = {i: _wilson(parts.get(i, 0), n) for i, n in wholes.items()}
        centre = {i: (low + high) / 2 for i, (low, high) in bounds.items()}
        error = {i: sqrt(n * centre[i] * (1 - centre[i])) / (n + Z2) for i, n in wholes.items()}
        add(strategy, {i: low for i, (low, _) in bounds.items()}, error, centre)

    add_share("loved", liked, watchers)
    rated = [s for s in said if s.stars is not None]
    if not rated:
        return result
    plain = own or plain_circle([(s.member, s.film, s.stars or 0.0) for s in rated])
    by_film: dict[int, list[Said]] = {}
    for s in rated:
        by_film.setdefault(s.film, []).append(s)
    stars = {i: [s.stars or 0.0 for s in given] for i, given in by_film.items()}
    C, m = plain.C, plain.m

    def error_of(n: float) -> float:
        return sqrt(n * plain.s2) / (n + m)

    bayesian = {i: (sum(r) + m * C) / (len(r) + m) for i, r in stars.items()}
    error = {i: error_of(len(r)) for i, r in stars.items()}
    add("almanac", {i: plain.theta[i] - 1.2815515655 * plain.sd[i] for i in stars}, plain.sd, plain.theta)
    add("bayesian", bayesian, error)
    raters = {i: len(r) for i, r in stars.items()}
    add_share("wilson", {i: sum(x >= 3.5 for x in r) for i, r in stars.items()}, raters)

    dated = [s.at for s in rated if s.at is not None]
    now = max(dated, default=None)
    known = [exp(-_days(now, at) / 365) for at in dated] if now else []
    usual = fmean(known) if known else 1.0
    weight = {
        i: [exp(-_days(now, s.at) / 365) if now and s.at else usual for s in given]
        for i, given in by_film.items()
    }
    effective = {i: sum(w) ** 2 / sum(x * x for x in w) for i, w in weight.items()}
    recent = {i: sum(x * r for x, r in zip(w, stars[i], strict=True)) / sum(w) for i, w in weight.items()}
    add(
        "recency",
        {i: (n * recent[i] + m * C) / (n + m) for i, n in effective.items()},
        {i: error_of(n) for i, n in effective.items()},
    )

    z = _z(bayesian)
    spread = pstdev(bayesian.values())
    z_error = {i: e / (spread if spread > 1e-9 else 1) for i, e in error.items()}
    z_watchers = _z({i: log(watchers[i]) for i in stars})
    z_recent = _z({i: fmean(w) for i, w in weight.items()})
    add("hybrid", {i: z[i] + 0.25 * z_watchers[i] + 0.25 * z_recent[i] for i in stars}, z_error)
    all_watchers = sum(watchers.values())
    likes = _z({i: _shrunk(liked, watchers, i, sum(liked.values()) / all_watchers) for i in stars})
    favs = _z({i: _shrunk(favorites, watchers, i, sum(favorites.values()) / all_watchers) for i in stars})
    add("engagement", {i: z[i] + 0.5 * favs[i] + 0.25 * likes[i] for i in stars}, z_error)
    middle = median(agreement.values()) if agreement else 0.0
    add("consensus", {i: bayesian[i] + 0.5 * (agreement.get(i, middle) - middle) for i in stars}, error)
    compared = [i for i in stars if len(stars[i]) >= 3 and i in global_average]
    if compared:
        damped = {i: bayesian[i] for i in compared}
        crowd = {i: global_average[i] for i in compared}
        spread = pstdev(damped.values())
        if spread > 1e-9 and pstdev(crowd.values()) > 1e-9:
            z_own, z_crowd = _z(damped), _z(crowd)
            add(
                "discovery",
                {i: z_own[i] - z_crowd[i] for i in compared},
                {i: error[i] / spread for i in compared},
            )
    return result


def _count(films: Iterable[int]) -> dict[int, int]:
    counts: dict[int, int] = {}
    for film in films:
        counts[film] = counts.get(film, 0) + 1
    return counts


@cache
def _wilson(k: int, n: int) -> tuple[float, float]:
    low, high = proportion_confint(k, n, 0.05, "wilson")
    return float(low), float(high)


def _days(now: datetime, at: datetime) -> float:
    return (now - at).total_seconds() / 86_400


def _shrunk(count: Mapping[int, int], watchers: Mapping[int, int], film: int, rate: float) -> float:
    return (count.get(film, 0) + 10 * rate) / (watchers[film] + 10)


def _z(values: Mapping[int, float]) -> dict[int, float]:
    mean, spread = fmean(values.values()), pstdev(values.values())
    return {i: (value - mean) / spread if spread > 1e-9 else 0.0 for i, value in values.items()}
