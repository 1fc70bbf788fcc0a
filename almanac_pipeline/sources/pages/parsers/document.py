"""What all pages have in common: the frame around them, and the refusal of what is no page at all.

Every HTML parser begins with `open_document`, which parses once and raises by name for challenges,
error pages, truncated and damaged bodies. Holds nothing about films or people.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from selectolax.lexbor import LexborDocumentOptions, LexborHTMLParser, LexborNode

from almanac_pipeline.errors import (
    BlockedError,
    LayoutChangedError,
    NotFoundError,
    PrivateError,
    RetriableError,
    WrongPageError,
)
from almanac_pipeline.sources.pages.parsers.text import clean, page_number, path_segments, read_count

PageKind = Literal[
    "films",
    "likes",
    "watchlist",
    "list",
    "person",
    "following",
    "followers",
    "members",
    "profile",
    "film",
    "histogram",
    "diary",
]

_CHALLENGE_TITLES = (
    "just a moment",
    "attention required",
    "access denied",
    "you are being rate limited",
    "too many requests",
    "security check",
)
_CHALLENGE_MARKS = re.compile(
    rb"challenge-platform|__cf_chl|cf-chl-|cf-error|cf-browser-verification|you are being rate limited"
    rb"|access denied|captcha",
    re.IGNORECASE,
)
_SERVER_FAULT = re.compile(r"\b5[0-9]{2}\b|bad gateway|service unavailable|gateway time-?out")
_NO_SUCH_PAGE = re.compile(r"can.t find")
# Others report that the site's own page for what is private jokes of Dr. Falken's classified files.
_PRIVATE = re.compile(
    r"\bprivate$|\b(?:account|profile|member|page|user)\b[^.]{0,40}\bprivate\b|\bfalken\b|\bclassified\b",
    re.IGNORECASE,
)
# Each begins with what has no case, which is found several times as fast.
_WHOLE_PAGE = re.compile(rb"<(?i:!doctype\s+html|html[\s>]|head[\s>]|body[\s>])")
_END = re.compile(rb"</(?i:html)")
_BLOCK_TAG = re.compile(rb"<(/?)(?i:div|section|table|ul)\b")
# Since 2023 up to half of a page's bytes are the site's own: scripts and styles between title and head's end,
# menus and forms in its header, filters and orders above what is listed, and what stands in its footer and
# behind.
_TITLE_END, _HEAD_END = b"</title>", b"</head>"
_HEADER, _HEADER_END = b'<header class="site-header', b"</header>"
_MENUS, _MENUS_END = b'<div class="sorting-selects', b'<div class="clear"'
_FOOTER = b'<footer id="page-footer"'
# What we read: of the films what data-item-slug has in common with data-film-slug of before August 2025.
_META, _FILM, _FILM_LINK = b"<meta", b"m-slug", b"/film/"
_HEAD_ATTRIBUTE, _TOP_TAG, _MENUS_TAG, _END_TAG = (
    "left-out",
    "left-out-header",
    "left-out-menus",
    "left-out-footer",
)
_HEAD_MARK = f"<link {_HEAD_ATTRIBUTE}>".encode()  # an element of another name would end the head
_TOP_MARK, _MENUS_MARK = f"<{_TOP_TAG}></{_TOP_TAG}>".encode(), f"<{_MENUS_TAG}></{_MENUS_TAG}>".encode()
_END_MARK = f"<{_END_TAG}>".encode()
# What stands beside the main part.
_OUTSIDE_TAGS = frozenset(("aside", "nav", "header", "footer"))
_OUTSIDE_CLASSES = frozenset(("sidebar", "modal", "modal-neue"))
_OUTSIDE_IDS = frozenset(("favourites", "recent-activity"))
_ADDRESS = 'meta[property="og:url"]'
_SAVED_FROM = re.compile(rb"<!--(?i:[^>]{0,200}?(https?://(?:www\.)?letterboxd\.com/[^\s<>\"']*))")

# First path segments that are sections of the site, so never a member.
_SITE_SECTIONS = frozenset(
    (
        *("about", "activity", "ajax", "apps", "csi", "films", "imdb", "journal", "list", "lists", "members"),
        *("news", "pro", "reviews", "s", "search", "settings", "showdown", "sign-in", "tag", "tmdb", "user"),
    )
)
_MEMBER_SECTIONS: dict[str, PageKind] = {
    "films": "films",
    "diary": "diary",
    "watchlist": "watchlist",
    "list": "list",
    "following": "following",
    "followers": "followers",
}
_PERSON_ROLES = frozenset(("actor", "director", "writer", "producer"))
# Where a page states its total, block and element in it. Pages of likes only ever had the second.
_HEADING_TOTAL = ("h1.section-heading", ".tooltip")
_TAB_TOTAL = (".sub-nav", ".selected a")
_BODY_CLASSES: tuple[tuple[str, PageKind], ...] = (
    ("crew-page", "person"),
    ("filmography-page", "person"),
    ("films-diary", "diary"),
    ("diary", "diary"),
    ("films-watched", "films"),
    ("likes", "likes"),
    ("watchlist", "watchlist"),
    ("list-page", "list"),
    ("following", "following"),
    ("followers", "followers"),
    ("film", "film"),
    ("profile", "profile"),
    ("screen-member-profile", "profile"),
)
# What gives a fragment away, most telling first. Grids come last: their markup alone says little.
_FRAGMENT_MARKS: tuple[tuple[str, PageKind], ...] = (
    ("#diary-table, tr.diary-entry-row", "diary"),
    ("table.member-table, table.person-table", "following"),
    (".js-watchlist-content, .js-watchlist-count", "watchlist"),
    (".js-list-entries, .numbered-list-item, [data-object-id^=filmListEntry], [data-list-index]", "list"),
    ("li.film-detail", "list"),
    ("#favourites", "profile"),
    ("li.griditem, li.poster-container", "films"),
    ("ul.poster-list > li.posteritem", "likes"),
    (".rating-histogram", "histogram"),
)


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed page with its frame."""

    tree: LexborHTMLParser
    kind: PageKind
    owner: str | None
    """The member whose page it is, in their own letter case."""
    canonical_url: str | None
    """What the page says its address is; None for a fragment."""

    def page_links(self, content: LexborNode | None = None) -> tuple[int | None, int | None]:
        """Number of the next page (None on the last one) and of the last page (None if not said).

        The links most often stand right behind the `content` that is divided into pages, where looking is
        cheap; otherwise the whole page is searched.

        Raises:
            LayoutChangedError: there is a next page, but its number cannot be read.
        """
        blocks = _following(content, "pagination") or self.tree.css(".pagination")
        blocks = blocks or self.tree.css(".paginate-nextprev, .paginate-pages")
        link = next((found for block in blocks if (found := block.css_first("a.next")) is not None), None)
        href = link.attrs.get("href") if link is not None else None
        next_page = page_number(href) if href else None
        if href and next_page is None:
            raise LayoutChangedError("the link to the next page has no page number that we can read")
        numbers = [read_count(node.text()) for block in blocks for node in block.css(".paginate-page")]
        return next_page, max((number for number in numbers if number is not None), default=None)

    def stated_total(self) -> int | None:
        """How many films or people the page says there are, from its heading or its selected tab."""
        places = (_TAB_TOTAL, _HEADING_TOTAL) if self.kind == "likes" else (_HEADING_TOTAL, _TAB_TOTAL)
        for block_selector, selector in places:
            block = self.tree.css_first(block_selector)
            for node in block.css(selector) if block is not None else ():
                total = read_count(tooltip(node))
                if total is not None:
                    return total
        return None


