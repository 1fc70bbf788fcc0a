"""The film poster, the one piece of markup that grids, lists, profiles and diaries share, in all its eras.

An item is found by its container (the `li` around it), never by pairing two selections: slug, ids,
title, rating and like are all looked up inside the same container.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from selectolax.lexbor import LexborAttributes, LexborHTMLParser, LexborNode

from almanac_pipeline.errors import LayoutChangedError
from almanac_pipeline.sources.pages.parsers.document import class_names, stands_outside
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

# Of a film today, and until August 2025. One attribute is found in a third of the time that four take.
_NEW_CARRIERS = "[data-item-slug]"
_OLD_CARRIERS = "[data-film-slug]"
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

# Posters of before August 2025 have none of these, which one look tells for all of a group.
_NEW_ATTRIBUTES = frozenset(("data-item-slug", "data-item-link", "data-item-name"))
_IDENTIFIERS = frozenset(("data-postered-identifier", "data-resolvable-poster-path"))
_TITLES_AND_YEARS = frozenset(
    (
        *("data-item-name", "data-item-full-display-name", "data-film-name"),
        *("data-film-release-year", "data-item-release-year"),
    )
)

_SHELLS = ":is(li.griditem, li.posteritem, li.poster-container, li.film-detail, .film-poster)"
_POSTER = ':is(.film-poster, [data-component-class="LazyPoster"])'
_STARS_OF_CLASS = {f"rated-{half_star_count}": half_star_count / 2 for half_star_count in range(1, 11)}
_STARS_OF_HALVES = {str(half_star_count): half_star_count / 2 or None for half_star_count in range(11)}
# As pages write it; whatever is written otherwise is read as JSON.
_PLAIN_IDENTIFIER = re.compile(r'\{"lid":"([0-9A-Za-z]+)","uid":"([a-z]+:[0-9]+)"[,}]')

_ITEM_TAGS = frozenset(("li", "tr"))
_CONTAINER_CLASSES = frozenset(("griditem", "posteritem", "poster-container", "film-detail", "listitem"))
_POSTER_PREFIX = "Poster for "

_DETAIL_CLASSES = frozenset(("film-detail", "listitem"))
OPINION = ".poster-viewingdata"
_RANK = ".list-number"
# A film without a rating has no such element in a grid, but in a diary.
_SAYS_NOTHING = ".rating:not(.liked, .rated-0)"
_DETAIL_OPINION = ".film-detail-meta, .film-detail-content, .content-reactions-strip"


_Attributes = LexborAttributes | dict[str, str | None]


@dataclass(slots=True)  # not frozen, which would double the price of a thing made 72 times a page
class Poster:
    """One film's container with the elements in it that carry its data."""

    container: LexborNode
    carriers: list[LexborNode]
    slug: str
    _first: _Attributes | None = None
    """Those of the first carrier. Looking up what is there is cheap, and what is not is dear."""
    marks: LexborNode | None = None
    """The element that holds the page owner's rating and like, given or not."""
    rank: LexborNode | None = None
    """The element with the place in a ranked list."""
    _all: dict[str, str | None] | None = None
    """Those of all carriers and of the container, read at the first look in vain."""

    def attribute(self, *names: str) -> str | None:
        """The first of `names`, in that order, that any carrier or the container has with a value."""
        values = self._all or self._read_all()
        for name in names:
            value = values.get(name)
            if value and not value.isspace():
                return value
        return None

    def _read_all(self) -> dict[str, str | None]:
        first, *others = (*self.carriers, self.container)
        values = self._all = self._first if isinstance(self._first, dict) else first.attributes
        for node in others:
            for name, value in node.attributes.items():
                if value and not values.get(name):
                    values[name] = value
        return values

    def _lacks(self, names: frozenset[str]) -> bool:
        """Whether it has none of these attributes, told in one look."""
        return names.isdisjoint(self._all or self._read_all())

    def is_old_markup(self) -> bool:
        """Whether it is of before August 2025."""
        return self._lacks(_NEW_ATTRIBUTES) or self.attribute(*_NEW_ATTRIBUTES) is None

    def ids(self) -> tuple[str | None, str | None]:
        """(uid such as "film:951277", LID) of the film, each None where the page does not say."""
        first = self._first
        written = first.get("data-postered-identifier") if first is not None else None
        plain = _PLAIN_IDENTIFIER.match(written) if written else None
        if plain is not None:
            lid, uid = plain.groups()
            return uid, lid
        uid, lid = (None, None) if self._lacks(_IDENTIFIERS) else self._identifier()
        if not isinstance(uid, str) or not uid:
            uid = self.attribute("data-item-uid", "data-item-id", "data-film-id")
        if uid is None:
            inner = self.container.css_first(":is([data-item-uid], [data-film-id])")
            if inner is not None:
                uid = inner.attributes.get("data-item-uid") or inner.attributes.get("data-film-id")
        uid = clean(uid) if uid else None
        lid = clean(lid) if isinstance(lid, str) else None
        return (f"film:{uid}" if uid and uid.isdecimal() else uid or None), lid or None

    def _identifier(self) -> tuple[object, object]:
        """(uid, LID) as JSON has them, whatever stands there."""
        identifier = read_json(self.attribute("data-postered-identifier"))
        if not isinstance(identifier, dict):
            path = read_json(self.attribute("data-resolvable-poster-path"))
            identifier = path.get("postered") if isinstance(path, dict) else None
        if not isinstance(identifier, dict):
            return None, None
        return identifier.get("uid"), identifier.get("lid")

    def title_and_year(self) -> tuple[str | None, int | None]:
        """Title and release year; old grids name no year, and undated films have none."""
        first = self._first
        name = first.get("data-item-name") if first is not None else None
        if not name or name.isspace():
            if self._lacks(_TITLES_AND_YEARS):
                return self._shown_title()
            name = self.attribute("data-item-name", "data-item-full-display-name")
        if name is not None:
            return split_title(name)
        written = self.attribute("data-film-release-year", "data-item-release-year")
        year = int_of(clean(written)) if written else None
        name = self.attribute("data-film-name")
        if name:
            return clean(name), year
        title, shown_year = self._shown_title()
        return title, year or shown_year

    def _shown_title(self) -> tuple[str | None, int | None]:
        """What the picture is labelled with, and the year that a detail view prints beside the title."""
        # Most often right inside the carrier, where looking is cheap.
        frame, label = None, None
        for node in self.carriers[0].iter() if self.carriers else ():
            tag = node.tag
            if tag == "img":
                label = label or node.attrs.get("alt")
            elif tag == "a" and frame is None and "frame" in class_names(node):
                frame = node
        if not label:
            frame = self.container.css_first("a.frame")
            labels = [node.attrs.get("alt") for node in self.container.css("img[alt]")]
            label = next(filter(None, labels), "")
        name = ""
        if frame is not None:
            name = frame.attrs.get("data-original-title") or frame.attrs.get("title") or frame.text()
        if not name or name.isspace():
            name = label
            # Scripts put these words before the title; a film may also be called so.
            if name.startswith(_POSTER_PREFIX) and not self.slug.startswith("poster-for"):
                name = name[len(_POSTER_PREFIX) :]
        title, year = split_title(name)
        if year is None and self._is_detailed(self.container.attributes):
            link = self.container.css_first('a[href^="/films/year/"]')
            year = int_of(clean(link.text())) if link is not None else None
        return title or None, year

    def _is_detailed(self, attributes: dict[str, str | None]) -> bool:
        written = attributes.get("class") or ""
        # Most often neither stands in it, which is seen sooner than split.
        return ("film-detail" in written or "listitem" in written) and not _DETAIL_CLASSES.isdisjoint(
            written.split()
        )

    def opinion(self) -> tuple[float | None, bool]:
        """(rating in stars or None, liked) that the page's owner gave, from this container only.

        Raises:
            LayoutChangedError: there is a rating that we cannot read, or one without stars.
        """
        marks, rating, liked = self.marks, None, False
        if marks is not None:
            rating, liked = read_marks(marks)
        if rating is None:
            attributes = self.container.attributes
            if marks is None and self._is_detailed(attributes):
                marks = self.container.css_first(_DETAIL_OPINION)
                rating, liked = read_marks(marks) if marks is not None else (None, False)
            written = attributes.get("data-owner-rating") if rating is None else None
            rating = _owner_rating(written) if written else rating
        # Most often nothing stands in a place without stars, which is seen sooner than searched.
        if (
            rating is None
            and marks is not None
            and next(marks.iter(), None) is not None
            and marks.css_first(_SAYS_NOTHING) is not None
        ):
            raise LayoutChangedError("a film has a place for stars, but there are none in it")
        return rating, liked


