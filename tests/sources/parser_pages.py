"""Small hand-written pages for the parser tests: the site's structure, our own content."""

# ruff: noqa: E501 - markup is easier to read unbroken

from __future__ import annotations

import html
import json

NEW_QUOTES = ("double", "single", "single-escaped")
"""The three ways in which JSON stands in attributes of real pages."""


def json_attribute(name: str, value: object, quotes: str = "double") -> str:
    text = json.dumps(value, separators=(",", ":"))
    escaped = text.replace("&", "&amp;").replace('"', "&quot;")
    return {
        "double": f'{name}="{escaped}"',
        "single": f"{name}='{text}'",
        "single-escaped": f"{name}='{escaped}'",
    }[quotes]


def marks(rating: int | None = None, liked: bool = False, uid: str = "film:1") -> str:
    stars = f'<span class="rating -micro -darker rated-{rating}"></span>' if rating is not None else ""
    heart = '<span class="like liked-micro has-icon icon-liked icon-16"></span>' if liked else ""
    return f'<p class="poster-viewingdata" data-item-uid="{uid}"> {stars} {heart} </p>'


def poster(name: str, slug: str, number: int, lid: str, quotes: str = "double") -> str:
    """A poster as pages have it since August 2025, with the empty picture inside it."""
    identifier = {"lid": lid, "uid": f"film:{number}", "type": "film", "typeName": "film"}
    shown = html.escape(name)
    return (
        f'<div class="react-component" data-component-class="LazyPoster" data-item-name="{shown}" '
        f'data-item-slug="{slug}" data-item-link="/film/{slug}/" data-item-full-display-name="{shown}" '
        f"{json_attribute('data-postered-identifier', identifier, quotes)} "
        f'data-target-link="/film/{slug}/"><div class="poster film-poster">'
        f'<img class="image" alt="{shown}"><span class="frame"><span class="frame-title"></span></span>'
        f"</div></div>"
    )


def old_poster(title: str, slug: str, number: int, *, bare_slug: bool) -> str:
    """A poster of 2023 (path as slug) or of 2024 to mid 2025 (bare slug)."""
    value = slug if bare_slug else f"/film/{slug}/"
    uid = f'data-item-uid="film:{number}" ' if bare_slug else ""
    return (
        f'<div class="really-lazy-load poster film-poster film-poster-{number} linked-film-poster" '
        f'data-film-id="{number}" {uid}data-film-slug="{value}" data-target-link="/film/{slug}/">'
        f'<img class="image" alt="{html.escape(title)}"><span class="frame"><span class="frame-title">'
        f"</span></span></div>"
    )


def griditem(content: str, attributes: str = "") -> str:
    return f'<li class="griditem" {attributes}>{content}</li>'


def pagination(path: str, page: int, last: int | None = None) -> str:
    following = page + 1
    next_link = (
        f'<div class="paginate-nextprev"><a class="next" href="{path}page/{following}/">Older</a></div>'
        if last is None or page < last
        else '<div class="paginate-nextprev paginate-disabled"><span class="next">Older</span></div>'
    )
    numbers = "".join(
        f'<li class="paginate-page"><a href="{path}page/{n}/">{n:,}</a></li>' for n in (2, last) if n
    )
    return f'<div class="pagination">{next_link}<div class="paginate-pages"><ul>{numbers}</ul></div></div>'


def page(
    content: str,
    *,
    path: str = "/Ada_L/films/",
    classes: str = "films-watched",
    owner: str | None = "Ada_L",
    body_attributes: str = "",
    description: str = "",
) -> bytes:
    """A whole page with its frame around `content`."""
    owner_attribute = f'data-owner="{owner}"' if owner is not None else ""
    return (
        f'<!DOCTYPE html><html><head><title>\u200ea page</title><meta name="description" content="{description}">'
        f'<meta property="og:url" content="https://letterboxd.com{path}"></head>'
        f'<body class="{classes}" {owner_attribute} {body_attributes}>'
        f'<header class="site-header"><nav><ul><li><a href="/">Home</a></li></ul></nav></header>'
        f'<div id="content">{content}</div></body></html>'
    ).encode()


def heading(total: str, attribute: str = "title") -> str:
    return (
        f'<div id="content-nav"><h1 class="section-heading"><span class="tooltip" {attribute}="{total}">'
        f"Watched</span></h1></div>"
    )


def films_page(
    items: str, *, total: str = "3 films", page_links: str = "", path: str = "/Ada_L/films/"
) -> bytes:
    content = f'{heading(total)}<div class="poster-grid"><ul class="grid -p70">{items}</ul></div>{page_links}'
    return page(content, path=path)


def three_films() -> str:
    return (
        griditem(poster("Glass Harbour (1999)", "glass-harbour", 11, "aB1") + marks(9, True, "film:11"))
        + griditem(poster("Of Tides (and Wires) (2004)", "of-tides", 12, "aB2") + marks(uid="film:12"))
        + griditem(poster("Untitled Salt Film", "untitled-salt-film", 13, "aB3") + marks(1, False, "film:13"))
    )
