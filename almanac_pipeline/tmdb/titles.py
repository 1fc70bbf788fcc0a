"""Reads TMDB's answers about films and series into records. Pure: text in, frozen dataclasses out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

from almanac_pipeline.errors import LayoutChangedError, NotFoundError
from almanac_pipeline.sources.records import MediaType

Role = Literal["director", "writer", "actor"]

NOT_FOUND_CODE = 34
# Who wrote this film; the authors of novels and characters it rests on did not.
WRITING_JOBS = frozenset(
    {
        "Writer",
        "Co-Writer",
        "Screenplay",
        "Story",
        "Original Story",
        "Screenstory",
        "Adaptation",
        "Teleplay",
        "Dialogue",
        "Author",
    }
)
# Beyond these nothing is a number, a year or an id of TMDB's, and the tables cannot hold it.
MAX_NUMBER = 2**31 - 1
YEARS = range(1870, 2201)
MAX_VOTE = 10.0
_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class TmdbCountry:
    """A country of production."""

    iso_code: str
    """ISO 3166-1, two letters."""
    name: str


@dataclass(frozen=True, slots=True)
class TmdbCredit:
    """One person in one role, however many jobs or characters that were."""

    person_id: int
    name: str
    role: Role
    order: int
    """Place among the credits of this role, from 0."""
    character: str | None
    profile_path: str | None


@dataclass(frozen=True, slots=True)
class TmdbTitle:
    """A film, or a series as far as it has the same facts. None means that TMDB does not say."""

    media_type: MediaType
    tmdb_id: int
    title: str
    original_title: str | None
    release_date: date | None
    """Of a series, the first airing."""
    release_year: int | None
    runtime_minutes: int | None
    """Of a series, one episode."""
    overview: str | None
    poster_path: str | None
    genres: tuple[str, ...]
    countries: tuple[TmdbCountry, ...]
    vote_average: float | None
    """0 to 10; None without votes."""
    vote_count: int | None
    imdb_id: str | None
    directors: tuple[TmdbCredit, ...]
    writers: tuple[TmdbCredit, ...]
    """Of a series, its creators first."""
    cast: tuple[TmdbCredit, ...]


@dataclass(frozen=True, slots=True)
class TitleSummary:
    """A title as lists of results show it."""

    media_type: MediaType
    tmdb_id: int
    title: str
    original_title: str | None = None
    release_year: int | None = None
    """Of a series, that of the first airing."""
    vote_count: int | None = None


@dataclass(frozen=True, slots=True)
class TitleSummaries:
    """A page of results, in TMDB's order."""

    titles: tuple[TitleSummary, ...]
    total_count: int
    """How many there are on all pages."""


def parse_title(payload: str, media_type: MediaType) -> TmdbTitle:
    """The title in an answer to `movie/{id}` or `tv/{id}`, with what was appended to it.

    Raises:
        NotFoundError: the answer says that there is no such title.
        LayoutChangedError: not an answer about a title of this kind; the message says what is missing.
    """
    document = _document(payload)
    name_key, date_key = _NAME_AND_DATE[media_type]
    tmdb_id, title = whole_number(document.get("id")), _text(document.get(name_key))
    if tmdb_id is None:
        raise LayoutChangedError(f"TMDB's answer about a {media_type} has no id")
    if title is None:
        raise LayoutChangedError(f"TMDB's answer about a {media_type} has no {name_key}")
    released = _date(document.get(date_key))
    vote_count = whole_number(document.get("vote_count"))
    return TmdbTitle(
        media_type=media_type,
        tmdb_id=tmdb_id,
        title=title,
        original_title=_text(document.get(f"original_{name_key}")),
        release_date=released,
        release_year=released.year if released else None,
        runtime_minutes=_runtime_minutes(document),
        overview=_text(document.get("overview")),
        poster_path=_text(document.get("poster_path")),
        genres=_unique(_text(genre.get("name")) for genre in _objects(document.get("genres"))),
        countries=tuple(_countries(document)),
        vote_average=_vote(document.get("vote_average")) if vote_count else None,
        vote_count=vote_count,
        imdb_id=_imdb_id(document),
        directors=_credits("director", _crew(document, frozenset({"Director"}))),
        writers=_credits("writer", [*_objects(document.get("created_by")), *_crew(document, WRITING_JOBS)]),
        cast=_credits("actor", sorted(_credited(document, "cast"), key=_billing)),
    )


def parse_search(payload: str, media_type: MediaType) -> TitleSummaries:
    """The titles in an answer to `search/movie` or `search/tv`; what has no id or name is left out.

    Raises:
        NotFoundError, LayoutChangedError: not an answer to a search.
    """
    document = _document(payload)
    if not isinstance(document.get("results"), list):
        raise LayoutChangedError("TMDB's answer to a search has no results")
    titles = tuple(_summaries(document["results"], media_type))
    return TitleSummaries(titles, whole_number(document.get("total_results")) or len(titles))


def parse_find(payload: str) -> tuple[TitleSummary, ...]:
    """The films and series in an answer to `find/{id}`, films first.

    Raises:
        NotFoundError, LayoutChangedError: not such an answer.
    """
    document = _document(payload)
    if not isinstance(document.get("movie_results"), list):
        raise LayoutChangedError("TMDB's answer to a look-up has no movie_results")
    return (
        *_summaries(document["movie_results"], "movie"),
        *_summaries(document.get("tv_results"), "tv"),
    )


