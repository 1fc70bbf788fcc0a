"""Every saved page beside the project, against expected.json and against an independent reading.

The independent reading uses BeautifulSoup and regular expressions and shares no code with the parsers.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from bs4 import BeautifulSoup

from almanac_pipeline.errors import NotFoundError
from almanac_pipeline.sources.pages.parsers import open_document, parse_grid, parse_profile
from almanac_pipeline.sources.parse_any import parse_any

pytestmark = pytest.mark.shared

GRIDS = (
    "films-grid/2023-old-markup.html",
    "films-grid/2025-12-page1.html",
    "films-grid/2026-09-excerpt.html",
    "likes-films/2026-01-page1.html",
    "list/2025-12-top-250-page1.html",
    "watchlist/2026-01-page1.html",
    "person-page/2025-12-actor.html",
)
NOT_FOR_PARSING = ("errors/", "export/")


def measure(key: str, parsed: dict[str, Any]) -> object:
    """The value that a key of expected.json speaks of, out of what `parse_any` gives."""
    entries = parsed.get("items") or parsed.get("entries") or []
    match key:
        case "items" | "people" | "rows" | "entries":
            return len(parsed[key])
        case "rated":
            return sum(item["rating"] is not None for item in entries)
        case "liked":
            return sum(item["liked"] for item in entries)
        case "with_year":
            return sum(item["release_year"] is not None for item in entries)
        case "with_like_element":
            return sum(item["liked"] is not None for item in entries)
        case "films_total" | "people_total":
            return parsed["total"]
        case "counts":
            return list(parsed[key])
        case _:
            return parsed[key]


def test_every_saved_page_holds_what_expected_json_says(shared_dir: Path) -> None:
    expected = json.loads((shared_dir / "fixtures/expected.json").read_text())
    checked = 0
    for name, values in expected.items():
        if name.startswith(NOT_FOR_PARSING):
            continue
        parsed = parse_any((shared_dir / "fixtures" / name).read_bytes(), name)
        assert {key: measure(key, parsed) for key in values} == values, name
        checked += 1
    assert checked >= 16


def independent_items(html: str) -> list[tuple[str, str | None, float | None, bool]]:
    """(slug, numeric id, rating, liked) per list item, by other means than the parsers'."""
    soup = BeautifulSoup(html, "lxml")
    found = []
    for item in soup.find_all("li", class_=re.compile(r"^(griditem|posteritem|poster-container)$")):
        markup = str(item)
        slug = re.search(r'data-(?:item|film)-slug="(?:/film/)?([^"/]+)', markup)
        assert slug is not None
        number = re.search(r"film:([0-9]+)", markup) or re.search(r'data-film-id="([0-9]+)"', markup)
        rated = re.search(r"rated-([0-9]+)", markup) or re.search(
            r'data-owner-rating="([1-9][0-9]?)"', markup
        )
        found.append(
            (
                slug[1],
                number[1] if number else None,
                int(rated[1]) / 2 if rated else None,
                "icon-liked" in markup,
            )
        )
    return found


@pytest.mark.parametrize("name", GRIDS)
def test_each_item_of_a_saved_grid_equals_an_independent_reading(shared_dir: Path, name: str) -> None:
    body = (shared_dir / "fixtures" / name).read_bytes()
    grid = parse_grid(body)
    read = [(item.slug, (item.uid or ":").split(":")[1], item.rating, item.liked) for item in grid.items]
    assert read == independent_items(body.decode())


@pytest.mark.parametrize("name", GRIDS)
def test_titles_years_and_lids_of_a_saved_grid_equal_an_independent_reading(
    shared_dir: Path, name: str
) -> None:
    html = (shared_dir / "fixtures" / name).read_text(encoding="utf-8")
    soup = BeautifulSoup(html, "lxml")
    names = [str(node["data-item-name"]) for node in soup.select("li [data-item-name]")]
    names = names or [str(node["alt"]) for node in soup.select("li.poster-container img[alt]")]
    lids = [
        json.loads(str(node["data-postered-identifier"]))["lid"]
        for node in soup.select("li [data-postered-identifier]")
    ]
    items = parse_grid(html.encode()).items
    shown = [f"{item.title} ({item.release_year})" if item.release_year else item.title for item in items]
    assert shown == names
    assert [item.lid for item in items] == (lids or [None] * len(items))


def test_a_profile_gives_favourites_in_order_and_counts_that_agree_with_its_histogram(
    shared_dir: Path,
) -> None:
    profile = parse_profile((shared_dir / "fixtures/profile/2026-01-profile.html").read_bytes())
    assert profile.owner == "spazznolo"
    assert [film.slug for film in profile.favorites] == [
        "aftersun",
        "inherent-vice",
        "oslo-august-31st",
        "youth-2015",
    ]
    assert (profile.films_count, profile.following_count, profile.followers_count) == (367, 44, 18)
    assert profile.rating_counts is not None
    assert profile.ratings_count == sum(profile.rating_counts) == 329


