"""Precision and recall of finding films at TMDB by title and year, against an index of our own.

python -m bench.match_titles            the titles of the shared data, spelt in many ways, and the traps
python -m bench.match_titles FILE.csv   other films: columns title, year, tmdb_id, perhaps original_title

The index is the sandbox's TMDB over all films of the file, with what a real index has besides:
namesakes of other years, of the next year and of the same, series of the same name, "the making of".
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from almanac_pipeline.sandbox.options import SandboxOptions
from almanac_pipeline.sandbox.tmdb import Tmdb
from almanac_pipeline.sandbox.world import Film, MediaType, World
from almanac_pipeline.tmdb.matching import THRESHOLD, Match, Question, Wanted, match
from almanac_pipeline.tmdb.titles import TitleSummaries, parse_further_titles, parse_search

SHARED = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
PAIRS = SHARED / "film-level" / "slug_tmdb_movielens_candidates.csv"
THRESHOLDS = (0.6, 0.7, 0.8, 0.85, THRESHOLD, 0.9, 0.93, 0.95, 1.0)
SEED = 20
# Of each variant, for the curve over thresholds.
POOLED_CASES = 150

Key = tuple[MediaType, int]


@dataclass(frozen=True)
class Pair:
    """A film as the pairs name it."""

    title: str
    year: int | None
    tmdb_id: int
    movielens_id: str | None = None
    original_title: str | None = None


@dataclass(frozen=True)
class Case:
    """What is looked for, and what should be found; None: nothing may be taken."""

    wanted: Wanted
    expected: Key | None


class Index:
    """The sandbox's TMDB, asked without HTTP."""

    def __init__(self, films: Iterable[Film]) -> None:
        numbered = {film.number: film for film in films}
        self._tmdb = Tmdb(World("nobody", 0, numbered, {}), SandboxOptions())

    def search(self, question: Question) -> TitleSummaries:
        query = {"query": question.text}
        if question.year is not None:
            query["year"] = str(question.year)
        return parse_search(self._ask(f"search/{question.media_type}", query), question.media_type)

    def further_titles(self, media_type: MediaType, tmdb_id: int) -> tuple[str, ...]:
        return parse_further_titles(self._ask(f"{media_type}/{tmdb_id}/alternative_titles", {}))

    def _ask(self, path: str, query: dict[str, str]) -> str:
        return self._tmdb.answer(path, query, {"authorization": "Bearer bench"}, 1).body.decode()


