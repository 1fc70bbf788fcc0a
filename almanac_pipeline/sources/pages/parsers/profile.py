"""A member's front page: favourites, counts, and the distribution of their own ratings."""

from __future__ import annotations

import re

from almanac_pipeline.errors import LayoutChangedError, WrongPageError
from almanac_pipeline.sources.pages.parsers.document import Document, open_document
from almanac_pipeline.sources.pages.parsers.histograms import Counts, read_counts
from almanac_pipeline.sources.pages.parsers.posters import posters
from almanac_pipeline.sources.pages.parsers.text import path_segments, read_count
from almanac_pipeline.sources.records import FilmItem, ProfilePage

_FAVORITES = "#favourites"
_SHORT_LINK = re.compile(r"^https?://boxd\.it/([0-9A-Za-z]+)/?$")
_NAMES_FAVORITES = re.compile(r"films? watched\. Favorites: ")


def parse_profile(body: bytes) -> ProfilePage:
    """A member's front page. Display name, bio, location and links are not read.

    Raises:
        AlmanacError: as `open_document`; LayoutChangedError where favourites are announced but none
            can be read.
    """
    return profile_of(open_document(body, ("profile",)))


def profile_of(document: Document) -> ProfilePage:
    """The profile in a document that is already parsed; see `parse_profile`."""
    if document.owner is None:
        raise WrongPageError("the profile names no owner")
    tree = document.tree
    favorites = []
    for poster in posters(tree, _FAVORITES):
        title, release_year = poster.title_and_year()
        uid, lid = poster.ids()
        favorites.append(FilmItem(slug=poster.slug, title=title, release_year=release_year, uid=uid, lid=lid))
    if not favorites and _announces_favorites(document):
        raise LayoutChangedError("the profile announces favourites, but none can be read from it")
    counts = _counts(document)
    return ProfilePage(
        owner=document.owner,
        canonical_url=document.canonical_url,
        favorites=tuple(favorites),
        films_count=counts.get("films"),
        ratings_count=_ratings_count(document),
        following_count=counts.get("following"),
        followers_count=counts.get("followers"),
        lid=_lid(document),
        rating_counts=_rating_counts(document),
    )


def _counts(document: Document) -> dict[str, int]:
    """The numbers beside the links to the member's own sections, by section."""
    counts: dict[str, int] = {}
    for node in document.tree.css(
        ".profile-header a[href], .profile-stats a[href], .profile-statistic a[href]"
    ):
        parts = path_segments(node.attributes.get("href"))
        value = node.css_first(".value") or node
        count = read_count(value.text()) if len(parts) == 2 else None
        if count is not None:
            counts.setdefault(parts[1], count)
    return counts


def _rating_counts(document: Document) -> Counts | None:
    """The member's own histogram. It only serves comparison, so that a strange one must not cost the page."""
    try:
        return read_counts(document.tree)
    except LayoutChangedError:
        return None


def _announces_favorites(document: Document) -> bool:
    node = document.tree.css_first('meta[property="og:description"], meta[name="description"]')
    content = (node.attributes.get("content") if node is not None else None) or ""
    return _NAMES_FAVORITES.search(content) is not None


def _ratings_count(document: Document) -> int | None:
    node = document.tree.css_first(".ratings-histogram-chart .all-link, .ratings-histogram-chart a.accessory")
    return read_count(node.text()) if node is not None else None


def _lid(document: Document) -> str | None:
    """The member's own short id, which survives renaming."""
    for node in document.tree.css(
        ".profile-actions [data-clipboard-text], .profile-header [data-clipboard-text]"
    ):
        match = _SHORT_LINK.match(node.attributes.get("data-clipboard-text") or "")
        if match:
            return match[1]
    return None
