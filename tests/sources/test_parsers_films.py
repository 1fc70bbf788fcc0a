"""Traps of film pages, film JSON and histograms."""

# ruff: noqa: E501 - markup is easier to read unbroken

from __future__ import annotations

import json

import pytest

from almanac_pipeline.errors import LayoutChangedError, NotFoundError, RetriableError, WrongPageError
from almanac_pipeline.sources.pages.parsers import (
    parse_film_json,
    parse_film_page,
    parse_histogram,
    require_page,
)
from almanac_pipeline.sources.records import FilmPage, PersonLink
from tests.sources.parser_pages import page, poster

SCHEMA = {
    "@type": "Movie",
    "name": "It&#039;s Salt",
    "url": "https://letterboxd.com/film/salt/",
    "releasedEvent": [{"@type": "PublicationEvent", "startDate": "2001"}],
    "director": [
        {"@type": "Person", "name": "Ada Example", "sameAs": "/director/ada-example/"},
        {"@type": "Person", "name": "Bo Example", "sameAs": "/director/bo-example/"},
        {"@type": "Person", "name": "Cy Example", "sameAs": "/director/cy-example/"},
    ],
    "genre": ["Drama", "Crime"],
    "countryOfOrigin": [{"@type": "Country", "name": "Iceland"}],
    "image": "https://example.org/poster.jpg",
    "aggregateRating": {
        "@type": "aggregateRating",
        "ratingValue": 4.21,
        "ratingCount": 55858,
        "bestRating": 5,
    },
}


def film_page(content: str, *, schema: object = None, body: str = "", classes: str = "film") -> FilmPage:
    script = (
        ""
        if schema is None
        else f'<script type="application/ld+json">\n/* <![CDATA[ */\n{json.dumps(schema)}\n/* ]]> */\n</script>'
    )
    return parse_film_page(
        page(script + content, path="/film/salt/", classes=classes, owner=None, body_attributes=body)
    )


def footer(text: str = "", links: str = "") -> str:
    return f'<p class="text-link text-footer"> {text} More at {links}</p>'


TMDB = '<a href="https://www.themoviedb.org/{}/" data-track-action="{}">TMDB</a>'


def test_a_film_page_gives_all_directors_and_decodes_entities() -> None:
    film = film_page(
        poster("Salt (2001)", "salt", 7, "q7Z") + poster("Ash (2002)", "ash", 8, "z"), schema=SCHEMA
    )
    assert (film.slug, film.title, film.release_year, film.uid, film.lid) == (
        "salt",
        "It's Salt",
        2001,
        "film:7",
        "q7Z",
    )
    assert film.directors[2] == PersonLink("Cy Example", "cy-example")
    assert len(film.directors) == 3
    assert (film.genres, film.countries) == (("Drama", "Crime"), ("Iceland",))
    assert (film.average, film.ratings) == (4.21, 55858)
    require_page(film, kind="film", path="/film/salt/")


def test_a_tv_title_is_known_by_the_buttons_link_and_not_by_the_body() -> None:
    links = TMDB.format("tv/91275", "TMDB") + '<a href="https://www.themoviedb.org">TMDB</a>'
    film = film_page(
        footer("385&nbsp;mins", links), schema=SCHEMA, body='data-tmdb-type="movie" data-tmdb-id=""'
    )
    assert (film.tmdb_media_type, film.tmdb_id, film.runtime_minutes) == ("tv", 91275, 385)


@pytest.mark.parametrize("action", ["TMDB", "TMDb"])
def test_the_tmdb_button_is_found_in_both_spellings(action: str) -> None:
    film = film_page(TMDB.format("movie/1018-a-name", action), schema=SCHEMA)
    assert (film.tmdb_media_type, film.tmdb_id) == ("movie", 1018)


