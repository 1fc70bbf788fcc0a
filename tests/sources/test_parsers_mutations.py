"""Damage and drift: whatever is done to a page, it is read as before or refused by one of our errors."""

# ruff: noqa: E501 - markup is easier to read unbroken

from __future__ import annotations

import random
import re
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from almanac_pipeline.errors import AlmanacError
from almanac_pipeline.sources.pages.parsers import (
    parse_diary,
    parse_film_json,
    parse_film_page,
    parse_grid,
    parse_histogram,
    parse_people,
    parse_profile,
)
from almanac_pipeline.sources.parse_any import parse_any
from almanac_pipeline.sources.robots import parse_robots
from almanac_pipeline.sources.rss import parse_feed
from tests.sources.parser_pages import films_page, pagination, three_films

PARSERS = (
    parse_grid,
    parse_people,
    parse_profile,
    parse_film_page,
    parse_film_json,
    parse_histogram,
    parse_diary,
    parse_feed,
    parse_robots,
    parse_any,
)
SAVED = (
    "films-grid/2023-old-markup.html",
    "films-grid/2025-12-page1.html",
    "films-grid/2026-09-excerpt.html",
    "likes-films/2026-01-page1.html",
    "following/2026-01-page1.html",
    "film-page/2026-05-avatar-4-unreleased.html",
    "histogram/2026-01-ratings-summary-mulholland-drive.html",
    "histogram/2026-07-rating-histogram-cure.html",
    "rss/2025-12-feed.xml",
    "film-json/2025.json",
    "robots/2025-07-25.txt",
)
GRIDS = SAVED[:4]
GRID = films_page(three_films(), page_links=pagination("/ada_l/films/", 1, 4))

_TAG = re.compile(r"<([a-zA-Z][a-zA-Z0-9-]*)((?:\s+[^\s=>/]+=(?:\"[^\"]*\"|'[^']*'))+)(\s*/?)>")
_ATTRIBUTE = re.compile(r"\s+([^\s=>/]+)=(\"[^\"]*\"|'[^']*')")


def survive(body: bytes) -> None:
    """Every parser either returns or raises one of our own errors."""
    for parser in PARSERS:
        with suppress(AlmanacError):
            parser(body)


def rewrite_attributes(html: str, chance: random.Random) -> str:
    """The same document with every tag's attributes in another order, and in another quoting."""

    def rewrite(match: re.Match[str]) -> str:
        attributes = _ATTRIBUTE.findall(match[2])
        chance.shuffle(attributes)
        written = []
        for name, quoted in attributes:
            value = quoted[1:-1]
            if quoted[0] == "'" and chance.random() < 0.5:
                quoted = '"' + value.replace('"', "&quot;") + '"'
            elif quoted[0] == '"' and "'" not in value and chance.random() < 0.5:
                quoted = f"'{value}'"
            written.append(f"\n{name} = {quoted}")
        return f"<{match[1]}{''.join(written)}{match[3]}>"

    return _TAG.sub(rewrite, html)


@pytest.mark.shared
@pytest.mark.parametrize("name", GRIDS)
def test_order_and_quoting_of_attributes_do_not_matter(shared_dir: Path, name: str) -> None:
    html = (shared_dir / "fixtures" / name).read_text(encoding="utf-8")
    # Conditional comments and scripts hold text that only looks like tags; they are left as they are.
    start = html.index("<section")
    rewritten = html[:start] + rewrite_attributes(html[start:], random.Random(7))
    assert rewritten != html
    assert parse_grid(rewritten.encode()) == parse_grid(html.encode())


@pytest.mark.shared
@pytest.mark.parametrize("name", GRIDS)
def test_extra_nesting_inside_the_items_does_not_matter(shared_dir: Path, name: str) -> None:
    html = (shared_dir / "fixtures" / name).read_text(encoding="utf-8")
    pattern = r'(<li class="(?:griditem|posteritem|poster-container)[^>]*>)(.*?)(</li>)'
    nested, count = re.subn(pattern, r"\1<div><section>\2</section></div>\3", html, flags=re.DOTALL)
    assert count >= 3
    assert parse_grid(nested.encode()) == parse_grid(html.encode())


@pytest.mark.shared
@pytest.mark.parametrize("name", SAVED)
def test_a_saved_document_that_is_cut_anywhere_is_refused_or_read_without_surprise(
    shared_dir: Path, name: str
) -> None:
    body = (shared_dir / "fixtures" / name).read_bytes()
    chance = random.Random(11)
    for cut in (chance.randrange(len(body)) for _ in range(6)):
        survive(body[:cut])
        survive(body[cut:])


@pytest.mark.shared
@pytest.mark.parametrize("name", [name for name in GRIDS if "excerpt" not in name])
def test_no_truncated_page_passes_for_a_whole_one(shared_dir: Path, name: str) -> None:
    body = (shared_dir / "fixtures" / name).read_bytes()
    chance = random.Random(13)
    for cut in (chance.randrange(1_000, len(body) - 20) for _ in range(8)):
        with pytest.raises(AlmanacError):
            parse_grid(body[:cut])


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=400))
def test_arbitrary_bytes_raise_nothing_but_our_errors(body: bytes) -> None:
    survive(body)


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_a_grid_with_bytes_replaced_raises_nothing_but_our_errors(data: st.DataObject) -> None:
    body = bytearray(GRID)
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, len(body) - 1))
        junk = data.draw(
            st.sampled_from(
                [b"", b"<", b">", b'"', b"'", b"&", b"\x00", b"\xff", b"<li>", b"</ul>", b"9" * 30]
            )
        )
        body[at : at + data.draw(st.integers(0, 12))] = junk
    survive(bytes(body))


@settings(max_examples=60, deadline=None)
@given(
    value=st.text(max_size=60)
    | st.integers().map(str)
    | st.sampled_from(["{}", "[]", "null", '{"uid":1,"lid":[]}']),
    attribute=st.sampled_from(
        [
            "data-item-slug",
            "data-item-name",
            "data-postered-identifier",
            "data-owner-rating",
            "data-film-id",
            "href",
        ]
    ),
)
def test_any_value_in_any_attribute_raises_nothing_but_our_errors(value: str, attribute: str) -> None:
    escaped = value.replace("&", "&amp;").replace('"', "&quot;")
    item = f'<li class="griditem" {attribute}="{escaped}"><div data-film-slug="x" {attribute}="{escaped}"></div></li>'
    survive(films_page(item).replace(b"\x00", b""))


def test_deep_nesting_and_many_items_take_no_unreasonable_time() -> None:
    assert parse_grid(b"<div>" * 20_000 + GRID) == parse_grid(GRID)
    items = "".join(
        f'<li class="griditem"><div data-item-slug="film-{n}" data-item-name="Film {n} (2001)"></div></li>'
        for n in range(3_000)
    )
    assert len(parse_grid(films_page(items, total="3,000 films")).items) == 3_000
