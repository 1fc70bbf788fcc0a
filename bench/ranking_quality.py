"""How well each strategy, as it stands in the marts, foretells ratings that were held back.

Random MovieLens circles give a quarter of their ratings away; the rest goes through the real path, dbt,
numpy, dbt, each circle a cohort of one database. Then, per strategy and size of circle:

* weighted Spearman (x 100): correlation of the places by score with those by the mean of the held-out
  stars, over all films that have both, each film weighing as many as it has held-out ratings;
* pairwise accuracy (x 100): of two films that one member held back with different stars, how often the
  better one has the better score; a tie is half right;
* places inside (x 100): of the top 25, those inside their own rank interval.

The methods page gives figures of "weighted Spearman" without saying how they were weighed. Of four readings
(held-out stars or what they are above the member's mean, places plain or weighted) this one came closest to
them, so that a likeness of level says little; differences between strategies say more.

A +- is the standard error over circles. Two sets: circles with all of their films, and circles with the
films that a sample of real Letterboxd histograms knows, for `forecast` and `discovery`: without Letterboxd
the crowd is everybody in the database, and a person in two circles tells there what they held back here.
MovieLens knows no likes: they are invented, so `engagement` and `loved` show only that their intervals hold.

python -m bench.ranking_quality [--circles 1.0]
"""

from __future__ import annotations

import argparse
import csv
import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray
from scipy.stats import rankdata

from bench.marts import HISTOGRAM, add_cohort, build, copy_rows, mean_and_error, settle, warehouse
from bench.stand_in import MOVIELENS

CIRCLES = {5: 60, 10: 50, 20: 30, 40: 16, 80: 8, 300: 4}
"""How many circles of each size, per set."""
HELD_OUT_SHARE = 0.25
TOP = 25
OF_THE_CROWD = ("forecast", "discovery")
SEED = 5
LIKE_CHANCES = {10: 0.8, 9: 0.55, 8: 0.2}
"""Chance of a like by half-stars, as the generated world of the sandbox has it; below, 0.02."""
# Weighted Spearman x 100 by size of circle, as the methods page states it.
STATED = {
    "almanac": (18.9, 21.2, 27.2, 35.6, 43.9, 62.4),
    "bayesian": (17.7, 21.1, 25.4, 33.7, 41.7, 60.9),
    "wilson": (16.1, 19.9, 25.0, 32.6, 39.3, 54.7),
    "forecast": (35.9, 37.1, 39.2, 44.1, 49.6, 65.0),
}
FILM_LEVEL = MOVIELENS.parent / "film-level"

Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]


@dataclass(frozen=True)
class Ratings:
    """Columns of ratings.csv."""

    user: Integers
    movie: Integers
    half_stars: Integers
    at: Integers
    """Seconds since 1970, UTC."""


@dataclass(frozen=True)
class Circle:
    """A cohort and what it does not tell."""

    slug: str
    size: int
    user_ids: dict[int, int]
    """By MovieLens' number."""
    told: Integers
    """Which ratings go into the database."""
    held_out: Integers


def run(share: float = 1.0) -> dict[str, Any]:
    """Per set of films, strategy and size of circle: means and standard errors over circles."""
    ratings, histograms = _read(MOVIELENS / "ratings.csv"), _histograms()
    everything = np.ones(ratings.user.size, dtype=bool)
    counts = {size: max(2, round(count * share)) for size, count in CIRCLES.items()}
    return {
        "circles": counts,
        "stated_weighted_spearman": STATED,
        "all_films": _measure(ratings, everything, counts, {}),
        "films_letterboxd_knows": _measure(
            ratings, np.isin(ratings.movie, list(histograms)), counts, histograms
        ),
    }


def _read(path: Path) -> Ratings:
    table = np.loadtxt(path, delimiter=",", skiprows=1)
    user, movie, half_stars, at = (
        np.rint(table[:, c] * f).astype(np.int64) for c, f in enumerate((1, 1, 2, 1))
    )
    return Ratings(user, movie, half_stars, at)