def posters(tree: LexborHTMLParser, scope: str | None = None, *, has_ranks: bool = False) -> list[Poster]:
    """The films of a page's main part, or of the element `scope`, in page order, each once.

    Raises:
        LayoutChangedError: one container holds two different films, or an item names none.
    """
    root = tree.css_first(scope) if scope else tree
    if root is None:
        return []
    # Each search walks the whole page: first by the one attribute that pages of an era have, and by all that
    # any era had only where that leaves items of a list unread.
    is_scoped = scope is not None
    found = _Items(root, root.css(_NEW_CARRIERS), is_scoped=is_scoped, is_old=False)
    if not found.are_complete():
        found = _Items(root, root.css(_OLD_CARRIERS), is_scoped=is_scoped, is_old=True)
    if not found.are_complete():
        found = _Items(root, carriers_in(root), is_scoped=is_scoped, is_old=True)
        found.require_none_unread()
    return found.posters(has_ranks=has_ranks)


@dataclass(slots=True)
class _List:
    """An element that items stand in."""

    element: LexborNode
    is_outside: bool
    item_count: int = 0

    def items(self) -> Iterator[LexborNode]:
        node = self.element.first_child
        while node is not None:
            if node.tag == "li":
                yield node
            node = node.next


class _Items:
    """What the carriers of a page belong to: items by container, and the lists that these stand in."""

    def __init__(
        self,
        root: LexborHTMLParser | LexborNode,
        carriers: list[LexborNode],
        *,
        is_scoped: bool,
        is_old: bool,
    ) -> None:
        self._root = root
        self._items: dict[int, Poster] = {}
        self._lists: dict[int, _List] = {}
        items, lists = self._items, self._lists  # this runs for every film of every page
        for node in carriers:
            # Of pages of today few attributes are needed, and got one by one; of older ones, all are read.
            attributes = node.attributes if is_old else node.attrs
            slug = film_slug(attributes.get("data-item-slug")) or _slug(attributes)
            if slug is None:
                continue
            container = node.parent
            if container is None or container.tag != "li":
                container, is_item = _container(node)
                if not is_item and root.css_first(OPINION) is not None:
                    raise LayoutChangedError(
                        "a film stands in no list item, so that its rating cannot be told"
                    )
            key = container.mem_id
            known = items.get(key)
            if known is None:
                parent = container.parent
                if parent is None:
                    continue
                found = lists.get(parent.mem_id)
                if found is None:
                    found = _List(parent, not is_scoped and stands_outside(container))
                    lists[parent.mem_id] = found
                if not found.is_outside:
                    found.item_count += 1
                    items[key] = Poster(container, [node], slug, attributes)
            elif known.slug == slug:
                known.carriers.append(node)
            else:
                raise LayoutChangedError("one item of the page holds two different films")

    def are_complete(self) -> bool:
        """Whether something was found and no list has an item beside those that were."""
        return bool(self._items) and all(
            found.is_outside
            or sum(1 for _ in found.element.iter()) <= found.item_count
            or sum(1 for _ in found.items()) <= found.item_count
            for found in self._lists.values()
        )

    def require_none_unread(self) -> None:
        """Refuse a list with an item that has a poster and names no film: it must not vanish."""
        for found in self._lists.values():
            for item in found.items() if not found.is_outside else ():
                if item.mem_id not in self._items and item.css_first(_POSTER) is not None:
                    raise LayoutChangedError("an item of the page has a poster but does not name its film")

    def posters(self, *, has_ranks: bool) -> list[Poster]:
        """The items by their films; of several with the same film the first."""
        if self._items:
            # The items most often stand in one list, which is far less than the page.
            lists = [found.element for found in self._lists.values() if not found.is_outside]
            root = lists[0] if len(lists) == 1 else self._root
            items = self._items
            for node in root.css(OPINION):
                parent = node.parent
                poster = items.get(parent.mem_id) if parent is not None else None
                poster = poster or self._item_around(node)
                if poster is not None and poster.marks is None:
                    poster.marks = node
            for node in root.css(_RANK) if has_ranks else ():
                poster = self._item_around(node)
                if poster is not None and poster.rank is None:
                    poster.rank = node
        films = {poster.slug: poster for poster in self._items.values()}
        if len(films) < len(self._items):
            films = {}
            for poster in self._items.values():
                films.setdefault(poster.slug, poster)
        return list(films.values())

    def _item_around(self, node: LexborNode) -> Poster | None:
        ancestor = node.parent
        while ancestor is not None:
            poster = self._items.get(ancestor.mem_id)
            if poster is not None:
                return poster
            ancestor = ancestor.parent
        return None


