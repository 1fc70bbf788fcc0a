"""Find out what a saved document is, parse it, and put it into plain JSON values.

This is what `almanac parse` prints: the records under the names that people expect, nothing else.
"""

from __future__ import annotations

import re
from typing import Any

from almanac_pipeline.errors import WrongPageError
from almanac_pipeline.sources.export_zip import Export, ExportFilm, parse_export
from almanac_pipeline.sources.pages.parsers.diary import diary_of
from almanac_pipeline.sources.pages.parsers.document import open_document, require_text
from almanac_pipeline.sources.pages.parsers.films import film_of, parse_film_json
from almanac_pipeline.sources.pages.parsers.grids import GRID_KINDS, grid_of
from almanac_pipeline.sources.pages.parsers.histograms import histogram_of
from almanac_pipeline.sources.pages.parsers.people import PEOPLE_KINDS, people_of
from almanac_pipeline.sources.pages.parsers.profile import profile_of
from almanac_pipeline.sources.records import (
    DiaryPage,
    Feed,
    FilmGrid,
    FilmItem,
    FilmJson,
    FilmPage,
    Histogram,
    MediaType,
    PeoplePage,
    ProfilePage,
)
from almanac_pipeline.sources.robots import Robots, looks_like_robots, parse_robots
from almanac_pipeline.sources.rss import parse_feed

Json = dict[str, Any]

MAX_EXPORT_BYTES = 200_000_000
"""What an export may unpack to, where no settings are read."""

_XML = re.compile(rb"<\?xml\b|<rss\b", re.IGNORECASE)


def parse_any(body: bytes, name_hint: str = "") -> Json:
    """What a page, feed, film JSON, robots.txt or data export holds, as JSON values; `page` says which it is.

    `name_hint` is the file's name. It decides only where the content does not: a text in a file
    called robots.txt is one even if it has no rules that we know.

    Raises:
        AlmanacError: the document is none of these, or cannot be read; the message says why.
    """
    if body.startswith(b"PK"):
        return _export(parse_export(body, name_hint, max_bytes=MAX_EXPORT_BYTES))
    require_text(body)
    body = body.removeprefix(b"\xef\xbb\xbf").lstrip()
    if body.startswith((b"{", b"[")):
        return _film_json(parse_film_json(body))
    if _XML.match(body):
        return _feed(parse_feed(body))
    if looks_like_robots(body) or name_hint.lower().endswith("robots.txt"):
        return _robots(parse_robots(body))
    if b"<" not in body:
        raise WrongPageError("neither HTML nor a feed, JSON or robots.txt")
    return _html(body)


def _html(body: bytes) -> Json:
    document = open_document(body)
    if document.kind in GRID_KINDS:
        return _grid(grid_of(document))
    if document.kind in PEOPLE_KINDS:
        return _people(people_of(document))
    if document.kind == "profile":
        return _profile(profile_of(document))
    if document.kind == "film":
        return _film(film_of(document))
    if document.kind == "diary":
        return _diary(diary_of(document))
    return _histogram(histogram_of(document))


def _item(item: FilmItem) -> Json:
    return {
        "slug": item.slug,
        "title": item.title,
        "release_year": item.release_year,
        "uid": item.uid,
        "lid": item.lid,
        "rating": item.rating,
        "liked": item.liked,
    }


def _grid(grid: FilmGrid) -> Json:
    is_list, is_person = grid.page == "list", grid.page == "person"
    return {
        "page": grid.page,
        "owner": grid.owner,
        "canonical_url": grid.canonical_url,
        **({"tmdb_person_id": grid.tmdb_person_id} if is_person else {}),
        "items": [
            {**_item(item), **({"list_position": item.list_position} if is_list else {})}
            for item in grid.items
        ],
        "next_page": grid.next_page,
        "last_page": grid.last_page,
        "total": grid.total,
    }


def _people(page: PeoplePage) -> Json:
    return {
        "page": page.page,
        "owner": page.owner,
        "canonical_url": page.canonical_url,
        "people": [
            {
                "username": person.username,
                "films_count": person.films_count,
                "likes_count": person.likes_count,
            }
            for person in page.people
        ],
        "next_page": page.next_page,
        "total": page.total,
    }


def _profile(page: ProfilePage) -> Json:
    return {
        "page": "profile",
        "owner": page.owner,
        "canonical_url": page.canonical_url,
        "lid": page.lid,
        "favorites": [_item(item) for item in page.favorites],
        "films_count": page.films_count,
        "ratings_count": page.ratings_count,
        "following_count": page.following_count,
        "followers_count": page.followers_count,
        "rating_counts": page.rating_counts,
    }


def _tmdb(media_type: MediaType | None, tmdb_id: int | None) -> list[str | int] | None:
    return [media_type, tmdb_id] if media_type is not None and tmdb_id is not None else None


