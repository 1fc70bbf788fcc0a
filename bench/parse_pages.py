"""Pages per second of our grid parser, beside BeautifulSoup with lxml and beside selectolax alone.

All three work on the same bytes in the same run, and BeautifulSoup extracts the same values, which
is checked before anything is timed. Pages are the saved grids in ../shared where that folder is
there, otherwise pages that this module writes. Run: python -m bench.parse_pages
"""

from __future__ import annotations

import json
import re
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bs4 import BeautifulSoup, Tag
from selectolax.lexbor import LexborHTMLParser

from almanac_pipeline.sources.pages.parsers import parse_grid

FIXTURES = Path(__file__).resolve().parent.parent.parent / "shared" / "fixtures"
FOLDERS = ("films-grid", "likes-films", "list", "watchlist")
REPEATS = 7
"""Medians of seven rounds move by less than 5 % on a busy two-core machine."""

Row = tuple[str, str | None, int | None, str | None, str | None, float | None, bool]

_YEAR = re.compile(r"^(.*\S)\s\(([0-9]{4})\)$", re.DOTALL)


def run() -> dict[str, Any]:
    """Measure and return pages per second and ratios, ready for JSON."""
    pages = saved_pages()
    source = "saved pages" if pages else "generated pages"
    pages = pages or [generated_page(number) for number in range(4)]
    items = 0
    for body in pages:
        ours = _ours(body)
        if ours != _with_beautifulsoup(body):
            raise AssertionError("the two extractions differ, so their times cannot be compared")
        items += len(ours)
    # The slow competitor runs over the pages once a round, the quick ones often enough to be measurable.
    parser = _pages_per_second(pages, parse_grid, rounds=10)
    bare = _pages_per_second(pages, LexborHTMLParser, rounds=10)
    soup = _pages_per_second(pages, _with_beautifulsoup, rounds=1)
    return {
        "name": "parse_pages",
        "source": source,
        "pages": len(pages),
        "items": items,
        "kilobytes_per_page": round(sum(map(len, pages)) / len(pages) / 1000, 1),
        "parse_grid_pages_per_second": round(parser, 1),
        "beautifulsoup_lxml_pages_per_second": round(soup, 1),
        "selectolax_parse_only_pages_per_second": round(bare, 1),
        "times_beautifulsoup_lxml": round(parser / soup, 1),
        "share_of_selectolax_parse_only": round(parser / bare, 2),
    }


def saved_pages() -> list[bytes]:
    """The saved film grids, likes, lists and watchlists; empty where there are none."""
    return [path.read_bytes() for folder in FOLDERS for path in sorted((FIXTURES / folder).glob("*.html"))]


def generated_page(number: int) -> bytes:
    """A page of 72 films, with as much around each as real pages have."""
    items = []
    for index in range(72):
        slug = f"invented-film-{number}-{index}"
        identifier = json.dumps(
            {"lid": f"L{number}x{index}", "uid": f"film:{number * 100 + index}", "type": "film"}
        )
        stars = f'<span class="rating -micro -darker rated-{1 + index % 10}"></span>' if index % 8 else ""
        heart = '<span class="like liked-micro has-icon icon-liked"></span>' if index % 3 == 0 else ""
        items.append(
            f'<li class="griditem"><div class="react-component" data-component-class="LazyPoster" '
            f'data-item-name="Invented Film {index} ({1950 + index})" data-item-slug="{slug}" '
            f"data-item-link=\"/film/{slug}/\" data-postered-identifier='{identifier}' "
            f'data-details-endpoint="/film/{slug}/json/" data-image-width="70" data-image-height="105">'
            f'<div class="poster film-poster"><img class="image" alt="Invented Film {index}">'
            f'<span class="frame"><span class="frame-title"></span></span></div></div>'
            f'<p class="poster-viewingdata">{stars}{heart}</p></li>'
        )
    chunks = "".join(f'<link rel="modulepreload" href="/static/js/{n}.js">' for n in range(120))
    return (
        f'<!DOCTYPE html><html><head><meta property="og:url" content="https://letterboxd.com/ada/films/">'
        f'{chunks}</head><body class="films-watched" data-owner="ada"><div id="content-nav">'
        f'<h1 class="section-heading"><span class="tooltip" title="288 films">Watched</span></h1></div>'
        f'<ul class="grid">{"".join(items)}</ul>'
        f'<div class="pagination"><a class="next" href="/ada/films/page/2/">Older</a></div></body></html>'
    ).encode()


def _pages_per_second(pages: list[bytes], parse: Callable[[bytes], object], *, rounds: int) -> float:
    seconds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        for _ in range(rounds):
            for body in pages:
                parse(body)
        seconds.append(time.perf_counter() - started)
    return rounds * len(pages) / statistics.median(seconds)


def _ours(body: bytes) -> list[Row]:
    return [
        (i.slug, i.title, i.release_year, i.uid, i.lid, i.rating, i.liked) for i in parse_grid(body).items
    ]


def _with_beautifulsoup(body: bytes) -> list[Row]:
    """The extraction as it is usually written: one soup, select the items, look into each."""
    soup = BeautifulSoup(body, "lxml")
    next_link = soup.select_one(".pagination a.next")
    assert next_link is not None
    is_likes = "likes" in str(next_link["href"])
    return [_row(item, is_likes) for item in soup.select("li.griditem, li.posteritem, li.poster-container")]


def _row(item: Tag, is_likes: bool) -> Row:
    carrier = item.select_one("[data-item-slug], [data-film-slug]")
    assert carrier is not None
    old_slug = str(carrier.get("data-film-slug", "")).removeprefix("/film/").rstrip("/")
    identifier = json.loads(str(carrier.get("data-postered-identifier", "{}")))
    name = str(carrier.get("data-item-name", ""))
    if not name:
        image = carrier.select_one("img")
        name = str(image["alt"]) if image is not None else ""
    match = _YEAR.match(name)
    rating = None
    marks = item.select_one("p.poster-viewingdata span.rating")
    if marks is not None:
        rated = re.search(r"rated-([0-9]+)", " ".join(marks["class"]))
        rating = int(rated[1]) / 2 if rated else None
    elif str(item.get("data-owner-rating", "0")) != "0":
        rating = int(str(item["data-owner-rating"])) / 2
    return (
        str(carrier.get("data-item-slug", "")) or old_slug,
        match[1] if match else name,
        int(match[2]) if match else None,
        identifier.get("uid") or f"film:{carrier['data-film-id']}",
        identifier.get("lid"),
        rating,
        is_likes or item.select_one("p.poster-viewingdata .icon-liked") is not None,
    )


if __name__ == "__main__":
    print(json.dumps(run(), indent=2))
