"""The data model of a pretend Letterboxd: members, films, opinions and who follows whom.

Holds records, ids and ordered queries. No rendering, no HTTP, no randomness: `generate` and
`movielens` fill a world, `changes` alters it, `pages`, `tmdb` and `exports` show it.

Units: ratings are half-stars, 1 to 10; times are seconds since 1970 UTC; dates are `date`.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import cached_property
from typing import Literal

MediaType = Literal["movie", "tv"]
Order = Literal["films", "rated", "rated_by_date", "likes", "likes_unrated", "watchlist"]

# Every kind of thing numbers itself in a range of its own, so that the short ids never collide.
MEMBER_NUMBERS = 2_000_000_000
VIEWING_NUMBERS = 3_000_000_000
LIST_NUMBERS = 4_000_000_000

AVERAGE_THRESHOLD = 30
"""Below this many ratings the site shows no average (a film with 26 ratings was seen without one)."""

_BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
_SHORT_ID_SPACE = 62**6
_SHORT_ID_FACTOR = 31_415_926_537  # neither even nor a multiple of 31: a bijection of the space


def short_id(number: int) -> str:
    """The short id (LID) of a numbered thing: one to six characters, unique per number."""
    value = number * _SHORT_ID_FACTOR % _SHORT_ID_SPACE
    digits = ""
    while value:
        value, rest = divmod(value, 62)
        digits = _BASE62[rest] + digits
    return digits or "0"


def slugify(text: str) -> str:
    """Lower case, ASCII-folded, words joined by hyphens; apostrophes and full stops vanish."""
    text = re.sub(r"[\u2010-\u2015]", "-", text)
    folded = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", re.sub(r"['.]", "", folded)).strip("-")


def claim_slug(taken: set[str], title: str, year: int | None) -> str:
    """A slug nobody has yet: title, then with year, then with a running number. Adds it to `taken`."""
    base = slugify(title) or "untitled"
    slug = base
    if slug in taken and year is not None:
        base = slug = f"{base}-{year}"
    number = 0
    while slug in taken:
        number += 1
        slug = f"{base}-{number}"
    taken.add(slug)
    return slug


def stars(half_stars: int) -> float:
    """Half-stars as stars, e.g. 7 as 3.5."""
    return half_stars / 2


def moment(seconds: int) -> datetime:
    """A time of the world as an aware datetime."""
    return datetime.fromtimestamp(seconds, UTC)


def seconds_of(day: date) -> int:
    """Midnight UTC of a day."""
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())


@dataclass(slots=True)
class Person:
    """Somebody in the credits."""

    number: int
    """TMDB's id."""
    name: str
    slug: str


@dataclass(slots=True)
class Film:
    """A film, or a series that the site lists as one."""

    number: int
    """The number of the uid, `film:{number}`."""
    slug: str
    title: str
    year: int | None
    tmdb_id: int | None
    imdb_id: str | None
    popularity: int
    """Place by popularity, 0 first: the second key of every default order."""
    media_type: MediaType = "movie"
    runtime_minutes: int | None = None
    original_title: str | None = None
    other_titles: tuple[str, ...] = ()
    """Names in other countries, which TMDB knows and searches too."""
    directors: tuple[Person, ...] = ()
    cast: tuple[Person, ...] = ()
    genres: tuple[str, ...] = ()
    countries: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    released: bool = True
    counts: list[int] = field(default_factory=lambda: [0] * 10)
    """Everybody's ratings, half a star to five stars, the members' own among them."""
    average_shift: float = 0.0
    """What the site's secret weighting adds to the plain mean."""
    stated_percent: float = 0.0
    """By how much the stated total lies beside the sum of the counts."""
    version: int = 0

    @property
    def uid(self) -> str:
        return f"film:{self.number}"

    @property
    def lid(self) -> str:
        return short_id(self.number)

    @property
    def full_name(self) -> str:
        """The title with its year, as posters carry it; the bare title when undated."""
        return self.title if self.year is None else f"{self.title} ({self.year})"

    @property
    def ratings(self) -> int:
        return sum(self.counts)

    @property
    def stated_ratings(self) -> int:
        """The total that the pages state: the sum of the counts unless a fault was asked for."""
        return round(self.ratings * (1 + self.stated_percent / 100))

    @property
    def average(self) -> float | None:
        """The weighted average in stars, two decimals; None below the site's threshold."""
        total = self.ratings
        if total < AVERAGE_THRESHOLD:
            return None
        mean = sum(count * level for level, count in enumerate(self.counts, start=1)) / total / 2
        return round(min(5.0, max(0.5, mean + self.average_shift)), 2)

    @property
    def fans(self) -> int:
        return self.counts[9] // 12


