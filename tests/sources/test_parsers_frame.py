"""What is left out of a page before it is parsed: whatever the whole page gives is given without it, too."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from almanac_pipeline.errors import AlmanacError, WrongPageError
from almanac_pipeline.sources.pages.parsers import open_document, parse_diary, parse_grid, parse_people
from almanac_pipeline.sources.pages.parsers.diary import diary_of
from almanac_pipeline.sources.pages.parsers.grids import GRID_KINDS, grid_of
from almanac_pipeline.sources.pages.parsers.people import people_of
from almanac_pipeline.sources.pages.parsers.profile import parse_profile, profile_of
from almanac_pipeline.sources.records import FilmGrid
from tests.sources.parser_pages import griditem, heading, old_poster, pagination, poster, three_films

FORM = '<form action="/search"><a href="/x">Sign in</a><input value=">"><svg><path d=""/></svg></form>'
LINKS = "<script>var page = '<body>';</script><style>li > a {}</style><link rel=canonical href='/other/'>"
MENUS = f'<div class="sorting-selects"><section><div>{FORM}</div></section></div><div class="clear"></div>'
HEADER = f'<header class="site-header" id="header"><section>{FORM}</section></header>'
FOOTER = f'<footer id="page-footer" class="page-footer"><nav>{FORM}</nav></footer><script>end()</script>'


GRID = f'<ul class="grid">{three_films()}</ul>{pagination("/ada_l/films/", 1, 4)}'
CONTENT = f"{heading('3 films')}{MENUS}{GRID}"
PAGE = (
    f'<!DOCTYPE html><html><head><meta property="og:url" content="https://letterboxd.com/Ada_L/films/">'
    f'<title>Films</title>{LINKS}</head><body class="films-watched" data-owner="Ada_L">{HEADER}'
    f'<div id="content">{CONTENT}</div>{FOOTER}</body></html>'
).encode()
CONTENT_AT = PAGE.index(b'<div id="content"')
MENUS_AT, MENUS_END = PAGE.index(MENUS.encode()), PAGE.index(GRID.encode())
HOSTILE = (
    *("<!--", "-->", '"', "'", "<", ">", "=", "<script>", "</script>", "<textarea>", "<title>", "</title>"),
    *("<a>", "</a>", "<b>", "<div>", "</div>", "<p>", "</section>", "<table>", "<select>", "<template>"),
    *("<svg>", "<head>", "</head>", "</body>", "</html>", "<body data-owner=x class=y>", "<header>"),
    *("<aside>", "</aside>", '<div class="sidebar">', '<div class="sorting-selects">', '<div class="clear">'),
    *("</header>", '<header class="site-header">', '<footer id="page-footer">', "<left-out>"),
    *("<link left-out>", "<meta name=x>", '<meta property="og:url" content="/bob/films/">', "<![CDATA["),
    '<li class="griditem"><div data-item-slug="odd"></div></li>',
)


def whole(body: bytes) -> FilmGrid:
    """The grid read from all of a page: where any kind may come, nothing is left out."""
    document = open_document(body)
    if document.kind not in GRID_KINDS:
        raise WrongPageError("no grid")
    return grid_of(document)


def test_scripts_header_menus_and_footer_of_the_site_are_not_parsed() -> None:
    tree = open_document(PAGE, GRID_KINDS).tree
    assert tree.css_first(":is(script, style, form, header, footer)") is None
    assert parse_grid(PAGE) == whole(PAGE)
    assert len(parse_grid(PAGE).items) == 3


@pytest.mark.parametrize(
    ("place", "is_inside"),
    [
        (b"</head>", True),
        (b"</header>", True),
        (b"</section></div><div", True),
        (b"</footer>", True),
        (b"</footer>", False),
    ],
)
def test_a_film_in_what_would_be_left_out_is_never_lost(place: bytes, is_inside: bool) -> None:
    for carrier in (poster("D (2004)", "d", 4, "d"), old_poster("D", "d", 4, bare_slug=True)):
        film = griditem(carrier).encode()
        body = PAGE.replace(place, film + place if is_inside else place + film)
        tree = open_document(body, GRID_KINDS).tree
        assert len(tree.css(":is([data-item-slug], [data-film-slug])")) == 4


@pytest.mark.parametrize(
    "opened", ["<!-- ", "<script>", "<textarea>", '<div title="', "<div>", "<a>", "<table>"]
)
def test_where_the_footer_stands_in_something_open_all_is_parsed(opened: str) -> None:
    body = PAGE.replace(b"<footer", opened.encode() + b"<footer")
    assert len(open_document(body, GRID_KINDS).tree.css("header")) == 1


def test_a_film_among_the_menus_that_is_only_linked_is_not_lost_either() -> None:
    film = b'<li><div data-item-link="/film/odd/"></div></li>'
    body = PAGE.replace(b"</section></div><div", film + b"</section></div><div")
    assert len(open_document(body, GRID_KINDS).tree.css("[data-item-link]")) == 4


def test_menus_beside_the_main_part_are_parsed_as_they_may_end_what_stands_around_them() -> None:
    ending = MENUS.replace("</section>", "</section></div></aside><div>")
    body = PAGE.replace(MENUS.encode(), f"<aside>{ending}".encode())
    assert parse_grid(body) == whole(body) == parse_grid(PAGE)


def test_a_page_without_menus_is_read_without_its_frame_too() -> None:
    body = PAGE.replace(MENUS.encode(), b"")
    assert open_document(body, GRID_KINDS).tree.css_first("header") is None
    assert parse_grid(body) == whole(body) == parse_grid(PAGE)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(PAGE)), st.sampled_from(HOSTILE)), min_size=1, max_size=3))
def test_a_hostile_page_gives_no_film_less_than_all_of_it_does(pieces: list[tuple[int, str]]) -> None:
    body = PAGE
    for at, piece in sorted(pieces, reverse=True):
        body = body[:at] + piece.encode() + body[at:]
    try:
        expected = whole(body)
    except AlmanacError:
        return
    try:
        found = parse_grid(body)
    except AlmanacError:
        return
    before = [at for at, _ in pieces if at < CONTENT_AT or MENUS_AT <= at <= MENUS_END]
    if before:  # what leaves something open there may have hidden a part of the content
        assert set(expected.items) <= set(found.items)
    else:
        assert found == expected


@pytest.mark.shared
def test_saved_pages_give_the_same_without_their_frame(shared_dir: Path) -> None:
    compared = 0
    for path in sorted((shared_dir / "fixtures").rglob("*.html")):
        body = path.read_bytes()
        for kinds, parse, read in (
            (("films", "likes", "watchlist", "list", "person"), parse_grid, grid_of),
            (("diary",), parse_diary, diary_of),
            (("following", "followers", "members"), parse_people, people_of),
            (("profile",), parse_profile, profile_of),
        ):
            try:
                document = open_document(body)
            except AlmanacError:
                continue
            if document.kind in kinds:
                assert parse(body) == read(document), path.name
                compared += document.tree.css_first("header.site-header") is not None
    assert compared >= 9