def _slug(attributes: _Attributes) -> str | None:
    for name in _SLUG_ATTRIBUTES:
        value = attributes.get(name)
        slug = film_slug(value) if value else None
        if slug is not None:
            return slug
    return None


def carriers_in(root: LexborHTMLParser | LexborNode) -> list[LexborNode]:
    """The elements below `root` that name a film, in page order."""
    return root.css(_CARRIERS) or root.css(_BARE_CARRIERS)


def has_shells(tree: LexborHTMLParser) -> bool:
    """Whether the page's main part has elements that look like film items, readable or not."""
    return any(not stands_outside(node) for node in tree.css(_SHELLS))


def read_marks(marks: LexborNode) -> tuple[float | None, bool]:
    """(rating, liked) in an element that holds one film's marks.

    Raises:
        LayoutChangedError: there is a rating that we cannot read.
    """
    rating, liked = None, False
    nodes = list(marks.iter())
    for node in nodes:  # grows by what stands inside elements that are no marks themselves
        written = node.attributes.get("class")
        mark = _mark(written) if written else None
        if mark is None:
            if node.first_child is not None:
                nodes.extend(node.iter())
        elif mark is True or mark is False:
            liked = liked or mark
        elif rating is None:
            rating = mark or read_rating(node, class_names(node))
    return rating, liked