def open_document(body: bytes, expected: tuple[PageKind, ...] = ()) -> Document:
    """Parse a page and say what it is.

    `expected` names the kinds that the caller can read; empty means any.

    Raises:
        BlockedError: a challenge or an access denial.
        NotFoundError: the site says that there is no such page or film.
        PrivateError: the site says that the page is not for us.
        RetriableError: empty, damaged or truncated, or an error page of the server.
        WrongPageError: no page of a known kind, or none of the expected ones.
    """
    require_text(body)
    # Films name their ratings behind the footer.
    tree = _tree(body) if not expected or "film" in expected else _content_tree(body)
    canonical_url = _canonical_url(tree)
    _refuse_other_answers(tree, body, canonical_url)
    if is_truncated(body):
        raise RetriableError("the page is truncated: it has no closing </html>; fetch it again")
    classes = _body_attribute(tree, "class").split()
    kind = _kind(tree, body, canonical_url, classes)
    if kind is None:
        raise WrongPageError(f"not a page of a kind that we read{_where(canonical_url)}")
    if _is_truncated_fragment(body):
        raise RetriableError("the part of a page is truncated: it ends within what it opened; fetch it again")
    if expected and kind not in expected:
        raise WrongPageError(f"a page of kind {kind} came where {' or '.join(expected)} was expected")
    return Document(tree, kind, _owner(tree, kind), canonical_url)