def _film(page: FilmPage) -> Json:
    return {
        "page": "film",
        "canonical_url": page.canonical_url,
        "slug": page.slug,
        "title": page.title,
        "original_title": page.original_title,
        "release_year": page.release_year,
        "uid": page.uid,
        "lid": page.lid,
        "tmdb": _tmdb(page.tmdb_media_type, page.tmdb_id),
        "imdb_id": page.imdb_id,
        "runtime_minutes": page.runtime_minutes,
        "directors": [{"name": person.name, "slug": person.slug} for person in page.directors],
        "genres": page.genres,
        "countries": page.countries,
        "languages": page.languages,
        "average": page.average,
        "ratings": page.ratings,
        "fans": page.fans,
        "poster_url": page.poster_url,
        "histogram_url": page.histogram_url,
        "overview": page.overview,
    }


def _film_json(film: FilmJson) -> Json:
    return {
        "page": "film_json",
        "slug": film.slug,
        "title": film.title,
        "original_title": film.original_title,
        "release_year": film.release_year,
        "uid": film.uid,
        "lid": film.lid,
        "runtime_minutes": film.runtime_minutes,
        "directors": film.directors,
    }


def _histogram(histogram: Histogram) -> Json:
    return {
        "page": "histogram",
        "counts": histogram.counts,
        "average": histogram.average,
        "ratings": histogram.ratings,
        "fans": histogram.fans,
    }


def _diary(page: DiaryPage) -> Json:
    return {
        "page": "diary",
        "owner": page.owner,
        "canonical_url": page.canonical_url,
        "rows": [
            {
                "viewing_id": row.viewing_id,
                "watched_on": row.watched_on.isoformat() if row.watched_on else None,
                **_item(row.film),
                "rewatch": row.rewatch,
                "has_review": row.has_review,
            }
            for row in page.rows
        ],
        "next_page": page.next_page,
        "last_page": page.last_page,
        "total": page.total,
    }


def _feed(feed: Feed) -> Json:
    return {
        "page": "rss",
        "owner": feed.owner,
        "entries": [
            {
                "guid": entry.guid,
                "slug": entry.film.slug,
                "title": entry.film.title,
                "release_year": entry.film.release_year,
                "rating": entry.film.rating,
                "liked": entry.liked,
                "tmdb": _tmdb(entry.tmdb_media_type, entry.tmdb_id),
                "watched_on": entry.watched_on.isoformat() if entry.watched_on else None,
                "published_at": entry.published_at.isoformat() if entry.published_at else None,
                "rewatch": entry.rewatch,
                "is_review": entry.is_review,
            }
            for entry in feed.entries
        ],
        "lists": feed.lists_count,
    }


def _export(export: Export) -> Json:
    def films(found: tuple[ExportFilm, ...] | None) -> list[Json] | None:
        return None if found is None else [_export_film(film) for film in found]

    return {
        "page": "export",
        "owner": export.username,
        "joined_on": export.joined_on.isoformat() if export.joined_on else None,
        "as_of": export.as_of.isoformat(),
        "rows_by_file": export.rows_by_file,
        "repeated_rows": export.repeated_rows_count,
        "ratings": films(export.ratings),
        "watched": films(export.watched),
        "likes": films(export.likes),
        "favorites": films(export.favorites),
        "watchlist": films(export.watchlist),
        "diary": None
        if export.diary is None
        else [
            {
                "viewing_id": viewing.key,
                "title": viewing.title,
                "release_year": viewing.release_year,
                "lid": viewing.film.lid if viewing.film else None,
                "slug": viewing.film.slug if viewing.film else None,
                "film_match": viewing.film_match,
                "rating": viewing.rating,
                "watched_on": viewing.watched_on.isoformat() if viewing.watched_on else None,
                "logged_on": viewing.logged_on.isoformat() if viewing.logged_on else None,
                "rewatch": viewing.rewatch,
                "has_review": viewing.has_review,
            }
            for viewing in export.diary
        ],
        "lists": None
        if export.lists is None
        else [
            {
                "list_id": film_list.key,
                "name": film_list.name,
                "published_on": film_list.published_on.isoformat() if film_list.published_on else None,
                "items": films(film_list.films),
            }
            for film_list in export.lists
        ],
    }


def _export_film(film: ExportFilm) -> Json:
    return {
        "lid": film.lid,
        "slug": film.slug,
        "title": film.title,
        "release_year": film.release_year,
        "recorded_on": film.recorded_on.isoformat() if film.recorded_on else None,
        "rating": film.rating,
    }


def _robots(robots: Robots) -> Json:
    return {
        "page": "robots",
        "agent": robots.agent,
        "groups": [{"agents": group.agents, "rules": group.rules} for group in robots.groups],
        "sitemaps": robots.sitemaps,
        "crawl_delay_seconds": robots.crawl_delay_seconds,
        "allowed": robots.allowed,
    }
