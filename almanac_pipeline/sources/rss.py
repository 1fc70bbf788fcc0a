"""A member's RSS feed: the newest viewings and reviews, then the lists.

XML is read by expat with every document type refused, so that no entity can be declared or fetched.
Review texts are not read.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from email.utils import parsedate_to_datetime
from xml.parsers import expat

from almanac_pipeline.errors import LayoutChangedError, RetriableError, WrongPageError
from almanac_pipeline.sources.pages.parsers.document import open_document, require_text
from almanac_pipeline.sources.pages.parsers.text import clean, film_slug, int_of, path_segments, text_of
from almanac_pipeline.sources.records import Feed, FeedEntry, FilmItem, MediaType

_SPACE = " "
_LETTERBOXD = f"https://letterboxd.com{_SPACE}"
_TMDB = f"https://themoviedb.org{_SPACE}"
_VIEWING = re.compile(r"^letterboxd-(review|watch)-[0-9]+$")
_LIST = re.compile(r"^letterboxd-list-[0-9]+$")
_RATING = re.compile(r"^[0-5](?:\.[05])?$")


class _Doctype(Exception):
    """Raised inside expat to leave a document that declares a type."""


class _Reader:
    """Collects the channel's own fields, and per item the texts of its direct children."""

    def __init__(self) -> None:
        self.root: str | None = None
        self.channel: dict[str, str] = {}
        self.items: list[dict[str, str]] = []
        self._path: list[str] = []
        self._text: list[str] = []

    def start(self, name: str, _attributes: dict[str, str]) -> None:
        self.root = self.root or name
        self._path.append(name)
        self._text = []
        if self._path == ["rss", "channel", "item"]:
            self.items.append({})

    def text(self, data: str) -> None:
        self._text.append(data)

    def end(self, name: str) -> None:
        match self._path:
            case ["rss", "channel", "item", _]:
                self.items[-1].setdefault(name, clean("".join(self._text)))
            case ["rss", "channel", _]:
                self.channel.setdefault(name, clean("".join(self._text)))
        self._path.pop()


def parse_feed(body: bytes) -> Feed:
    """The viewings and reviews of a feed in its order; lists are counted.

    Raises:
        RetriableError: empty, damaged or truncated.
        WrongPageError: not a member's feed; for an HTML page as `open_document`.
        LayoutChangedError: an entry whose film, rating or date cannot be read.
    """
    require_text(body)
    if re.match(rb"\s*(?:<!doctype\s+html|<html|<head|<body)", body, re.IGNORECASE):
        open_document(body)
        raise WrongPageError("an HTML page came where a feed was expected")
    reader = _read(body)
    owner = path_segments(reader.channel.get("link"))
    if reader.root != "rss" or len(owner) != 1:
        raise WrongPageError("not the feed of a member")
    viewings = [item for item in reader.items if _is_viewing(item)]
    return Feed(
        owner=owner[0],
        entries=tuple(_entry(item) for item in viewings),
        lists_count=sum(1 for item in reader.items if _LIST.match(item.get("guid", ""))),
    )


def _read(body: bytes) -> _Reader:
    reader = _Reader()
    parser = expat.ParserCreate(namespace_separator=_SPACE)
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.StartDoctypeDeclHandler = _refuse_doctype
    try:
        parser.Parse(body.lstrip(), True)
    except _Doctype as error:
        raise WrongPageError("the feed declares a document type; such XML is not read") from error
    except (expat.ExpatError, ValueError, LookupError) as error:
        # The message of expat names line and column only, never the content.
        raise RetriableError(f"the feed is damaged or truncated ({error}); fetch it again") from error
    return reader


def _refuse_doctype(*_arguments: object) -> None:
    raise _Doctype


def _is_viewing(item: dict[str, str]) -> bool:
    """Whether an item tells of a film: by its guid, and no other may name one."""
    if _VIEWING.match(item.get("guid", "")):
        return True
    if f"{_LETTERBOXD}filmTitle" in item and "/film/" in item.get("link", ""):
        raise LayoutChangedError("an item of the feed names a film but has no guid of a kind that we know")
    return False


def _entry(item: dict[str, str]) -> FeedEntry:
    slug = film_slug(item.get("link")) if "/film/" in item.get("link", "") else None
    title = text_of(item.get(f"{_LETTERBOXD}filmTitle"))
    if slug is None or not title:
        raise LayoutChangedError("an entry of the feed does not name its film")
    liked = _yes(item.get(f"{_LETTERBOXD}memberLike"))
    media_type, tmdb_id = _tmdb(item)
    return FeedEntry(
        guid=item["guid"],
        film=FilmItem(
            slug=slug,
            title=title,
            release_year=int_of(item.get(f"{_LETTERBOXD}filmYear")),
            rating=_rating(item.get(f"{_LETTERBOXD}memberRating")),
            liked=bool(liked),
        ),
        tmdb_media_type=media_type,
        tmdb_id=tmdb_id,
        watched_on=_day(item.get(f"{_LETTERBOXD}watchedDate")),
        published_at=_moment(item.get("pubDate")),
        rewatch=bool(_yes(item.get(f"{_LETTERBOXD}rewatch"))),
        liked=liked,
        is_review=item["guid"].startswith("letterboxd-review-"),
    )


def _tmdb(item: dict[str, str]) -> tuple[MediaType | None, int | None]:
    media_types: tuple[MediaType, ...] = ("movie", "tv")
    for media_type in media_types:
        tmdb_id = int_of(item.get(f"{_TMDB}{media_type}Id"))
        if tmdb_id is not None:
            return media_type, tmdb_id
    return None, None


def _yes(value: str | None) -> bool | None:
    return value.lower() == "yes" if value else None


def _rating(value: str | None) -> float | None:
    if not value:
        return None
    stars = float(value) if _RATING.match(value) else -1.0
    if not 0.5 <= stars <= 5.0:
        raise LayoutChangedError("an entry of the feed has a rating outside 0.5 to 5.0")
    return stars


def _day(value: str | None) -> date | None:
    if not value:
        return None
    try:
        return date.fromisoformat(value)
    except ValueError as error:
        raise LayoutChangedError("an entry of the feed has a watched date that cannot be read") from error


def _moment(value: str | None) -> datetime | None:
    """When it was published, in UTC; the site writes New Zealand's offset."""
    if not value:
        return None
    try:
        moment = parsedate_to_datetime(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError, TypeError) as error:
        raise LayoutChangedError("an entry of the feed has a publication date that cannot be read") from error
