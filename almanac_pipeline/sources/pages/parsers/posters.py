"""The film poster, the one piece of markup that grids, lists, profiles and diaries share, in all its eras.

An item is found by its container (the `li` around it), never by pairing two selections: slug, ids,
title, rating and like are all looked up inside the same container.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from selectolax.lexbor import LexborHTMLParser, LexborNode

from almanac_pipeline.errors import LayoutChangedError
from almanac_pipeline.sources.pages.parsers.text import (
    clean,
    film_slug,
    half_stars,
    int_of,
    rated_class,
    read_json,
    read_stars,
    split_title,
)

# `:is`, because lexbor returns an element once for every part of a plain selector list that it matches.
# Only as the last part of a selector: with a combinator behind it, lexbor 3 finds too little.
_CARRIERS = ":is([data-item-slug], [data-film-slug], [data-item-link], [data-film-link])"
_BARE_CARRIERS = '[data-target-link^="/film/"]'
"""Before anything else a poster said where it leads; on member pages that may be the member's own entry."""
_SLUG_ATTRIBUTES = (
    "data-item-slug",
    "data-film-slug",
    "data-item-link",
    "data-film-link",
    "data-target-link",
)

_SHELLS = ":is(li.griditem, li.posteritem, li.poster-container, li.film-detail, .film-poster)"

_OUTSIDE_TAGS = frozenset(("aside", "nav", "header", "footer"))
_OUTSIDE_CLASSES = frozenset(("sidebar", "modal", "modal-neue"))
_OUTSIDE_IDS = frozenset(("favourites", "recent-activity"))
_CONTAINER_CLASSES = frozenset(("griditem", "posteritem", "poster-container", "film-detail", "listitem"))
_POSTER_PREFIX = "Poster for "

_DETAIL_CLASSES = frozenset(("film-detail", "listitem"))
OPINION = ".poster-viewingdata"
_DETAIL_OPINION = ".film-detail-meta, .film-detail-content, .content-reactions-strip"


@dataclass(frozen=True, slots=True)
class Poster:
    """One film's container with the elements in it that carry its data."""

    container: LexborNode
    carriers: list[LexborNode]
    slug: str

    def attribute(self, *names: str) -> str | None:
        """The first of `names`, in that order, that any carrier or the container has with a value."""
        for name in names:
            for node in (*self.carriers, self.container):
                value = node.attrs.get(name)
                if value and not value.isspace():
                    return value
        return None

    def ids(self) -> tuple[str | None, str | None]:
        """(uid such as "film:951277", LID) of the film, each None where the page does not say."""
        identifier = read_json(self.attribute("data-postered-identifier"))
        if not isinstance(identifier, dict):
            path = read_json(self.attribute("data-resolvable-poster-path"))
            identifier = path.get("postered") if isinstance(path, dict) else None
        uid, lid = (
            (identifier.get("uid"), identifier.get("lid")) if isinstance(identifier, dict) else (None, None)
        )
        uid = uid if isinstance(uid, str) and uid else self.attribute("data-item-uid", "data-item-id")
        uid = uid or self.attribute("data-film-id")
        if uid is None:
            marks = self.container.css_first("p[data-item-uid]")
            uid = marks.attributes.get("data-item-uid") if marks is not None else None
        uid = clean(uid) if uid else None
        lid = clean(lid) if isinstance(lid, str) else None
        return (f"film:{uid}" if uid and uid.isdecimal() else uid or None), lid or None

    def title_and_year(self) -> tuple[str | None, int | None]:
        """Title and release year; old grids name no year, and undated films have none."""
        name = self.attribute("data-item-name", "data-item-full-display-name")
        if name:
            return split_title(name)
        year = int_of(clean(self.attribute("data-film-release-year", "data-item-release-year") or ""))
        name = self.attribute("data-film-name")
        if name:
            return clean(name), year
        title, shown_year = self._shown_title()
        return title, year or shown_year

    def _shown_title(self) -> tuple[str | None, int | None]:
        """What the picture is labelled with, and the year that a detail view prints beside the title."""
        frame = self.container.css_first("a.frame")
        name = ""
        if frame is not None:
            name = (
                frame.attributes.get("data-original-title") or frame.attributes.get("title") or frame.text()
            )
        if not name.strip():
            image = self.container.css_first("img[alt]")
            name = (image.attributes.get("alt") if image is not None else None) or ""
            # Scripts put these words before the title; a film may also be called so.
            if name.startswith(_POSTER_PREFIX) and not self.slug.startswith("poster-for"):
                name = name[len(_POSTER_PREFIX) :]
        title, year = split_title(name)
        if year is None:
            link = self.container.css_first('a[href^="/films/year/"]')
            year = int_of(clean(link.text())) if link is not None else None
        return title or None, year

    def opinion(self) -> tuple[float | None, bool]:
        """(rating in stars or None, liked) that the page's owner gave, from this container only.

        Raises:
            LayoutChangedError: there is a rating that we cannot read.
        """
        marks = self.container.css_first(OPINION)
        if marks is None and not _DETAIL_CLASSES.isdisjoint(class_names(self.container)):
            marks = self.container.css_first(_DETAIL_OPINION)
        rating, liked = read_marks(marks) if marks is not None else (None, False)
        if rating is None:
            half_star_count = int_of(clean(self.container.attrs.get("data-owner-rating") or ""))
            rating = _stars_or_raise(half_star_count) if half_star_count is not None else None
        return rating, liked