def run(pairs_file: Path = PAIRS) -> dict[str, Any]:
    """Every set of cases: counts, precision, recall, requests per film; the traps one by one."""
    pairs = read_pairs(pairs_file)
    films = [film(pair.title, pair.year, pair.tmdb_id, pair.original_title) for pair in pairs]
    plain, noisy = Index(films), Index([*films, *noise(pairs)])
    cases, spelt = as_given(pairs), variants(pairs)
    absent = absent_cases(pairs)
    pooled = [case for found in spelt.values() for case in found[:: max(1, len(found) // POOLED_CASES)]]
    return {
        "films": len(pairs),
        "as_given": measure(plain, cases),
        "as_given_among_namesakes": measure(noisy, cases),
        "threshold": THRESHOLD,
        "thresholds_over_all_variants_and_absent_films": {
            f"{threshold:.2f}": measure(noisy, [*pooled, *absent], threshold) for threshold in THRESHOLDS
        },
        "invented_titles": measure(noisy, absent),
        "absent_films": measure_absent(pairs),
        "variants_among_namesakes": {name: measure(noisy, found) for name, found in spelt.items()},
        "year_missing_without_namesakes": measure(plain, spelt["year_missing"]),
        "traps": traps(),
    }


def read_pairs(file: Path) -> list[Pair]:
    """The films of a CSV file; original titles from MovieLens where it has them in brackets."""
    with file.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    movielens = movielens_titles()
    pairs = []
    for row in rows:
        number = row.get("movielens_id")
        bracket = re.search(r"\(([^()]+)\)$", movielens.get(number or "", ("", None))[0])
        original = row.get("original_title") or (bracket[1] if bracket else None)
        if original and original.lower().startswith("a.k.a"):
            original = None
        year = int(float(row["year"])) if row["year"] else None
        pairs.append(
            Pair(row["title"], year, int(row["tmdb_id"]), number, original and article_first(original))
        )
    return pairs


def movielens_titles() -> dict[str, tuple[str, int | None]]:
    """Title and year of MovieLens' films by its id; empty without the data."""
    file = SHARED / "ml-latest-small" / "movies.csv"
    if not file.is_file():
        return {}
    with file.open(encoding="utf-8", newline="") as lines:
        found: dict[str, tuple[str, int | None]] = {}
        for row in csv.DictReader(lines):
            parts = re.match(r"^(.*\S)\s*\((\d{4})\)\s*$", row["title"])
            found[row["movieId"]] = (parts[1], int(parts[2])) if parts else (row["title"].strip(), None)
    return found


def article_first(title: str) -> str:
    """ "Matrix, The" as "The Matrix"."""
    return re.sub(r"^(.+), (\w+|L')$", lambda found: f"{found[2]} {found[1]}".replace("' ", "'"), title)


def film(
    title: str,
    year: int | None,
    tmdb_id: int,
    original_title: str | None = None,
    *,
    media_type: MediaType = "movie",
    votes: int | None = None,
    other_titles: tuple[str, ...] = (),
) -> Film:
    """A title of the index. Its votes follow from its id: from 1 to 20,000, most of them few."""
    if votes is None:
        votes = int(10 ** random.Random(tmdb_id).uniform(0, 4.3))
    return Film(
        number=tmdb_id + (1_000_000_000 if media_type == "tv" else 0),
        slug=f"{media_type}-{tmdb_id}",
        title=title,
        year=year,
        tmdb_id=tmdb_id,
        imdb_id=None,
        popularity=100_000 - votes,
        media_type=media_type,
        original_title=original_title,
        other_titles=other_titles,
        counts=[0] * 9 + [50 * votes],
    )


def noise(pairs: Sequence[Pair]) -> list[Film]:
    """Titles that nobody looks for: of a quarter of the films some namesakes, of others worse."""
    chance = random.Random(SEED)
    films: list[Film] = []

    def add(title: str, year: int, media_type: MediaType = "movie", most_votes: float = 3.0) -> None:
        votes = int(10 ** chance.uniform(0, most_votes)) - 1
        films.append(film(title, year, 10_000_000 + len(films), media_type=media_type, votes=votes))

    for pair in pairs:
        year = pair.year or 2000
        if chance.random() < 0.25:
            for _ in range(chance.randint(1, 3)):
                other = chance.choice([y for y in range(1920, 2026) if abs(y - year) > 1])
                add(pair.title, other, most_votes=4)
        if chance.random() < 0.03:
            add(pair.title, year + chance.choice((-1, 1)))
        if chance.random() < 0.005:
            add(pair.title, year)
        if chance.random() < 0.1:
            add(pair.title, chance.choice((year, year, year + 1, 2010)), "tv", most_votes=4)
        if chance.random() < 0.03:
            add(f"The Making of {pair.title}", year, most_votes=1.3)
            add(f"{pair.title}: Behind the Scenes", year, most_votes=1.3)
    return films


def as_given(pairs: Sequence[Pair]) -> list[Case]:
    """Every film under the title and year of the file."""
    return [Case(Wanted(pair.title, pair.year), ("movie", pair.tmdb_id)) for pair in pairs]


def absent_cases(pairs: Sequence[Pair]) -> list[Case]:
    """Titles made of two films': nothing in the index is meant."""
    chance = random.Random(SEED)
    cases = []
    for pair in pairs[::20]:
        other = chance.choice(pairs)
        words = [*pair.title.split()[:2], *other.title.split()[-1:]]
        if (title := " ".join(words)) not in (pair.title, other.title):
            cases.append(Case(Wanted(title, pair.year), None))
    return cases


def measure_absent(pairs: Sequence[Pair]) -> dict[str, Any]:
    """A tenth of the films, looked for in an index that has all but them, namesakes and all."""
    gone = pairs[::10]
    missing = {pair.tmdb_id for pair in gone}
    left = [pair for pair in pairs if pair.tmdb_id not in missing]
    others = [other for other in noise(pairs) if other.media_type == "tv" or _is_far(other, gone)]
    films = [film(pair.title, pair.year, pair.tmdb_id, pair.original_title) for pair in left]
    return measure(Index([*films, *others]), [Case(Wanted(pair.title, pair.year), None) for pair in gone])


def _is_far(other: Film, gone: Sequence[Pair]) -> bool:
    """Whether a namesake is of another time: one of the same or next year would be taken by anybody."""
    years = {(pair.title, (pair.year or 0) + off) for pair in gone for off in (-1, 0, 1)}
    return (other.title, other.year) not in years


def variants(pairs: Sequence[Pair]) -> dict[str, list[Case]]:
    """The same films as other sources spell them. Only titles that a rule changes are in its set."""

    def spelt(change: Callable[[str], str]) -> list[Case]:
        return [
            Case(Wanted(changed, pair.year), ("movie", pair.tmdb_id))
            for pair in pairs
            if (changed := change(pair.title)) != pair.title and changed.strip()
        ]

    def years(off: int | None, step: int) -> list[Case]:
        return [
            Case(
                Wanted(pair.title, None if off is None else (pair.year or 2000) + off),
                ("movie", pair.tmdb_id),
            )
            for pair in pairs[::step]
        ]

    movielens = movielens_titles()
    return {
        "movielens": [
            Case(Wanted(*movielens[pair.movielens_id]), ("movie", pair.tmdb_id))
            for pair in pairs
            if pair.movielens_id in movielens
        ],
        "original_titles": [
            Case(Wanted(pair.original_title, pair.year), ("movie", pair.tmdb_id))
            for pair in pairs
            if pair.original_title
        ],
        "without_accents": spelt(without_accents),
        "without_punctuation": spelt(without_punctuation),
        "foreign_or_punctuated": [
            Case(Wanted(pair.title, pair.year), ("movie", pair.tmdb_id))
            for pair in pairs
            if not pair.title.isascii() or len(re.findall(r"[^\w\s]", pair.title)) > 1
        ],
        "and_for_ampersand": spelt(lambda title: title.replace("&", "and")),
        "ampersand_for_and": spelt(lambda title: re.sub(r"\band\b", "&", title)),
        "roman_for_arabic": spelt(partial(re.sub, r"\b[2-9]\b", lambda found: ROMAN[int(found[0])])),
        "arabic_for_roman": spelt(
            partial(re.sub, r"\b(?:II|III|IV|VI|VII|VIII)\b", lambda found: ARABIC[found[0]])
        ),
        "article_behind": spelt(partial(re.sub, r"^(The|A|An) (.+)$", r"\2, \1")),
        "article_dropped": spelt(partial(re.sub, r"^(The|A|An) ", "")),
        "upper_case": [
            Case(Wanted(pair.title.upper(), pair.year), ("movie", pair.tmdb_id)) for pair in pairs[::10]
        ],
        "year_before": years(-1, 5),
        "year_after": years(1, 5),
        "year_missing": years(None, 5),
    }


ROMAN = dict(enumerate(("II", "III", "IV", "V", "VI", "VII", "VIII", "IX"), 2))
ARABIC = {roman: str(number) for number, roman in ROMAN.items()}


def without_accents(title: str) -> str:
    """A title as those type it who have no accents."""
    decomposed = unicodedata.normalize("NFD", title)
    return "".join(letter for letter in decomposed if not unicodedata.combining(letter))


def without_punctuation(title: str) -> str:
    """A title with letters, digits and single blanks only."""
    return " ".join(re.sub(r"[^\w\s]", " ", re.sub("['’.]", "", title)).split())


def measure(index: Index, cases: Sequence[Case], threshold: float = THRESHOLD) -> dict[str, Any]:
    """Of these cases: how many were taken rightly, wrongly, queued with and without the right one."""
    right = wrong = queued = queued_with_it = requests = 0
    examples: list[str] = []
    for case in cases:
        found = match(case.wanted, index, threshold=threshold)
        requests += found.questions_count
        taken = _key(found)
        if taken is not None and taken == case.expected:
            right += 1
            continue
        if taken is not None:
            wrong += 1
            examples.append(f"{case.wanted.title} ({case.wanted.release_year}) → {_named(found)}")
        elif found.candidates:
            queued += 1
            keys = [(c.title.media_type, c.title.tmdb_id) for c in found.candidates]
            queued_with_it += case.expected in keys
    meant = sum(case.expected is not None for case in cases)
    return {
        "cases": len(cases),
        "right": right,
        "wrong": wrong,
        "queued": queued,
        "queued_with_the_right_one": queued_with_it,
        "precision": round(right / (right + wrong), 5) if right + wrong else None,
        "recall": round(right / meant, 5) if meant else None,
        "requests_per_film": round(requests / len(cases), 2) if cases else None,
        "wrong_examples": examples[:5],
    }


def _key(found: Match) -> Key | None:
    return (found.taken.title.media_type, found.taken.title.tmdb_id) if found.taken else None


def _named(found: Match) -> str:
    assert found.taken is not None
    title = found.taken.title
    return f"{title.title} ({title.release_year}) {title.media_type}:{title.tmdb_id} {found.taken.score}"


def traps() -> dict[str, str]:
    """The known traps, each against a small index of its own: what should happen, and what did."""
    return {trap.name: spring(trap) for trap in TRAPS}


@dataclass(frozen=True)
class Trap:
    """A film that is looked for among few, and what should come of it; None: nothing may be taken."""

    name: str
    wanted: Wanted
    titles: list[Film]
    expected: Key | None


def spring(trap: Trap) -> str:
    """ "ok" or "WRONG", and what happened."""
    found = match(trap.wanted, Index(trap.titles))
    taken = _key(found)
    if taken is not None:
        happened = f"{taken[0]}:{taken[1]}"
    else:
        happened = "queued" if found.candidates else "nothing found"
    should = f"{trap.expected[0]}:{trap.expected[1]}" if trap.expected else "queued or nothing"
    return f"{'ok' if taken == trap.expected else 'WRONG'}: {happened}, should be {should}"


def only(wanted: str, found: str, expected: int | None = None) -> Trap:
    """A title for which there is only one other of its year; `expected` is 1 if that is the film."""
    verdict = "another title" if expected is None else "the same title"
    key: Key | None = None if expected is None else ("movie", expected)
    return Trap(
        f"{verdict}: {wanted} | {found}", Wanted(wanted, 2000), [film(found, 2000, 1, votes=500)], key
    )


def beside_series(name: str, year: int, movie: tuple[int, int], series: tuple[int, int]) -> Trap:
    """A series of a film's name, each with its year and votes: nothing may be taken."""
    return Trap(
        f"a series in the way: {name} {year}, film {movie[0]} {movie[1]} votes",
        Wanted(name, year),
        [
            film(name, movie[0], 1, votes=movie[1]),
            film(name, series[0], 2, media_type="tv", votes=series[1]),
        ],
        None,
    )


TRAPS = [
    Trap(
        "same title and year, both known: Aladdin 1992",
        Wanted("Aladdin", 1992),
        [film("Aladdin", 1992, 812, votes=11_500), film("Aladdin", 1992, 36_489, votes=40)],
        None,
    ),
    Trap(
        "same title and year, both little known: Ava 2017",
        Wanted("Ava", 2017),
        [film("Ava", 2017, 1, votes=150), film("Ava", 2017, 2, votes=60), film("Ava", 2020, 3, votes=3000)],
        None,
    ),
    Trap(
        "same title and year, foreign original: Black Rain 1989",
        Wanted("Black Rain", 1989),
        [film("Black Rain", 1989, 4105, votes=1200), film("Black Rain", 1989, 25_538, "黒い雨", votes=120)],
        None,
    ),
    Trap(
        "its original title tells them apart: 黒い雨 1989",
        Wanted("黒い雨", 1989),
        [film("Black Rain", 1989, 4105, votes=1200), film("Black Rain", 1989, 25_538, "黒い雨", votes=120)],
        ("movie", 25_538),
    ),
    Trap(
        "same title and year, one that nobody knows: Parasite 2019",
        Wanted("Parasite", 2019),
        [film("Parasite", 2019, 496_243, "기생충", votes=18_000), film("Parasite", 2019, 2, votes=2)],
        ("movie", 496_243),
    ),
    Trap(
        "a year off by one: Nomadland 2020",
        Wanted("Nomadland", 2020),
        [film("Nomadland", 2021, 581_734, votes=3000)],
        ("movie", 581_734),
    ),
    Trap(
        "off by one, and an obscure namesake of the very year",
        Wanted("Nomadland", 2020),
        [film("Nomadland", 2021, 581_734, votes=3000), film("Nomadland", 2020, 2, votes=0)],
        None,
    ),
    Trap(
        "off by one, and a namesake of the very year with 20 votes",
        Wanted("Nomadland", 2020),
        [film("Nomadland", 2021, 581_734, votes=3000), film("Nomadland", 2020, 2, votes=20)],
        None,
    ),
    Trap(
        "off by one, and a namesake of the very year with 300 votes",
        Wanted("Nomadland", 2020),
        [film("Nomadland", 2021, 581_734, votes=3000), film("Nomadland", 2020, 2, votes=300)],
        None,
    ),
    Trap(
        "a short film, and the feature of the next year made of it: Whiplash 2013",
        Wanted("Whiplash", 2013),
        [film("Whiplash", 2013, 1, votes=300), film("Whiplash", 2014, 244_786, votes=15_000)],
        None,
    ),
    Trap(
        "a short film and a feature of one year",
        Wanted("The Lighthouse", 2019),
        [film("The Lighthouse", 2019, 503_919, votes=5000), film("The Lighthouse", 2019, 2, votes=30)],
        None,
    ),
    Trap(
        "a remake a year later, the first far better known",
        Wanted("Quiet Harbour", 2001),
        [film("Quiet Harbour", 2000, 1, votes=5000), film("Quiet Harbour", 2001, 2, votes=400)],
        None,
    ),
    Trap(
        "two versions of one year that differ in an accent: Dracula 1931",
        Wanted("Dracula", 1931),
        [film("Dracula", 1931, 138, votes=1700), film("Drácula", 1931, 28_055, votes=130)],
        None,
    ),
    Trap(
        "a common name with more films than a page shows",
        Wanted("Home", 2008),
        [
            film("Home", 2008, 1, votes=10),
            *(film("Home", 1950 + number, 100 + number, votes=1000 + number) for number in range(40)),
        ],
        ("movie", 1),
    ),
    Trap(
        "a common name, off by one, the namesakes on no first page",
        Wanted("Home", 2008),
        [
            *(film("Home", year, year, votes=15) for year in (2008, 2009)),
            *(film("Home", 1950 + number, 100 + number, votes=1000 + number) for number in range(40)),
        ],
        None,
    ),
    Trap(
        "a series of the same name and year, and an obscure film: Chernobyl 2019",
        Wanted("Chernobyl", 2019),
        [film("Chernobyl", 2019, 87_108, media_type="tv", votes=6000), film("Chernobyl", 2019, 2, votes=30)],
        None,
    ),
    Trap(
        "the same without a year",
        Wanted("Chernobyl", None),
        [film("Chernobyl", 2019, 87_108, media_type="tv", votes=6000), film("Chernobyl", 2019, 2, votes=30)],
        None,
    ),
    beside_series("Chernobyl", 2019, (2020, 3000), (2019, 20_000)),
    beside_series("Fargo", 2014, (2014, 55), (2014, 19_000)),
    beside_series("Shogun", 2024, (2023, 51), (2024, 9000)),
    beside_series("Chernobyl", 2019, (2019, 60), (2019, 7000)),
    Trap(
        "an obscure film, and a well-known series of another time",
        Wanted("Fargo", 1952),
        [film("Fargo", 2014, 60_622, media_type="tv", votes=9000), film("Fargo", 1952, 1, votes=2)],
        ("movie", 1),
    ),
    Trap(
        "a series of the same name and year beside the film",
        Wanted("Fargo", 1996),
        [film("Fargo", 1996, 275, votes=8000), film("Fargo", 1996, 60_622, media_type="tv", votes=9000)],
        ("movie", 275),
    ),
    Trap(
        "only a series of that name and year",
        Wanted("Unbelievable", 2019),
        [film("Unbelievable", 2019, 91_275, media_type="tv", votes=900)],
        None,
    ),
    Trap(
        "no year, one film of that name",
        Wanted("Parasite Eve", None),
        [film("Parasite Eve", 1997, 46_415, votes=30), film("Parasite", 2019, 496_243, votes=18_000)],
        ("movie", 46_415),
    ),
    Trap(
        "no year, several of that name",
        Wanted("Titanic", None),
        [film("Titanic", 1997, 597, votes=25_000), film("Titanic", 1953, 16_535, votes=300)],
        None,
    ),
    Trap(
        "no year, several of that name, one that nobody knows",
        Wanted("Titanic", None),
        [film("Titanic", 1997, 597, votes=25_000), film("Titanic", 2013, 2, votes=1)],
        None,
    ),
    Trap(
        "parts of one work",
        Wanted("Kill Bill: Vol. 2", 2004),
        [film("Kill Bill: Vol. 1", 2003, 24, votes=17_000), film("Kill Bill: Volume 2", 2004, 393)],
        ("movie", 393),
    ),
    Trap(
        "only the other part is there",
        Wanted("Kill Bill: Vol. 2", 2004),
        [film("Kill Bill: Vol. 1", 2003, 24, votes=17_000)],
        None,
    ),
    Trap(
        "punctuation: Tick, Tick... BOOM!",
        Wanted("tick, tick...BOOM!", 2021),
        [film("tick, tick... BOOM!", 2021, 537_116), film("Boom!", 1968, 2)],
        ("movie", 537_116),
    ),
    Trap(
        "a fraction and an accent: 8 1/2",
        Wanted("8 1/2 (8½)", 1963),
        [film("8½", 1963, 422), film("8½ Women", 1999, 10_000)],
        ("movie", 422),
    ),
    Trap(
        "found by a name that its entry has only among others",
        Wanted("Zerkalo", 1975),
        [film("Mirror", 1975, 1396, "Зеркало", other_titles=("Zerkalo", "The Mirror"), votes=1800)],
        ("movie", 1396),
    ),
    Trap(
        "a remake, the old one far better known",
        Wanted("Suspiria", 2018),
        [film("Suspiria", 1977, 11_906, votes=3000), film("Suspiria", 2018, 361_292, votes=2500)],
        ("movie", 361_292),
    ),
    Trap(
        "undated here and there",
        Wanted("An Announced Film", None),
        [film("An Announced Film", None, 7, votes=0)],
        ("movie", 7),
    ),
    Trap(
        "a longer title of the same year only",
        Wanted("The Matrix", 1999),
        [film("Making 'The Matrix'", 1999, 8, votes=20)],
        None,
    ),
    Trap(
        "a subtitle that its entry has only among other titles",
        Wanted("Quiet Harbour: Part One", 2000),
        [film("Quiet Harbour", 2000, 1, other_titles=("Quiet Harbour: Part One",), votes=500)],
        ("movie", 1),
    ),
    only("X", "10"),
    only("10", "X"),
    only("V", "5"),
    only("Ten", "10"),
    only("The Ten", "10"),
    only("+1", "1"),
    only("8½", "81/2"),
    only("Fast X", "Fast Ten"),
    only("Malcolm X", "Malcolm 10"),
    only("I, Robot", "Robot"),
    only("Robot", "I, Robot"),
    only("I Am Love", "Am Love"),
    only("O Brother", "Brother"),
    only("Die Hard", "Hard"),
    only("A Girl", "The Girl"),
    only("Woman of Year", "Woman of the Year"),
    only("The Elephant Man Story", "The Elephant Men Story"),
    only("Aliens (Special Edition)", "Special Edition"),
    only("Star Wars", "Star Wars: The Clone Wars"),
    only("Gantz (II)", "Gantz"),
    only("Gantz (Two)", "Gantz"),
    only("Gantz", "Gantz (Part 2)"),
    only("Three (II)", "Three"),
    only("Che (Second Part)", "Che"),
    only("Nibelungen (2. Teil)", "Nibelungen"),
    only("Ivan the Terrible (Book Two)", "Ivan the Terrible"),
    only("Dekalog (Five)", "Dekalog"),
    only("Gantz (第二部)", "Gantz"),
    only("Titanic (Making Of)", "Titanic"),
    only("Frozen", "Frozen (Fan Film)"),
    only("1.1", "11"),
    only("9.99", "999"),
    only("3.11", "311"),
    only("2.0", "20"),
    only("-1", "1"),
    only("9/11", "911"),
    only("!!!", "?"),
    only("がく", "かく"),
    only("किक", "कक"),
    only("Rocky II", "Rocky 2", 1),
    only("10.000 BC", "10,000 BC", 1),
    only("Ms. 45", "Ms .45", 1),
    only("Rocky 5", "Rocky V", 1),
    only("Ocean's Eleven", "Ocean's 11", 1),
    only("Quiet Harbour: Part II", "Quiet Harbour - Part Two", 1),
    only("Quiet Harbour: Volume I", "Quiet Harbour: Vol. 1", 1),
    only("Fast & Furious", "Fast and Furious", 1),
    only("Haine", "La Haine", 1),
    only("Boot, Das", "Das Boot", 1),
]  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", nargs="?", type=Path, default=PAIRS)
    print(json.dumps(run(parser.parse_args().file), indent=2, ensure_ascii=False))
