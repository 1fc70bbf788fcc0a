"""What can happen in a world: new opinions, follows, names and departures.

`apply_changes` takes a JSON document whose keys are the changes below and whose values are lists of
entries. All entries are checked before the first one takes effect. Every entry moves the world's
clock by a minute. Films are named by slug or uid, members by name, ratings in stars.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from random import Random
from typing import Any

from almanac_pipeline.sandbox.routes import SITE_WORDS
from almanac_pipeline.sandbox.world import Film, Member, Opinion, Viewing, World, moment

MINUTE = 60
Entry = Mapping[str, Any]
Effect = Callable[[int], None]


def apply_changes(world: World, document: Mapping[str, Any]) -> dict[str, int]:
    """Change the world; returns how many entries of each kind took effect.

    Raises:
        ValueError: something in the document is unknown or malformed; the world is as it was.
    """
    unknown = sorted(set(document) - set(_CHANGES))
    if unknown:
        raise ValueError(f"no such change: {', '.join(unknown)}; known: {', '.join(sorted(_CHANGES))}")
    effects: list[Effect] = []
    counts: dict[str, int] = {}
    for name, entries in document.items():
        if not isinstance(entries, list) or not all(isinstance(entry, Mapping) for entry in entries):
            raise ValueError(f"{name} must be a list of objects")
        for entry in entries:
            try:
                effects += _CHANGES[name](world, entry)
            except KeyError as error:
                raise ValueError(f"{name}: {error.args[0]} is missing in {dict(entry)}") from error
            except TypeError as error:
                raise ValueError(f"{name}: {error}") from error
        counts[name] = len(entries)
    for effect in effects:
        world.now += MINUTE
        effect(world.now)
    return counts


def _film(world: World, entry: Entry) -> Film:
    name = str(entry["film"])
    if name.startswith("film:") and name[5:].isdigit():
        film = world.films.get(int(name[5:]))
    else:
        film = world.film_by_slug(name)
    if film is None:
        raise ValueError(f"no film {name}")
    return film


def _member(world: World, entry: Entry, key: str = "member") -> Member:
    member = world.member(str(entry[key]))
    if member is None:
        raise ValueError(f"no member {entry[key]}")
    return member


def _half_stars(value: Any) -> int:
    half_stars = float(value) * 2
    if half_stars not in range(1, 11):
        raise ValueError(f"{value} is no rating: half stars from 0.5 to 5")
    return int(half_stars)


def _rate(world: World, entry: Entry) -> list[Effect]:
    member, film, rating = _member(world, entry), _film(world, entry), _half_stars(entry["rating"])
    given = None if entry.get("at") is None else int(entry["at"])
    return [lambda at: world.set_rating(member, film, rating, at if given is None else given)]


def _unrate(world: World, entry: Entry) -> list[Effect]:
    member, film = _member(world, entry), _film(world, entry)
    opinion = member.opinions.get(film.number)
    if opinion is None or opinion.rating is None:
        raise ValueError(f"{member.key} has not rated {film.slug}")
    return [lambda at: world.set_rating(member, film, None, at)]


def _like(world: World, entry: Entry) -> list[Effect]:
    member, film = _member(world, entry), _film(world, entry)

    def effect(at: int) -> None:
        member.opinions.setdefault(film.number, Opinion(seen_at=at)).liked_at = at
        member.touch()

    return [effect]


def _unlike(world: World, entry: Entry) -> list[Effect]:
    member, film = _member(world, entry), _film(world, entry)
    opinion = member.opinions.get(film.number)
    if opinion is None or opinion.liked_at is None:
        raise ValueError(f"{member.key} does not like {film.slug}")

    def effect(_: int) -> None:
        opinion.liked_at = None
        member.touch()

    return [effect]


def _unwatch(world: World, entry: Entry) -> list[Effect]:
    member, film = _member(world, entry), _film(world, entry)

    def effect(at: int) -> None:
        opinion = member.opinions.get(film.number)
        if opinion is not None and opinion.rating is not None:
            world.set_rating(member, film, None, at)
        member.opinions.pop(film.number, None)
        member.touch()

    return [effect]


def _follow(world: World, entry: Entry) -> list[Effect]:
    member, target = _member(world, entry), _member(world, entry, "target")

    def effect(at: int) -> None:
        member.following[target.key] = at

    return [effect]


def _unfollow(world: World, entry: Entry) -> list[Effect]:
    member, target = _member(world, entry), _member(world, entry, "target")

    def effect(_: int) -> None:
        member.following.pop(target.key, None)

    return [effect]


def _favorites(world: World, entry: Entry) -> list[Effect]:
    member = _member(world, entry)
    numbers = [_film(world, {"film": name}).number for name in entry["films"]]
    if len(numbers) > 4:
        raise ValueError("a profile has at most four favourites")

    def effect(_: int) -> None:
        member.favorites = numbers
        member.touch()

    return [effect]


def _watchlist(world: World, entry: Entry) -> list[Effect]:
    member, film, wanted = _member(world, entry), _film(world, entry), bool(entry.get("wanted", True))

    def effect(at: int) -> None:
        if wanted:
            member.watchlist[film.number] = at
        else:
            member.watchlist.pop(film.number, None)
        member.touch()

    return [effect]


def _log(world: World, entry: Entry) -> list[Effect]:
    """A diary entry; a rating in it is also the opinion of today, as on the site."""
    member, film = _member(world, entry), _film(world, entry)
    rating = None if entry.get("rating") is None else _half_stars(entry["rating"])
    watched_on = date.fromisoformat(entry["watched_on"]) if entry.get("watched_on") else None
    given = None if entry.get("at") is None else int(entry["at"])

    def effect(at: int) -> None:
        at = at if given is None else given
        liked = bool(entry.get("liked", False))
        member.diary.append(
            Viewing(
                number=world.next_viewing,
                film=film.number,
                watched_on=watched_on or moment(at).date(),
                logged_at=at,
                rating=rating,
                rewatch=bool(entry.get("rewatch", False)),
                liked=liked,
                review=entry.get("review"),
            )
        )
        world.next_viewing += 1
        if rating is not None:
            world.set_rating(member, film, rating, at)
        opinion = member.opinions.setdefault(film.number, Opinion(seen_at=at))
        if liked and opinion.liked_at is None:
            opinion.liked_at = at
        member.watchlist.pop(film.number, None)
        member.touch()

    return [effect]


def _rename_film(world: World, entry: Entry) -> list[Effect]:
    film, slug = _film(world, entry), str(entry["slug"])
    if slug in world.slugs:
        raise ValueError(f"the slug {slug} is taken")
    return [lambda _: world.rename_film(film, slug)]


def _edit_film(world: World, entry: Entry) -> list[Effect]:
    """Another title, year or running time, which TMDB's list of changes mentions."""
    film = _film(world, entry)
    fields = {key: entry[key] for key in ("title", "year", "runtime_minutes") if key in entry}

    def effect(at: int) -> None:
        for key, value in fields.items():
            setattr(film, key, value)
        film.version += 1
        if film.tmdb_id is not None:
            world.tmdb_edits.append((at, film.media_type, film.tmdb_id))
        world.titles_version += 1
        world.touch_all()

    return [effect]


