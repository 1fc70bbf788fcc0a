"""Answers that are no page at all, and pages that are not the page asked for."""

# ruff: noqa: E501 - markup is easier to read unbroken

from __future__ import annotations

import dataclasses

import pytest

from almanac_pipeline.errors import (
    AlmanacError,
    BlockedError,
    NotFoundError,
    PrivateError,
    RetriableError,
    WrongPageError,
)
from almanac_pipeline.sources.pages.parsers import kind_of_url, open_document, parse_grid, require_page
from almanac_pipeline.sources.pages.parsers.text import film_slug, read_count, split_title
from tests.sources.parser_pages import films_page, page, pagination, three_films


def whole(title: str, content: str = "", classes: str = "") -> bytes:
    return f'<!doctype html><html><head><title>{title}</title></head><body class="{classes}">{content}</body></html>'.encode()


@pytest.mark.parametrize(
    ("title", "content"),
    [
        ("Just a moment...", "<p>Enable JavaScript and cookies to continue</p>"),
        ("Access denied | letterboxd.com used Cloudflare to restrict access", ""),
        ("Attention Required! | Cloudflare", ""),
        ("One more step", '<script src="/cdn-cgi/challenge-platform/x.js"></script>'),
        ("Error 1015", "<h1>You are being rate limited</h1>"),
    ],
)
def test_a_challenge_stops_the_source(title: str, content: str) -> None:
    with pytest.raises(BlockedError):
        open_document(whole(title, content))


def test_a_real_page_with_a_captcha_in_its_sign_in_form_is_no_challenge() -> None:
    body = films_page(three_films() + '<form data-captcha-action="signin">captcha</form>')
    assert len(parse_grid(body).items) == 3


@pytest.mark.parametrize("title", ["letterboxd.com | 502: Bad gateway", "503 Service Unavailable"])
def test_a_gateways_error_may_be_tried_again(title: str) -> None:
    with pytest.raises(RetriableError):
        open_document(whole(title, '<div id="cf-error-details"></div>'))


def test_the_sites_own_error_page_tells_gone_from_broken() -> None:
    with pytest.raises(NotFoundError):
        open_document(whole("Letterboxd - Not Found", "<p>Sorry</p>", "error message-dark"))
    with pytest.raises(NotFoundError):
        open_document(whole("Letterboxd", "<p>we can’t find the page you’ve requested</p>", "error"))
    with pytest.raises(RetriableError):
        open_document(whole("Letterboxd - Oops", "<p>Something broke</p>", "error message-dark"))


@pytest.mark.parametrize(
    ("title", "text"),
    [
        ("Letterboxd - Private", "Sorry."),
        ("Letterboxd", "This account is private."),
        ("Letterboxd", "The member has set this profile to private."),
        ("Letterboxd", "Greetings, Dr. Falken. This file is classified."),
    ],
)
def test_the_sites_own_word_that_a_member_is_private_is_told_from_other_errors(title: str, text: str) -> None:
    with pytest.raises(PrivateError):
        open_document(whole(title, f'<section class="message"><p>{text}</p></section>', "error message-dark"))


@pytest.mark.parametrize("text", ["We are updating our privacy policy.", "Come back later", ""])
def test_an_error_page_of_unknown_wording_is_neither_private_nor_gone_nor_empty(text: str) -> None:
    with pytest.raises(RetriableError, match="unknown wording"):
        open_document(whole("Letterboxd", f"<p>{text}</p>", "error message-dark"))


def test_an_unknown_tmdb_id_is_not_found_although_the_status_is_200() -> None:
    with pytest.raises(NotFoundError):
        open_document(page("Film not found", path="/tmdb/999999999/", classes="", owner=None))


@pytest.mark.parametrize("body", [b"", b" \r\n\t ", b"\x00" * 500, b"<html>\x00</html>"])
def test_empty_and_damaged_bodies_may_be_fetched_again(body: bytes) -> None:
    with pytest.raises(RetriableError):
        open_document(body)


def test_plain_text_and_other_markup_are_no_page() -> None:
    for body in (b"hello", b"<svg></svg>", whole("Anything", "<p>text</p>"), b"\x89PNG\r\n", b"\xff" * 64):
        with pytest.raises(WrongPageError):
            open_document(body)


