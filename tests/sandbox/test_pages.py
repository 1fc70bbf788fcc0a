"""Pages: what the parsers read from them is what is true of the world, in every era."""

from __future__ import annotations

import re
from pathlib import Path

import protego
import pytest

from almanac_pipeline.errors import NotFoundError
from almanac_pipeline.sandbox import movielens
from almanac_pipeline.sandbox.generate import generate
from almanac_pipeline.sandbox.options import GeneratedWorld, MovieLensWorld, SandboxOptions
from almanac_pipeline.sandbox.pages import GRID_PATHS, PAGE_SIZES, Site, abbreviated, make_bars, make_pager
from almanac_pipeline.sandbox.routes import Target, route
from almanac_pipeline.sandbox.world import Member, Order, World
from almanac_pipeline.sources.pages.parsers import (
    parse_diary,
    parse_film_json,
    parse_film_page,
    parse_grid,
    parse_histogram,
    parse_people,
    parse_profile,
    require_page,
)
from almanac_pipeline.sources.records import FilmItem
from almanac_pipeline.sources.rss import parse_feed
from tests.sandbox.conftest import BASE, Show

ORDERS: tuple[Order, ...] = ("films", "rated", "rated_by_date", "likes", "likes_unrated", "watchlist")
KINDS = {"rated": "films", "rated_by_date": "films", "likes_unrated": "likes"}


def walk(show: Show, path: str, kind: str, owner: str) -> list[FilmItem]:
    """All films of a grid, page by page as a reader would."""
    items: list[FilmItem] = []
    number = 1
    while True:
        asked = path if number == 1 else f"{path}page/{number}/"
        page = parse_grid(show(asked).body)
        require_page(page, kind=kind, path=asked, owner=owner)
        items += page.items
        if page.next_page is None:
            return items
        assert page.next_page == number + 1
        number += 1


@pytest.mark.parametrize("order", ORDERS)
def test_every_grid_reads_back_as_the_world_has_it(
    show: Show, markup: str, world: World, order: Order
) -> None:
    for member in world.members.values():
        items = walk(show, f"/{member.key}/{GRID_PATHS[order]}", KINDS.get(order, order), member.key)
        films = [world.films[number] for number in world.order(member, order)]
        assert [item.slug for item in items] == [film.slug for film in films]
        assert [item.title for item in items] == [film.title for film in films]
        assert [item.uid for item in items] == [film.uid for film in films]
        if markup in ("2025", "2026"):
            assert [item.lid for item in items] == [film.lid for film in films]
            assert [item.release_year for item in items] == [film.year for film in films]
        if order != "watchlist":
            opinions = [member.opinions[film.number] for film in films]
            assert [item.rating for item in items] == [o.rating / 2 if o.rating else None for o in opinions]
            assert [item.liked for item in items] == [o.liked_at is not None for o in opinions]


def test_the_newest_rating_and_the_newest_like_come_first(world: World, heavy: Member) -> None:
    rated = [heavy.opinions[n].rated_at or 0 for n in world.order(heavy, "rated_by_date")]
    liked = [heavy.opinions[n].liked_at or 0 for n in world.order(heavy, "likes")]
    assert rated == sorted(rated, reverse=True)
    assert liked == sorted(liked, reverse=True)
    assert list(world.order(heavy, "rated")) != list(world.order(heavy, "rated_by_date"))


def test_a_film_page_reads_back_as_the_world_has_it(show: Show, world: World) -> None:
    for film in world.films.values():
        page = parse_film_page(show(f"/film/{film.slug}/").body)
        require_page(page, kind="film", path=f"/film/{film.slug}/")
        assert page.title == film.title
        assert (page.release_year, page.uid, page.lid) == (film.year, film.uid, film.lid)
        assert (page.tmdb_id, page.imdb_id) == (film.tmdb_id, film.imdb_id)
        assert page.tmdb_media_type == (film.media_type if film.tmdb_id else None)
        assert (page.runtime_minutes, page.original_title) == (film.runtime_minutes, film.original_title)
        assert [(link.name, link.slug) for link in page.directors] == [
            (p.name, p.slug) for p in film.directors
        ]
        assert (page.genres, page.countries, page.languages) == (film.genres, film.countries, film.languages)
        assert page.average == film.average
        assert page.ratings == (film.ratings if film.average is not None else None)
        assert (page.histogram_url is None) == (not film.released)


def test_a_histogram_reads_back_as_the_world_has_it(show: Show, world: World) -> None:
    without_average = 0
    for film in world.films.values():
        url = parse_film_page(show(f"/film/{film.slug}/").body).histogram_url
        if url is None:
            continue
        histogram = parse_histogram(show(url).body)
        assert histogram is not None
        assert list(histogram.counts) == film.counts
        assert histogram.average == film.average
        assert histogram.ratings == (None if film.average is None else film.ratings)
        without_average += histogram.average is None
    assert without_average, "some films must be rated too little for an average"


