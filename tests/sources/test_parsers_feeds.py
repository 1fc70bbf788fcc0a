"""Traps of RSS feeds and robots.txt."""

# ruff: noqa: E501 - markup is easier to read unbroken

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from almanac_pipeline.errors import (
    BlockedError,
    LayoutChangedError,
    NotFoundError,
    RetriableError,
    WrongPageError,
)
from almanac_pipeline.sources.robots import parse_robots
from almanac_pipeline.sources.rss import parse_feed
from tests.sources.parser_pages import page

NAMESPACES = (
    'xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:letterboxd="https://letterboxd.com" '
    'xmlns:tmdb="https://themoviedb.org"'
)


def entry(
    fields: str = "",
    *,
    guid: str = "letterboxd-review-11",
    link: str = "/ada_l/film/salt/",
    title: str = "Salt &#039;01",
) -> str:
    return (
        f"<item><title>Salt, 2001 - ★★</title><link>https://letterboxd.com{link}</link>"
        f'<guid isPermaLink="false">{guid}</guid><pubDate>Tue, 23 Dec 2025 10:42:16 +1300</pubDate>'
        f"<letterboxd:filmTitle>{title}</letterboxd:filmTitle>{fields}"
        f"<description><![CDATA[<p>a <b>text</b> with <letterboxd:memberRating>5</letterboxd:memberRating></p>]]>"
        f"</description><dc:creator>Ada Example</dc:creator></item>"
    )


def feed(
    items: str, *, prolog: str = "<?xml version='1.0' encoding='utf-8'?>", link: str = "/Ada_L/"
) -> bytes:
    return (
        f'{prolog}\n<rss version="2.0" {NAMESPACES}><channel><title>Ada</title>'
        f"<link>https://letterboxd.com{link}</link>{items}</channel></rss>"
    ).encode()


FULL = (
    "<letterboxd:watchedDate>2025-12-22</letterboxd:watchedDate><letterboxd:rewatch>Yes</letterboxd:rewatch>"
    "<letterboxd:filmYear>2001</letterboxd:filmYear><letterboxd:memberRating>3.5</letterboxd:memberRating>"
    "<letterboxd:memberLike>Yes</letterboxd:memberLike><tmdb:tvId>91275</tmdb:tvId>"
)


def test_a_full_entry_is_read_with_its_time_in_utc() -> None:
    parsed = parse_feed(feed(entry(FULL)))
    (viewing,) = parsed.entries
    assert parsed.owner == "Ada_L"
    assert (viewing.film.slug, viewing.film.title, viewing.film.release_year) == ("salt", "Salt '01", 2001)
    assert (viewing.film.rating, viewing.film.liked, viewing.liked, viewing.rewatch) == (
        3.5,
        True,
        True,
        True,
    )
    assert (viewing.tmdb_media_type, viewing.tmdb_id) == ("tv", 91275)
    assert viewing.watched_on == date(2025, 12, 22)
    assert viewing.published_at == datetime(2025, 12, 22, 21, 42, 16, tzinfo=UTC)


def test_an_entry_without_rating_date_or_like_element_says_so() -> None:
    (viewing,) = parse_feed(feed(entry(guid="letterboxd-watch-12", link="/ada_l/film/salt/1/"))).entries
    assert (viewing.film.slug, viewing.film.rating, viewing.liked, viewing.watched_on) == (
        "salt",
        None,
        None,
        None,
    )
    assert (viewing.tmdb_media_type, viewing.tmdb_id, viewing.is_review) == (None, None, False)


def test_a_no_like_is_no_and_not_unknown() -> None:
    (viewing,) = parse_feed(feed(entry("<letterboxd:memberLike>No</letterboxd:memberLike>"))).entries
    assert (viewing.liked, viewing.film.liked) == (False, False)


def test_lists_are_counted_and_other_items_are_left() -> None:
    items = (
        entry()
        + entry(guid="letterboxd-list-3", link="/ada_l/list/x/")
        + entry(guid="letterboxd-story-4", link="/x/")
    )
    parsed = parse_feed(feed(items))
    assert (len(parsed.entries), parsed.lists_count) == (1, 1)


def test_an_entry_about_a_film_with_a_guid_of_no_known_kind_is_not_passed_over() -> None:
    with pytest.raises(LayoutChangedError, match="guid"):
        parse_feed(feed(entry() + entry(guid="letterboxd-viewing-12")))