def _content_tree(body: bytes) -> LexborHTMLParser:
    """The tree of a page without the site's scripts and styles, header, menus, footer and what follows that.

    A mark stands in place of each. Where the parser makes the first the last child of the head, that of the
    menus an element of the main part, and the others children of the body, nothing was open there, be it an
    element that matters, a comment, a script or a quote. So what follows the footer could only add elements
    behind it; and what is left out before could have hidden something by leaving something open, but adds
    nothing. Otherwise, or if it may hold what we read, all is parsed.
    """
    links, top = body.find(_TITLE_END), body.find(_HEADER)
    head_end = body.find(_HEAD_END, links, top)
    main, end = body.find(_HEADER_END, top), body.rfind(_FOOTER)
    menus = body.find(_MENUS, main, end)
    menus_end = body.find(_MENUS_END, menus, end)
    if not main < menus < menus_end:
        menus = menus_end = end
    # That something is nowhere is told from behind in a third of the time.
    if (
        0 <= links < head_end < top < main <= end
        and body.rfind(_META, links, head_end) < 0
        and body.rfind(_FILM, links, main) < 0
        and body.rfind(_FILM, menus, menus_end) < 0
        and body.rfind(_FILM_LINK, menus, menus_end) < 0
        and body.rfind(_FILM, end) < 0
    ):
        kept = (
            *(body[:links], _TITLE_END, _HEAD_MARK),
            *(body[head_end:top], _TOP_MARK),
            *(body[main:menus], _MENUS_MARK),
            *(body[menus_end:end], _END_MARK),
        )
        tree = _tree(b"".join(kept))
        if tree.head is not None and tree.body is not None:
            first, last = tree.head.last_child, tree.body.last_child
            top_mark, menus_mark = tree.css_first(_TOP_TAG), tree.css_first(_MENUS_TAG)
            if (
                (first is not None and first.attributes == {_HEAD_ATTRIBUTE: None})
                and (top_mark is not None and top_mark.parent is not None and top_mark.parent.tag == "body")
                and (menus_mark is not None and not stands_outside(menus_mark))
                and (last is not None and last.tag == _END_TAG)
                and tree.css_first(_ADDRESS) is not None
            ):
                return tree
    return _tree(body)


def _tree(body: bytes) -> LexborHTMLParser:
    # Reads UTF-8, and U+FFFD for what is none. Events serve scripts, of which there are none here.
    return LexborHTMLParser(body.removeprefix(b"\xef\xbb\xbf"), options=LexborDocumentOptions.WO_EVENTS)


def require_text(body: bytes) -> None:
    """Refuse what cannot be a document at all.

    Raises:
        RetriableError: nothing but white space, or NUL bytes, as damaged copies have them.
    """
    if not body or body.isspace():  # which copies nothing, as strip() would
        raise RetriableError("the document is empty")
    if b"\x00" in body:
        raise RetriableError("the document is damaged or binary: it contains NUL bytes")


def is_truncated(body: bytes) -> bool:
    """Whether a whole page was begun and not ended. A fragment, which begins with neither, is not."""
    if b"</html" in body[-1024:]:
        return False
    return _WHOLE_PAGE.search(body, 0, 65_536) is not None and _END.search(body) is None


def _is_truncated_fragment(body: bytes) -> bool:
    """Whether a part of a page ends within a tag, or before the blocks that it opened."""
    if b"</html" in body[-1024:] or _END.search(body) is not None:
        return False
    is_closing = [mark == b"/" for mark in _BLOCK_TAG.findall(body)]
    return not body.rstrip().endswith(b">") or 2 * sum(is_closing) < len(is_closing)


def tooltip(node: LexborNode) -> str | None:
    """The text shown on hover; scripts move `title` to `data-original-title`, and leave it empty."""
    return node.attrs.get("title") or node.attrs.get("data-original-title")


def class_names(node: LexborNode) -> list[str]:
    """The classes of an element."""
    written = node.attrs.get("class")
    return written.split() if written else []


def stands_outside(node: LexborNode | None) -> bool:
    """Whether an element stands beside the page's main part."""
    while node is not None and node.is_element_node:
        attributes = node.attributes
        if (
            node.tag in _OUTSIDE_TAGS
            or attributes.get("id") in _OUTSIDE_IDS
            or not _OUTSIDE_CLASSES.isdisjoint((attributes.get("class") or "").split())
        ):
            return True
        node = node.parent
    return False


def _following(node: LexborNode | None, class_name: str) -> list[LexborNode]:
    """The nearest elements with a class that follow in the same element, or in one around it."""
    found: list[LexborNode] = []
    while node is not None and not found:
        following = node.next
        while following is not None:
            if class_name in (following.attributes.get("class") or "").split():
                found.append(following)
            following = following.next
        node = node.parent
    return found