@dataclass(slots=True)
class Opinion:
    """What a member thinks of a film they have seen. Neither rated nor liked means: just watched."""

    rating: int | None = None
    rated_at: int | None = None
    liked_at: int | None = None
    seen_at: int = 0


@dataclass(slots=True)
class Viewing:
    """A diary entry. Its rating is the one of that evening, not the opinion of today."""

    number: int
    film: int
    watched_on: date
    logged_at: int
    rating: int | None
    rewatch: bool = False
    liked: bool = False
    review: str | None = None


@dataclass(slots=True)
class FilmList:
    number: int
    name: str
    slug: str
    films: list[int]
    ranked: bool
    published_at: int


@dataclass(slots=True)
class Member:
    """An account. `username` keeps its owner's letter case; look-ups ignore case."""

    number: int
    username: str
    display_name: str
    joined_at: int
    opinions: dict[int, Opinion] = field(default_factory=dict)
    favorites: list[int] = field(default_factory=list)
    following: dict[str, int] = field(default_factory=dict)
    """Lower-case names of the followed, with when."""
    watchlist: dict[int, int] = field(default_factory=dict)
    diary: list[Viewing] = field(default_factory=list)
    lists: list[FilmList] = field(default_factory=list)
    hidden_status: int | None = None
    """The status every page of a member who hid their account answers with."""
    version: int = 0
    orders: dict[str, tuple[int, ...]] = field(default_factory=dict, repr=False)

    @property
    def key(self) -> str:
        return self.username.lower()

    @property
    def lid(self) -> str:
        return short_id(self.number)

    @property
    def ratings_count(self) -> int:
        return sum(opinion.rating is not None for opinion in self.opinions.values())

    def touch(self) -> None:
        """Forget what was derived from this member's data."""
        self.version += 1
        self.orders.clear()


