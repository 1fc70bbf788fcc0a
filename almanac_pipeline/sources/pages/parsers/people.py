"""Tables of members: following, followers, and the members of a film."""

from __future__ import annotations

from typing import Literal, cast

from selectolax.lexbor import LexborNode

from almanac_pipeline.errors import LayoutChangedError
from almanac_pipeline.sources.pages.parsers.document import Document, PageKind, open_document, tooltip
from almanac_pipeline.sources.pages.parsers.text import path_segments, read_count
from almanac_pipeline.sources.records import PeoplePage, PersonSummary

PEOPLE_KINDS: tuple[PageKind, ...] = ("following", "followers", "members")
# Calendars and the like stand on these pages, too.
_TABLES = ":is(.member-table, .person-table, .reactions-table)"
_PERSON = "td .person-summary, td.table-person, td a.name[href], td a.avatar[href]"


def parse_people(body: bytes) -> PeoplePage:
    """One page of members, by their user names. Display names are not read.

    Raises:
        AlmanacError: as `open_document`; LayoutChangedError where people must be but none can be read.
    """
    return people_of(open_document(body, PEOPLE_KINDS))


def people_of(document: Document) -> PeoplePage:
    """The people in a document that is already parsed; see `parse_people`."""
    people: dict[str, PersonSummary] = {}
    rows = [node for node in document.tree.css("tr") if node.css_first(_PERSON) is not None]
    for row in rows:
        person = _person(row)
        people.setdefault(person.username, person)
    unread_count = sum(
        row.css_first("td") is not None and row.css_first(_PERSON) is None
        for table in document.tree.css(_TABLES)
        for row in table.css("tr")
    )
    next_page, _ = document.page_links()
    total = document.stated_total()
    if not people and (next_page is not None or (total and len(path_segments(document.canonical_url)) <= 3)):
        raise LayoutChangedError("the page says that there are people, but none can be read from it")
    return PeoplePage(
        page=cast(Literal["following", "followers", "members"], document.kind),
        owner=document.owner,
        canonical_url=document.canonical_url,
        people=tuple(people.values()),
        next_page=next_page,
        total=total,
        unread_count=unread_count,
    )


def _person(row: LexborNode) -> PersonSummary:
    for selector in ("a.name[href]", "a.avatar[href]"):
        node = row.css_first(selector)
        parts = path_segments(node.attributes.get("href")) if node is not None else []
        if len(parts) == 1:
            return PersonSummary(
                username=parts[0],
                films_count=_cell_count(row, "td.col-watched a, a.icon-watched"),
                likes_count=_cell_count(row, "td.col-likes a, a.icon-liked"),
            )
    raise LayoutChangedError("a row of people names no member")


def _cell_count(row: LexborNode, selector: str) -> int | None:
    node = row.css_first(selector)
    if node is None:
        return None
    count = read_count(node.text())
    return count if count is not None else read_count(tooltip(node))
