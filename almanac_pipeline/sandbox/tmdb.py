"""The part of TMDB's API that a film almanac asks for, answered out of the same world.

Pure: a path, a query and headers in, a status, headers and JSON out. Ids, dates and people of
invented films are invented; what a world does not know is filled in the same way every time.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from almanac_pipeline.sandbox.options import SandboxOptions
from almanac_pipeline.sandbox.world import Film, MediaType, Person, World, moment

JSON_TYPE = "application/json;charset=utf-8"
MAX_AGE_SECONDS = 21_600
RESULTS_PER_PAGE = 20
CHANGES_PER_PAGE = 100
LONGEST_CHANGE_WINDOW = timedelta(days=14)
MAX_KEPT_ANSWERS = 50_000

GENRE_IDS = {
    "Action": 28,
    "Adventure": 12,
    "Animation": 16,
    "Comedy": 35,
    "Crime": 80,
    "Documentary": 99,
    "Drama": 18,
    "Family": 10751,
    "Children": 10751,
    "Fantasy": 14,
    "History": 36,
    "Horror": 27,
    "Music": 10402,
    "Musical": 10402,
    "Mystery": 9648,
    "Romance": 10749,
    "Science Fiction": 878,
    "Sci-Fi": 878,
    "Thriller": 53,
    "War": 10752,
    "Western": 37,
}
GENRE_NAMES = {"Children": "Family", "Musical": "Music", "Sci-Fi": "Science Fiction"}
COUNTRY_CODES = {
    "USA": ("US", "United States of America"),
    "France": ("FR", "France"),
    "Japan": ("JP", "Japan"),
    "UK": ("GB", "United Kingdom"),
    "Italy": ("IT", "Italy"),
    "South Korea": ("KR", "South Korea"),
    "Germany": ("DE", "Germany"),
    "Iran": ("IR", "Iran"),
    "Brazil": ("BR", "Brazil"),
    "Sweden": ("SE", "Sweden"),
}
LANGUAGE_CODES = {
    "English": "en",
    "French": "fr",
    "Japanese": "ja",
    "Italian": "it",
    "Korean": "ko",
    "German": "de",
    "Persian (Farsi)": "fa",
    "Portuguese": "pt",
    "Swedish": "sv",
}
UNAUTHORISED = (401, 7, "Invalid API key: You must be granted a valid key.")
FORBIDDEN = (401, 3, "Authentication failed: You do not have permissions to access the service.")
NOT_FOUND = (404, 34, "The resource you requested could not be found.")
BAD_PAGE = (400, 22, "Invalid page: Pages start at 1 and max at 500. They are expected to be an integer.")
BAD_RANGE = (422, 20, "Invalid date range: Should be a range no longer than 14 days.")


@dataclass(frozen=True)
class Answer:
    """What TMDB says, not yet sent."""

    kind: str
    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


class Tmdb:
    """TMDB over one world."""

    def __init__(self, world: World, options: SandboxOptions) -> None:
        self.world = world
        self.options = options
        self._kept: dict[tuple[str, int, str], tuple[bytes, str]] = {}
        self._titles: tuple[int, dict[MediaType, dict[str, list[tuple[tuple[str, ...], Film]]]]] | None = None

    def kind(self, path: str) -> str:
        """The kind that the report counts a path below /3 under."""
        match path.strip("/").split("/"):
            case ["movie" | "tv", "changes"]:
                return "tmdb_changes"
            case [("movie" | "tv") as media, _]:
                return f"tmdb_{media}"
            case ["movie" | "tv", _, ("credits" | "external_ids" | "alternative_titles") as part]:
                return f"tmdb_{part}"
            case [("search" | "find") as verb, _]:
                return f"tmdb_{verb}"
        return "tmdb_other"

    def answer(self, path: str, query: Mapping[str, str], headers: Mapping[str, str], recent: int) -> Answer:
        """Answer a request for a path below /3; `recent` counts the requests of the last ten seconds."""
        kind = self.kind(path)
        limit = self.options.tmdb_requests_per_10_seconds
        if limit is not None and recent > limit:
            sentence = f"Your request count ({recent}) is over the allowed limit of {limit}."
            return problem(kind, (429, 25, sentence), (("retry-after", "10"),))
        refused = self._refuse(headers.get("authorization", ""))
        if refused is not None:
            return problem(kind, refused)
        segments = path.strip("/").split("/")
        match segments:
            case [("movie" | "tv") as media, "changes"]:
                return self._changes(kind, media, query)
            case ["search", ("movie" | "tv") as media]:
                return self._search(kind, media, query, headers)
            case ["find", number]:
                return self._find(kind, number, headers)
            case [("movie" | "tv") as media, number, *part] if number.isdigit() and len(part) <= 1:
                film = self.world.films_by_tmdb.get((media, int(number)))
                if film is None or (part and part[0] not in _PARTS):
                    return problem(kind, NOT_FOUND)
                appended = query.get("append_to_response", "") if not part else ""
                return self._title(kind, film, path, part[0] if part else None, appended, headers)
        return problem(kind, NOT_FOUND)

    def _refuse(self, authorization: str) -> tuple[int, int, str] | None:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            return UNAUTHORISED
        if self.options.tmdb_token is not None and token.strip() != self.options.tmdb_token:
            return FORBIDDEN
        return None

    def _title(
        self, kind: str, film: Film, path: str, part: str | None, appended: str, headers: Mapping[str, str]
    ) -> Answer:
        key = (path, film.version, appended)
        kept = self._kept.get(key)
        if kept is None:
            if part is not None:
                document = {"id": film.tmdb_id} | _PARTS[part](film)
            else:
                document = movie(film) if film.media_type == "movie" else series(film)
                for name in filter(None, appended.split(",")):
                    if name in _PARTS:
                        document[name] = _PARTS[name](film)
            body = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
            if len(self._kept) >= MAX_KEPT_ANSWERS:
                self._kept.clear()
            kept = self._kept[key] = body, _etag(body)
        return _cacheable(kind, *kept, headers)

    def _search(
        self, kind: str, media: MediaType, query: Mapping[str, str], headers: Mapping[str, str]
    ) -> Answer:
        page = _page(query)
        if page is None:
            return problem(kind, BAD_PAGE)
        wanted = _words(query.get("query", ""))
        year = query.get("year") or query.get("primary_release_year") or query.get("first_air_date_year")
        index = self._index()[media]
        candidates = min((index.get(word, []) for word in wanted), key=len, default=[])
        best: dict[int, tuple[bool, int, Film]] = {}
        for title, film in candidates:
            if set(wanted) <= set(title) and (not year or str(film.year) == year):
                place = (title != wanted, film.popularity, film)
                best[film.number] = min(best.get(film.number, place), place, key=lambda place: place[:2])
        films = [film for *_, film in sorted(best.values(), key=lambda place: place[:2])]
        shown = films[(page - 1) * RESULTS_PER_PAGE : page * RESULTS_PER_PAGE]
        return _document(
            kind,
            {
                "page": page,
                "results": [_result(film) for film in shown],
                "total_pages": -(-len(films) // RESULTS_PER_PAGE),
                "total_results": len(films),
            },
            headers,
        )

    def _index(self) -> dict[MediaType, dict[str, list[tuple[tuple[str, ...], Film]]]]:
        """Every name of every title, as words, by each word; made on first use and after titles changed."""
        if self._titles is None or self._titles[0] != self.world.titles_version:
            index: dict[MediaType, dict[str, list[tuple[tuple[str, ...], Film]]]] = {"movie": {}, "tv": {}}
            for (media, _), film in self.world.films_by_tmdb.items():
                names = (film.title, film.original_title, *film.other_titles)
                for title in {_words(name) for name in names if name}:
                    for word in set(title):
                        index[media].setdefault(word, []).append((title, film))
            self._titles = self.world.titles_version, index
        return self._titles[1]

    def _find(self, kind: str, number: str, headers: Mapping[str, str]) -> Answer:
        film = self.world.films_by_imdb.get(number)
        results: dict[str, list[dict[str, Any]]] = {
            name: [] for name in ("movie_results", "person_results", "tv_results", "tv_episode_results")
        }
        if film is not None and film.tmdb_id is not None:
            results[f"{film.media_type}_results"].append(_result(film) | {"media_type": film.media_type})
        return _document(kind, results, headers)

    def _changes(self, kind: str, media: MediaType, query: Mapping[str, str]) -> Answer:
        """Titles edited in a window of days, in the world's own time; by default its last day."""
        page = _page(query)
        if page is None:
            return problem(kind, BAD_PAGE)
        try:
            until = date.fromisoformat(query.get("end_date") or moment(self.world.now).date().isoformat())
            since = date.fromisoformat(query.get("start_date") or (until - timedelta(days=1)).isoformat())
        except ValueError:
            return problem(kind, BAD_RANGE)
        if not timedelta(0) <= until - since <= LONGEST_CHANGE_WINDOW:
            return problem(kind, BAD_RANGE)
        days = range(since.toordinal(), until.toordinal() + 1)
        ids = [
            number for at, kind_, number in self.world.tmdb_edits if kind_ == media and _ordinal(at) in days
        ]
        ids += [
            number
            for (media_, number) in self.world.films_by_tmdb
            if media_ == media and any((number * 31 + day) % 499 == 0 for day in days)
        ]
        ids = list(dict.fromkeys(ids))
        shown = ids[(page - 1) * CHANGES_PER_PAGE : page * CHANGES_PER_PAGE]
        return _document(
            kind,
            {
                "results": [{"id": number, "adult": False} for number in shown],
                "page": page,
                "total_pages": max(1, -(-len(ids) // CHANGES_PER_PAGE)),
                "total_results": len(ids),
            },
            {},
        )


def problem(kind: str, what: tuple[int, int, str], headers: tuple[tuple[str, str], ...] = ()) -> Answer:
    """An error in TMDB's words: (HTTP status, status code, sentence). Never cacheable."""
    status, code, sentence = what
    body = json.dumps({"success": False, "status_code": code, "status_message": sentence}).encode()
    return Answer(kind, status, body, headers)


def movie(film: Film) -> dict[str, Any]:
    """A film's details without anything appended."""
    return _common(film) | {
        "belongs_to_collection": None,
        "budget": 0,
        "imdb_id": film.imdb_id,
        "original_title": film.original_title or film.title,
        "release_date": _release_date(film),
        "revenue": 0,
        "runtime": film.runtime_minutes or 0,
        "status": "Released" if film.released else "Planned",
        "title": film.title,
        "video": False,
    }


def series(film: Film) -> dict[str, Any]:
    """A series' details without anything appended."""
    return _common(film) | {
        "created_by": [_person(person) for person in film.directors[:1]],
        "episode_run_time": [film.runtime_minutes // 6] if film.runtime_minutes else [],
        "first_air_date": _release_date(film),
        "in_production": False,
        "languages": _languages(film),
        "last_air_date": _release_date(film) or None,
        "last_episode_to_air": None,
        "name": film.title,
        "next_episode_to_air": None,
        "networks": [],
        "number_of_episodes": 6,
        "number_of_seasons": 1,
        "original_name": film.original_title or film.title,
        "seasons": [],
        "status": "Ended",
        "type": "Miniseries",
    }


def _common(film: Film) -> dict[str, Any]:
    countries = [COUNTRY_CODES.get(country, ("XX", country)) for country in film.countries]
    languages = _languages(film)
    return {
        "adult": False,
        "backdrop_path": None,
        "genres": [
            {"id": GENRE_IDS.get(genre, 18), "name": GENRE_NAMES.get(genre, genre)}
            for genre in film.genres
            if genre in GENRE_IDS
        ],
        "homepage": "",
        "id": film.tmdb_id,
        "origin_country": [code for code, _ in countries],
        "original_language": languages[0] if languages else "en",
        "overview": f"{film.title} is a film that tells its story in pictures.",
        "popularity": round(100 / (1 + film.popularity), 4),
        "poster_path": f"/{film.lid}.jpg",
        "production_companies": [],
        "production_countries": [{"iso_3166_1": code, "name": name} for code, name in countries],
        "spoken_languages": [
            {"english_name": name, "iso_639_1": code, "name": name}
            for code, name in zip(languages, film.languages, strict=True)
        ],
        "tagline": "",
        "vote_average": _vote_average(film),
        "vote_count": film.ratings // 50,
    }


def credits(film: Film) -> dict[str, Any]:
    """Cast and crew. A first director with an even id also wrote and produced: three jobs of one person."""
    crew = []
    for person in film.directors:
        jobs = [("Directing", "Director")]
        if person is film.directors[0]:
            jobs += [("Writing", "Writer")] + ([("Production", "Producer")] if person.number % 2 == 0 else [])
        for department, job in jobs:
            credit = f"{film.number:x}{person.number:x}{job.lower()}"
            crew.append(_person(person) | {"credit_id": credit, "department": department, "job": job})
    cast = [
        _person(person)
        | {
            "cast_id": place + 1,
            "character": f"Role {place + 1}",
            "credit_id": f"{film.number:x}{person.number:x}",
            "order": place,
        }
        for place, person in enumerate(film.cast)
    ]
    return {"cast": cast, "crew": crew}


def external_ids(film: Film) -> dict[str, Any]:
    """The ids of a title elsewhere."""
    ids: dict[str, Any] = {"imdb_id": film.imdb_id, "wikidata_id": None}
    if film.media_type == "tv":
        ids |= {"freebase_mid": None, "freebase_id": None, "tvdb_id": None, "tvrage_id": None}
    return ids | {"facebook_id": None, "instagram_id": None, "twitter_id": None}


def alternative_titles(film: Film) -> dict[str, Any]:
    """What a title is called elsewhere; series have them under another key."""
    names = [{"iso_3166_1": "XX", "title": name, "type": ""} for name in film.other_titles]
    return {"titles" if film.media_type == "movie" else "results": names}


_PARTS: dict[str, Callable[[Film], dict[str, Any]]] = {
    "credits": credits,
    "external_ids": external_ids,
    "alternative_titles": alternative_titles,
}


def _person(person: Person) -> dict[str, Any]:
    return {
        "adult": False,
        "gender": person.number % 4,
        "id": person.number,
        "known_for_department": "Directing" if person.number % 3 else "Acting",
        "name": person.name,
        "original_name": person.name,
        "popularity": round(person.number % 97 / 10, 4),
        "profile_path": None if person.number % 5 == 0 else f"/{person.slug}.jpg",
    }


def _result(film: Film) -> dict[str, Any]:
    """A title as lists of results show it."""
    common = _common(film)
    kept = (
        "adult",
        "backdrop_path",
        "id",
        "original_language",
        "overview",
        "popularity",
        "poster_path",
        "vote_average",
        "vote_count",
    )
    result = {key: common[key] for key in kept} | {"genre_ids": [genre["id"] for genre in common["genres"]]}
    original = film.original_title or film.title
    if film.media_type == "tv":
        return result | {"name": film.title, "original_name": original, "first_air_date": _release_date(film)}
    return result | {
        "title": film.title,
        "original_title": original,
        "release_date": _release_date(film),
        "video": False,
    }


def _release_date(film: Film) -> str:
    """A day in the film's year; an empty string where none is known, as for unannounced titles."""
    if film.year is None:
        return ""
    return date(film.year, 1 + film.number % 12, 1 + film.number % 28).isoformat()


def _words(text: str) -> tuple[str, ...]:
    """The words of a title as a search compares them: no accents, case or punctuation, in any script."""
    plain = unicodedata.normalize("NFKD", text.replace("'", "").replace("’", ""))
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    return tuple(re.findall(r"\w+", plain.casefold()))


def _languages(film: Film) -> list[str]:
    return [LANGUAGE_CODES.get(language, "xx") for language in film.languages]


def _vote_average(film: Film) -> float:
    total = film.ratings
    if not total:
        return 0.0
    return round(sum(count * level for level, count in enumerate(film.counts, start=1)) / total, 3)


def _page(query: Mapping[str, str]) -> int | None:
    text = query.get("page", "1")
    return int(text) if re.fullmatch(r"\d{1,3}", text) and 1 <= int(text) <= 500 else None


def _ordinal(seconds: int) -> int:
    return datetime.fromtimestamp(seconds, UTC).toordinal()


def _etag(body: bytes) -> str:
    return f'W/"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'


def _document(kind: str, document: Mapping[str, Any], headers: Mapping[str, str]) -> Answer:
    body = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    return _cacheable(kind, body, _etag(body), headers)


def _cacheable(kind: str, body: bytes, etag: str, headers: Mapping[str, str]) -> Answer:
    """The document, or 304 where the client has this version already."""
    told = (("etag", etag), ("cache-control", f"public, max-age={MAX_AGE_SECONDS}"))
    if etag in _tags(headers.get("if-none-match", "")):
        return Answer(kind, 304, b"", told)
    return Answer(kind, 200, body, told)


def _tags(header: str) -> Iterable[str]:
    return (tag.strip() for tag in header.split(","))