def _histograms() -> dict[int, list[int]]:
    """{MovieLens' number: counts per half-star}, where both agree on the TMDB id."""
    with (MOVIELENS / "links.csv").open(newline="") as file:
        tmdb = {int(row["movieId"]): row["tmdbId"] for row in csv.DictReader(file)}
    with (FILM_LEVEL / "slug_tmdb_movielens_candidates.csv").open(newline="") as file:
        movies = {
            row["slug"]: int(row["movielens_id"])
            for row in csv.DictReader(file)
            if row["movielens_id"] and tmdb.get(int(row["movielens_id"])) == row["tmdb_id"]
        }
    with (FILM_LEVEL / "sample_histograms.csv").open(newline="") as file:
        return {
            movies[row["slug"]]: [int(row[f"n_{half / 2}"]) for half in range(1, 11)]
            for row in csv.DictReader(file)
            if row["slug"] in movies
        }


def _measure(
    ratings: Ratings, usable: Booleans, counts: dict[int, int], histograms: dict[int, list[int]]
) -> dict[str, Any]:
    with warehouse() as (url, settings):
        with psycopg.connect(url) as connection:
            circles = list(_load(connection, ratings, usable, counts, histograms))
            settle(connection)
        seconds = build(url, settings, [circle.slug for circle in circles])
        found: dict[str, dict[str, dict[int, list[float]]]] = defaultdict(lambda: defaultdict(dict))
        with psycopg.connect(url) as connection:
            for circle in circles:
                marks_by_strategy = _marks(connection, ratings, circle)
                if not histograms:
                    marks_by_strategy = {k: v for k, v in marks_by_strategy.items() if k not in OF_THE_CROWD}
                for strategy, marks in marks_by_strategy.items():
                    for mark, value in marks.items():
                        found[strategy][mark].setdefault(circle.size, []).append(100 * value)
    return {
        "build_seconds": {stage: round(value, 1) for stage, value in seconds.items()},
        **{
            strategy: {
                mark: {size: mean_and_error(values) for size, values in by_size.items()}
                for mark, by_size in marks.items()
            }
            for strategy, marks in found.items()
        },
    }


def _load(
    connection: psycopg.Connection,
    ratings: Ratings,
    usable: Booleans,
    counts: dict[int, int],
    histograms: dict[int, list[int]],
) -> Iterator[Circle]:
    """Put circles into the raw tables; a person in two circles is two members, who say different things."""
    generator = np.random.default_rng(SEED)
    movies = np.unique(ratings.movie)
    copy_rows(
        connection,
        "raw.films",
        ("uid", "slug", "title"),
        ((f"film:{movie}", f"film-{movie}", f"Film {movie}") for movie in movies.tolist()),
    )
    films: dict[int, int] = dict(
        connection.execute("select substring(uid from 6)::bigint, film_id from raw.films").fetchall()
    )
    copy_rows(
        connection,
        "raw.film_histograms",
        ("film_id", "source", *HISTOGRAM),
        ((films[movie], "letterboxd", *row) for movie, row in histograms.items() if movie in films),
    )
    people = np.unique(ratings.user[usable])
    for size, count in counts.items():
        for number in range(count):
            slug = f"circle-{size}-{number}"
            chosen = generator.choice(people, size, replace=False)
            copy_rows(connection, "raw.users", ("username",), ((f"{slug}-{n}",) for n in chosen.tolist()))
            known = connection.execute(
                "select substring(username from '[0-9]+$')::bigint, user_id from raw.users"
                " where username like %s",
                [f"{slug}-%"],
            )
            user_ids: dict[int, int] = dict(known.fetchall())
            add_cohort(connection, slug, user_ids.values())
            said = generator.permutation(np.flatnonzero(usable & np.isin(ratings.user, chosen)))
            held_out, told = np.split(said, [round(HELD_OUT_SHARE * said.size)])
            copy_rows(
                connection,
                "raw.ratings",
                ("user_id", "film_id", "rating", "liked", "rated_at", "rated_at_source", "source"),
                _rows(ratings, told, user_ids, films, generator.random(told.size)),
            )
            yield Circle(slug, size, user_ids, told, held_out)


