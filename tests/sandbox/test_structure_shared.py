"""The sandbox's pages have the structure of saved real ones: what one selector finds there, it finds here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from selectolax.lexbor import LexborHTMLParser

from almanac_pipeline.sandbox.options import SandboxOptions
from almanac_pipeline.sandbox.pages import Site
from almanac_pipeline.sandbox.routes import route
from almanac_pipeline.sandbox.tmdb import Tmdb
from almanac_pipeline.sandbox.world import Member, World
from tests.sandbox.conftest import BASE

FRAME = ["body[data-owner]", 'meta[property="og:url"]', "title", ".profile-navigation .navlist li.navitem"]
GRID = [
    "p.poster-viewingdata span.rating",
    "p.poster-viewingdata .like.icon-liked",
    "a.next",
    ".paginate-disabled",
]
POSTER = '[data-component-class="LazyPoster"]'

CASES = {
    "films-grid/2023-old-markup.html": (
        "2023",
        "/{member}/films/",
        [
            *FRAME,
            *GRID,
            "body.films-watched",
            "ul.poster-list > li.poster-container > div.film-poster.really-lazy-load.linked-film-poster",
            'div.film-poster[data-film-id][data-film-slug^="/film/"]',
            "span.rating.-tiny.-darker",
            ".sub-nav li.selected a.tooltip[title]",
            ".paginate-pages li.paginate-page.paginate-current",
        ],
    ),
    "films-grid/2025-12-page1.html": (
        "2025",
        "/{member}/films/",
        [
            *FRAME,
            *GRID,
            "body.screen-member-child-page.films-watched",
            f".poster-grid ul.grid > li.griditem > {POSTER}",
            "[data-film-id][data-postered-identifier][data-item-slug][data-item-link]",
            "p.poster-viewingdata[data-item-uid]",
            "span.rating.-micro.-darker",
            "h1.section-heading .tooltip[title]",
            ".paginate-pages li.paginate-page.paginate-current",
        ],
    ),
    "films-grid/2026-09-excerpt.html": (
        "2026",
        "/{member}/films/",
        ["li.griditem", f"{POSTER}:not([data-film-id]):not([data-poster-url])", "span.rating.-micro.-darker"],
    ),
    "likes-films/2026-01-page1.html": (
        "2025",
        "/{member}/likes/films/",
        [
            *FRAME,
            "body.likes",
            f"ul.poster-list > li.posteritem > {POSTER}",
            ".sub-nav li.selected a",
            ".like.liked-micro.icon-liked",
        ],
    ),
    "watchlist/2026-01-page1.html": (
        "2025",
        "/{wisher}/watchlist/",
        [
            *FRAME,
            "body.watchlist",
            "[data-num-entries]",
            ".js-watchlist-count",
            "ul.grid.-p125 > li.griditem",
            "a.next",
        ],
    ),
    "following/2026-01-page1.html": (
        "2025",
        "/{member}/following/",
        [
            *FRAME,
            "body.following",
            "table.member-table td.table-person > div.person-summary a.name[href]",
            "small.metadata a[href$='/followers/']",
            "td.col-watched a",
            "td.col-lists a",
            "td.col-likes a",
            ".sub-nav li.selected a",
        ],
    ),
    "list/2025-12-top-250-page1.html": (
        "2025",
        "/{lister}/list/{list}/",
        [
            "body.list-page[data-owner]",
            "ul.js-list-entries.poster-list > li.posteritem[data-owner-rating]",
            "li.posteritem[data-object-id^='filmListEntry:']",
            "h1.title-1",
            'meta[name="description"][content^="A list of "]',
        ],
    ),
    "diary/2026-01-page1.html": (
        "2025",
        "/{member}/diary/",
        [
            *FRAME,
            "body.films-diary",
            "#diary-table tr.diary-entry-row[data-viewing-id]",
            "a.daydate[href*='/diary/films/for/']",
            f"td {POSTER}.figure",
            "td.col-rating .hide-for-owner .rating",
            "td.col-like .icon-liked",
            "td.col-rewatch.icon-status-off",
            "td.col-review.icon-status-off",
            "h1.section-heading .tooltip",
        ],
    ),
    "profile/2026-01-profile.html": (
        "2025",
        "/{member}/",
        [
            "body.profile[data-owner]",
            "#favourites li.posteritem.favourite-production-poster-container [data-item-slug]",
            ".profile-stats .profile-statistic a .value",
            "#recent-activity [data-item-slug]",
            ".ratings-histogram-chart .all-link",
            ".ratings-histogram-chart li.rating-histogram-bar a",
            "[data-clipboard-text^='https://boxd.it/']",
        ],
    ),
    "person-page/2025-12-actor.html": (
        "2025",
        "/director/{director}/",
        [
            "body.crew-page.filmography-page[data-type][data-tmdb-type='person'][data-tmdb-id]",
            "h1.title-1 span.context",
            "li.tooltip.griditem[title]",
            "a[href*='themoviedb.org/person/']",
        ],
    ),
    "film-page/2026-01-mulholland-drive.html": (
        "2025",
        "/film/{film}/",
        [
            "body.film[data-type='film'][data-tmdb-type='movie'][data-tmdb-id]",
            "h1.primaryname .name",
            ".releasedate a",
            ".creatorlist a.contributor[href^='/director/']",
            "#tab-crew a[href^='/director/']",
            "#tab-genres a[href^='/films/genre/']",
            "#tab-details a[href^='/films/country/']",
            "p.text-footer a[data-track-action='TMDB']",
            "p.text-footer a[data-track-action='IMDb']",
            ".csi[data-on-load='rating-histogram'][data-src$='/ratings-summary/']",
            "script[type='application/ld+json']",
            'meta[name="twitter:data2"]',
        ],
    ),
    "film-page/2026-05-dune-part-two.html": (
        "2026",
        "/film/{film}/",
        [
            "h1.primaryname .name",
            ".contributorlist a.contributor[href^='/director/']",
            "#tab-panel-crew a[href^='/director/']",
            "#tab-panel-genres a[href^='/films/genre/']",
            "#tab-panel-details a[href^='/films/country/']",
            "section.ratings-histogram-chart a.accessory[href$='/fans/']",
            ".csi[data-on-load='rating-histogram'][data-src$='/rating-histogram/']",
            "[data-production-uid^='film:']",
        ],
    ),
    "histogram/2026-01-ratings-summary-mulholland-drive.html": (
        "2025",
        "/csi/film/{film}/ratings-summary/",
        [
            "section.ratings-histogram-chart",
            ".rating-histogram li.rating-histogram-bar > a[title]",
            ".average-rating a[title]",
            "a.all-link.more-link",
        ],
    ),
    "histogram/2026-07-rating-histogram-cure.html": (
        "2026",
        "/csi/film/{film}/rating-histogram/",
        [
            ".rating-histogram table.chart tbody tr.column th._sr-only",
            "a.barcolumn[title]",
            "a.averagerating[title]",
        ],
    ),
    "errors/film-404.html": (
        "2025",
        "/film/nowhere/",
        ["body.error.message-dark", "section.message p strong"],
    ),
}


@pytest.fixture(scope="module")
def names(world: World, heavy: Member) -> dict[str, str]:
    """What to put into the paths: each page shall show all that its kind can show."""
    film = next(
        film for film in world.films.values() if film.average and film.tmdb_id and film.imdb_id and film.fans
    )
    lister = next(member for member in world.members.values() if any(each.ranked for each in member.lists))
    return {
        "member": heavy.key,
        "wisher": max(world.members.values(), key=lambda member: len(member.watchlist)).key,
        "lister": lister.key,
        "list": next(each.slug for each in lister.lists if each.ranked),
        "film": film.slug,
        "director": film.directors[0].slug,
    }


@pytest.mark.shared
@pytest.mark.parametrize("fixture", CASES)
def test_a_page_has_the_structure_of_the_saved_one(
    fixture: str, shared_dir: Path, world: World, names: dict[str, str]
) -> None:
    markup, path, selectors = CASES[fixture]
    saved = LexborHTMLParser((shared_dir / "fixtures" / fixture).read_bytes().decode())
    site = Site(world, SandboxOptions(markup=markup))  # type: ignore[arg-type]
    ours = LexborHTMLParser(site.show(route(path.format(**names)), BASE).body.decode())
    assert [each for each in selectors if saved.css_first(each) is None] == [], "not in the saved page"
    assert [each for each in selectors if ours.css_first(each) is None] == [], "not in the sandbox's page"


@pytest.mark.shared
@pytest.mark.parametrize(
    ("fixture", "selector"),
    [
        ("films-grid/2023-old-markup.html", "div.film-poster"),
        ("films-grid/2025-12-page1.html", POSTER),
        ("films-grid/2026-09-excerpt.html", POSTER),
    ],
)
def test_a_poster_has_exactly_the_attributes_of_a_saved_one(
    fixture: str, selector: str, shared_dir: Path, world: World, heavy: Member
) -> None:
    saved = LexborHTMLParser((shared_dir / "fixtures" / fixture).read_bytes().decode()).css_first(selector)
    site = Site(world, SandboxOptions(markup=fixture.split("/")[1][:4]))  # type: ignore[arg-type]
    ours = LexborHTMLParser(site.show(route(f"/{heavy.key}/films/"), BASE).body.decode()).css_first(selector)
    assert set(ours.attributes) == set(saved.attributes)


@pytest.mark.shared
def test_tmdb_details_have_the_keys_of_a_recorded_answer(shared_dir: Path, world: World) -> None:
    recorded = json.loads(
        (shared_dir / "fixtures/tmdb/real-2025-2026/movie_84892_append_credits_TRIMMED.json").read_text()
    )
    film = next(film for film in world.films.values() if film.tmdb_id and film.media_type == "movie")
    tmdb = Tmdb(world, SandboxOptions())
    answer = tmdb.answer(
        f"movie/{film.tmdb_id}", {"append_to_response": "credits"}, {"authorization": "Bearer x"}, 1
    )
    ours, real = json.loads(answer.body), recorded["response"]["json"]
    assert set(ours) == set(real)
    for part in ("cast", "crew"):
        assert set(ours["credits"][part][0]) == set(real["credits"][part][0])