def test_no_message_carries_the_title_of_the_page() -> None:
    with pytest.raises(AlmanacError) as caught:
        open_document(whole("Ada Example, Private Street 1", "<p>x</p>"))
    assert "Ada" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/ada/", "profile"),
        ("/ada/films/", "films"),
        ("/ada/films/rated/.5-5/by/rated-date/page/2/", "films"),
        ("/ada/films/diary/", "diary"),
        ("/ada/diary/films/page/2/", "diary"),
        ("/ada/likes/films/rated/none/", "likes"),
        ("/ada/likes/lists/", None),
        ("/ada/watchlist/", "watchlist"),
        ("/ada/list/some-list/page/3/", "list"),
        ("/ada/lists/", None),
        ("/ada/following/page/2/", "following"),
        ("/ada/followers/", "followers"),
        ("/film/salt/", "film"),
        ("/film/salt/members/page/2/", "members"),
        ("/film/salt/ratings/rated/5/", "members"),
        ("/film/salt/reviews/", None),
        ("/director/ada-example/", "person"),
        ("/films/popular/", None),
        ("https://letterboxd.com/ada/films/?html.parser", "films"),
        ("https://[", None),
        (None, None),
    ],
)
def test_a_url_tells_the_kind_of_its_page(path: str | None, kind: str | None) -> None:
    assert kind_of_url(path) == kind


def test_the_page_asked_for_passes_whatever_the_letter_case() -> None:
    grid = parse_grid(films_page(three_films(), page_links=pagination("/ada_l/films/", 1, 4)))
    require_page(grid, kind="films", owner="ada_l", path="/ada_l/films/")


@pytest.mark.parametrize(
    ("kind", "owner", "path"),
    [
        ("likes", "ada_l", "/ada_l/films/"),
        ("films", "bob", "/bob/films/"),
        ("films", "ada_l", "/ada_l/films/rated/.5-5/"),
        ("films", "ada_l", "/ada_l/films/page/2/"),
    ],
)
def test_another_members_kind_path_or_number_is_not_the_page_asked_for(
    kind: str, owner: str, path: str
) -> None:
    grid = parse_grid(films_page(three_films(), page_links=pagination("/ada_l/films/", 1, 4)))
    with pytest.raises(WrongPageError):
        require_page(grid, kind=kind, owner=owner, path=path)


def test_a_page_without_owner_or_address_is_not_the_page_asked_for() -> None:
    grid = parse_grid(films_page(three_films()))
    for incomplete in (dataclasses.replace(grid, owner=None), dataclasses.replace(grid, canonical_url=None)):
        with pytest.raises(WrongPageError):
            require_page(incomplete, kind="films", owner="ada_l", path="/ada_l/films/")


def test_a_page_may_leave_its_number_out_of_its_address_but_not_name_another() -> None:
    later = films_page(three_films(), path="/Ada_L/films/page/3/")
    require_page(parse_grid(later), kind="films", owner="ada_l", path="/ada_l/films/page/3/")
    with pytest.raises(WrongPageError):
        require_page(parse_grid(later), kind="films", owner="ada_l", path="/ada_l/films/page/2/")
    require_page(
        parse_grid(films_page(three_films())), kind="films", owner="ada_l", path="/ada_l/films/page/3/"
    )


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("1,615,704 people", 1615704),
        ("50,479\u00a0followers", 50479),
        ("following\u00a05", 5),
        ("1\u202f690 films", 1690),
        ("1 615 704 people", 1615704),
        ("2001 2002", 2001),
        ("\u0661\u066c\u0666\u0669\u0660 films", 1690),
        ("\u0967\u0968 films", 12),
        ("23.4K (6%)", None),
        ("111K", None),
        ("4.26", None),
        ("no films", None),
        ("9" * 400, None),
        ("", None),
        (None, None),
    ],
)
def test_counts_are_read_with_their_separators_and_abbreviations_are_not_counts(
    text: str | None, count: int | None
) -> None:
    assert read_count(text) == count


@pytest.mark.parametrize(
    ("name", "title", "year"),
    [
        ("Salt (2001)", "Salt", 2001),
        ("Of Tides (and Wires) (2004)", "Of Tides (and Wires)", 2004),
        ("Of Tides (and Wires)", "Of Tides (and Wires)", None),
        ("1984 (1956)", "1984", 1956),
        ("2046", "2046", None),
        ("Salt(2001)", "Salt(2001)", None),
        ("(1963)", "(1963)", None),
        ("Salt\u00a0(2001) ", "Salt", 2001),
        ("(500) Days (2009)", "(500) Days", 2009),
        ("Salt  (2001)", "Salt", 2001),
        ("Salt (\uff12\uff10\uff10\uff11)", "Salt", 2001),
    ],
)
def test_only_a_trailing_year_in_brackets_is_the_year(name: str, title: str, year: int | None) -> None:
    assert split_title(name) == (title, year)


@pytest.mark.parametrize(
    ("value", "slug"),
    [
        ("/film/salt/", "salt"),
        ("salt", "salt"),
        ("/ada/film/salt/2/", "salt"),
        ("https://letterboxd.com/ada/film/salt/", "salt"),
        ("/ada/films/", None),
        ("/", None),
        ("", None),
        (None, None),
    ],
)
def test_a_slug_is_found_in_every_form_of_link(value: str | None, slug: str | None) -> None:
    assert film_slug(value) == slug
