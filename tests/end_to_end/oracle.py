"""What a cohort's numbers must be, computed from a MovieLens ratings.csv by the book and nothing else.

An independent implementation of the ranking methods in plain Python and numpy, straight from
their description. Imports no code of the project, and must stay that way.
"""

from __future__ import annotations

import csv
import math
import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROUNDS = 25
# The standard normal's 90 % point: the score is what we are 90 % sure of.
NINETY_PERCENT = 1.2815515655
TIER_PROBABILITY = 0.3
DRAWS = 1_000

Ratings = Mapping[int, Mapping[int, float]]
"""{member: {film: stars}}"""


@dataclass(frozen=True)
class RankedFilm:
    """A film in one ranking. Films that too few have rated have no rank."""

    film: int
    score: float
    raters: int
    rank: int | None


@dataclass(frozen=True)
class Circle:
    """The fitted model: what the circle thinks of each film, and how much weight an average film gets."""

    mean: float
    prior_weight: float
    estimate: dict[int, float]
    sd: dict[int, float]


def read_ratings(folder: Path, members: Collection[int]) -> dict[int, dict[int, float]]:
    """The ratings of some people of a MovieLens folder."""
    ratings: dict[int, dict[int, float]] = {member: {} for member in members}
    with (folder / "ratings.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if (member := int(row["userId"])) in ratings:
                ratings[member][int(row["movieId"])] = float(row["rating"])
    return ratings


def read_titles(folder: Path) -> dict[int, tuple[str, int | None]]:
    """{film: (title without the trailing year, year if it has one)}."""
    titles: dict[int, tuple[str, int | None]] = {}
    with (folder / "movies.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            title = row["title"].strip()
            dated = re.fullmatch(r"(.*\S)\s*\((\d{4})\)", title)
            titles[int(row["movieId"])] = (dated[1], int(dated[2])) if dated else (title, None)
    return titles


def by_film(ratings: Ratings) -> dict[int, list[float]]:
    """{film: its ratings}."""
    films: defaultdict[int, list[float]] = defaultdict(list)
    for opinions in ratings.values():
        for film, stars in opinions.items():
            films[film].append(stars)
    return dict(films)


def fit(ratings: Ratings) -> Circle:
    """The circle model in its own voice."""
    members = [member for member, opinions in ratings.items() if opinions]
    films = sorted(by_film(ratings))
    film_index = {film: index for index, film in enumerate(films)}
    triples = [
        (u, film_index[film], stars)
        for u, member in enumerate(members)
        for film, stars in ratings[member].items()
    ]
    user = np.array([u for u, _, _ in triples])
    film = np.array([i for _, i, _ in triples])
    r = np.array([stars for _, _, stars in triples])

    def per_film(values: np.ndarray) -> np.ndarray:
        return np.bincount(film, weights=values, minlength=len(films))

    def per_member(values: np.ndarray) -> np.ndarray:
        return np.bincount(user, weights=values, minlength=len(members))

    n_film, n_member = per_film(np.ones_like(r)), per_member(np.ones_like(r))
    C = r.mean()
    b, s, v = np.zeros(len(members)), np.ones(len(members)), np.ones(len(members))
    tau2 = 0.8 / 6
    for _ in range(ROUNDS):
        # 1: everyone's stars on one scale
        W = per_film((s**2 / v)[user])
        x = C + per_film((s / v)[user] * (r - C - b[user])) / W
        # 2: how far the stars scatter
        rest = r - C - b[user] - s[user] * (x[film] - C)
        s2 = ((rest**2 / v[user]).sum() + 8) / ((n_film - 1).sum() + 10)
        # 3: where the films lie
        g = 1 / (s2 / W + tau2)
        mu = (g * x).sum() / g.sum()
        # 4: how far the films lie apart
        h = W / s2
        d = x - (h * x).sum() / h.sum()
        denominator = h.sum() - (h**2).sum() / h.sum()
        tau2 = ((h * d**2).sum() - (len(films) - 1)) / denominator if denominator > 0 else 0.0
        m = min(max(s2 / tau2, 3.0), 25.0) if tau2 > 0 else 25.0
        tau2 = s2 / m
        # 5: the films
        theta = (W * x + m * mu) / (W + m)
        variance = s2 / (W + m)
        # 6: the members
        t = theta - C
        s = (per_member(t[film] * (r - C - b[user])) / (s2 * v) + 10) / (
            per_member((t**2 + variance)[film]) / (s2 * v) + 10
        )
        s = np.clip(s, 0.3, 2.0)
        s /= s[user].mean()
        b = per_member(r - C - s[user] * t[film]) / v / (n_member / v + 5)
        b -= b.mean()
        e = r - C - b[user] - s[user] * t[film]
        v = (per_member(e**2 + s[user] ** 2 * variance[film]) / s2 + 20) / (n_member + 20)
        v *= (1 / v)[user].mean()
    return Circle(
        mean=float(C),
        prior_weight=float(m),
        estimate=dict(zip(films, theta.tolist(), strict=True)),
        sd=dict(zip(films, np.sqrt(variance).tolist(), strict=True)),
    )


def minimum_raters(members: int) -> int:
    """How many must have rated a film for it to be ranked."""
    return min(max(math.ceil(members / 5), 2), 8)


def rank(
    ratings: Ratings,
    strategy: str,
    titles: Mapping[int, tuple[str, int | None]],
    film_ids: Mapping[int, int],
) -> list[RankedFilm]:
    """The whole ranking by `almanac` or `bayesian`: ranked films by rank, then the others.

    `film_ids` gives the warehouse's ids, the last word where score, raters and title are equal.
    """
    circle, films = fit(ratings), by_film(ratings)
    needed = minimum_raters(len(ratings))
    scores = {}
    for film, stars in films.items():
        if strategy == "almanac":
            scores[film] = circle.estimate[film] - NINETY_PERCENT * circle.sd[film]
        else:
            m = circle.prior_weight
            scores[film] = (sum(stars) + m * circle.mean) / (len(stars) + m)
    eligible = [film for film, stars in films.items() if len(stars) >= needed]
    eligible.sort(key=lambda f: (-round(scores[f], 9), -len(films[f]), titles[f][0], film_ids[f]))
    ranks = {film: place for place, film in enumerate(eligible, start=1)}
    ordered = eligible + sorted(set(films) - set(eligible))
    return [
        RankedFilm(
            film=film,
            score=scores[film],
            raters=len(films[film]),
            rank=ranks.get(film),
        )
        for film in ordered
    ]


def tiers(estimates: Sequence[float], sds: Sequence[float]) -> list[int]:
    """The tier of each film, best first, from what it is estimated to be worth."""
    found: list[int] = []
    first = 0
    for place, (estimate, sd) in enumerate(zip(estimates, sds, strict=True)):
        gap = estimate - estimates[first]
        better = 0.5 * math.erfc(-gap / math.hypot(sd, sds[first]) / math.sqrt(2))
        if place == 0 or better < TIER_PROBABILITY:
            first = place
            found.append(len(set(found)) + 1)
        else:
            found.append(found[-1])
    return found


def rank_intervals(scores: Sequence[float], sds: Sequence[float], seed: int) -> list[tuple[float, float]]:
    """5 % and 95 % of each film's place over draws of what its score may truly be (docs/decisions/0008)."""
    drawn = np.random.default_rng(seed).normal(scores, sds, size=(DRAWS, len(scores)))
    places = (-drawn).argsort(axis=1).argsort(axis=1) + 1
    low, high = np.quantile(places, [0.05, 0.95], axis=0)
    return list(zip(low.tolist(), high.tolist(), strict=True))
