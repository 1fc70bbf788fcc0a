"""Rating histograms in both markups: ten levels, half a star to five stars."""

from __future__ import annotations

import re

from selectolax.lexbor import LexborHTMLParser, LexborNode

from almanac_pipeline.errors import LayoutChangedError
from almanac_pipeline.sources.pages.parsers.document import Document, open_document, tooltip
from almanac_pipeline.sources.pages.parsers.text import ascii_digits, clean, read_count, read_stars
from almanac_pipeline.sources.records import Histogram

Counts = tuple[int, int, int, int, int, int, int, int, int, int]

MAX_UNCOUNTED_SHARE = 0.5
"""How far the sum of the levels may be from the total that is stated beside them, which may be older. What
is far off by less is judged where it is stored."""

_ROWS = ".rating-histogram :is(li.rating-histogram-bar, table.chart tbody tr)"
_LEVEL_IN_LINK = re.compile(r"/rated/([0-9]?)(½|%c2%bd)?/", re.IGNORECASE)
_AFTER_COUNT = re.compile(r"[★(]|half|rating")
_DECIMAL_MARK = re.compile("[,\u066b]")
_AVERAGE = re.compile(r"average of ([0-9](?:[.,\u066b][0-9]+)?)\s+based on\s+(.*)", re.DOTALL | re.IGNORECASE)


def parse_histogram(body: bytes) -> Histogram | None:
    """The histogram fragment of a film; None for the blank body that a film without ratings has.

    Raises:
        AlmanacError: as `open_document`; LayoutChangedError where the ten levels cannot be read.
    """
    if not body.strip():
        return None
    return histogram_of(open_document(body, ("histogram",)))


def histogram_of(document: Document) -> Histogram:
    """The histogram in a document that is already parsed; see `parse_histogram`."""
    tree = document.tree
    counts = read_counts(tree)
    if counts is None:
        raise LayoutChangedError("the histogram has no levels")
    average, ratings = None, None
    for node in tree.css(":is(.averagerating, .average-rating, .average-rating a)"):
        match = _AVERAGE.search(ascii_digits(tooltip(node) or ""))
        if match:
            average, ratings = float(_DECIMAL_MARK.sub(".", match[1])), read_count(match[2])
            break
    if ratings is not None and abs(sum(counts) - ratings) > MAX_UNCOUNTED_SHARE * ratings:
        raise LayoutChangedError(
            f"the levels of the histogram sum to {sum(counts)} where {ratings} are stated"
        )
    return Histogram(counts=counts, average=average, ratings=ratings, fans=read_fans(tree))


def read_counts(tree: LexborHTMLParser) -> Counts | None:
    """The ten counts, ascending; None where there is no histogram.

    Raises:
        LayoutChangedError: there is one, but not with exactly ten readable levels.
    """
    rows = tree.css(_ROWS)
    if not rows:
        return None
    counts: dict[float, int] = {}
    for index, row in enumerate(rows):
        level = _level(row)
        if level is None and len(rows) == 10:  # a level without any label: the ten stand in ascending order
            level = (index + 1) / 2
        if level is None or level in counts:
            raise LayoutChangedError("the levels of the histogram cannot be told apart")
        counts[level] = _count(row)
    if len(counts) != 10:
        raise LayoutChangedError(f"the histogram has {len(counts)} levels instead of 10")
    a, b, c, d, e, f, g, h, i, j = (counts[level] for level in sorted(counts))
    return a, b, c, d, e, f, g, h, i, j


def read_fans(tree: LexborHTMLParser) -> str | None:
    """How many name the film among their favourites, abbreviated as the site does: "75K"."""
    node = tree.css_first('.ratings-histogram-chart a[href$="/fans/"]')
    return clean(re.sub(r"\s*fans?\s*$", "", clean(node.text()))) or None if node is not None else None


def _label(row: LexborNode) -> str:
    for node in (row.css_first("[title], [data-original-title]"), row.css_first("a, .barcolumn, .bar"), row):
        label = (tooltip(node) or node.text()) if node is not None else ""
        if label.strip():
            return clean(label)
    return ""


def _level(row: LexborNode) -> float | None:
    """Stars of a row, from the wording of its label, its heading, or its link."""
    stars = read_stars(_label(row))
    if stars is None:
        heading = row.css_first("th")
        stars = read_stars(heading.text()) if heading is not None else None
    if stars is None:
        link = row.css_first("a[href]")
        match = _LEVEL_IN_LINK.search((link.attributes.get("href") if link is not None else None) or "")
        if match and (match[1] or match[2]):
            stars = int(match[1] or 0) + (0.5 if match[2] else 0.0)
    return stars


def _count(row: LexborNode) -> int:
    """Ratings of a row. The wording is "4,398 ★ ratings (1%)", "1 ★ rating (4%)" or "No ★ ratings"."""
    label = _label(row)
    if re.match(r"no\b", label, re.IGNORECASE):
        return 0
    if not label and row.tag == "li" and row.css_first("a") is None:
        return 0  # a bar without a rating is a bare bar; that the markup is whole was seen before
    count = read_count(_AFTER_COUNT.split(label)[0])  # what follows holds a percentage
    if count is None:
        raise LayoutChangedError("a level of the histogram has no exact count")
    return count
