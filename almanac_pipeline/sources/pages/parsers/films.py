"""A film's own page, and the small JSON document beside it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, cast

from selectolax.lexbor import LexborHTMLParser

from almanac_pipeline.errors import LayoutChangedError, NotFoundError, WrongPageError
from almanac_pipeline.sources.pages.parsers.document import Document, open_document, require_text
from almanac_pipeline.sources.pages.parsers.histograms import read_fans
from almanac_pipeline.sources.pages.parsers.posters import Poster, carriers_in
from almanac_pipeline.sources.pages.parsers.text import (
    ascii_digits,
    clean,
    film_slug,
    int_of,
    path_segments,
    read_count,
    read_json,
    split_title,
    text_of,
)
from almanac_pipeline.sources.records import FilmJson, FilmPage, MediaType, PersonLink

_FILM_TYPES = frozenset(("Movie", "TVSeries", "TVEpisode", "CreativeWork"))
_TMDB_LINK = re.compile(r"themoviedb\.org/(movie|tv)/([0-9]{1,15})(?![0-9])")
_IMDB_LINK = re.compile(r"imdb\.com/title/(tt[0-9]+)")
_SHORT_LINK = re.compile(r"^https?://boxd\.it/([0-9A-Za-z]+)/?$")
_QUOTES = "\u2018\u2019\u201c\u201d'\" "
_RUNTIME = re.compile(r"([0-9][0-9,.\u00a0]*)\s*mins?\b")
_HISTOGRAM_PATH = re.compile(r"/(?:rating-histogram|ratings-summary)/?(?:\?|$)")
_YEAR = re.compile(r"^([0-9]{4})(?:-|$)")
_DECIMAL = re.compile(r"[0-9](?:\.[0-9]+)?")
_OUT_OF_FIVE = re.compile(r"^([0-9](?:\.[0-9]+)?) out of 5")


def parse_film_page(body: bytes) -> FilmPage:
    """What a film's page says. A TV title has media type "tv" even where the body says "movie".

    Raises:
        AlmanacError: as `open_document`; LayoutChangedError where the page has no title.
    """
    return film_of(open_document(body, ("film",)))


def film_of(document: Document) -> FilmPage:
    """The film in a document that is already parsed; see `parse_film_page`."""
    tree = document.tree
    schema = _schema(tree)
    slug = film_slug(document.canonical_url) or film_slug(text_of(schema.get("url")))
    title, release_year = _title_and_year(tree, schema)
    if slug is None or not title:
        raise LayoutChangedError("the film's page has no title or no address")
    uid, lid = _ids(tree, slug)
    media_type, tmdb_id, is_tmdb_linked = _tmdb(tree)
    average, ratings = _rating(tree, schema)
    details = "#tab-details, #tab-panel-details"
    return FilmPage(
        slug=slug,
        canonical_url=document.canonical_url,
        title=title,
        release_year=release_year,
        uid=uid,
        lid=lid,
        tmdb_media_type=media_type,
        tmdb_id=tmdb_id,
        imdb_id=_imdb_id(tree),
        runtime_minutes=_runtime_minutes(tree),
        original_title=_original_title(tree),
        directors=_directors(tree, schema),
        genres=_names(_strings(schema.get("genre")))
        or _linked(tree, "#tab-genres, #tab-panel-genres", "/films/genre/"),
        countries=_linked(tree, details, "/films/country/") or _names(_named(schema.get("countryOfOrigin"))),
        languages=_linked(tree, details, "/films/language/"),
        average=average,
        ratings=ratings,
        fans=read_fans(tree),
        poster_url=text_of(schema.get("image")),
        histogram_url=_histogram_url(tree),
        overview=_overview(tree),
        is_tmdb_linked=is_tmdb_linked,
    )


def parse_film_json(body: bytes) -> FilmJson:
    """The document at `/film/{slug}/json/`, which has neither a TMDB id nor ratings.

    Raises:
        AlmanacError: as `open_document` where HTML came; NotFoundError where the site answers that it
            has no result; WrongPageError for any other document.
    """
    require_text(body)
    if body.lstrip()[:1] == b"<":
        open_document(body)
        raise WrongPageError("an HTML page came where a film's JSON was expected")
    data = read_json(body.decode("utf-8", errors="replace"))
    if not isinstance(data, dict):
        raise WrongPageError("not a JSON object, so not a film's JSON")
    if data.get("result") is False:
        raise NotFoundError("the site has no JSON for this film")
    slug = film_slug(text_of(data.get("slug"))) or film_slug(text_of(data.get("url")))
    title = text_of(data.get("name"))
    if slug is None or title is None or "releaseYear" not in data:
        raise WrongPageError("a JSON object, but not a film's: it lacks slug, name or releaseYear")
    return FilmJson(
        slug=slug,
        title=title,
        release_year=int_of(data["releaseYear"]) or None,
        uid=text_of(data.get("uid")) or _uid_of(int_of(data.get("id"))),
        lid=text_of(data.get("lid")),
        runtime_minutes=int_of(data.get("runTime")) or None,
        original_title=text_of(data.get("originalName")),
        directors=_names(_named(data.get("directors"))),
    )


def _schema(tree: LexborHTMLParser) -> dict[str, Any]:
    """The page's JSON-LD about the film; {} where there is none that can be read."""
    for node in tree.css('script[type="application/ld+json"]'):
        text = node.text()
        start, end = text.find("{"), text.rfind("}")  # comments with CDATA marks stand around it
        data = read_json(text[start : end + 1]) if start >= 0 else None
        graph = data.get("@graph") if isinstance(data, dict) else None
        for thing in graph if isinstance(graph, list) else [data]:
            if isinstance(thing, dict) and not _FILM_TYPES.isdisjoint(_strings(thing.get("@type"))):
                return cast(dict[str, Any], thing)
    return {}


