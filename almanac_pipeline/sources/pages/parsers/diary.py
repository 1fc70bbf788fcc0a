"""A member's diary pages: one viewing per row."""

from __future__ import annotations

import re
from datetime import date

from selectolax.lexbor import LexborNode

from almanac_pipeline.errors import LayoutChangedError
from almanac_pipeline.sources.pages.parsers.document import Document, class_names, open_document
from almanac_pipeline.sources.pages.parsers.posters import Poster, carriers_in, read_marks
from almanac_pipeline.sources.pages.parsers.text import clean, film_slug, half_stars, int_of, path_segments
from almanac_pipeline.sources.records import DiaryPage, DiaryRow, FilmItem

_DAY = re.compile(r"/for/([0-9]{4})/([0-9]{1,2})/([0-9]{1,2})(?:/|$)")
_VIEWING = re.compile(r"^viewing:([0-9]+)$")
_MARKS = ("rating", "like", "rewatch", "review")
"""Columns that every row has a cell of, whatever the viewing has."""


def parse_diary(body: bytes) -> DiaryPage:
    """One page of a diary, newest viewing first as the page has them.

    Raises:
        AlmanacError: as `open_document`; LayoutChangedError where a row cannot be read, or rows must
            be but none is.
    """
    return diary_of(open_document(body, ("diary",)))


def diary_of(document: Document) -> DiaryPage:
    """The diary in a document that is already parsed; see `parse_diary`."""
    nodes = document.tree.css("tr:is(.diary-entry-row, [data-viewing-id])")
    rows = tuple(_row(node) for node in nodes)
    next_page, last_page = document.page_links()
    total = document.stated_total()
    filtered = len(path_segments(document.canonical_url)) > 3
    if not rows and (next_page is not None or (total and not filtered)):
        raise LayoutChangedError("the diary says that it has entries, but none can be read from it")
    return DiaryPage(
        owner=document.owner,
        canonical_url=document.canonical_url,
        rows=rows,
        next_page=next_page,
        last_page=last_page,
        total=total,
        is_old_markup=bool(nodes) and all(Poster(n, carriers_in(n), "").is_old_markup() for n in nodes),
        marked_count=sum(all(_cell(node, mark) is not None for mark in _MARKS) for node in nodes),
    )


def _row(row: LexborNode) -> DiaryRow:
    carriers = carriers_in(row)
    slug = film_slug(
        Poster(row, carriers, "").attribute("data-item-slug", "data-film-slug", "data-item-link")
    )
    if slug is None:
        link = row.css_first('a[href*="/film/"]')
        slug = film_slug(link.attributes.get("href")) if link is not None else None
    viewing_id = _viewing_id(row)
    if slug is None or viewing_id is None:
        raise LayoutChangedError("a diary row lacks its film or its viewing id")
    poster = Poster(row, carriers, slug)
    title, release_year = poster.title_and_year()
    if release_year is None:
        cell = _cell(row, "releaseyear") or _cell(row, "released")
        release_year = int_of(clean(cell.text())) if cell is not None else None
    uid, lid = poster.ids()
    rating, liked = _opinion(row)
    return DiaryRow(
        viewing_id=viewing_id,
        watched_on=_watched_on(row),
        film=FilmItem(
            slug=slug,
            title=title,
            release_year=release_year,
            uid=uid,
            lid=lid,
            rating=rating,
            liked=liked,
        ),
        rewatch=_is_on(_cell(row, "rewatch")),
        has_review=_is_on(_cell(row, "review")),
    )


def _cell(row: LexborNode, name: str) -> LexborNode | None:
    """A cell by its column; the prefix was `td-` until 2025."""
    return row.css_first(f"td.col-{name}, td.td-{name}")


def _is_on(cell: LexborNode | None) -> bool:
    """Whether a cell's mark is set; one that is not is switched off by a class, with or without an icon.

    Raises:
        LayoutChangedError: the cell has no icon, but is not switched off either.
    """
    if cell is None:
        return False
    icon = cell.css_first(".has-icon, a")
    if "icon-status-off" in (*class_names(cell), *(class_names(icon) if icon is not None else ())):
        return False
    if icon is None:
        raise LayoutChangedError(
            "a diary row has a place for rewatch or review, but it says neither yes nor no"
        )
    return True


def _opinion(row: LexborNode) -> tuple[float | None, bool]:
    cell = _cell(row, "rating")
    rating = None
    if cell is not None:
        rating, _ = read_marks(cell)
        slider = cell.css_first("input[value]")
        if rating is None and slider is not None:  # the owner's own view
            half_star_count = int_of(clean(slider.attributes.get("value") or ""))
            rating = (
                half_stars(half_star_count) if half_star_count is not None and half_star_count <= 10 else None
            )
    cell = _cell(row, "like")
    return rating, cell is not None and "icon-status-off" not in class_names(cell) and read_marks(cell)[1]


def _viewing_id(row: LexborNode) -> str | None:
    direct = clean(row.attributes.get("data-viewing-id") or "")
    if direct:
        return direct
    match = _VIEWING.match(row.attributes.get("data-object-id") or "")
    return match[1] if match else None


def _watched_on(row: LexborNode) -> date | None:
    for node in row.css('a[href*="/for/"]'):
        match = _DAY.search(node.attributes.get("href") or "")
        if match:
            try:
                return date(int(match[1]), int(match[2]), int(match[3]))
            except ValueError as error:
                raise LayoutChangedError("a diary row has a date that does not exist") from error
    return None
