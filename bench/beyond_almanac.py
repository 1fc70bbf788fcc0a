"""Do hearts, favourites and diaries make the ranking of a circle better? On worlds that know the truth.

The truth of a film is how much the whole circle, those who have not seen it too, would like it before chance.
Each way of counting more than stars changes what the circle model is given, never the model; it is compared
with `almanac` on the very same worlds: Spearman x 100 with the truth over all rated films and over those with
a place, and how many of the true best 25 of those are among the first 25. A +- is the standard error over
worlds of the difference.

Twice: with the hearts of the generated world, which follow from the stars alone, and with hearts that know
more than stars (a member's camp likes the film), to see whether the ways would find anything.

python -m bench.beyond_almanac
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr
from scipy.stats import spearmanr

from almanac_pipeline.sandbox.generate import CAMPS, FILM_NUMBERS, generate, true_liking
from almanac_pipeline.sandbox.options import GeneratedWorld
from almanac_pipeline.statistics.circle import fit_circle
from almanac_pipeline.statistics.ranking import bound, default_min_raters
from bench.marts import mean_and_error

SIZES = (10, 40, 100)
WORLDS = 12
FILMS, RATINGS = 1_500, 120
TOP = 25

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]


@dataclass(frozen=True)
class Said:
    """All that members said of films, one entry per member and film."""

    member: Integers
    film: Integers
    stars: Floats
    """NaN: seen, not rated."""
    liked: Booleans
    favorite: Booleans
    diary: Floats
    """Mean stars of the evenings on which it was seen; NaN: none."""
    rewatched: Booleans


Way = Callable[[Said], Floats]
"""The stars that each entry counts as; NaN: not at all."""


def run() -> dict[str, Any]:
    """Per kind of hearts, size of circle and way: `almanac`, and the difference that the way makes."""
    return {
        hearts: {size: _measure(size, hearts) for size in SIZES}
        for hearts in ("of_the_stars", "that_know_more")
    }


def _measure(size: int, hearts: str) -> dict[str, Any]:
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for seed in range(WORLDS):
        said, truth = _world(GeneratedWorld(seed, size, FILMS, RATINGS), hearts)
        stars_only = _marks(said, said.stars, truth, size)
        for mark, value in stars_only.items():
            found["almanac"][mark].append(value)
        for name, way in WAYS.items():
            for mark, value in _marks(said, way(said), truth, size).items():
                found[name][mark].append(value - stars_only[mark])
    return {
        name: {mark: mean_and_error(each) for mark, each in marks.items()} for name, marks in found.items()
    }


def _world(size: GeneratedWorld, hearts: str) -> tuple[Said, Floats]:
    """What the followed members of a generated world said, and per film what they would all say of it."""
    world, liking = generate(size), true_liking(size)
    rows = []
    for place, person in enumerate(list(world.members.values())[1 : size.members + 1], 1):
        evenings = defaultdict(list)
        for viewing in person.diary:
            if viewing.rating is not None:
                evenings[viewing.film].append(viewing.rating / 2)
        again = {viewing.film for viewing in person.diary if viewing.rewatch}
        for number, opinion in person.opinions.items():
            rows.append(
                (
                    place,
                    number - FILM_NUMBERS - 1,
                    opinion.rating / 2 if opinion.rating else np.nan,
                    opinion.liked_at is not None,
                    number in person.favorites,
                    np.mean(evenings[number]) if number in evenings else np.nan,
                    number in again,
                )
            )
    member, film, stars, liked, favorite, diary, rewatched = (
        np.array(column) for column in zip(*rows, strict=True)
    )
    said = Said(member, film, stars, liked, favorite, diary, rewatched)
    if hearts == "that_know_more":
        dice = np.random.default_rng(size.seed)
        felt = np.where(np.isnan(stars), 3.4, stars) - 4 + 2 * (liking[film, member % CAMPS] - 0.4)
        said = replace(said, liked=dice.random(film.size) < ndtr(felt / 0.7))
    camps = np.bincount(np.arange(1, size.members + 1) % CAMPS, minlength=CAMPS) / size.members
    return said, liking @ camps


def _marks(said: Said, counted: Floats, truth: Floats, size: int) -> dict[str, float]:
    """How well the order by `counted` stars follows the truth, over the films that have stars anyway."""
    given = ~np.isnan(counted)
    _, member = np.unique(said.member[given], return_inverse=True)
    films, film = np.unique(said.film[given], return_inverse=True)
    circle = fit_circle(member, film, counted[given])
    score = dict(zip(films.tolist(), bound(circle.estimate, circle.sd).tolist(), strict=True))
    rated, raters = np.unique(said.film[~np.isnan(said.stars)], return_counts=True)
    ours = np.array([score[number] for number in rated.tolist()])
    placed = raters >= default_min_raters(size)
    best, found = (set(np.argsort(-values[placed])[:TOP].tolist()) for values in (truth[rated], ours))
    return {
        "rated_films": 100 * float(spearmanr(ours, truth[rated]).statistic),
        "placed_films": 100 * float(spearmanr(ours[placed], truth[rated][placed]).statistic),
        "of_the_best_25": float(len(best & found)),
    }


def _plus(stars: float, which: str) -> Way:
    """The entry's stars, more by so many where it is liked, favourite or seen again."""
    return lambda said: said.stars + stars * getattr(said, which)


def _hearts_without_stars(said: Said) -> Floats:
    """A heart without stars counts as the member's own mean of what they liked and rated."""
    result = said.stars.copy()
    for member in np.unique(said.member):
        own = said.member == member
        rated = own & said.liked & ~np.isnan(said.stars)
        if rated.any():
            result[own & said.liked & np.isnan(said.stars)] = said.stars[rated].mean()
    return result


WAYS: dict[str, Way] = {
    "heart +0.25": _plus(0.25, "liked"),
    "heart +0.5": _plus(0.5, "liked"),
    "heart +1.0": _plus(1.0, "liked"),
    "favourite +0.5": _plus(0.5, "favorite"),
    "seen again +0.5": _plus(0.5, "rewatched"),
    "hearts without stars": _hearts_without_stars,
    "mean of opinion and evenings": lambda said: np.where(
        np.isnan(said.diary), said.stars, (said.stars + said.diary) / 2
    ),
}


if __name__ == "__main__":
    print(json.dumps(run(), indent=2))
