"""Traps of film grids and lists, one small page each."""

# ruff: noqa: E501 - markup is easier to read unbroken

from __future__ import annotations

import pytest

from almanac_pipeline.errors import LayoutChangedError, RetriableError, WrongPageError
from almanac_pipeline.sources.pages.parsers import parse_grid
from tests.sources.parser_pages import (
    NEW_QUOTES,
    films_page,
    griditem,
    heading,
    marks,
    old_poster,
    page,
    pagination,
    poster,
    three_films,
)


def test_a_grid_gives_titles_years_ids_ratings_and_likes() -> None:
    grid = parse_grid(films_page(three_films(), page_links=pagination("/ada_l/films/", 1, 1_204)))
    assert (grid.page, grid.owner, grid.total) == ("films", "Ada_L", 3)
    assert (grid.next_page, grid.last_page) == (2, 1_204)
    assert [(i.slug, i.title, i.release_year, i.uid, i.lid, i.rating, i.liked) for i in grid.items] == [
        ("glass-harbour", "Glass Harbour", 1999, "film:11", "aB1", 4.5, True),
        ("of-tides", "Of Tides (and Wires)", 2004, "film:12", "aB2", None, False),
        ("untitled-salt-film", "Untitled Salt Film", None, "film:13", "aB3", 0.5, False),
    ]


@pytest.mark.parametrize("stars", ["", " ", '<span class="glyph"></span>'])
def test_a_place_for_stars_with_none_in_it_is_no_unrated_film(stars: str) -> None:
    item = '{}<p class="poster-viewingdata"><span class="rating -micro -darker">{}</span></p>'
    with pytest.raises(LayoutChangedError, match="place for stars"):
        parse_grid(films_page(griditem(item.format(poster("Salt (2001)", "salt", 7, "q7Z"), stars))))


@pytest.mark.parametrize("quotes", NEW_QUOTES)
def test_json_attributes_are_read_in_every_quoting(quotes: str) -> None:
    item = griditem(poster("Salt & Ash (2001)", "salt-and-ash", 7, "q7Z", quotes))
    (film,) = parse_grid(films_page(item)).items
    assert (film.title, film.uid, film.lid) == ("Salt & Ash", "film:7", "q7Z")


def test_the_film_id_comes_from_json_alone_where_the_page_has_no_other() -> None:
    (film,) = parse_grid(films_page(griditem(poster("Salt (2001)", "salt", 7, "q7Z")))).items
    assert film.uid == "film:7"


@pytest.mark.parametrize("broken", ["{not json", "[]", '"text"', "null", "[" * 5_000])
def test_a_broken_json_attribute_falls_back_to_the_other_ids(broken: str) -> None:
    carrier = (
        f'<div data-item-slug="salt" data-item-name="Salt (2001)" data-film-id="7" '
        f"data-postered-identifier='{broken}'></div>"
    )
    (film,) = parse_grid(films_page(griditem(carrier))).items
    assert (film.uid, film.lid) == ("film:7", None)


@pytest.mark.parametrize("bare_slug", [False, True])
def test_posters_of_both_older_eras_are_read(bare_slug: bool) -> None:
    rating = (
        '<p class="poster-viewingdata -rated-and-liked"><span class="rating -tiny -darker rated-6">★★★</span>'
    )
    heart = '<span class="like has-icon icon-liked icon-16"></span></p>'
    items = "".join(
        f'<li class="poster-container">{old_poster(title, slug, number, bare_slug=bare_slug)}{after}</li>'
        for title, slug, number, after in (
            ("Harbour & Sons", "harbour-and-sons", 21, rating + heart),
            ("Wires", "wires-2", 22, '<p class="poster-viewingdata"> </p>'),
        )
    )
    content = '<ul class="sub-nav"><li class="selected"><a class="tooltip" title="1,690 films" href="#">Watched</a></li></ul>'
    grid = parse_grid(page(f'{content}<ul class="poster-list -p70 film-list">{items}</ul>'))
    assert grid.total == 1690
    assert [(i.slug, i.title, i.uid, i.rating, i.liked) for i in grid.items] == [
        ("harbour-and-sons", "Harbour & Sons", "film:21", 3.0, True),
        ("wires-2", "Wires", "film:22", None, False),
    ]


def test_a_page_saved_after_scripts_ran_gives_the_same_films() -> None:
    item = griditem(
        '<div class="react-component poster film-poster" data-film-slug="salt" data-item-id="film:7">'
        '<div><img class="image" alt="Poster for Salt (2001)">'
        '<a class="frame" data-original-title="Salt (2001)" href="/film/salt/">'
        '<span class="frame-title">Salt (2001)</span></a></div></div>' + marks(8)
    )
    body = page(f'{heading("12&nbsp;films", "data-original-title")}<ul class="grid">{item}</ul>')
    grid = parse_grid(body)
    assert grid.total == 12
    assert [(i.slug, i.title, i.release_year, i.uid, i.rating) for i in grid.items] == [
        ("salt", "Salt", 2001, "film:7", 4.0)
    ]