@pytest.mark.parametrize("markup", ["2023", "2026"])
@pytest.mark.parametrize("histogram", ["old", "new"])
def test_either_histogram_markup_goes_with_any_era_and_both_urls_answer(
    world: World, markup: str, histogram: str
) -> None:
    site = Site(world, SandboxOptions(markup=markup, histogram=histogram))  # type: ignore[arg-type]
    slug = next(film.slug for film in world.films.values() if film.average)
    bodies = {
        site.show(route(f"/csi/film/{slug}/{name}/"), BASE).body
        for name in ("rating-histogram", "ratings-summary")
    }
    assert len(bodies) == 1
    assert (b"barcolumn" in bodies.pop()) == (histogram == "new")


def test_the_film_json_reads_back_as_the_world_has_it(show: Show, world: World) -> None:
    film = next(iter(world.films.values()))
    document = parse_film_json(show(f"/film/{film.slug}/json/").body)
    assert (document.slug, document.title, document.release_year) == (film.slug, film.title, film.year)
    assert (document.uid, document.lid, document.runtime_minutes) == (
        film.uid,
        film.lid,
        film.runtime_minutes,
    )
    assert document.directors == tuple(person.name for person in film.directors)


def test_a_profile_shows_favourites_and_counts_and_no_other_films_as_favourites(
    show: Show, world: World
) -> None:
    for member in world.members.values():
        page = parse_profile(show(f"/{member.key}/").body)
        require_page(page, kind="profile", path=f"/{member.key}/", owner=member.key)
        assert [item.slug for item in page.favorites] == [world.films[n].slug for n in member.favorites]
        assert page.owner == member.username
        assert (page.films_count, page.ratings_count) == (len(member.opinions), member.ratings_count)
        assert (page.following_count, page.followers_count) == (
            len(world.following(member)),
            len(world.followers(member)),
        )


def test_following_and_followers_name_everybody_newest_first(show: Show, world: World) -> None:
    for member in world.members.values():
        for kind, people in (("following", world.following(member)), ("followers", world.followers(member))):
            page = parse_people(show(f"/{member.key}/{kind}/").body)
            assert page.page == kind
            assert [row.username for row in page.people] == [other.key for other in people]
            assert page.total in (len(people), None)
            assert [row.films_count for row in page.people] == [len(other.opinions) for other in people]


def test_a_long_list_of_followings_has_a_next_page_but_no_page_numbers(markup: str) -> None:
    world = generate(GeneratedWorld(members=30, films=60, ratings=5))
    site = Site(world, SandboxOptions(markup=markup))  # type: ignore[arg-type]
    bodies = [site.show(Target("following", world.seed_member, page=page), BASE).body for page in (1, 2)]
    pages = [parse_people(body) for body in bodies]
    assert [len(page.people) for page in pages] == [25, 5]
    assert [page.next_page for page in pages] == [2, None]
    assert [page.total for page in pages] == [30, 30]
    assert not any(b"paginate-page" in body for body in bodies)


def test_a_diary_reads_back_as_the_world_has_it(show: Show, world: World, heavy: Member) -> None:
    rows = []
    path = f"/{heavy.key}/diary/"
    number = 1
    while True:
        page = parse_diary(show(path if number == 1 else f"/{heavy.key}/diary/films/page/{number}/").body)
        rows += page.rows
        if page.next_page is None:
            break
        number = page.next_page
    viewings = world.diary(heavy)
    assert len(viewings) > PAGE_SIZES["diary"]
    assert [row.viewing_id for row in rows] == [str(viewing.number) for viewing in viewings]
    assert [row.watched_on for row in rows] == [viewing.watched_on for viewing in viewings]
    assert [row.film.slug for row in rows] == [world.films[viewing.film].slug for viewing in viewings]
    assert [row.film.rating for row in rows] == [v.rating / 2 if v.rating else None for v in viewings]
    assert [row.rewatch for row in rows] == [viewing.rewatch for viewing in viewings]
    assert [row.has_review for row in rows] == [viewing.review is not None for viewing in viewings]


def test_lists_keep_their_order_their_ranks_and_their_pages(show: Show, world: World) -> None:
    seen_pages = set()
    for member in world.members.values():
        for film_list in member.lists:
            path = f"/{member.key}/list/{film_list.slug}/"
            items = walk(show, path, "list", member.key)
            assert [item.slug for item in items] == [world.films[n].slug for n in film_list.films]
            expected = range(1, len(items) + 1) if film_list.ranked else [None] * len(items)
            assert [item.list_position for item in items] == list(expected)
            assert parse_grid(show(path).body).total == len(film_list.films)
            seen_pages.add(len(items) > PAGE_SIZES["list"])
    assert seen_pages == {True, False}


