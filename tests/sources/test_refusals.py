"""A private member is one member less; whatever else a 403 says stops the source."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from requests.structures import CaseInsensitiveDict

from almanac_pipeline.errors import BlockedError, PrivateError
from almanac_pipeline.http.client import PoliteClient, Response
from almanac_pipeline.sandbox.generate import generate
from almanac_pipeline.sandbox.options import GeneratedWorld
from almanac_pipeline.sandbox.server import SandboxServer
from almanac_pipeline.settings import Settings
from almanac_pipeline.sources.feed import FeedSource
from almanac_pipeline.sources.pages.refusals import private_member
from almanac_pipeline.sources.pages.source import PagesSource

SITE_HEADERS = {"Server": "cloudflare", "CF-Ray": "a036-VIE", "X-Cache": "MISS", "CF-Cache-Status": "DYNAMIC"}


def message(
    text: str = "This account is private.",
    title: str = "\u200eLetterboxd - Private",
    body_class: str = "error message-dark",
    more: str = "",
) -> str:
    return (
        f"<!DOCTYPE html><html><head><title>{title}</title></head><body class='{body_class}'>"
        f"<section class='message'><h1><a href='/'>Letterboxd</a></h1><p><strong>{text}</strong></p>"
        f"</section>{more}</body></html>"
    )


def answer(body: str, headers: dict[str, str] | None = None) -> Response:
    given = SITE_HEADERS if headers is None else headers
    return Response(403, body.encode(), CaseInsensitiveDict(given), "https://letterboxd.com/somebody/")


@pytest.mark.parametrize("headers", [SITE_HEADERS, {}], ids=["behind a gatekeeper", "asked directly"])
@pytest.mark.parametrize(
    "text", ["This account is private.", "Sorry, this member’s profile is private", "The user is private"]
)
def test_the_site_s_own_message_is_about_the_member(text: str, headers: dict[str, str]) -> None:
    error = private_member(answer(message(text), headers))
    assert isinstance(error, PrivateError)
    assert "somebody" not in str(error)


def test_the_wording_that_others_report_is_the_site_s_own_too() -> None:
    body = message("Dr. Falken keeps this file classified.", "\u200eLetterboxd - Forbidden")
    assert isinstance(private_member(answer(body)), PrivateError)
    assert private_member(answer(message("This file is classified.", "Forbidden"))) is None


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{}",
        message(title="Letterboxd - Error"),
        message(title="Private"),
        message("Something went wrong."),
        message("This page is not private."),
        message("Access denied. This account is private."),
        message("This account is private. Ray ID: 8f1"),
        message(body_class="profile"),
        message().replace("section", "div"),
        message(more="<script src='/cdn-cgi/challenge-platform/x.js'></script>"),
        message(more="<form action='/sign-in/'></form>"),
        message(more="<div id='cf-wrapper'></div>"),
        message(more=" " * 20_000),
    ],
)
def test_anything_else_is_a_refusal(body: str) -> None:
    assert private_member(answer(body)) is None


def test_a_page_that_the_gatekeeper_made_itself_is_a_refusal_whatever_it_says() -> None:
    headers = {name: value for name, value in SITE_HEADERS.items() if name != "X-Cache"}
    assert private_member(answer(message(), headers)) is None


@pytest.mark.shared
def test_every_saved_answer_of_the_site_names_its_cache_and_no_error_page_is_private(
    shared_dir: Path,
) -> None:
    saved = json.loads((shared_dir / "fixtures/http-headers/2026-05.json").read_text())
    assert {entry["status"] for entry in saved} == {200, 404}
    assert all("x-cache" in entry["headers"] for entry in saved)
    for page in (shared_dir / "fixtures/errors").glob("*.html"):
        assert private_member(answer(page.read_text())) is None


# -- through the client --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxServer]:
    with SandboxServer(generate(GeneratedWorld(seed=2, members=3, films=40, ratings=10))) as server:
        yield server


@pytest.fixture
def client(database_url: str, tmp_path: Path) -> Iterator[PoliteClient]:
    settings = Settings(_env_file=None, home=tmp_path)  # type: ignore[call-arg]
    with PoliteClient.open(settings, database_url, backoff_seconds=0.01) as opened:
        yield opened


@pytest.fixture
def source(client: PoliteClient, sandbox: SandboxServer) -> Iterator[PagesSource]:
    yield PagesSource(client, sandbox.url)
    sandbox.clear_faults()


def blocked_hosts(connection: psycopg.Connection) -> int:
    row = connection.execute("select count(*) from ops.http_hosts where blocked_at is not null").fetchone()
    assert row is not None
    return int(row[0])


def test_a_private_member_is_reported_and_the_others_are_read(
    source: PagesSource, client: PoliteClient, sandbox: SandboxServer, connection: psycopg.Connection
) -> None:
    names = [member["username"] for member in sandbox.members()]
    sandbox.change(hide_member=[{"member": names[0]}])
    for _ in range(2):
        with pytest.raises(PrivateError) as caught:
            source.read_profile(names[0])
        assert names[0] not in str(caught.value)
    with pytest.raises(PrivateError):
        next(source.read_grid(names[0], "rated"))
    with pytest.raises(PrivateError):
        FeedSource(client, sandbox.url).read_feed(names[0])
    assert source.read_profile(names[1]).owner.lower() == names[1]
    assert blocked_hosts(connection) == 0
    sandbox.change(hide_member=[{"member": names[0], "status": None}])


@pytest.mark.parametrize("fault", ["status", "challenge"])
def test_a_403_with_other_words_stops_the_source(
    fault: str, source: PagesSource, sandbox: SandboxServer, connection: psycopg.Connection
) -> None:
    names = [member["username"] for member in sandbox.members()]
    sandbox.fault(fault, kind="profile", status=403)
    with pytest.raises(BlockedError):
        source.read_profile(names[0])
    with pytest.raises(BlockedError, match="almanac unblock"):
        source.read_profile(names[1])
    assert blocked_hosts(connection) == 1
