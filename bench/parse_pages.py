"""Pages per second of our grid parser, beside the bare parse, BeautifulSoup with lxml, and letterboxdpy.

All work on the same bytes, and what they extract is compared before anything is timed. Ours and the
floor, selectolax's parse with its defaults and nothing else, take turns call by call, because both move
with the machine's load. Over all pages the ratio is that of the total times, so that a page weighs what
it costs; a short cutting, most of whose time is spent on its frame, stands beside it by itself.
Ours leaves the site's menus and scripts out of its parse, so that a page of few films beats the floor.
Times are those of the processor, since letterboxdpy's are measured at another moment, under another load.
letterboxdpy brings a client that imitates browsers, so that it never enters the project's environment:
it is installed into a folder of its own below the system's temporary one, and called there without
network. Pages are the saved grids in ../shared where that folder is there, otherwise pages that this
module writes. Run: python -m bench.parse_pages
"""

from __future__ import annotations

import json
import math
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bs4 import BeautifulSoup, Tag
from selectolax.lexbor import LexborHTMLParser

from almanac_pipeline.sources.pages.parsers import parse_grid
from almanac_pipeline.sources.records import FilmGrid

FIXTURES = Path(__file__).resolve().parent.parent.parent / "shared" / "fixtures"
FOLDERS = ("films-grid", "likes-films", "list", "watchlist")
LETTERBOXDPY = "letterboxdpy==6.6.1"
INSTALL_TIMEOUT_SECONDS = 180
SWEEPS = 5
ROUNDS = 50
SLOW_ROUNDS = 1
"""Of so many rounds of each sweep over the pages the quickest counts: whatever else the machine does can only
make a round slower, and a burst of it meets a page in one sweep and not in the next."""
LARGE_BLOCK_BYTES = 16_000_000

Row = tuple[str, str | None, int | None, str | None, str | None, float | None, bool]

_YEAR = re.compile(r"^(.*\S)\s\(([0-9]{4})\)$", re.DOTALL)


def run() -> dict[str, Any]:
    """Measure and return pages per second and ratios, ready for JSON."""
    saved = saved_pages()
    source = "saved pages" if saved else "generated pages"
    named = saved or {f"generated-{number}": generated_page(number) for number in range(4)}
    names, pages = list(named), list(named.values())
    grids = [parse_grid(body) for body in pages]
    for body, grid in zip(pages, grids, strict=True):
        if _ours(grid) != _with_beautifulsoup(body):
            raise AssertionError("the two extractions differ, so their times cannot be compared")
    ours, bare = _seconds_in_turns(pages, parse_grid, LexborHTMLParser)
    (soup,) = _seconds_in_turns(pages, _with_beautifulsoup, rounds=SLOW_ROUNDS)
    ratios = [a / b for a, b in zip(ours, bare, strict=True)]
    return {
        "name": "parse_pages",
        "source": source,
        "pages": len(pages),
        "items": sum(len(grid.items) for grid in grids),
        "kilobytes_per_page": round(sum(map(len, pages)) / len(pages) / 1000, 1),
        "parse_grid_pages_per_second": round(len(pages) / sum(ours), 1),
        "beautifulsoup_lxml_pages_per_second": round(len(pages) / sum(soup), 1),
        "selectolax_parse_only_pages_per_second": round(len(pages) / sum(bare), 1),
        "times_beautifulsoup_lxml": round(sum(soup) / sum(ours), 1),
        "times_the_floor": round(sum(ours) / sum(bare), 2),
        "times_the_floor_min_median_max": [
            round(value, 2) for value in (min(ratios), statistics.median(ratios), max(ratios))
        ],
        "times_the_floor_by_page": dict(zip(names, [round(value, 2) for value in ratios], strict=True)),
        "letterboxdpy": _beside_letterboxdpy(pages, grids, ours),
    }


def saved_pages() -> dict[str, bytes]:
    """The saved film grids, likes, lists and watchlists by their names; empty where there are none."""
    paths = [path for folder in FOLDERS for path in sorted((FIXTURES / folder).glob("*.html"))]
    return {f"{path.parent.name}/{path.stem}": path.read_bytes() for path in paths}


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