@lru_cache(maxsize=256)  # there are few
def _mark(classes: str) -> float | bool | None:
    """What an element's classes say: stars, or 0.0 for a rating that is written elsewhere; liked or not."""
    names = classes.split()
    if "rating" in names:
        if "liked" in names:
            return True
        return next((_STARS_OF_CLASS[name] for name in names if name in _STARS_OF_CLASS), 0.0)
    if "icon-liked" in names or "liked-micro" in names:
        return "icon-status-off" not in names
    return None


def read_rating(node: LexborNode, names: list[str]) -> float | None:
    """Stars of a rating element, from `rated-N` among its classes, else from its glyphs.

    None for an empty one.

    Raises:
        LayoutChangedError: it says something else.
    """
    for name in names:
        stars = _STARS_OF_CLASS.get(name)
        if stars is not None:
            return stars
    half_star_count = rated_class(names)
    if half_star_count is not None:
        return _stars_or_raise(half_star_count)
    picture = node.css_first("svg[aria-label]")
    label = (picture.attributes.get("aria-label") if picture is not None else None) or node.text()
    stars = read_stars(label)
    if stars is None and label.strip():
        raise LayoutChangedError("a rating is written in a way that we cannot read")
    return stars


def _owner_rating(written: str) -> float | None:
    """Stars of a number of half stars as an attribute has it.

    Raises:
        LayoutChangedError: it is on no scale that we know.
    """
    if written in _STARS_OF_HALVES:
        return _STARS_OF_HALVES[written]
    half_star_count = int_of(clean(written))
    return _stars_or_raise(half_star_count) if half_star_count is not None else None


def _stars_or_raise(half_star_count: int) -> float | None:
    try:
        return half_stars(half_star_count)
    except ValueError as error:
        raise LayoutChangedError("a rating is outside 0 to 10 half stars") from error


def _container(node: LexborNode) -> tuple[LexborNode, bool]:
    """(the list item around a carrier, True); (the outermost poster element, False) where there is none."""
    outermost = ancestor = node
    while ancestor.is_element_node:
        names = class_names(ancestor)
        if ancestor.tag in _ITEM_TAGS or not _CONTAINER_CLASSES.isdisjoint(names):
            return ancestor, True
        if "react-component" in names or "film-poster" in names:
            outermost = ancestor
        if ancestor.parent is None:
            break
        ancestor = ancestor.parent
    return outermost, False