def test_a_feed_holds_the_newest_fifty_viewings_and_the_lists(
    show: Show, world: World, heavy: Member, markup: str
) -> None:
    feed = parse_feed(show(f"/{heavy.key}/rss/").body)
    newest = sorted(heavy.diary, key=lambda viewing: -viewing.logged_at)[:50]
    assert [entry.guid.rsplit("-", 1)[1] for entry in feed.entries] == [
        str(viewing.number) for viewing in newest
    ]
    for entry, viewing in zip(feed.entries, newest, strict=True):
        film = world.films[viewing.film]
        assert (entry.film.slug, entry.film.title) == (film.slug, film.title)
        assert (entry.film.release_year, entry.tmdb_id) == (film.year, film.tmdb_id)
        assert entry.tmdb_media_type == (film.media_type if film.tmdb_id else None)
        assert entry.film.rating == (viewing.rating / 2 if viewing.rating else None)
        assert (entry.watched_on, entry.rewatch) == (viewing.watched_on, viewing.rewatch)
        assert entry.liked == (viewing.liked if markup == "2026" else None)
        assert entry.is_review == (viewing.review is not None)
        assert entry.published_at is not None
        assert entry.published_at.timestamp() == viewing.logged_at
    assert feed.lists_count == len(heavy.lists)


def test_a_films_members_and_fans_are_everybody_who_saw_it_or_calls_it_a_favourite(
    show: Show, world: World, heavy: Member
) -> None:
    film = world.films[heavy.favorites[0]]
    for relation in ("members", "fans"):
        page = parse_people(show(f"/film/{film.slug}/{relation}/").body)
        expected = [member.key for member in world.film_people(film, relation)]
        assert [person.username for person in page.people] == expected
        assert (page.page, page.total) == ("members", len(expected))
        assert heavy.key in expected


def test_a_director_page_holds_all_their_films(show: Show, world: World) -> None:
    slug, (person, films) = max(world.filmographies.items(), key=lambda row: len(row[1][1]))
    page = parse_grid(show(f"/director/{slug}/").body)
    assert page.page == "person"
    assert [item.slug for item in page.items] == [film.slug for film in films]
    assert page.tmdb_person_id == person.number


def test_a_page_past_the_end_is_a_valid_page_without_films(show: Show, heavy: Member) -> None:
    for path in ("films/rated/.5-5/", "likes/films/"):
        asked = f"/{heavy.key}/{path}page/99/"
        answer = show(asked)
        page = parse_grid(answer.body)
        require_page(page, kind="likes" if "likes" in path else "films", path=asked, owner=heavy.key)
        assert answer.status == 200
        assert (page.items, page.next_page) == ((), None)