def parse_further_titles(payload: str) -> tuple[str, ...]:
    """The names in an answer to `movie/{id}/alternative_titles` or that of a series.

    Raises:
        NotFoundError, LayoutChangedError: not such an answer.
    """
    document = _document(payload)
    named = document.get("titles", document.get("results"))
    if not isinstance(named, list):
        raise LayoutChangedError("TMDB's answer has no alternative titles")
    return _unique(_text(name.get("title")) for name in _objects(named))


_NAME_AND_DATE: dict[MediaType, tuple[str, str]] = {
    "movie": ("title", "release_date"),
    "tv": ("name", "first_air_date"),
}


def _document(payload: str) -> dict[str, Any]:
    try:
        document = json.loads(payload)
    except (ValueError, RecursionError):
        raise LayoutChangedError("TMDB's answer is not JSON") from None
    if not isinstance(document, dict):
        raise LayoutChangedError("TMDB's answer is not a JSON object")
    if document.get("status_code") == NOT_FOUND_CODE:
        raise NotFoundError("TMDB knows no title of this id")
    return document


def _summaries(results: object, media_type: MediaType) -> Iterator[TitleSummary]:
    name_key, date_key = _NAME_AND_DATE[media_type]
    for result in _objects(results):
        tmdb_id, title = whole_number(result.get("id")), _text(result.get(name_key))
        if tmdb_id is None or title is None:
            continue
        released = _date(result.get(date_key))
        yield TitleSummary(
            media_type=media_type,
            tmdb_id=tmdb_id,
            title=title,
            original_title=_text(result.get(f"original_{name_key}")),
            release_year=released.year if released else None,
            vote_count=whole_number(result.get("vote_count")),
        )


def _credits(role: Role, people: Iterable[dict[str, Any]]) -> tuple[TmdbCredit, ...]:
    """One credit per person, in the given order; several characters are joined."""
    known: dict[int, TmdbCredit] = {}
    characters: dict[int, list[str]] = {}
    for person in people:
        person_id, name = whole_number(person.get("id")), _text(person.get("name"))
        if person_id is None or name is None:
            continue
        if role == "actor":
            characters.setdefault(person_id, []).extend(_characters(person))
        played = " / ".join(dict.fromkeys(characters.get(person_id, ()))) or None
        first = known.get(person_id)
        known[person_id] = TmdbCredit(
            person_id=person_id,
            name=name,
            role=role,
            order=first.order if first else len(known),
            character=played,
            profile_path=_text(person.get("profile_path")) or (first.profile_path if first else None),
        )
    return tuple(known.values())


def _credited(document: dict[str, Any], part: Literal["cast", "crew"]) -> list[dict[str, Any]]:
    """People of `part`. A series' credits are those of its last season, so the sum of all goes first."""
    for key in ("aggregate_credits", "credits"):
        credits = document.get(key)
        if isinstance(credits, dict) and (people := list(_objects(credits.get(part)))):
            return people
    return []


def _crew(document: dict[str, Any], jobs: frozenset[str]) -> Iterator[dict[str, Any]]:
    for person in _credited(document, "crew"):
        held = [person.get("job"), *(job.get("job") for job in _objects(person.get("jobs")))]
        if not jobs.isdisjoint(job for job in held if isinstance(job, str)):
            yield person


def _characters(person: dict[str, Any]) -> Iterator[str]:
    for part in (person, *_objects(person.get("roles"))):
        if character := _text(part.get("character")):
            yield character


def _billing(person: dict[str, Any]) -> int:
    order = whole_number(person.get("order"))
    return 1_000_000 if order is None else order


def _countries(document: dict[str, Any]) -> Iterator[TmdbCountry]:
    seen: set[str] = set()
    for country in _objects(document.get("production_countries")):
        iso_code, name = _text(country.get("iso_3166_1")), _text(country.get("name"))
        if iso_code and name and iso_code not in seen:
            seen.add(iso_code)
            yield TmdbCountry(iso_code, name)


def _runtime_minutes(document: dict[str, Any]) -> int | None:
    episodes = document.get("episode_run_time")
    stated = [document.get("runtime"), *(episodes if isinstance(episodes, list) else [])]
    return next((minutes for minutes in map(whole_number, stated) if minutes), None)


def _imdb_id(document: dict[str, Any]) -> str | None:
    external = document.get("external_ids")
    for source in (document, external if isinstance(external, dict) else {}):
        found = _text(source.get("imdb_id"))
        if found and re.fullmatch(r"tt[0-9]{1,12}", found):
            return found
    return None


def _objects(value: object) -> Iterator[dict[str, Any]]:
    if isinstance(value, list):
        yield from (item for item in value if isinstance(item, dict))


def _unique(values: Iterable[str | None]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(value for value in values if value))


def _text(value: object) -> str | None:
    """A string without blanks around it and without what PostgreSQL cannot hold; None if nothing is left."""
    return _UNSTORABLE.sub("", value).strip() or None if isinstance(value, str) else None


def whole_number(value: object) -> int | None:
    """An id or a count; None for what is none, and for what the tables cannot hold."""
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if 0 <= value <= MAX_NUMBER else None


def _vote(value: object) -> float | None:
    """A vote from 0 to 10, also where an old answer has it as a string."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if 0 <= number <= MAX_VOTE else None


def _date(value: object) -> date | None:
    """An ISO date; None for the empty string of titles without one, and before there were films."""
    try:
        found = date.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return found if found is not None and found.year in YEARS else None