def test_a_film_that_is_called_poster_for_something_keeps_its_title() -> None:
    item = f'<li class="poster-container">{old_poster("Poster for a Friend", "poster-for-a-friend", 5, bare_slug=True)}</li>'
    assert parse_grid(films_page(item)).items[0].title == "Poster for a Friend"


def test_an_item_with_two_carriers_of_its_film_counts_once() -> None:
    item = griditem(
        poster("Salt (2001)", "salt", 7, "q7Z")
        + '<img data-film-slug="/film/salt/" data-film-id="7" alt="x">'
        + marks(6)
    )
    grid = parse_grid(films_page(item))
    assert [(film.slug, film.rating) for film in grid.items] == [("salt", 3.0)]


def test_an_item_that_holds_two_different_films_is_a_changed_layout() -> None:
    item = griditem(poster("A (2001)", "a", 1, "x") + poster("B (2001)", "b", 2, "y") + marks(6))
    with pytest.raises(LayoutChangedError):
        parse_grid(films_page(item))


def test_a_rating_outside_the_items_own_marks_is_not_its_rating() -> None:
    beside = '<p class="poster-viewingdata"><span class="rating rated-10">★★★★★</span></p>'
    item = griditem(poster("A (2001)", "a", 1, "x") + marks()) + griditem(poster("B (2001)", "b", 2, "y"))
    grid = parse_grid(films_page(item).replace(b"</body>", f"<aside>{beside}</aside></body>".encode()))
    assert [film.rating for film in grid.items] == [None, None]


def test_films_in_a_sidebar_are_not_part_of_the_grid() -> None:
    aside = f"<aside class='sidebar'><ul>{griditem(poster('B (2001)', 'b', 2, 'y'))}</ul></aside>"
    body = page(
        f'{heading("1 film")}<ul class="grid">{griditem(poster("A (2001)", "a", 1, "x"))}</ul>{aside}'
    )
    assert [film.slug for film in parse_grid(body).items] == ["a"]


@pytest.mark.parametrize(("glyphs", "stars"), [("★★★½", 3.5), ("½", 0.5), (" ★★★★★ ", 5.0)])
def test_a_rating_without_its_class_is_read_from_its_stars(glyphs: str, stars: float) -> None:
    item = griditem(
        poster("A (2001)", "a", 1, "x")
        + f'<p class="poster-viewingdata"><span class="rating">{glyphs}</span></p>'
    )
    assert parse_grid(films_page(item)).items[0].rating == stars


@pytest.mark.parametrize(
    "rating", ['<span class="rating rated-11"></span>', '<span class="rating">four</span>']
)
def test_a_rating_that_cannot_be_read_is_never_dropped(rating: str) -> None:
    item = griditem(poster("A (2001)", "a", 1, "x") + f'<p class="poster-viewingdata">{rating}</p>')
    with pytest.raises(LayoutChangedError):
        parse_grid(films_page(item))


def test_every_film_on_the_likes_page_is_liked_with_or_without_a_heart() -> None:
    items = "".join(
        f'<li class="posteritem">{poster(name, slug, n, slug)}{after}</li>'
        for name, slug, n, after in (("A (2001)", "a", 1, marks(7, True)), ("B (2002)", "b", 2, marks()))
    )
    tabs = '<ul class="sub-nav"><li class="selected"><a data-original-title="77 films">Films</a></li></ul>'
    body = page(f'{tabs}<ul class="poster-list">{items}</ul>', path="/ada_l/likes/films/", classes="likes")
    grid = parse_grid(body)
    assert (grid.page, grid.total, grid.last_page) == ("likes", 77, None)
    assert [(film.rating, film.liked) for film in grid.items] == [(3.5, True), (None, True)]


def test_a_list_gives_its_owners_ratings_and_places() -> None:
    items = "".join(
        f'<li class="posteritem numbered-list-item" data-owner-rating="{rating}">'
        f'{poster(name, slug, n, slug, "single-escaped")}<p class="list-number">{place}</p></li>'
        for name, slug, n, rating, place in (("A (2001)", "a", 1, 10, "1"), ("B (2002)", "b", 2, 0, "1,000"))
    )
    body = page(
        f'<ul class="js-list-entries poster-list">{items}</ul>',
        path="/ada_l/list/best-of-all/",
        classes="list-page",
        description="A list of 1,250 films compiled on Letterboxd, including A (2001).",
    )
    grid = parse_grid(body)
    assert (grid.page, grid.total) == ("list", 1250)
    assert [(film.rating, film.liked, film.list_position) for film in grid.items] == [
        (5.0, False, 1),
        (None, False, 1000),
    ]