def _stated_total(world: World, entry: Entry) -> list[Effect]:
    film, percent = _film(world, entry), float(entry["percent"])

    def effect(_: int) -> None:
        film.stated_percent = percent
        film.version += 1

    return [effect]


def _rename_member(world: World, entry: Entry) -> list[Effect]:
    """Another name; with `redirect` the old one leads to it, else it is free for anybody."""
    member, username = _member(world, entry), str(entry["username"])
    if username.lower() in world.members or username.lower() in SITE_WORDS:
        raise ValueError(f"the name {username} is taken")
    redirects = bool(entry.get("redirect", False))
    return [lambda _: world.rename_member(member, username, redirects=redirects)]


def _delete_member(world: World, entry: Entry) -> list[Effect]:
    member = _member(world, entry)
    if member.key == world.seed_member:
        raise ValueError("the seed member cannot be deleted")
    return [lambda _: world.delete_member(member)]


def _hide_member(world: World, entry: Entry) -> list[Effect]:
    """Hide an account: every page of it answers with `status`, 403 unless given; null shows it again."""
    member, status = _member(world, entry), entry.get("status", 403)

    def effect(_: int) -> None:
        member.hidden_status = status

    return [effect]


def _random(world: World, entry: Entry) -> list[Effect]:
    """Some plausible news: `ratings` new ratings or re-ratings of the people the seed member follows."""
    random = Random(f"{entry.get('seed', 0)}/{world.now}")
    members = world.following(world.members[world.seed_member])
    films = sorted((film for film in world.films.values() if film.released), key=lambda film: film.popularity)
    effects: list[Effect] = []
    for _ in range(int(entry["ratings"])):
        name = random.choice(members).key
        film = films[int(len(films) * random.random() ** 2)]
        effects += _rate(world, {"member": name, "film": film.uid, "rating": random.randrange(4, 11) / 2})
    return effects


_CHANGES: dict[str, Callable[[World, Entry], list[Effect]]] = {
    "rate": _rate,
    "unrate": _unrate,
    "like": _like,
    "unlike": _unlike,
    "unwatch": _unwatch,
    "follow": _follow,
    "unfollow": _unfollow,
    "favorites": _favorites,
    "watchlist": _watchlist,
    "log": _log,
    "rename_film": _rename_film,
    "edit_film": _edit_film,
    "stated_total": _stated_total,
    "rename_member": _rename_member,
    "delete_member": _delete_member,
    "hide_member": _hide_member,
    "random": _random,
}
