"""Fills a world with invented members and films whose tastes have the shape of real ones.

Members have a strictness, a spread, a camp and favourite genres; films have a quality, a popularity
and a pull on each camp, some of them strongly. Everything follows from the seed, nothing from a clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from random import Random

import numpy as np
import numpy.typing as npt

from almanac_pipeline.sandbox import names
from almanac_pipeline.sandbox.options import GeneratedWorld
from almanac_pipeline.sandbox.world import (
    LIST_NUMBERS,
    MEMBER_NUMBERS,
    VIEWING_NUMBERS,
    Film,
    FilmList,
    Member,
    Opinion,
    Person,
    Viewing,
    World,
    claim_slug,
    index_films,
    moment,
    seconds_of,
    slugify,
)

SEED_MEMBER = "almanac"
NOW = seconds_of(date(2026, 11, 1)) + 12 * 3600
FILM_NUMBERS = 900_000_000
"""Numbers, TMDB ids and IMDb ids of invented films lie where no real ones are."""
TMDB_NUMBERS = 90_000_000
IMDB_NUMBERS = 90_000_000
PERSON_NUMBERS = 95_000_000

DAY = 86_400
CAMPS = 3
GENRES = (
    "Drama",
    "Comedy",
    "Thriller",
    "Romance",
    "Horror",
    "Action",
    "Documentary",
    "Crime",
    "Adventure",
    "Animation",
    "Fantasy",
    "Mystery",
    "Family",
    "History",
    "Music",
    "War",
    "Western",
)
COUNTRIES = (
    ("USA", "English"),
    ("France", "French"),
    ("Japan", "Japanese"),
    ("UK", "English"),
    ("Italy", "Italian"),
    ("South Korea", "Korean"),
    ("Germany", "German"),
    ("Iran", "Persian (Farsi)"),
    ("Brazil", "Portuguese"),
    ("Sweden", "Swedish"),
)

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Tastes:
    """What films are like, one entry per film; `pull` is films by camps."""

    quality: Floats
    pull: Floats
    split: npt.NDArray[np.bool_]
    crowd: Floats
    genre: Ints
    rateable: npt.NDArray[np.bool_]
    released_at: Ints


def generate(size: GeneratedWorld) -> World:
    """Make the world of a seed: the same size and seed always give the same world."""
    random = Random(size.seed)
    numbers = np.random.default_rng(size.seed)
    films = _films(size, random, numbers)
    tastes = _tastes(films, numbers)
    _crowd(films, tastes, numbers)
    members = _members(size, random, numbers)
    for place, member in enumerate(members):
        _opinions(member, place, size, films, tastes, random, numbers)
        _diary(member, random)
        _watchlist(member, films, random)
        _lists(member, place, films, random)
    _network(members, size.members, random)
    next_viewing = VIEWING_NUMBERS + 1
    for viewing in sorted((v for m in members for v in m.diary), key=lambda v: v.logged_at):
        viewing.number = next_viewing
        next_viewing += 1
    world = World(SEED_MEMBER, NOW, index_films(films), {member.key: member for member in members})
    world.next_viewing = next_viewing
    return world


def true_liking(size: GeneratedWorld) -> Floats:
    """(films, camps) stars by which a camp likes each film more than the middle, before anybody's chance.

    Film n is the one numbered `FILM_NUMBERS + 1 + n`; the member at place p of the world is of camp
    p % `CAMPS`, the seed member's place being 0.
    """
    random, numbers = Random(size.seed), np.random.default_rng(size.seed)
    tastes = _tastes(_films(size, random, numbers), numbers)
    liking: Floats = tastes.quality[:, None] + tastes.pull
    return liking


def _films(size: GeneratedWorld, random: Random, numbers: np.random.Generator) -> list[Film]:
    people = _people(max(8, size.films // 3), random)
    titles = names.titles(random)
    taken: set[str] = set()
    years = 2026 - np.minimum(numbers.exponential(16, size.films).astype(int), 100)
    places = numbers.permutation(size.films)
    films: list[Film] = []
    for place in range(size.films):
        country, language = random.choices(COUNTRIES, weights=range(len(COUNTRIES), 0, -1))[0]
        remake = place > 20 and random.random() < 0.005
        title = films[random.randrange(place)].title if remake else next(titles)
        year: int | None = int(years[place])
        released = place % 97 != 41
        if not released:
            year = 2027 + place % 3
        elif place % 199 == 120:
            year = None
        if remake and any(film.title == title and film.year == year for film in films):
            title = next(titles)
        series = released and place % 67 == 23
        films.append(
            Film(
                number=FILM_NUMBERS + 1 + place,
                slug=claim_slug(taken, title, year),
                title=title,
                year=year,
                tmdb_id=None if place % 401 == 77 else TMDB_NUMBERS + 1 + place,
                imdb_id=None if place % 31 == 5 else f"tt{IMDB_NUMBERS + 1 + place}",
                popularity=int(places[place]),
                media_type="tv" if series else "movie",
                runtime_minutes=(
                    None
                    if not released or place % 83 == 9
                    else random.randrange(62, 190) * (6 if series else 1)
                ),
                original_title=title.upper() if language != "English" and random.random() < 0.4 else None,
                directors=tuple(random.sample(people, random.choices((1, 2, 3), (90, 8, 2))[0])),
                cast=tuple(random.sample(people, min(5, len(people)))),
                genres=tuple(random.sample(GENRES, random.choice((1, 2, 2, 3)))),
                countries=(country,) if random.random() < 0.85 else (country, random.choice(COUNTRIES)[0]),
                languages=(language,),
                released=released,
            )
        )
    for film in films:
        film.countries = tuple(dict.fromkeys(film.countries))
    return films


def _people(count: int, random: Random) -> list[Person]:
    taken: set[str] = set()
    people = []
    for place in range(count):
        name = names.person_name(random)
        people.append(Person(PERSON_NUMBERS + 1 + place, name, claim_slug(taken, name, None)))
    return people


def _tastes(films: list[Film], numbers: np.random.Generator) -> _Tastes:
    count = len(films)
    quality = numbers.normal(0, 0.45, count)
    split = numbers.random(count) < 0.06
    pull = numbers.normal(0, np.where(split, 1.0, 0.22)[:, None], (count, CAMPS))
    place = np.array([film.popularity for film in films]) / count
    crowd = np.maximum(3, 2.6e6 * np.exp(-11.2 * place**0.9 + numbers.normal(0, 0.3, count)))
    return _Tastes(
        quality=quality + 0.05 * (np.log(crowd) - 7) / 2,
        pull=pull,
        split=split,
        crowd=crowd,
        genre=np.array([GENRES.index(film.genres[0]) for film in films]),
        rateable=np.array([film.released for film in films]),
        released_at=np.array([seconds_of(date(film.year or 1990, 1, 1)) for film in films]),
    )


def _crowd(films: list[Film], tastes: _Tastes, numbers: np.random.Generator) -> None:
    """Global counts: a bell around the film's quality, with a liking for whole stars."""
    centre = 3.25 + 0.85 * tastes.quality + 0.3 * tastes.pull.mean(axis=1)
    width = np.where(tastes.split, 1.25, 0.88)
    levels = np.arange(1, 11) / 2
    shape = np.exp(-0.5 * ((levels[None, :] - centre[:, None]) / width[:, None]) ** 2)
    shape *= np.array([0.7, 1.1, 0.7, 1.1, 0.9, 1.25, 1.0, 1.35, 0.95, 1.3])
    counts = np.floor(shape / shape.sum(axis=1, keepdims=True) * tastes.crowd[:, None]).astype(int)
    shifts = numbers.uniform(0.0, 0.06, len(films)).round(3)
    for film, row, shift in zip(films, counts, shifts, strict=True):
        if film.released:
            film.counts = [int(count) for count in row]
            film.average_shift = float(shift)