def test_the_last_page_says_so_by_a_disabled_next_button(show: Show, world: World, heavy: Member) -> None:
    last = -(-len(world.order(heavy, "rated")) // PAGE_SIZES["rated"])
    assert last > 1
    html = show(f"/{heavy.key}/films/rated/.5-5/page/{last}/").body.decode()
    assert re.search(r'paginate-disabled"><span class="next">Older</span>', html)
    assert "paginate-current" in html


def test_page_numbers_leave_a_gap_in_long_rows() -> None:
    numbers = [number for number, _ in make_pager("/x/films/", 1, 72 * 13, 72, numbered=True).numbers]
    assert numbers == [1, 2, 3, None, 13]
    middle = make_pager("/x/films/", 6, 72 * 13, 72, numbered=True)
    assert [number for number, _ in middle.numbers] == [1, None, 4, 5, 6, 7, 8, None, 13]
    assert (middle.previous, middle.next) == ("/x/films/page/5/", "/x/films/page/7/")
    assert make_pager("/x/films/", 2, 144, 72, numbered=True).previous == "/x/films/"
    assert not make_pager("/x/films/", 1, 72, 72, numbered=True).shown


def test_a_member_is_found_in_any_letter_case_and_keeps_their_own(show: Show, world: World) -> None:
    member = next(member for member in world.members.values() if member.username != member.key)
    page = parse_grid(show(f"/{member.key.upper()}/films/").body)
    assert page.owner == member.username
    assert page.canonical_url == f"{BASE}/{member.key}/films/"


@pytest.mark.parametrize(
    "path", ["/nobody/", "/nobody/films/", "/film/no-such-film/", "/almanac/nonsense/", "/"]
)
def test_what_does_not_exist_is_a_404_page(show: Show, path: str) -> None:
    answer = show(path)
    assert answer.status == 404
    with pytest.raises(NotFoundError):
        parse_grid(answer.body)


def test_an_unknown_tmdb_id_answers_200_with_a_page_that_is_no_film(show: Show, world: World) -> None:
    answer = show("/tmdb/999999999/")
    assert answer.status == 200
    with pytest.raises(NotFoundError):
        parse_film_page(answer.body)
    film = next(film for film in world.films.values() if film.tmdb_id and film.media_type == "movie")
    assert ("location", f"/film/{film.slug}/") in show(f"/tmdb/{film.tmdb_id}/").headers


def test_robots_txt_is_permissive_or_forbids_sorted_views(world: World) -> None:
    newest_rated = "http://x/anna/films/rated/.5-5/by/rated-date/"
    allowed = {}
    for robots in ("permissive", "strict"):
        body = Site(world, SandboxOptions(robots=robots)).show(route("/robots.txt"), BASE).body.decode()  # type: ignore[arg-type]
        rules = protego.Protego.parse(body)
        allowed[robots] = rules.can_fetch(newest_rated, "almanac")
        for path in (
            "/anna/films/rated/.5-5/",
            "/anna/likes/films/",
            "/anna/following/",
            "/film/x/",
            "/csi/film/x/rating-histogram/",
            "/anna/rss/",
        ):
            assert rules.can_fetch(f"http://x{path}", "almanac"), (robots, path)
    assert allowed == {"permissive": True, "strict": False}


def test_bars_name_their_counts_as_the_site_does() -> None:
    bars = make_bars([1, 0, 2500, 0, 0, 0, 0, 0, 0, 1_234_567])
    assert bars[0].caption == "1 half-★ rating (0%)"
    assert bars[1].caption == "No ★ ratings"
    assert bars[2].caption == "2,500 ★½ ratings (0%)"
    assert bars[9].caption == "1,234,567 ★★★★★ ratings (100%)"
    assert [abbreviated(n) for n in (999, 9_999, 23_432, 110_990, 1_234_567)] == [
        "999",
        "9,999",
        "23.4K",
        "111K",
        "1.2M",
    ]


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/Anna/", Target("profile", "anna")),
        ("/anna/films/page/3/", Target("films", "anna", None, 3)),
        ("/anna/films/rated/.5-5/by/rated-date/page/2/", Target("rated_by_date", "anna", None, 2)),
        ("/anna/diary/films/page/2/", Target("diary", "anna", None, 2)),
        ("/anna/list/best/page/2/", Target("list", "anna", "best", 2)),
        ("/film/x/json/", Target("film_json", None, "x")),
        ("/csi/film/x/rating-histogram/", Target("histogram", None, "x")),
        ("/anna/films/page/0/", Target("unknown")),
        ("/film/x/page/2/", Target("unknown")),
        ("/films/popular/", Target("unknown")),
        ("/", Target("unknown")),
    ],
)
def test_a_path_leads_to_its_page(path: str, target: Target) -> None:
    assert route(path) == target


def test_a_movielens_world_shows_what_it_knows_and_valid_empty_pages_for_the_rest(
    movielens_folder: Path, markup: str
) -> None:
    world = movielens.load(MovieLensWorld(str(movielens_folder)))
    site = Site(world, SandboxOptions(markup=markup))  # type: ignore[arg-type]

    def body(path: str) -> bytes:
        return site.show(route(path), BASE).body

    for path in ("/ml-7/likes/films/", "/ml-7/likes/films/rated/none/"):
        likes = parse_grid(body(path))
        require_page(likes, kind="likes", path=path, owner="ml-7")
        assert likes.items == ()
    rated = parse_grid(body("/ml-7/films/rated/.5-5/by/rated-date/"))
    assert [(item.uid, item.title, item.rating) for item in rated.items][:2] == [
        ("film:9", "东", 3.0),
        ("film:8", "Tide & Salt: It's Mr. Wolf (Loup, Le)", 1.0),
    ]
    assert parse_profile(body("/ml-7/")).favorites == ()
    without_tmdb = parse_film_page(body("/film/slow-tide/"))
    assert (without_tmdb.tmdb_id, without_tmdb.imdb_id) == (None, "tt12345678")
    assert (without_tmdb.release_year, without_tmdb.directors, without_tmdb.average) == (None, (), None)
    histogram = parse_histogram(body(parse_film_page(body("/film/harbour-night/")).histogram_url or ""))
    assert histogram is not None
    assert (sum(histogram.counts), histogram.average) == (4, None)
    assert parse_histogram(body(parse_film_page(body("/film/unseen/")).histogram_url or "")) is None
