"""The TMDB client against a scripted server and the stand-in."""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr

from almanac_pipeline.errors import ConfigurationError, NotFoundError, RetriableError
from almanac_pipeline.http.client import PoliteClient
from almanac_pipeline.http.hosts import RateLimit
from almanac_pipeline.sandbox.generate import generate
from almanac_pipeline.sandbox.options import GeneratedWorld, SandboxOptions
from almanac_pipeline.sandbox.server import SandboxServer
from almanac_pipeline.settings import Settings
from almanac_pipeline.tmdb.client import TmdbAnswer, TmdbClient, tmdb_policy
from almanac_pipeline.tmdb.titles import parse_find, parse_further_titles, parse_search, parse_title
from tests.http.fake_site import Answer, FakeSite

KEPT_HEADERS = ("Content-Type", "Cache-Control", "Etag", "ETag")
TOKEN = SecretStr("-".join(["t0k", "en"]))
MOVIE = "/3/movie/603?append_to_response=credits,external_ids"


@pytest.fixture
def client(database_url: str) -> Iterator[PoliteClient]:
    settings = Settings(_env_file=None, http_timeout_seconds=5)
    with PoliteClient.open(settings, database_url, backoff_seconds=0.01) as opened:
        yield opened


@pytest.fixture
def tmdb(client: PoliteClient, site: FakeSite) -> TmdbClient:
    return TmdbClient(client, f"{site.url}/3", TOKEN)


def test_one_request_answers_everything(tmdb: TmdbClient, site: FakeSite) -> None:
    payload = '{"id": 603,  "title": "É"}'
    headers = {"ETag": 'W/"abc"', "Cache-Control": "public, max-age=6991"}
    site.script(MOVIE, Answer(body=payload.encode(), headers=headers))
    assert tmdb.fetch_title("movie", 603) == TmdbAnswer(200, payload, 'W/"abc"', 6991)
    [asked] = site.asked
    assert asked.headers["Authorization"] == f"Bearer {TOKEN.get_secret_value()}"


def test_an_unchanged_title_costs_no_body_and_counts_as_a_cache_hit(
    tmdb: TmdbClient, client: PoliteClient, site: FakeSite, connection: psycopg.Connection
) -> None:
    site.script(MOVIE, Answer(304, headers={"ETag": 'W/"abc"'}))
    assert tmdb.fetch_title("movie", 603, etag='W/"abc"') == TmdbAnswer(304, None, 'W/"abc"', None)
    assert site.asked[-1].headers["If-None-Match"] == 'W/"abc"'
    client.close()
    rows = connection.execute("select path_class, status, cache_hit from ops.http_requests").fetchall()
    assert rows == [("tmdb movie", 304, True)]


def test_an_unknown_title_is_an_answer(tmdb: TmdbClient, site: FakeSite) -> None:
    site.script(MOVIE, Answer(404, b'{"status_code": 34}'))
    assert tmdb.fetch_title("movie", 603) == TmdbAnswer(404, None, None, None)


@pytest.mark.parametrize("body", [b"<html>Not found</html>", b'{"status_code": 7}', b"[34]"])
def test_a_404_that_is_not_tmdbs_own_word_says_nothing_about_the_title(
    body: bytes, tmdb: TmdbClient, site: FakeSite
) -> None:
    site.script(MOVIE, Answer(404, body))
    with pytest.raises(RetriableError, match="ALMANAC_TMDB_URL"):
        tmdb.fetch_title("movie", 603)


def test_unchanged_is_no_answer_about_a_title_that_is_not_held(tmdb: TmdbClient, site: FakeSite) -> None:
    site.script(MOVIE, Answer(304, headers={"ETag": 'W/"abc"'}))
    with pytest.raises(RetriableError, match="unchanged"):
        tmdb.fetch_title("movie", 603)


def test_a_refused_token_names_the_setting_and_never_the_token(tmdb: TmdbClient, site: FakeSite) -> None:
    site.script(MOVIE, Answer(401, b'{"status_code": 3}'))
    with pytest.raises(ConfigurationError, match="ALMANAC_TMDB_TOKEN") as caught:
        tmdb.fetch_title("movie", 603)
    report = "".join(traceback.format_exception(caught.value))
    assert TOKEN.get_secret_value() not in report
    assert len(site.asked) == 1


@pytest.mark.parametrize("token", ["", "two words", "line\nbreak", "ünicode"])
def test_a_token_that_cannot_be_sent_is_refused_at_once(token: str, client: PoliteClient) -> None:
    with pytest.raises(ConfigurationError, match="ALMANAC_TMDB_TOKEN") as caught:
        TmdbClient(client, "http://127.0.0.1/3", SecretStr(token))
    assert not token or token not in str(caught.value)


@pytest.mark.parametrize(
    "body", [b"<html></html>", b'{"id": 603, "ti', b"[]", b'"x"', b"", b"\xff{}", b'{"id": NaN}']
)
def test_what_is_not_a_json_object_is_asked_for_again_and_then_fails(
    body: bytes, tmdb: TmdbClient, site: FakeSite
) -> None:
    site.script(MOVIE, Answer(body=body))
    with pytest.raises(RetriableError, match="JSON"):
        tmdb.fetch_title("movie", 603)
    assert len(site.asked) == 3


def test_a_rate_limit_is_waited_for(tmdb: TmdbClient, site: FakeSite) -> None:
    site.script(
        MOVIE,
        Answer(429, b'{"status_code": 25}', {"Retry-After": "1", "Content-Type": "application/json"}),
        Answer(body=b'{"id": 603}'),
    )
    assert tmdb.fetch_title("movie", 603).status == 200
    first, second = [asked.at for asked in site.asked]
    assert second - first >= 0.9