def test_people_equal_an_independent_reading(shared_dir: Path) -> None:
    html = (shared_dir / "fixtures/following/2026-01-page1.html").read_text(encoding="utf-8")
    rows = re.findall(
        r'class="name" href="/([^/"]+)/".*?/films/"><span class="icon"></span>([0-9,]+)<', html, re.DOTALL
    ) or re.findall(r'href="/([^/"]+)/" class="name".*?icon-watched.*?</span>([0-9,]+)<', html, re.DOTALL)
    people = parse_any(html.encode())["people"]
    assert [(person["username"], person["films_count"]) for person in people] == [
        (name, int(count.replace(",", ""))) for name, count in rows
    ]


def test_diary_rows_equal_an_independent_reading(shared_dir: Path) -> None:
    html = (shared_dir / "fixtures/diary/2026-01-page1.html").read_text(encoding="utf-8")
    expected = []
    for row in BeautifulSoup(html, "lxml").select("tr.diary-entry-row"):
        markup = str(row)
        day = re.search(r"/for/(\d{4})/(\d{2})/(\d{2})/", markup)
        slug = re.search(r'data-item-slug="([^"]+)"', markup)
        rated = re.search(r"rated-([0-9]+)", markup)
        assert day
        assert slug
        expected.append(
            (
                row["data-viewing-id"],
                "-".join(day.groups()),
                slug[1],
                int(rated[1]) / 2 if rated else None,
                "icon-liked" in markup,
                re.search(r'<td class="[^"]*col-rewatch(?![^"]*icon-status-off)', markup) is not None,
                re.search(r'<td class="[^"]*col-review(?![^"]*icon-status-off)', markup) is not None,
            )
        )
    rows = parse_any(html.encode())["rows"]
    assert [
        (
            row["viewing_id"],
            row["watched_on"],
            row["slug"],
            row["rating"],
            row["liked"],
            row["rewatch"],
            row["has_review"],
        )
        for row in rows
    ] == expected


def test_feed_entries_equal_an_independent_reading(shared_dir: Path) -> None:
    xml = (shared_dir / "fixtures/rss/2025-12-feed.xml").read_text(encoding="utf-8")
    expected = []
    for item in re.findall(r"<item>.*?</item>", xml, re.DOTALL):
        if "letterboxd-list-" not in item:
            fields = [
                re.search(rf"<{tag}[^>]*>(.*?)</", item)
                for tag in ("guid", "tmdb:movieId", "letterboxd:memberRating")
            ]
            slug = re.search(r"/film/([^/]+)/</link>", item)
            assert all(fields)
            assert slug
            guid, tmdb_id, rating = (field[1] for field in fields if field)
            expected.append((guid, slug[1], ["movie", int(tmdb_id)], float(rating)))
    entries = parse_any(xml.encode())["entries"]
    assert [(e["guid"], e["slug"], e["tmdb"], e["rating"]) for e in entries] == expected


def test_film_pages_name_people_places_and_the_histogram(shared_dir: Path) -> None:
    folder = shared_dir / "fixtures/film-page"
    film = parse_any((folder / "2026-01-unbelievable-2019-tv.html").read_bytes())
    assert [person["slug"] for person in film["directors"]] == [
        "lisa-cholodenko-1",
        "michael-dinner",
        "susannah-grant",
    ]
    assert (film["uid"], film["lid"], film["release_year"]) == ("film:557494", "noio", 2019)
    film = parse_any((folder / "2026-01-mulholland-drive.html").read_bytes())
    assert film["languages"] == ("English", "Spanish")
    assert film["countries"] == ("France", "USA")
    assert film["histogram_url"] == "/csi/film/mulholland-drive/ratings-summary/"
    film = parse_any((folder / "2026-05-dune-part-two.html").read_bytes())
    assert (film["fans"], film["average"], film["ratings"]) == ("125K", 4.38, 3337973)
    film = parse_any((folder / "2026-05-avatar-4-unreleased.html").read_bytes())
    assert (film["histogram_url"], film["ratings"]) == (None, None)


def test_saved_error_pages_say_that_nothing_is_there(shared_dir: Path) -> None:
    for path in sorted((shared_dir / "fixtures/errors").glob("*.html")):
        with pytest.raises(NotFoundError):
            open_document(path.read_bytes())


def test_the_saved_robots_txt_forbids_the_newest_rated_page_and_allows_the_rated_grid(
    shared_dir: Path,
) -> None:
    robots = parse_any((shared_dir / "fixtures/robots/2025-07-25.txt").read_bytes(), "2025-07-25.txt")
    assert not robots["allowed"]["rated_by_date"]
    assert all(allowed for kind, allowed in robots["allowed"].items() if kind != "rated_by_date")
    assert robots["groups"][-1]["agents"] == ("*",)
    assert ("disallow", "/*/by/*") in robots["groups"][-1]["rules"]


def test_the_plain_film_json_is_read(shared_dir: Path) -> None:
    film = parse_any((shared_dir / "fixtures/film-json/2025.json").read_bytes())
    assert (film["page"], film["slug"], film["release_year"], film["uid"]) == (
        "film_json",
        "the-grave-of-st-oran",
        2019,
        "film:576577",
    )
    assert film["runtime_minutes"] == 9
    assert film["directors"] == ("Jim Batt",)