def _members(size: GeneratedWorld, random: Random, numbers: np.random.Generator) -> list[Member]:
    """The seed member, the followed ones, and some whom the seed member does not follow."""
    invented = names.usernames(random)
    count = 1 + size.members + max(5, size.members // 5)
    joined = NOW - (numbers.uniform(0.4, 10, count) * 365 * DAY).astype(int)
    members = []
    for place in range(count):
        username = SEED_MEMBER if place == 0 else next(invented)
        if place % 5 == 3:
            username = username.capitalize()
        members.append(
            Member(
                number=MEMBER_NUMBERS + 1 + place,
                username=username,
                display_name=names.person_name(random) if place % 3 else username,
                joined_at=int(joined[place]),
            )
        )
    return members


def _opinions(
    member: Member,
    place: int,
    size: GeneratedWorld,
    films: list[Film],
    tastes: _Tastes,
    random: Random,
    numbers: np.random.Generator,
) -> None:
    count = len(films)
    activity = numbers.lognormal(-0.245, 0.7)
    rated = int(np.clip(size.ratings * activity, 5, 0.7 * count))
    if place == 2:
        rated = min(8, count // 2)
    watched_only, liked_only = rated // 12, max(1, rated // 15)
    seen = min(rated + watched_only + liked_only, int(tastes.rateable.sum()))

    camp = place % CAMPS
    genre_taste = numbers.normal(0, 0.6, len(GENRES))
    wish = 0.5 * np.log(tastes.crowd) + genre_taste[tastes.genre] + 0.4 * tastes.pull[:, camp]
    wish = np.where(tastes.rateable, wish + numbers.gumbel(0, 1, count), -np.inf)
    chosen = np.argsort(-wish)[:seen]
    numbers.shuffle(chosen)

    strictness, spread = numbers.normal(0, 0.35), numbers.uniform(0.7, 1.3)
    felt = 3.4 + strictness + spread * (tastes.quality + tastes.pull[:, camp])[chosen]
    half_stars = np.clip(np.rint(2 * (felt + numbers.normal(0, 0.62, len(chosen)))), 1, 10).astype(int)
    if place % 10 == 7:
        half_stars = np.clip(2 * np.rint(half_stars / 2), 2, 10).astype(int)
    if place == 12:
        half_stars[:] = 10

    times = _times(member, chosen, tastes, place % 4 == 1, numbers)
    chances = numbers.random(len(chosen))
    for index, film_index in enumerate(chosen):
        film = films[film_index]
        at = int(times[index])
        opinion = member.opinions[film.number] = Opinion(seen_at=at)
        if index < rated:
            rating = int(half_stars[index])
            opinion.rating, opinion.rated_at = rating, at
            film.counts[rating - 1] += 1
            if chances[index] < (
                0.8 if rating == 10 else 0.55 if rating == 9 else 0.2 if rating == 8 else 0.02
            ):
                opinion.liked_at = at + 5
        elif index < rated + liked_only:
            opinion.liked_at = at
    loved = [n for n, o in member.opinions.items() if (o.rating or 0) >= 8] if place != 4 else []
    by_renown = sorted(
        loved,
        key=lambda n: (films[n - FILM_NUMBERS - 1].popularity + len(films) // 30) * random.uniform(0.1, 3),
    )
    member.favorites = by_renown[: 2 if place == 5 else 4]


def _times(
    member: Member, chosen: Ints, tastes: _Tastes, imported: bool, numbers: np.random.Generator
) -> Ints:
    """When each chosen film was rated: after joining and release, never two in one second.

    A member who came from elsewhere has half of it stamped with the day they joined.
    """
    earliest = np.maximum(member.joined_at, tastes.released_at[chosen])
    times = earliest + (NOW - DAY - earliest) * numbers.random(len(chosen)) ** 0.8
    if imported:
        old = (tastes.released_at[chosen] < member.joined_at) & (numbers.random(len(chosen)) < 0.5)
        times = np.where(old, member.joined_at + numbers.integers(60, 900, len(chosen)), times)
    order = np.argsort(times, kind="stable")
    steps = 10 * np.arange(len(chosen))
    spaced = np.maximum.accumulate(times[order].astype(np.int64) - steps) + steps
    result = np.empty(len(chosen), dtype=np.int64)
    result[order] = spaced
    return result


def _diary(member: Member, random: Random) -> None:
    """The last ratings as viewings; a fifth were rated differently that evening, some are rewatches."""
    recent = sorted(
        ((o.rated_at, n, o) for n, o in member.opinions.items() if o.rated_at is not None),
        key=lambda row: row[:2],
    )[-150:]
    for at, number, opinion in recent:
        if random.random() < 0.4:
            continue
        rating = opinion.rating
        if rating is not None and random.random() < 0.2:
            rating = min(10, max(1, rating + random.choice((-1, 1))))
        if random.random() < 0.03:
            rating = None
        watched_on = moment(at).date() - timedelta(days=random.choice((0, 0, 0, 1, 2)))
        written = names.review(random) if random.random() < 0.2 else None
        liked = opinion.liked_at is not None
        member.diary.append(Viewing(0, number, watched_on, at, rating, False, liked, written))
        again = at + random.randrange(20, 400) * DAY
        if random.random() < 0.06 and again < NOW:
            member.diary.append(Viewing(0, number, moment(again).date(), again, opinion.rating, True, liked))


def _watchlist(member: Member, films: list[Film], random: Random) -> None:
    wanted = random.sample(films, min(len(films) // 4, random.randrange(5, 70)))
    for film in wanted:
        if film.number not in member.opinions:
            member.watchlist[film.number] = NOW - random.randrange(DAY, 900 * DAY)


def _lists(member: Member, place: int, films: list[Film], random: Random) -> None:
    """A ranked list of the best for most members, and one long unranked one for the first followed member."""
    best = sorted(
        (n for n, o in member.opinions.items() if o.rating is not None),
        key=lambda n: (-(member.opinions[n].rating or 0), n),
    )
    plans: list[tuple[str, list[int], bool]] = []
    if place % 3 != 2:
        plans.append((f"Favourites of {random.choice(names.places())}", best[:30], True))
    if place == 1:
        plans.append(("Everything worth a detour", [film.number for film in films[:130]], False))
    for index, (name, chosen, ranked) in enumerate(plans):
        number = LIST_NUMBERS + 10 * place + index
        published = NOW - random.randrange(DAY, 700 * DAY)
        member.lists.append(FilmList(number, name, slugify(name), chosen, ranked, published))


def _network(members: list[Member], followed: int, random: Random) -> None:
    """The seed member follows exactly `followed` members; the others follow whom they like."""
    for place, member in enumerate(members):
        circle = (
            members[1 : followed + 1]
            if place == 0
            else random.sample(members, random.randrange(1, len(members)))
        )
        for other in circle:
            if other is not member:
                earliest = max(member.joined_at, other.joined_at)
                member.following[other.key] = earliest + random.randrange(60, max(61, NOW - earliest))