def _title_and_year(tree: LexborHTMLParser, schema: dict[str, Any]) -> tuple[str | None, int | None]:
    title = text_of(schema.get("name"))
    events = schema.get("releasedEvent")
    first = events[0] if isinstance(events, list) and events else events
    match = _YEAR.match(text_of(first.get("startDate")) or "") if isinstance(first, dict) else None
    year = int(match[1]) if match else None
    if title is None:
        title = _text(tree, "h1.primaryname .name, h1.primaryname, h1.filmtitle, #featured-film-header h1")
    if year is None:
        match = _YEAR.match(
            _text(tree, ".releasedate a, .releasedate, .releaseyear a, .releaseyear, small.number a") or ""
        )
        year = int(match[1]) if match else None
    if title is None or year is None:
        node = tree.css_first('meta[property="og:title"]')
        shown, shown_year = split_title((node.attributes.get("content") if node is not None else None) or "")
        title, year = title or shown or None, year or shown_year
    return title, year


def _ids(tree: LexborHTMLParser, slug: str) -> tuple[str | None, str | None]:
    """(uid, LID) of this film; the page names those of similar films too."""
    uid = lid = None
    for node in carriers_in(tree):
        poster = Poster(node, [node], slug)
        if film_slug(poster.attribute("data-item-slug", "data-film-slug", "data-item-link")) == slug:
            found_uid, found_lid = poster.ids()
            uid, lid = uid or found_uid, lid or found_lid
            if uid and lid:
                break
    if uid is None:
        production = tree.css_first("[data-production-uid]")
        uid = (
            clean((production.attributes.get("data-production-uid") if production is not None else "") or "")
            or None
        )
    if lid is None:
        field = tree.css_first('input[id^="url-field-film-"]')
        match = _SHORT_LINK.match((field.attributes.get("value") if field is not None else "") or "")
        lid = match[1] if match else None
    return uid, lid


def _tmdb(tree: LexborHTMLParser) -> tuple[MediaType | None, int | None, bool]:
    """The title, and whether a link names it. For TV the body claims to be a movie with an empty id."""
    match = _own_link(tree, "TMDB", _TMDB_LINK)
    if match:
        return cast(MediaType, match[1]), int(match[2]), True
    attributes = tree.body.attributes if tree.body is not None else {}
    media_type, tmdb_id = attributes.get("data-tmdb-type"), int_of(attributes.get("data-tmdb-id"))
    if media_type in ("movie", "tv") and tmdb_id is not None:
        return cast(MediaType, media_type), tmdb_id, False
    return None, None, False


def _imdb_id(tree: LexborHTMLParser) -> str | None:
    match = _own_link(tree, "IMDb", _IMDB_LINK)
    return match[1] if match else None


def _own_link(tree: LexborHTMLParser, label: str, pattern: re.Pattern[str]) -> re.Match[str] | None:
    """The film's link to another site: the button, else one in the footer, else one that is called so.

    Links in reviews and comments lead to other films, too, but are called otherwise.
    """
    for selector in (f'a[data-track-action="{label}" i]', ".text-footer a[href]", "a[href]"):
        for node in tree.css(selector):
            match = pattern.search(node.attributes.get("href") or "")
            if match and (selector != "a[href]" or node.text(strip=True).lower() == label.lower()):
                return match
    return None