def test_an_unranked_list_has_no_places_even_if_its_entries_have_an_index() -> None:
    item = f'<li class="posteritem" data-list-index="0" data-owner-rating="0">{poster("A (2001)", "a", 1, "x")}</li>'
    body = page(f'<ul class="js-list-entries">{item}</ul>', path="/ada_l/list/some/", classes="list-page")
    assert parse_grid(body).items[0].list_position is None


def test_a_ranked_list_without_printed_numbers_takes_the_place_from_the_index() -> None:
    item = f'<li class="posteritem numbered-list-item" data-list-index="4">{poster("A (2001)", "a", 1, "x")}</li>'
    body = page(f'<ul class="js-list-entries">{item}</ul>', path="/ada_l/list/some/", classes="list-page")
    assert parse_grid(body).items[0].list_position == 5


def test_the_detail_view_of_an_old_list_is_read() -> None:
    item = (
        f'<li class="film-detail" data-object-id="film:31">{old_poster("Harbour", "harbour-1971", 31, bare_slug=True)}'
        '<p class="list-number">3</p><div class="film-detail-content"><h2><a href="/film/harbour-1971/">Harbour</a> '
        '<small class="metadata"><a href="/films/year/1971/">1971</a></small></h2>'
        '<p class="film-detail-meta rating-green"><span class="rating rated-9">★★★★½</span></p></div></li>'
    )
    body = page(f'<ul class="film-list">{item}</ul>', path="/ada_l/list/some/detail/", classes="list-page")
    (film,) = parse_grid(body).items
    assert (film.slug, film.title, film.release_year, film.rating, film.list_position) == (
        "harbour-1971",
        "Harbour",
        1971,
        4.5,
        3,
    )


def test_a_watchlist_counts_by_its_own_heading() -> None:
    content = (
        '<div class="js-watchlist-content" data-num-entries="1415"><h1 class="section-heading">Ada wants to see '
        f'<span class="js-watchlist-count">1,415&nbsp;films</span></h1><ul class="grid">{three_films()}</ul></div>'
    )
    grid = parse_grid(page(content, path="/ada_l/watchlist/page/2/", classes="watchlist"))
    assert (grid.page, grid.total, len(grid.items)) == ("watchlist", 1415, 3)


def test_the_films_of_a_director_have_a_person_id_and_no_opinions() -> None:
    items = "".join(
        f'<li class="tooltip griditem" title="{shown}">{poster(name, slug, n, slug)}</li>'
        for shown, name, slug, n in (
            ("Glass Harbour (1999) as A Man (1998)", "Glass Harbour (1999)", "glass-harbour", 1),
            ("Untitled as Self", "Untitled", "untitled", 2),
        )
    )
    menu = '<div class="smenu-wrapper-left"><ul><li class="smenu-subselected"><span>Director <small>2</small></span></li></ul></div>'
    body = page(
        f'{menu}<div class="poster-grid"><ul class="grid">{items}</ul></div>',
        path="/director/ada-example/",
        classes="crew-page filmography-page",
        owner=None,
        body_attributes='data-type="director" data-tmdb-type="person" data-tmdb-id="4711"',
    )
    grid = parse_grid(body)
    assert (grid.page, grid.owner, grid.tmdb_person_id, grid.total) == ("person", None, 4711, 2)
    assert [(film.title, film.release_year) for film in grid.items] == [
        ("Glass Harbour", 1999),
        ("Untitled", None),
    ]


def test_a_cutting_of_a_grid_is_read_and_says_whose_it_is() -> None:
    cutting = (
        f'<section class="profile-header" data-person="ada_l"></section><ul>{three_films()}</ul>'
        f"{pagination('/ada_l/films/', 1, 81)}"
    )
    grid = parse_grid(cutting.encode())
    assert (grid.page, grid.owner, grid.canonical_url) == ("films", "ada_l", None)
    assert (len(grid.items), grid.next_page, grid.last_page) == (3, 2, 81)


def test_a_cutting_takes_its_kind_from_where_it_was_saved() -> None:
    comment = "<!-- saved from url=(0040)https://letterboxd.com/ada_l/watchlist/ -->"
    assert parse_grid(f"{comment}<ul>{three_films()}</ul>".encode()).page == "watchlist"