def posters(tree: LexborHTMLParser, scope: str | None = None) -> Iterator[Poster]:
    """The films of a page's main part, or of the element `scope`, in page order, each once.

    Raises:
        LayoutChangedError: one container holds two different films.
    """
    root = tree.css_first(scope) if scope else tree
    if root is None:
        return
    found: dict[int, Poster] = {}
    outside: dict[int, bool] = {}
    slugs: set[str] = set()
    for node in carriers_in(root):
        slug = _slug(node)
        if slug is None:
            continue
        container, is_item = _container(node)
        if not is_item and root.css_first(OPINION) is not None:
            raise LayoutChangedError("a film stands in no list item, so that its rating cannot be told")
        known = found.get(container.mem_id)
        if known is not None:
            if known.slug != slug:
                raise LayoutChangedError("one item of the page holds two different films")
            known.carriers.append(node)
        elif scope is not None or not _is_outside(container, outside):
            found[container.mem_id] = Poster(container, [node], slug)
    for poster in found.values():
        if poster.slug not in slugs:
            slugs.add(poster.slug)
            yield poster


def _slug(carrier: LexborNode) -> str | None:
    for name in _SLUG_ATTRIBUTES:
        slug = film_slug(carrier.attrs.get(name))
        if slug is not None:
            return slug
    return None


def carriers_in(root: LexborHTMLParser | LexborNode) -> list[LexborNode]:
    """The elements below `root` that name a film, in page order."""
    return root.css(_CARRIERS) or root.css(_BARE_CARRIERS)


def has_shells(tree: LexborHTMLParser) -> bool:
    """Whether the page's main part has elements that look like film items, readable or not."""
    outside: dict[int, bool] = {}
    return any(not _is_outside(node, outside) for node in tree.css(_SHELLS))


def class_names(node: LexborNode) -> list[str]:
    """The classes of an element."""
    return (node.attrs.get("class") or "").split()


def read_marks(marks: LexborNode) -> tuple[float | None, bool]:
    """(rating, liked) in an element that holds one film's marks.

    Raises:
        LayoutChangedError: there is a rating that we cannot read.
    """
    rating, liked = None, False
    for node in marks.css("[class]"):
        names = class_names(node)
        if "icon-liked" in names or "liked-micro" in names:
            liked = liked or "icon-status-off" not in names
        if "rating" in names:
            if "liked" in names:
                liked = True
            elif rating is None:
                rating = read_rating(node)
    return rating, liked


def read_rating(node: LexborNode) -> float | None:
    """Stars of a rating element, from its class `rated-N`, else from its glyphs; None for an empty one.

    Raises:
        LayoutChangedError: it says something else.
    """
    half_star_count = rated_class(node.attrs.get("class") or "")
    if half_star_count is not None:
        return _stars_or_raise(half_star_count)
    picture = node.css_first("svg[aria-label]")
    label = (picture.attributes.get("aria-label") if picture is not None else None) or node.text()
    stars = read_stars(label)
    if stars is None and label.strip():
        raise LayoutChangedError("a rating is written in a way that we cannot read")
    return stars


def _stars_or_raise(half_star_count: int) -> float | None:
    try:
        return half_stars(half_star_count)
    except ValueError as error:
        raise LayoutChangedError("a rating is outside 0 to 10 half stars") from error


def _container(node: LexborNode) -> tuple[LexborNode, bool]:
    """(the list item around a carrier, True); (the outermost poster element, False) where there is none."""
    outermost = ancestor = node
    while ancestor.is_element_node:
        if ancestor.tag in ("li", "tr"):
            return ancestor, True
        names = class_names(ancestor)
        if not _CONTAINER_CLASSES.isdisjoint(names):
            return ancestor, True
        if "react-component" in names or "film-poster" in names:
            outermost = ancestor
        if ancestor.parent is None:
            break
        ancestor = ancestor.parent
    return outermost, False


def _is_outside(container: LexborNode, known: dict[int, bool]) -> bool:
    """Whether an item stands beside the page's main part; asked once per list, whose items share a parent."""
    first = container.parent
    if first is None:
        return False
    answer = known.get(first.mem_id)
    if answer is None:
        answer, node = False, container
        while node is not None and node.is_element_node:
            if (
                node.tag in _OUTSIDE_TAGS
                or node.id in _OUTSIDE_IDS
                or not _OUTSIDE_CLASSES.isdisjoint(class_names(node))
            ):
                answer = True
                break
            if node.parent is None:
                break
            node = node.parent
        known[first.mem_id] = answer
    return answer