def test_the_rate_is_forty_per_ten_seconds_and_never_above_twenty_per_second() -> None:
    default = tmdb_policy(Settings(_env_file=None))
    assert default.limits_for("api.themoviedb.org") == (RateLimit(20, 1_000), RateLimit(40, 11_000))
    assert default.limits_for("127.0.0.1:8000") == ()
    assert not default.obeys_robots
    stated = tmdb_policy(Settings(_env_file=None, tmdb_requests_per_10_seconds=100))
    assert stated.limits_for("127.0.0.1:8000") == (RateLimit(20, 1_000), RateLimit(100, 11_000))


def test_searches_and_look_ups_name_no_title_but_in_the_question(
    tmdb: TmdbClient, client: PoliteClient, site: FakeSite, connection: psycopg.Connection
) -> None:
    site.script(
        "/3/search/movie?query=Caf%C3%A9+%26+%27Noir%27+%E9%9B%A8&year=1999", Answer(body=b'{"a": 1}')
    )
    site.script("/3/search/movie?query=Home", Answer(body=b'{"a": 2}'))
    site.script("/3/search/tv?query=Home&first_air_date_year=1999", Answer(body=b'{"a": 3}'))
    site.script("/3/find/tt1%2F..%2Fx?external_source=imdb_id", Answer(body=b'{"a": 4}'))
    site.script("/3/tv/7/alternative_titles", Answer(body=b'{"a": 5}'))
    answers = [
        tmdb.search("movie", "Café & 'Noir' 雨", 1999),
        tmdb.search("movie", "Home", None),
        tmdb.search("tv", "Home", 1999),
        tmdb.find("tt1/../x"),
        tmdb.further_titles("tv", 7),
    ]
    assert answers == [f'{{"a": {number}}}' for number in range(1, 6)]
    assert all(asked.headers["Authorization"].startswith("Bearer ") for asked in site.asked)
    assert not any(TOKEN.get_secret_value() in asked.path for asked in site.asked)
    client.close()
    rows = connection.execute("select path_class from ops.http_requests order by 1").fetchall()
    assert [path_class for (path_class,) in rows] == [
        "tmdb alternative titles", "tmdb find", "tmdb search movie", "tmdb search movie", "tmdb search tv",
    ]  # fmt: skip


def test_a_search_fails_like_a_title(tmdb: TmdbClient, site: FakeSite) -> None:
    search = "/3/search/movie?query=Home"
    for answer, error, message in (
        (Answer(401, b'{"status_code": 3}'), ConfigurationError, "ALMANAC_TMDB_TOKEN"),
        (Answer(404, b'{"status_code": 34}'), NotFoundError, "404"),
        (Answer(body=b"<html></html>"), RetriableError, "JSON"),
        (Answer(503, b"{}"), RetriableError, "503"),
        (Answer(304), RetriableError, "without a body"),
    ):
        site.script(search, answer)
        with pytest.raises(error, match=message) as caught:
            tmdb.search("movie", "Home", None)
        assert "Home" not in str(caught.value)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("movie_27205_200.json", None),
        ("movie_84892_append_credits_TRIMMED.json", None),
        ("tv_321518_unannounced_200.json", None),
        ("movie_999999999_404.json", NotFoundError),
        ("account_401.json", ConfigurationError),
        ("rate_limited_429_DOCUMENTED_SHAPE.json", RetriableError),
    ],
)
def test_every_saved_exchange_does_the_right_thing(
    tmdb: TmdbClient, site: FakeSite, shared_dir: Path, file: str, expected: type[Exception] | None
) -> None:
    """Statuses and headers as they were recorded; a Retry-After of ten seconds is not waited for here."""
    saved = json.loads((shared_dir / "fixtures/tmdb/real-2025-2026" / file).read_text())["response"]
    headers = {name: value for name, value in saved.get("headers", {}).items() if name in KEPT_HEADERS}
    body = json.dumps(saved["json"]).encode()
    status = saved["status"]["code"]
    site.script("/3/find/x?external_source=imdb_id", Answer(status, body, headers))
    if expected is None:
        assert json.loads(tmdb.find("x")) == saved["json"]
    else:
        with pytest.raises(expected):
            tmdb.find("x")
    assert len(site.asked) == (3 if expected is RetriableError else 1)


def test_the_stand_in_answers_like_the_real_one(client: PoliteClient) -> None:
    options = SandboxOptions(tmdb_token=TOKEN.get_secret_value())
    with SandboxServer(generate(GeneratedWorld(seed=5, members=3, films=40, ratings=10)), options) as sandbox:
        film = next(film for film in sandbox.films() if film["tmdb_id"] and film["imdb_id"])
        media_type = film["media_type"]
        tmdb = TmdbClient(client, sandbox.tmdb_url, TOKEN)
        answer = tmdb.fetch_title(media_type, film["tmdb_id"])
        assert answer.payload is not None
        title = parse_title(answer.payload, media_type)
        assert (title.title, title.tmdb_id) == (film["title"], film["tmdb_id"])
        assert title.directors
        assert title.cast
        assert answer.max_age_seconds
        assert tmdb.fetch_title(media_type, film["tmdb_id"], etag=answer.etag).status == 304
        assert tmdb.fetch_title("movie", 999_999_999).status == 404
        found = parse_search(tmdb.search(media_type, film["title"], film["year"]), media_type)
        assert found.titles[0].tmdb_id == film["tmdb_id"]
        assert [each.tmdb_id for each in parse_find(tmdb.find(film["imdb_id"]))] == [film["tmdb_id"]]
        assert parse_further_titles(tmdb.further_titles(media_type, film["tmdb_id"])) == ()
        with pytest.raises(ConfigurationError):
            TmdbClient(client, sandbox.tmdb_url, SecretStr("wrong")).fetch_title("movie", 1)