def test_without_a_button_the_body_names_the_tmdb_id() -> None:
    film = film_page("", schema=SCHEMA, body='data-tmdb-type="movie" data-tmdb-id="1018"')
    assert (film.tmdb_media_type, film.tmdb_id) == ("movie", 1018)


def test_a_link_to_tmdb_in_a_review_is_not_the_films_own() -> None:
    review = '<div class="review"><a href="https://www.themoviedb.org/movie/999/">look</a></div>'
    film = film_page(review, schema=SCHEMA, body='data-tmdb-type="movie" data-tmdb-id=""')
    assert (film.tmdb_media_type, film.tmdb_id) == (None, None)


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("147&nbsp;mins", 147), ("1 min", 1), ("1,234&nbsp;mins", 1234), ("", None), ("0 mins", None)],
)
def test_the_runtime_is_read_with_separators_and_in_the_singular(text: str, minutes: int | None) -> None:
    assert film_page(footer(text), schema=SCHEMA).runtime_minutes == minutes


IMDB = '<a href="http://www.imdb.com/title/tt0166924/maindetails">IMDb</a>'


@pytest.mark.parametrize("opening", ["<p>", '<div class="text-footer">', '<p class="facts">'])
def test_runtime_and_links_are_found_although_their_footer_is_called_otherwise(opening: str) -> None:
    review = '<div class="review"><a href="https://www.themoviedb.org/movie/999/">look, 5 mins</a></div>'
    links = IMDB + '<a href="https://www.themoviedb.org/tv/91275/">TMDB</a>'
    film = film_page(
        f"{review}{opening} 147&nbsp;mins More at {links}", schema=SCHEMA, body='data-tmdb-type="movie"'
    )
    assert (film.tmdb_media_type, film.tmdb_id, film.imdb_id) == ("tv", 91275, "tt0166924")
    assert film.runtime_minutes == 147


@pytest.mark.parametrize(
    "schema", [SCHEMA | {"@type": ["Movie", "Product"]}, {"@graph": [{"@type": "Person"}, SCHEMA]}]
)
def test_a_films_json_is_found_among_other_types_and_things(schema: object) -> None:
    film = film_page("", schema=schema)
    assert (film.ratings, film.poster_url) == (55858, "https://example.org/poster.jpg")


@pytest.mark.parametrize("written", ["4.21", None, "many"])
def test_an_average_in_quotes_is_read_and_one_that_is_no_number_is_sought_elsewhere(
    written: str | None,
) -> None:
    rating = {"ratingValue": written, "ratingCount": "55858"}
    meta = '<meta name="twitter:data2" content="4.21 out of 5">'
    film = film_page(meta, schema=SCHEMA | {"aggregateRating": rating})
    assert (film.average, film.ratings) == (4.21, 55858)


def test_whole_addresses_in_links_are_as_good_as_paths() -> None:
    site = "https://letterboxd.com"
    film = film_page(
        f'<h1 class="primaryname">Salt</h1><div id="tab-details"><a href="{site}/films/country/iceland/">Iceland</a>'
        f'<a href="{site}/films/language/english/">English</a></div>'
        f'<div id="tab-crew"><a href="{site}/director/ada-example/">Ada Example</a></div>'
    )
    assert (film.countries, film.languages) == (("Iceland",), ("English",))
    assert film.directors == (PersonLink("Ada Example", "ada-example"),)


def test_without_its_json_a_film_page_is_read_from_the_markup() -> None:
    film = film_page(
        '<h1 class="headline-1 primaryname"><span class="name">Salt</span></h1>'
        '<h2 class="originalname"><em class="quoted-creative-work-title">‘Sel’</em></h2>'
        '<span class="releasedate"><a href="/films/year/2001/">2001</a></span>'
        '<div id="tab-crew"><a href="/director/ada-example/">Ada Example</a><a href="/writer/x/">X</a></div>'
        '<a id="tab-genres" href="/film/salt/genres/">Genres</a><div id="tab-panel-genres">'
        '<a href="/films/genre/drama/">Drama</a><a href="/films/theme/sad/">Sad</a></div>'
        '<div id="tab-panel-details"><a href="/films/country/iceland/"> Iceland </a>'
        '<a href="/films/language/english/">English</a><a href="/films/language/english/">English</a></div>'
    )
    assert (film.title, film.original_title, film.release_year) == ("Salt", "Sel", 2001)
    assert film.directors == (PersonLink("Ada Example", "ada-example"),)
    assert (film.genres, film.countries, film.languages) == (("Drama",), ("Iceland",), ("English",))
    assert (film.average, film.ratings, film.histogram_url) == (None, None, None)


