"""Damage and drift: whatever is done to a page, it is read as before or refused by one of our errors."""

from __future__ import annotations

import random
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from almanac_pipeline.errors import AlmanacError
from almanac_pipeline.sources.pages.parsers import parse_grid
from tests.sources.fuzz_parsers import (
    DRIFTS,
    FEED_DRIFTS,
    PARSERS,
    Drift,
    Sample,
    drifts_of,
    fault_of_drift,
    find_faults,
    sandbox_samples,
    saved_samples,
)
from tests.sources.parser_pages import films_page, pagination, three_films

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


@pytest.fixture(scope="module")
def documents() -> list[Sample]:
    """Every kind of sandbox document in every era."""
    return sandbox_samples()


@pytest.fixture(scope="module")
def saved_documents(shared_dir: Path) -> list[Sample]:
    return saved_samples(shared_dir / "fixtures")


def survive(body: bytes) -> None:
    """Every parser either returns or raises one of our own errors."""
    for parser in PARSERS:
        with suppress(AlmanacError):
            parser(body)


def require_same_values(drift: Drift, documents: list[Sample]) -> None:
    changed_count = 0
    for sample in documents:
        if drift in drifts_of(sample):
            drifted = drift(sample.body.decode(), random.Random(sample.name)).encode()
            changed_count += drifted != sample.body
            assert fault_of_drift(sample, drifted) is None, sample.name
    assert changed_count


@pytest.mark.parametrize("drift", [*DRIFTS, *FEED_DRIFTS[:-1]], ids=lambda drift: drift.__name__)
def test_a_change_that_means_nothing_changes_nothing_that_is_read(
    documents: list[Sample], drift: Drift
) -> None:
    require_same_values(drift, documents)


@pytest.mark.shared
@pytest.mark.parametrize("drift", [*DRIFTS, *FEED_DRIFTS[:-1]], ids=lambda drift: drift.__name__)
def test_a_change_that_means_nothing_changes_nothing_that_is_read_of_saved_documents(
    saved_documents: list[Sample], drift: Drift
) -> None:
    require_same_values(drift, saved_documents)


def test_thousands_of_damaged_documents_raise_nothing_but_our_errors(documents: list[Sample]) -> None:
    assert list(find_faults(documents, mutants=3_000, seed=17)) == []


@pytest.mark.shared
def test_a_thousand_damaged_saved_documents_raise_nothing_but_our_errors(
    saved_documents: list[Sample],
) -> None:
    assert list(find_faults(saved_documents, mutants=1_000, seed=19)) == []


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
    written = f'{attribute}="{escaped}"'
    item = f'<li class="griditem" {written}><div data-film-slug="x" {written}></div></li>'
    survive(films_page(item).replace(b"\x00", b""))


def test_deep_nesting_and_many_items_take_no_unreasonable_time() -> None:
    assert parse_grid(b"<div>" * 20_000 + GRID) == parse_grid(GRID)
    items = "".join(
        f'<li class="griditem"><div data-item-slug="film-{n}" data-item-name="Film {n} (2001)"></div></li>'
        for n in range(3_000)
    )
    assert len(parse_grid(films_page(items, total="3,000 films")).items) == 3_000