def test_the_last_page_has_no_next_page() -> None:
    grid = parse_grid(films_page(three_films(), page_links=pagination("/ada_l/films/", 4, 4)))
    assert (grid.next_page, grid.last_page) == (None, 4)


def test_a_next_link_that_cannot_be_read_is_a_changed_layout() -> None:
    links = '<div class="pagination"><a class="next" href="/ada_l/films/more/">Older</a></div>'
    with pytest.raises(LayoutChangedError):
        parse_grid(films_page(three_films(), page_links=links))


def test_a_member_without_films_has_an_empty_grid() -> None:
    body = page(f'{heading("0 films")}<section class="ui-block"><p>No films yet</p></section>')
    grid = parse_grid(body)
    assert (grid.items, grid.total, grid.owner) == ((), 0, "Ada_L")


def test_a_page_past_the_end_is_empty_although_the_member_has_films() -> None:
    body = films_page("", total="3 films", path="/ada_l/films/page/9/")
    assert parse_grid(body).items == ()


def test_a_first_page_that_announces_films_and_shows_none_is_a_changed_layout() -> None:
    with pytest.raises(LayoutChangedError):
        parse_grid(films_page("", total="925 films"))


def test_an_empty_page_with_a_next_page_is_a_changed_layout() -> None:
    with pytest.raises(LayoutChangedError):
        parse_grid(films_page("", total="0 films", page_links=pagination("/ada_l/films/", 1, 4)))


def test_items_without_a_slug_are_a_changed_layout_and_not_an_empty_page() -> None:
    item = griditem('<div class="react-component" data-component-class="NewPoster" data-key="x"></div>')
    with pytest.raises(LayoutChangedError):
        parse_grid(films_page(item, total="", path="/ada_l/films/page/2/"))


@pytest.mark.parametrize("place", [0, 1, 3])
def test_one_item_that_no_longer_names_its_film_does_not_vanish(place: int) -> None:
    shell = '<li class="griditem"><div class="react-component" data-component-class="LazyPoster"></div></li>'
    items = three_films().split("</li>")[:3]
    items.insert(place, shell.removesuffix("</li>"))
    with pytest.raises(LayoutChangedError, match="does not name its film"):
        parse_grid(films_page("</li>".join([*items, ""])))


def test_an_item_without_a_poster_between_the_films_is_no_film() -> None:
    advertisement = '<li class="griditem"><div class="banner"><a href="/pro/">Go Pro</a></div></li>'
    assert len(parse_grid(films_page(three_films() + advertisement)).items) == 3


def test_a_page_half_way_between_two_eras_gives_the_films_of_both() -> None:
    old = '<li class="poster-container">' + old_poster("Old Ash", "old-ash", 14, bare_slug=True) + "</li>"
    grid = parse_grid(films_page(three_films() + old, total="4 films"))
    assert [film.slug for film in grid.items] == [
        "glass-harbour",
        "of-tides",
        "untitled-salt-film",
        "old-ash",
    ]
    assert not grid.is_old_markup


def test_a_grid_says_where_opinions_have_their_place_and_which_era_it_is_of() -> None:
    grid = parse_grid(films_page(three_films()))
    assert (grid.is_old_markup, grid.marked_count, grid.hearted_count) == (False, 3, 1)
    old = '<li class="poster-container">' + old_poster("Old Ash", "old-ash", 14, bare_slug=False) + "</li>"
    grid = parse_grid(films_page(old, total="1 film"))
    assert (grid.is_old_markup, grid.marked_count, grid.hearted_count) == (True, 0, 0)


def test_page_links_are_found_behind_the_films_around_them_or_before_them() -> None:
    links = '<div class="pagination"><a class="next" href="/ada_l/films/page/2/">Older</a></div>'
    grid = f'<ul class="grid">{three_films()}</ul>'
    for content in (grid + links, f"<section>{grid}</section>{links}", links + f"<div>{grid}</div>"):
        assert parse_grid(page(heading("99 films") + content)).next_page == 2


def test_a_truncated_grid_is_refused() -> None:
    body = films_page(three_films())
    with pytest.raises(RetriableError):
        parse_grid(body[: body.index(b"of-tides")])


def test_another_kind_of_page_is_not_taken_for_a_grid() -> None:
    with pytest.raises(WrongPageError):
        parse_grid(page("", path="/ada_l/following/", classes="following"))


@pytest.mark.parametrize(
    "path", ["/", "/films/popular/", "/ada_l/lists/", "/ada_l/likes/reviews/", "/s/search/x/"]
)
def test_a_page_of_no_known_kind_is_refused_by_name(path: str) -> None:
    with pytest.raises(WrongPageError):
        parse_grid(page(f'<ul class="grid">{three_films()}</ul>', path=path, classes="wide"))