def test_titles_that_were_escaped_once_too_often_are_read() -> None:
    (read,) = parse_feed(feed(entry(title="Ada&amp;#039;s Salt"))).entries
    assert read.film.title == "Ada's Salt"


def test_neither_the_display_name_nor_the_review_leaves_a_feed() -> None:
    text = repr(parse_feed(feed(entry(FULL))))
    assert "Example" not in text
    assert "a text" not in text
    assert "<b>" not in text


def test_an_empty_feed_of_a_member_is_empty() -> None:
    assert parse_feed(feed("")).entries == ()


@pytest.mark.parametrize(
    "bad",
    [
        entry("<letterboxd:memberRating>7</letterboxd:memberRating>"),
        entry("<letterboxd:memberRating>0</letterboxd:memberRating>"),
        entry("<letterboxd:watchedDate>soon</letterboxd:watchedDate>"),
        entry(link="/ada_l/"),
        entry(title=""),
        entry().replace("Tue, 23 Dec 2025 10:42:16 +1300", "yesterday"),
    ],
)
def test_an_entry_that_cannot_be_read_is_never_dropped(bad: str) -> None:
    with pytest.raises(LayoutChangedError):
        parse_feed(feed(bad))


@pytest.mark.parametrize(
    "doctype",
    [
        '<!DOCTYPE rss [<!ENTITY e "x">]>',
        '<!DOCTYPE rss SYSTEM "http://example.org/x.dtd">',
        '<!DOCTYPE r [<!ENTITY a "aa"><!ENTITY b "&a;&a;&a;&a;">]>',
    ],
)
def test_a_feed_that_declares_entities_is_refused_unread(doctype: str) -> None:
    with pytest.raises(WrongPageError):
        parse_feed(feed(entry(FULL), prolog=f"<?xml version='1.0'?>{doctype}"))


def test_truncated_and_damaged_feeds_may_be_fetched_again() -> None:
    body = feed(entry(FULL))
    for damaged in (
        b"",
        body[:400],
        body[:-7],
        body.replace(b"2001", b"\x00\x00"),
        body.replace(b"utf-8", b"utf-9"),
    ):
        with pytest.raises(RetriableError):
            parse_feed(damaged)


def test_what_comes_instead_of_a_feed_is_refused_by_name() -> None:
    challenge = b"<!DOCTYPE html><html><head><title>Just a moment...</title></head><body></body></html>"
    missing = b'<!DOCTYPE html><html><title>Letterboxd - Not Found</title><body class="error"></body></html>'
    with pytest.raises(BlockedError):
        parse_feed(challenge)
    with pytest.raises(NotFoundError):
        parse_feed(missing)
    for body in (page("", path="/ada_l/"), b"<atom/>", feed("", link="/"), b"<opml><channel/></opml>"):
        with pytest.raises(WrongPageError):
            parse_feed(body)


def test_a_robots_txt_is_summed_up_per_group() -> None:
    robots = parse_robots(
        b"User-agent: BadBot\nUser-agent: WorseBot # both\nDisallow: /\n\n"
        b"user-agent: *\nDisallow: /*/by/*  # sorting\nAllow: /x/\nCrawl-delay: 2\n"
        b"Sitemap: https://example.org/sitemap.xml\nnonsense\n"
    )
    assert [group.agents for group in robots.groups] == [("BadBot", "WorseBot"), ("*",)]
    assert robots.groups[1].rules == (("disallow", "/*/by/*"), ("allow", "/x/"))
    assert robots.sitemaps == ("https://example.org/sitemap.xml",)
    assert robots.crawl_delay_seconds == 2
    assert [kind for kind, allowed in robots.allowed.items() if not allowed] == ["rated_by_date"]


def test_a_robots_txt_that_shuts_us_out_allows_nothing() -> None:
    robots = parse_robots(b"User-agent: CohortAlmanac\nDisallow: /\n\nUser-agent: *\nAllow: /\n")
    assert not any(robots.allowed.values())


def test_a_text_without_groups_is_no_robots_txt() -> None:
    for body in (b"hello", b"<html>user-agent: *</html>"):
        with pytest.raises(WrongPageError):
            parse_robots(body)