def test_a_film_page_of_2024_is_read() -> None:
    film = film_page(
        '<section id="featured-film-header"><h1 class="headline-1 filmtitle">Salt</h1><small class="number">'
        '<a href="/films/year/2001/">2001</a></small></section>'
        '<div class="film-poster" data-film-slug="salt" data-film-id="7"></div>'
    )
    assert (film.title, film.release_year, film.uid) == ("Salt", 2001, "film:7")


def test_a_page_of_a_film_without_any_title_is_a_changed_layout() -> None:
    with pytest.raises(LayoutChangedError):
        film_page("<h1></h1>")


def test_the_path_of_the_histogram_is_the_one_that_the_page_loads() -> None:
    film = film_page(
        '<div class="csi" data-src="/csi/film/salt/stats/" data-on-load=""></div>'
        '<section class="section ratings-histogram-chart"><a class="accessory" href="/film/salt/fans/"> 125K fans</a>'
        '<div class="csi" data-on-load="rating-histogram" data-src="/csi/film/salt/rating-histogram/"></div></section>',
        schema=SCHEMA,
    )
    assert (film.histogram_url, film.fans) == ("/csi/film/salt/rating-histogram/", "125K")


def film_json(**changes: object) -> bytes:
    data = {"result": True, "lid": "q7Z", "uid": "film:7", "id": 7, "name": "Salt", "releaseYear": 2001}
    return json.dumps(
        {**data, "runTime": 90, "slug": "salt", "directors": [{"name": "Ada"}], **changes}
    ).encode()


def test_the_films_json_is_read_and_zero_means_unknown() -> None:
    film = parse_film_json(film_json(runTime=0, releaseYear=None, originalName="Sel"))
    assert (film.slug, film.lid, film.uid, film.directors) == ("salt", "q7Z", "film:7", ("Ada",))
    assert (film.runtime_minutes, film.release_year, film.original_title) == (None, None, "Sel")


def test_other_json_is_not_a_film() -> None:
    with pytest.raises(NotFoundError):
        parse_film_json(b'{"result": false}')
    for body in (b'{"id": 603, "title": "x"}', b"[]", b"nope", b"[" * 100_000, b"<p>hello</p>"):
        with pytest.raises(WrongPageError):
            parse_film_json(body)
    with pytest.raises(RetriableError):
        parse_film_json(b"")


LEVELS = ("half-★", "★", "★½", "★★", "★★½", "★★★", "★★★½", "★★★★", "★★★★½", "★★★★★")
COUNTS = (1, 0, 989, 4251, 6214, 23371, 41371, 110990, 87357, 99242)


def wording(count: int, level: str) -> str:
    if count == 0:
        return f"No {level} ratings"
    return f"{count:,}\u00a0{level} {'rating' if count == 1 else 'ratings'} (4%)"


def new_histogram(average: str = "", tooltip: str = "title") -> str:
    rows = "".join(
        f'<tr class="column"><th scope="row" class="_sr-only">{level}</th><td class="cell">'
        f'<{tag} class="barcolumn tooltip" {tooltip}="{wording(count, level)}"><span class="_sr-only">23.4K (6%)</span>'
        f"</{tag}></td></tr>"
        for level, count in zip(LEVELS, COUNTS, strict=True)
        for tag in ("span" if count == 0 else "a",)
    )
    head = "<thead><tr><th>Rating</th><th>Count</th></tr></thead>"
    return f'<div class="rating-histogram"><table class="chart">{head}<tbody>{rows}</tbody></table>{average}</div>'


