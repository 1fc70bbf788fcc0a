"""Refusals are told from pages that merely speak of refusals."""

from __future__ import annotations

from pathlib import Path

import pytest
from requests.structures import CaseInsensitiveDict

from almanac_pipeline.http.answers import refusal

NONE: CaseInsensitiveDict[str] = CaseInsensitiveDict()


def page(title: str, body: str = "", head: str = "") -> bytes:
    return (
        f"<!DOCTYPE html><html><head><title>{title}</title>{head}</head><body>{body}</body></html>".encode()
    )


OWN_ADDRESS = '<meta property="og:url" content="https://example.org/film/x/">'


@pytest.mark.parametrize(
    "body",
    [
        page("Just a moment..."),
        page("\u200eJust a moment..."),
        page("Attention Required! | Cloudflare"),
        page("Access denied | example.org used Cloudflare to restrict access"),
        page("example.org", "<h1>Error 1015</h1><h2>You are being rate limited</h2>"),
        page("Security", '<form><div class="g-recaptcha" data-sitekey="x"></div></form>'),
        page("example.org", "<script>window._cf_chl_opt={}</script>"),
        page("Please solve the captcha"),
        b"\xef\xbb\xbf\n<html><title>Access Denied</title></html>",
    ],
)
@pytest.mark.parametrize("status", [200, 429, 503])
def test_a_gatekeepers_page_is_a_refusal_at_any_status(status: int, body: bytes) -> None:
    assert "challenge" in (refusal(status, NONE, body) or "")


@pytest.mark.parametrize(
    "body",
    [
        page("Access Denied (2014)", "<h1>Access Denied</h1>", OWN_ADDRESS),
        page("Just a Moment... (2019)", "<h1>Just a moment</h1>", OWN_ADDRESS),
        page("The Captcha", '<div class="g-recaptcha"></div>', OWN_ADDRESS),
        page("A member's films", "<p>Access denied, captcha, just a moment: three films</p>"),
        page("Moment of Truth, Just a moment away"),
        b"<section><h2>Access denied</h2></section>",
        b'{"title": "Just a moment"}',
        b"<?xml version='1.0'?><rss><channel><title>Access denied</title></channel></rss>",
        b"",
    ],
)
def test_a_page_that_speaks_of_a_challenge_is_none(body: bytes) -> None:
    assert refusal(200, NONE, body) is None


def test_a_missing_page_with_a_funny_title_is_only_missing() -> None:
    assert refusal(404, NONE, page("Access denied")) is None


@pytest.mark.parametrize("status", [403, 426])
def test_some_statuses_refuse_whatever_the_body_says(status: int) -> None:
    assert refusal(status, NONE, b"{}") == f"status {status}"


def test_the_gatekeepers_own_header_is_believed() -> None:
    assert refusal(200, CaseInsensitiveDict({"CF-Mitigated": "challenge"}), b"") is not None


@pytest.mark.shared
def test_no_saved_page_is_taken_for_a_challenge(shared_dir: Path) -> None:
    pages = [
        path for path in (shared_dir / "fixtures").rglob("*") if path.suffix in (".html", ".xml", ".json")
    ]
    assert len(pages) > 20
    assert [path.name for path in pages if refusal(200, NONE, path.read_bytes())] == []