@dataclass
class World:
    """Everything there is. `now` moves only when the world is changed, so that runs repeat exactly."""

    seed_member: str
    now: int
    films: dict[int, Film]
    members: dict[str, Member]
    aliases: dict[str, int] = field(default_factory=dict)
    """Slugs that films no longer have."""
    former_names: dict[str, str] = field(default_factory=dict)
    """Names that lead to the one their owner has now; only where a renaming asked for that."""
    tmdb_edits: list[tuple[int, MediaType, int]] = field(default_factory=list)
    """When which title's TMDB entry was edited by a change."""
    next_viewing: int = VIEWING_NUMBERS + 1
    titles_version: int = 0
    """Counts the changes of films' titles."""

    def member(self, name: str) -> Member | None:
        """The member of that name in any letter case."""
        return self.members.get(name.lower())

    @cached_property
    def slugs(self) -> dict[str, int]:
        """Film numbers by their slug of today."""
        return {film.slug: number for number, film in self.films.items()}

    def film_by_slug(self, slug: str) -> Film | None:
        """The film that has or had this slug; whoever has it today comes first."""
        number = self.slugs.get(slug, self.aliases.get(slug))
        return None if number is None else self.films[number]

    @cached_property
    def films_by_tmdb(self) -> dict[tuple[MediaType, int], Film]:
        """Films by TMDB key; where two films share one, the lower number has it."""
        return {
            (film.media_type, film.tmdb_id): film
            for film in sorted(self.films.values(), key=lambda film: -film.number)
            if film.tmdb_id is not None
        }

    @cached_property
    def films_by_imdb(self) -> dict[str, Film]:
        """Films by IMDb id; where two films share one, the lower number has it."""
        return {
            film.imdb_id: film
            for film in sorted(self.films.values(), key=lambda film: -film.number)
            if film.imdb_id is not None
        }

    @cached_property
    def filmographies(self) -> dict[str, tuple[Person, list[Film]]]:
        """Directors by slug, each with their films, the most popular first."""
        found: dict[str, tuple[Person, list[Film]]] = {}
        for film in sorted(self.films.values(), key=lambda film: film.popularity):
            for person in film.directors:
                found.setdefault(person.slug, (person, []))[1].append(film)
        return found

    def order(self, member: Member, order: Order) -> tuple[int, ...]:
        """The film numbers of one of a member's grids, in the site's order. Kept until they change."""
        cached = member.orders.get(order)
        if cached is None:
            cached = member.orders[order] = self._sorted(member, order)
        return cached

    def _sorted(self, member: Member, order: Order) -> tuple[int, ...]:
        opinions = member.opinions
        if order == "films":
            return tuple(sorted(opinions, key=self._by_release))
        if order == "rated":
            return tuple(
                sorted((n for n, o in opinions.items() if o.rating is not None), key=self._by_release)
            )
        if order == "rated_by_date":
            rated = {n: o.rated_at or 0 for n, o in opinions.items() if o.rating is not None}
            return self._newest_first(rated)
        if order == "watchlist":
            return self._newest_first(member.watchlist)
        likes = {
            n: o.liked_at
            for n, o in opinions.items()
            if o.liked_at is not None and (order == "likes" or o.rating is None)
        }
        return self._newest_first(likes)

    def _by_release(self, number: int) -> tuple[int, int, int]:
        film = self.films[number]
        return -(film.year or 0), film.popularity, number

    def _newest_first(self, times: dict[int, int]) -> tuple[int, ...]:
        return tuple(sorted(times, key=lambda number: (-times[number], number)))

    def following(self, member: Member) -> list[Member]:
        """Whom a member follows and who still exists, the newest first."""
        names = sorted(member.following, key=lambda name: (-member.following[name], name))
        return [self.members[name] for name in names if name in self.members]

    def followers(self, member: Member) -> list[Member]:
        """Who follows a member, the newest first."""
        key = member.key
        found = [other for other in self.members.values() if key in other.following]
        return sorted(found, key=lambda other: (-other.following[key], other.key))

    def followers_count(self, member: Member) -> int:
        key = member.key
        return sum(key in other.following for other in self.members.values())

    def film_people(self, film: Film, relation: str) -> list[Member]:
        """Who has seen a film (members), or calls it a favourite (fans), by name."""
        return [
            member
            for _, member in sorted(self.members.items())
            if film.number in (member.favorites if relation == "fans" else member.opinions)
        ]

    def diary(self, member: Member) -> list[Viewing]:
        """Viewings, the latest evening first."""
        return sorted(member.diary, key=lambda viewing: (viewing.watched_on, viewing.number), reverse=True)

    def set_rating(self, member: Member, film: Film, rating: int | None, at: int) -> None:
        """Rate, re-rate or (None) unrate, and keep the global counts in step."""
        opinion = member.opinions.get(film.number)
        if opinion is None:
            opinion = member.opinions[film.number] = Opinion(seen_at=at)
        if opinion.rating is not None:
            film.counts[opinion.rating - 1] -= 1
        if rating is not None:
            film.counts[rating - 1] += 1
        opinion.rating = rating
        opinion.rated_at = at if rating is not None else None
        film.version += 1
        member.touch()

    def rename_film(self, film: Film, slug: str) -> None:
        """Give a film another slug; the old one redirects from now on."""
        self.aliases[film.slug] = film.number
        self.slugs.pop(film.slug, None)
        film.slug = slug
        self.slugs[slug] = film.number
        film.version += 1
        self.touch_all()

    def rename_member(self, member: Member, username: str, *, redirects: bool = False) -> None:
        """Give a member another name; the old one is gone, or leads to the new one."""
        old = member.key
        self.former_names.pop(username.lower(), None)
        if redirects:
            self.former_names[old] = username.lower()
        del self.members[old]
        member.username = username
        self.members[member.key] = member
        for other in self.members.values():
            if old in other.following:
                other.following[member.key] = other.following.pop(old)
        if self.seed_member == old:
            self.seed_member = member.key
        self.touch_all()

    def delete_member(self, member: Member) -> None:
        """Remove an account with everything it rated."""
        for number, opinion in member.opinions.items():
            if opinion.rating is not None:
                self.films[number].counts[opinion.rating - 1] -= 1
                self.films[number].version += 1
        del self.members[member.key]
        for other in self.members.values():
            other.following.pop(member.key, None)
        self.touch_all()

    def touch_all(self) -> None:
        """Forget everything derived, for changes that show on anybody's pages."""
        for member in self.members.values():
            member.touch()

    def summary(self) -> dict[str, object]:
        """How big the world is, for people and for tests."""
        return {
            "seed_member": self.seed_member,
            "now": moment(self.now).isoformat(),
            "members": sorted(self.members),
            "following": [member.key for member in self.following(self.members[self.seed_member])],
            "films": len(self.films),
            "ratings": sum(member.ratings_count for member in self.members.values()),
        }


def index_films(films: Iterable[Film]) -> dict[int, Film]:
    """Films by number."""
    return {film.number: film for film in films}