def old_histogram(average: str = "") -> str:
    rows = "".join(
        f'<li class="rating-histogram-bar"><a href="/film/salt/ratings/" class="bar tooltip" '
        f'title="{wording(count, level)}">{wording(count, level)}<i></i></a></li>'
        for level, count in zip(LEVELS, COUNTS, strict=True)
    )
    return (
        '<section class="section ratings-histogram-chart"><a href="/film/salt/fans/" class="all-link"> 75K fans</a>'
        f'<span class="average-rating">{average}</span><div class="rating-histogram"><span class="rating rated-2">★</span>'
        f"<ul>{rows}</ul></div></section>"
    )


@pytest.mark.parametrize("tooltip", ["title", "data-original-title"])
def test_zero_levels_singulars_and_abbreviations_of_the_new_histogram_are_read(tooltip: str) -> None:
    average = f'<a class="averagerating tooltip" {tooltip}="Weighted average of 4.28 based on 375,278&nbsp;ratings">4.3</a>'
    histogram = parse_histogram(new_histogram(average, tooltip).encode())
    assert histogram is not None
    assert histogram.counts == COUNTS
    assert (histogram.average, histogram.ratings, histogram.fans) == (4.28, 375278, None)


def test_the_old_histogram_is_read_with_its_fans() -> None:
    average = '<a class="tooltip" title="Weighted average of 4 based on 370,000 ratings">4.0</a>'
    histogram = parse_histogram(old_histogram(average).encode())
    assert histogram is not None
    assert (histogram.counts, histogram.average, histogram.ratings, histogram.fans) == (
        COUNTS,
        4.0,
        370_000,
        "75K",
    )


def test_a_film_below_the_threshold_has_no_average_and_no_stated_total() -> None:
    histogram = parse_histogram(new_histogram().encode())
    assert histogram is not None
    assert (histogram.average, histogram.ratings) == (None, None)


def test_levels_are_told_by_their_label_and_not_by_their_place() -> None:
    rows = new_histogram().split("<tr class=")
    shuffled = "<tr class=".join([rows[0], rows[2], rows[1], *rows[3:]])
    histogram = parse_histogram(shuffled.encode())
    assert histogram is not None
    assert histogram.counts == COUNTS


def test_a_blank_body_is_a_film_without_ratings() -> None:
    assert parse_histogram(b" \r\n ") is None


@pytest.mark.parametrize(
    "body",
    [
        new_histogram().replace("989\u00a0★½", "23.4K ★½"),
        new_histogram().replace("★★★★★", "★★★★"),
        "<tr class=".join(new_histogram().split("<tr class=")[:6]) + "</tbody></table></div>",
        '<div class="rating-histogram"><p>soon</p></div>',
        old_histogram().replace(wording(99242, "★★★★★"), ""),
        new_histogram(
            '<a class="averagerating" title="Weighted average of 4.28 based on 800,000 ratings">4.3</a>'
        ),
    ],
)
def test_a_histogram_without_ten_exact_levels_is_a_changed_layout(body: str) -> None:
    with pytest.raises(LayoutChangedError):
        parse_histogram(body.encode())


@pytest.mark.parametrize("histogram", [new_histogram(), old_histogram()])
def test_a_truncated_histogram_has_no_counts(histogram: str) -> None:
    body = histogram.encode()
    for length in range(1, len(body), 7):
        with pytest.raises((RetriableError, WrongPageError)):
            parse_histogram(body[:length])


def test_a_whole_page_is_not_taken_for_a_histogram() -> None:
    with pytest.raises(WrongPageError):
        parse_histogram(page(new_histogram(), path="/film/salt/", classes="film", owner=None))