def _runtime_minutes(tree: LexborHTMLParser) -> int | None:
    """From the footer: the element called so, or else what the buttons to other sites stand in."""
    footers = tree.css(".text-footer")
    if not footers:
        buttons = tree.css('a[href*="imdb.com/title/"]') + tree.css('a[href*="themoviedb.org/"]')
        footers = [node.parent for node in buttons if node.parent is not None]
    for node in footers:
        match = _RUNTIME.search(ascii_digits(node.text()))
        if match:
            return read_count(match[1]) or None
    return None


def _rating(tree: LexborHTMLParser, schema: dict[str, Any]) -> tuple[float | None, int | None]:
    """(average, ratings); both None for unreleased and little-rated films."""
    aggregate = schema.get("aggregateRating")
    value, count = (
        (aggregate.get("ratingValue"), aggregate.get("ratingCount"))
        if isinstance(aggregate, dict)
        else (None, None)
    )
    average = _average(value)
    if average is None:
        node = tree.css_first('meta[name="twitter:data2"]')
        match = _OUT_OF_FIVE.match((node.attributes.get("content") if node is not None else None) or "")
        average = float(match[1]) if match else None
    return average, int_of(count)


def _average(value: object) -> float | None:
    """Stars, also where they were written as a string."""
    if isinstance(value, str) and _DECIMAL.fullmatch(value.strip()):
        value = float(value)
    return float(value) if isinstance(value, (int, float)) and 0 < value <= 5 else None


def _directors(tree: LexborHTMLParser, schema: dict[str, Any]) -> tuple[PersonLink, ...]:
    """From the JSON-LD, which is complete; the masthead stops after two."""
    links: dict[str, PersonLink] = {}
    found = schema.get("director")
    for person in found if isinstance(found, list) else [found]:
        name = text_of(person.get("name")) if isinstance(person, dict) else None
        if name:
            slug = _person_slug(text_of(person.get("sameAs")))
            links.setdefault(slug or name, PersonLink(name, slug))
    if not links:
        for selector in (
            "#tab-crew, #tab-panel-crew",
            ".credits, .production-masthead, #featured-film-header",
        ):
            for block in tree.css(selector):
                for node in block.css('a[href*="/director/"]'):
                    slug, name = _person_slug(node.attributes.get("href")), clean(node.text())
                    if slug and name:
                        links.setdefault(slug, PersonLink(name, slug))
            if links:
                break
    return tuple(links.values())


def _person_slug(url: str | None) -> str | None:
    parts = path_segments(url)
    return parts[1] if len(parts) == 2 else None


def _original_title(tree: LexborHTMLParser) -> str | None:
    title = _text(tree, ".originalname .quoted-creative-work-title, .originalname, #featured-film-header em")
    return title.strip(_QUOTES) or None if title else None


def _histogram_url(tree: LexborHTMLParser) -> str | None:
    for node in tree.css('[data-src*="/csi/film/"]'):
        path = clean(node.attributes.get("data-src") or "")
        if node.attributes.get("data-on-load") == "rating-histogram" or _HISTOGRAM_PATH.search(path):
            return path
    return None


def _overview(tree: LexborHTMLParser) -> str | None:
    paragraphs = tree.css(".production-synopsis .truncate p") or tree.css(".film-text-content .truncate p")
    return clean("\n\n".join(clean(node.text()) for node in paragraphs)) or None


def _linked(tree: LexborHTMLParser, blocks: str, prefix: str) -> tuple[str, ...]:
    """The texts of a block's links whose path begins with `prefix`; a block may hold links of other kinds."""
    return _names(
        node.text()
        for block in tree.css(blocks)
        for node in block.css("a[href]")
        if f"/{'/'.join(path_segments(node.attributes.get('href')))}/".startswith(prefix)
    )


def _text(tree: LexborHTMLParser, selectors: str) -> str | None:
    """Text of the first element that has one, trying the selectors in their order."""
    for selector in selectors.split(", "):
        node = tree.css_first(selector)
        text = clean(node.text()) if node is not None else ""
        if text:
            return text
    return None


def _strings(value: object) -> list[str]:
    return [text for item in (value if isinstance(value, list) else [value]) if (text := text_of(item))]


def _named(value: object) -> list[str]:
    items = value if isinstance(value, list) else [value]
    return [name for item in items if isinstance(item, dict) and (name := text_of(item.get("name")))]


def _names(values: Iterable[str]) -> tuple[str, ...]:
    """Cleaned, non-empty, each once, in order."""
    return tuple(dict.fromkeys(name for value in values if (name := clean(value))))


def _uid_of(film_id: int | None) -> str | None:
    return f"film:{film_id}" if film_id is not None else None
