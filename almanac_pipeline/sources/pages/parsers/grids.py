"""Film grids: a member's films, likes, watchlist and lists, and the films of a person."""

from __future__ import annotations

from typing import Literal, cast

from almanac_pipeline.errors import LayoutChangedError
from almanac_pipeline.sources.pages.parsers.document import (
    Document,
    PageKind,
    class_names,
    open_document,
)
from almanac_pipeline.sources.pages.parsers.posters import Poster, has_shells, posters
from almanac_pipeline.sources.pages.parsers.text import int_of, path_segments, read_count
from almanac_pipeline.sources.records import FilmGrid, FilmItem

GridKind = Literal["films", "likes", "watchlist", "list", "person"]
GRID_KINDS: tuple[PageKind, ...] = ("films", "likes", "watchlist", "list", "person")
_MARKED_KINDS = frozenset(("films", "likes"))


def parse_grid(body: bytes) -> FilmGrid:
    """One page of films, with the owner's ratings and likes where the page shows them.

    A valid page without films gives an empty grid; so does a page past the end.

    Raises:
        AlmanacError: as `open_document`; LayoutChangedError where films must be but none can be read.
    """
    return grid_of(open_document(body, GRID_KINDS))


def grid_of(document: Document) -> FilmGrid:
    """The grid in a document that is already parsed; see `parse_grid`."""
    kind = cast(GridKind, document.kind)
    films = posters(document.tree, has_ranks=kind == "list")
    items, marked_count, hearted_count = [], 0, 0
    for poster in films:
        rating, liked = poster.opinion() if kind != "person" else (None, False)
        items.append(_item(poster, kind, rating, liked))
        marked_count += poster.marks is not None
        hearted_count += liked
    next_page, last_page = document.page_links(films[0].container.parent if films else None)
    total = _total(document)
    if not items:
        _require_truly_empty(document, next_page, total)
    return FilmGrid(
        page=kind,
        owner=document.owner,
        canonical_url=document.canonical_url,
        items=tuple(items),
        next_page=next_page,
        last_page=last_page,
        total=total,
        tmdb_person_id=_tmdb_person_id(document) if kind == "person" else None,
        is_old_markup=bool(films) and all(poster.is_old_markup() for poster in films),
        marked_count=marked_count if kind in _MARKED_KINDS else None,
        hearted_count=hearted_count if kind in _MARKED_KINDS else None,
    )


def _item(poster: Poster, kind: GridKind, rating: float | None, liked: bool) -> FilmItem:
    title, release_year = poster.title_and_year()
    uid, lid = poster.ids()
    position = _list_position(poster) if kind == "list" else None
    # By position, which is cheaper: slug, title, year, ids, rating, like, place in the list. Being on the
    # page of likes is the like; old markup repeats no heart there.
    liked = liked or kind == "likes"
    return FilmItem(poster.slug, title, release_year, uid, lid, rating, liked, position)


def _list_position(poster: Poster) -> int | None:
    """Place in a ranked list, from 1; unranked lists print none."""
    if poster.rank is not None:
        return read_count(poster.rank.text_lexbor())
    index = int_of(poster.attribute("data-list-index"))
    ranked = "numbered-list-item" in class_names(poster.container)
    return index + 1 if ranked and index is not None else None


def _total(document: Document) -> int | None:
    tree = document.tree
    if document.kind == "watchlist":
        node = tree.css_first(".js-watchlist-count, .watchlist-count")
        total = read_count(node.text()) if node is not None else None
        if total is None:
            content = tree.css_first("[data-num-entries]")
            total = int_of(content.attributes.get("data-num-entries")) if content is not None else None
        return total
    if document.kind == "list":
        node = tree.css_first('meta[name="description"]')
        opening = (node.attributes.get("content") if node is not None else None) or ""
        return read_count(opening) if opening.startswith("A list of ") else None
    if document.kind == "person":
        node = tree.css_first(".smenu-wrapper-left .smenu-subselected small")
        return read_count(node.text()) if node is not None else None
    return document.stated_total()


def _require_truly_empty(document: Document, next_page: int | None, total: int | None) -> None:
    """A page on which no film was read must not look like one that has films.

    Filtered pages and pages past the end state the member's whole total, so that only the plain
    first page must show something when it says that there is something.
    """
    if has_shells(document.tree):
        raise LayoutChangedError("the page has film items, but none of them names its film")
    if next_page is not None:
        raise LayoutChangedError("the page has a next page, but no film can be read from it")
    if total and _is_plain_first_page(document):
        raise LayoutChangedError(f"the page says that it has {total} films, but none can be read from it")


def _is_plain_first_page(document: Document) -> bool:
    parts = path_segments(document.canonical_url)
    return len(parts) <= {"films": 2, "watchlist": 2, "likes": 3, "list": 3, "person": 2}[document.kind]


def _tmdb_person_id(document: Document) -> int | None:
    body = document.tree.body
    attributes = body.attributes if body is not None else {}
    person_id = (
        int_of(attributes.get("data-tmdb-id")) if attributes.get("data-tmdb-type") == "person" else None
    )
    if person_id is None:
        for node in document.tree.css('a[href*="themoviedb.org/person/"]'):
            parts = path_segments(node.attributes.get("href"))
            person_id = int_of(parts[1].split("-")[0]) if len(parts) > 1 else None
            if person_id is not None:
                break
    return person_id
