"""Makes a world of a folder in MovieLens format: ratings.csv, movies.csv, links.csv.

Person N becomes member `ml-N`, film M has the uid `film:M` and its real title, year and ids. What
MovieLens does not know (directors, likes, favourites, lists) stays empty. The global counts of a film
are those of everybody in ratings.csv, whoever is in the cohort.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from almanac_pipeline.errors import ConfigurationError
from almanac_pipeline.sandbox.options import MovieLensWorld
from almanac_pipeline.sandbox.world import (
    MEMBER_NUMBERS,
    Film,
    Member,
    Opinion,
    World,
    claim_slug,
    index_films,
)

SEED_MEMBER = "ml-circle"
DAY = 86_400
_TITLE_WITH_YEAR = re.compile(r"^(.*\S)\s*\((\d{4})\)\s*$")


def load(choice: MovieLensWorld) -> World:
    """Read a MovieLens folder.

    Raises:
        ConfigurationError: a file is missing, or a person asked for has no ratings.
    """
    folder = Path(choice.folder)
    for name in ("ratings.csv", "movies.csv", "links.csv"):
        if not (folder / name).is_file():
            raise ConfigurationError(f"{folder} is no MovieLens folder: {name} is missing")
    table = np.loadtxt(folder / "ratings.csv", delimiter=",", skiprows=1, ndmin=2)
    people, movies, times = (table[:, column].astype(np.int64) for column in (0, 1, 3))
    half_stars = np.rint(table[:, 2] * 2).astype(np.int64)

    chosen = _choose(np.unique(people).tolist(), choice.members, choice.member_ids)
    joined = {person: int(times[people == person].min()) for person in chosen}
    now = int(times.max()) + DAY if choice.until is None else choice.until
    happened = times <= now
    people, movies, times, half_stars = (column[happened] for column in (people, movies, times, half_stars))
    films = _films(folder, movies, half_stars)
    members = {}
    for person in chosen:
        rows = np.flatnonzero(people == person)
        member = Member(
            number=MEMBER_NUMBERS + person,
            username=f"ml-{person}",
            display_name=f"ml-{person}",
            joined_at=joined[person],
        )
        for row in rows:
            at = int(times[row])
            member.opinions[int(movies[row])] = Opinion(int(half_stars[row]), at, None, at)
        members[member.key] = member
    circle = Member(MEMBER_NUMBERS, SEED_MEMBER, SEED_MEMBER, min(joined.values()))
    # Following pages show the newest first; later ids were followed earlier, so that the lowest id leads.
    circle.following = {f"ml-{person}": now - DAY - place for place, person in enumerate(chosen)}
    members[circle.key] = circle
    return World(SEED_MEMBER, now, index_films(films), members)


def _choose(known: list[int], count: int, exact: Sequence[int]) -> list[int]:
    if not exact:
        return known[:count]
    unknown = sorted(set(exact) - set(known))
    if unknown:
        raise ConfigurationError(
            f"no ratings of person {', '.join(map(str, unknown))} in this MovieLens folder"
        )
    return sorted(set(exact))


def _films(
    folder: Path, movies: np.typing.NDArray[np.int64], half_stars: np.typing.NDArray[np.int64]
) -> list[Film]:
    numbers, places = np.unique(movies, return_inverse=True)
    counts = np.zeros((len(numbers), 10), dtype=np.int64)
    np.add.at(counts, (places, half_stars - 1), 1)
    counted = {
        int(number): [int(count) for count in row] for number, row in zip(numbers, counts, strict=True)
    }
    by_ratings = sorted(counted, key=lambda number: (-sum(counted[number]), number))
    popularity = {number: place for place, number in enumerate(by_ratings)}

    with (folder / "links.csv").open(encoding="utf-8", newline="") as file:
        links = {int(row["movieId"]): row for row in csv.DictReader(file)}
    with (folder / "movies.csv").open(encoding="utf-8", newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: int(row["movieId"]))
    taken: set[str] = set()
    films = []
    for row in rows:
        number = int(row["movieId"])
        matched = _TITLE_WITH_YEAR.match(row["title"])
        title, year = (matched[1], int(matched[2])) if matched else (row["title"].strip(), None)
        link = links.get(number, {})
        genres = tuple(genre for genre in row["genres"].split("|") if genre != "(no genres listed)")
        films.append(
            Film(
                number=number,
                slug=claim_slug(taken, title, year),
                title=title,
                year=year,
                tmdb_id=int(link["tmdbId"]) if link.get("tmdbId") else None,
                imdb_id=f"tt{link['imdbId'].zfill(7)}" if link.get("imdbId") else None,
                popularity=popularity.get(number, len(popularity) + number),
                runtime_minutes=75 + number * 37 % 90,
                genres=genres,
                counts=counted.get(number) or [0] * 10,
            )
        )
    return films