def _seconds_in_turns(
    pages: list[bytes], *parsers: Callable[[bytes], object], rounds: int = ROUNDS
) -> list[list[float]]:
    """Per parser the seconds of each page in its quickest round."""
    # Once a large block was freed, glibc keeps what is freed after it. Before, it gives the memory of a
    # page back and asks for it again, or does not, as the heap happens to lie: up to twice the time.
    bytes(LARGE_BLOCK_BYTES)
    seconds = [[math.inf] * len(pages) for _ in parsers]
    for _ in range(SWEEPS):
        for number, body in enumerate(pages):
            for _ in range(rounds):
                for parse, quickest in zip(parsers, seconds, strict=True):
                    started = time.process_time()
                    parse(body)
                    quickest[number] = min(quickest[number], time.process_time() - started)
    return seconds


def _beside_letterboxdpy(pages: list[bytes], grids: list[FilmGrid], ours: list[float]) -> dict[str, Any]:
    """letterboxdpy's times on the pages from which it extracts what we do; or why there are none."""
    with tempfile.TemporaryDirectory(prefix="almanac-bench-") as folder:
        try:
            answers = _run_letterboxdpy(Path(folder), pages)
        except (OSError, subprocess.SubprocessError) as error:
            said = str(getattr(error, "stderr", None) or error).strip().splitlines()
            return {"version": LETTERBOXDPY, "unavailable": said[-1] if said else type(error).__name__}
    seconds = [min(answer["seconds"]) for answer in answers]
    same = [_theirs(answer["rows"]) == _shared_fields(g) for answer, g in zip(answers, grids, strict=True)]
    theirs_total = sum(value for value, is_same in zip(seconds, same, strict=True) if is_same)
    ours_total = sum(value for value, is_same in zip(ours, same, strict=True) if is_same)
    return {
        "version": LETTERBOXDPY,
        "pages_read_alike": f"{sum(same)} of {len(pages)}",
        "pages_per_second": round(sum(same) / theirs_total, 1) if theirs_total else None,
        "times_letterboxdpy": round(theirs_total / ours_total, 1) if ours_total else None,
    }


def _run_letterboxdpy(folder: Path, pages: list[bytes]) -> list[dict[str, Any]]:
    """Install it into `folder`, and have it read the pages there.

    Raises:
        OSError, SubprocessError: there is no uv, the index cannot be reached, or it failed.
    """
    uv, python = Path(sys.executable).with_name("uv"), folder / "venv" / "bin" / "python"
    paths = [folder / f"{number}.html" for number in range(len(pages))]
    for path, body in zip(paths, pages, strict=True):
        path.write_bytes(body)
    script = Path(__file__).with_name("letterboxdpy_pages.py")
    commands = [
        [uv, "venv", "--quiet", "--python", sys.executable, folder / "venv"],
        [uv, "pip", "install", "--quiet", "--python", python, LETTERBOXDPY],
        [python, script, *paths],
    ]
    for command in commands:
        done = subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_SECONDS
        )
    answers: list[dict[str, Any]] = json.loads(done.stdout)
    return answers


def _theirs(rows: list[list[Any]]) -> list[tuple[Any, ...]]:
    """Its rows; of the pages of 2023 it gives paths for slugs."""
    return [
        (str(row[0]).removeprefix("/film/").rstrip("/"), *row[1:4], row[4] or None, row[5]) for row in rows
    ]


def _shared_fields(grid: FilmGrid) -> list[tuple[Any, ...]]:
    """What letterboxdpy reads too: of a list's owner it does not read the ratings."""
    return [
        (
            item.slug,
            item.title,
            item.release_year,
            (item.uid or ":").split(":")[1],
            item.rating if grid.page != "list" else None,
            item.liked,
        )
        for item in grid.items
    ]


def _ours(grid: FilmGrid) -> list[Row]:
    return [(i.slug, i.title, i.release_year, i.uid, i.lid, i.rating, i.liked) for i in grid.items]


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