def kind_of_url(url: str | None) -> PageKind | None:
    """What kind of page lives at a URL or path; None for those that we do not read."""
    parts = path_segments(url)
    if not parts or parts[0] in _SITE_SECTIONS:
        return None
    section = parts[1] if len(parts) > 1 else None
    if parts[0] == "film":
        if len(parts) == 2:
            return "film"
        return "members" if len(parts) > 2 and parts[2] in ("members", "fans", "likes", "ratings") else None
    if parts[0] in _PERSON_ROLES:
        return "person" if section else None
    if section is None:
        return "profile"
    if section == "films" and len(parts) > 2 and parts[2] in ("diary", "reviews"):
        return "diary" if parts[2] == "diary" else None
    if section == "likes":
        return "likes" if len(parts) > 2 and parts[2] == "films" else None
    return _MEMBER_SECTIONS.get(section)


def _canonical_url(tree: LexborHTMLParser) -> str | None:
    for selector, attribute in ((_ADDRESS, "content"), ('link[rel="canonical"]', "href")):
        node = tree.css_first(selector)
        value = node.attrs.get(attribute) if node is not None else None
        if value and value.strip():
            return clean(value)
    return None


def _refuse_other_answers(tree: LexborHTMLParser, body: bytes, canonical_url: str | None) -> None:
    """Raise for the pages that come instead of a page."""
    node = tree.css_first("title")
    title = clean(node.text()).lower() if node is not None else ""
    classes = _body_attribute(tree, "class").split()
    if canonical_url is None and _SERVER_FAULT.search(title):
        raise RetriableError("a gateway answered that the site is out of order")
    # Only a page without a frame can be a challenge: real pages carry captchas in their sign-in forms.
    if canonical_url is None and "error" not in classes:
        challenged = title.startswith(_CHALLENGE_TITLES) or (
            not _body_attribute(tree, "data-owner")
            and tree.css_first(f".pagination, li, .rating-histogram, table, {_END_TAG}") is None
            and _CHALLENGE_MARKS.search(body) is not None
        )
        if challenged:
            raise BlockedError("the site answered with a challenge or an access denial; stop asking it")
    if "error" in classes or (canonical_url is None and "not found" in title):
        text = tree.body.text().lower() if tree.body is not None else ""
        if "not found" in title or _NO_SUCH_PAGE.search(text):
            raise NotFoundError("the site says that this page does not exist")
        if _PRIVATE.search(title) or _PRIVATE.search(text):
            raise PrivateError("the site says that this member is private; their own export can be imported")
        raise RetriableError("the site answered with an error page of an unknown wording; try it again later")
    if path_segments(canonical_url)[:1] in (["tmdb"], ["imdb"]):
        raise NotFoundError("the site knows no film with this TMDB or IMDb id")


def _kind(
    tree: LexborHTMLParser, body: bytes, canonical_url: str | None, classes: list[str]
) -> PageKind | None:
    if "crew-page" in classes or _body_attribute(tree, "data-tmdb-type") == "person":
        return "person"
    if canonical_url is not None:  # a page that names its address is what it says, or nothing that we read
        return kind_of_url(canonical_url)
    for name, kind_of_class in _BODY_CLASSES:
        if name in classes:
            return kind_of_class
    return _kind_of_fragment(tree, body)


def _kind_of_fragment(tree: LexborHTMLParser, body: bytes) -> PageKind | None:
    """The kind of a cutting: where it says it was taken from, where its links lead, then its markup."""
    saved_from = _SAVED_FROM.search(body, 0, 4096)
    urls = [saved_from[1].decode("ascii", errors="replace")] if saved_from else []
    for node in tree.css(".pagination a[href], .sub-nav .selected a[href]"):
        urls.append(node.attributes.get("href") or "")
    for url in urls:
        kind = kind_of_url(url)
        if kind is not None:
            return kind
    for selector, kind_of_mark in _FRAGMENT_MARKS:
        if tree.css_first(selector) is not None:
            return kind_of_mark
    return None


def _owner(tree: LexborHTMLParser, kind: PageKind) -> str | None:
    if kind in ("film", "members", "person", "histogram"):
        return None
    owner = clean(_body_attribute(tree, "data-owner"))
    if owner:
        return owner
    header = tree.css_first(".profile-header[data-person], #profile-header[data-person]")
    return clean(header.attributes.get("data-person") or "") or None if header is not None else None


def _body_attribute(tree: LexborHTMLParser, name: str) -> str:
    return (tree.body.attrs.get(name) or "") if tree.body is not None else ""


def _where(canonical_url: str | None) -> str:
    parts = path_segments(canonical_url)
    if not parts:
        return " (it names no address)"
    # Elsewhere the first part is a member's name.
    return f" (its address begins with /{parts[0]}/)" if parts[0] in _SITE_SECTIONS else ""