def _rows(
    ratings: Ratings, told: Integers, user_ids: dict[int, int], films: dict[int, int], chances: Any
) -> Iterator[tuple[Any, ...]]:
    for row, chance in zip(told.tolist(), chances.tolist(), strict=True):
        half_stars = int(ratings.half_stars[row])
        yield (
            user_ids[int(ratings.user[row])],
            films[int(ratings.movie[row])],
            half_stars / 2,
            chance < LIKE_CHANCES.get(half_stars, 0.02),
            datetime.fromtimestamp(int(ratings.at[row]), UTC),
            "observed",
            "pages",
        )


def _marks(connection: psycopg.Connection, ratings: Ratings, circle: Circle) -> dict[str, dict[str, float]]:
    """{strategy: {mark: share}} of one circle, by what is in film_rankings."""
    by_strategy: dict[str, list[tuple[int, float, int | None, int, int]]] = defaultdict(list)
    for strategy, *row in connection.execute(
        """
        select strategy, substring(uid from 6)::bigint, score, rank, rank_low, rank_high
        from almanac.film_rankings join raw.films using (film_id) where cohort = %s
        """,
        [circle.slug],
    ):
        by_strategy[strategy].append(tuple(row))
    user, movie, half_stars = (
        column[circle.held_out] for column in (ratings.user, ratings.movie, ratings.half_stars)
    )
    marks = {}
    for strategy, rows in sorted(by_strategy.items()):
        score = {row[0]: row[1] for row in rows}
        both = np.isin(movie, list(score))
        scores = np.array([score[i] for i in movie[both].tolist()])
        places = [(low, rank, high) for _, _, rank, low, high in rows if rank is not None and rank <= TOP]
        marks[strategy] = {
            "weighted_spearman": weighted_spearman(movie[both], scores, half_stars[both]),
            "pairwise_accuracy": pairwise_accuracy(user[both], scores, half_stars[both]),
            "places_inside": float(np.mean([low <= rank <= high for low, rank, high in places]))
            if places
            else np.nan,
        }
    return marks


def weighted_spearman(film: Integers, score: NDArray[np.float64], half_stars: Integers) -> float:
    """Over films: places by score against places by mean held-out stars; weight: held-out ratings."""
    if film.size == 0:
        return np.nan
    _, first, place, weight = np.unique(film, return_index=True, return_inverse=True, return_counts=True)
    ours = rankdata(score[first])
    theirs = rankdata(np.bincount(place, weights=half_stars) / weight)
    ours, theirs = ours - np.average(ours, weights=weight), theirs - np.average(theirs, weights=weight)
    scale = np.sqrt(np.sum(weight * ours**2) * np.sum(weight * theirs**2))
    return float(np.sum(weight * ours * theirs) / scale) if scale > 0 else np.nan


def pairwise_accuracy(user: Integers, score: NDArray[np.float64], half_stars: Integers) -> float:
    """Over pairs of one member's held-out ratings with different stars: share that is ordered rightly."""
    right, pairs = 0.0, 0
    for one in np.unique(user):
        own, stars = score[user == one], half_stars[user == one]
        better = stars[:, None] > stars[None, :]
        right += (
            np.sum(better & (own[:, None] > own[None, :]))
            + np.sum(better & (own[:, None] == own[None, :])) / 2
        )
        pairs += int(better.sum())
    return right / pairs if pairs else np.nan


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="How well the strategies foretell held-out ratings.")
    parser.add_argument("--circles", type=float, default=1.0, help="share of the circles")
    print(json.dumps(run(parser.parse_args().circles), indent=2))
