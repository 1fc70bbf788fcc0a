"""Asks TMDB for titles, by id in one request with credits, or by name. Builds requests, parses nothing.

The token travels in a header only, so it is in no URL, log or exception. TMDB's terms let an
answer be kept for at most six months; that is for whoever stores it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import date
from typing import Literal, NoReturn
from urllib.parse import quote, urlencode

from pydantic import SecretStr

from almanac_pipeline.errors import ConfigurationError, NotFoundError, RetriableError
from almanac_pipeline.http.client import PoliteClient, Response
from almanac_pipeline.http.hosts import HostPolicy, RateLimit
from almanac_pipeline.settings import Settings
from almanac_pipeline.sources.records import MediaType
from almanac_pipeline.tmdb.titles import NOT_FOUND_CODE

DEFAULT_REQUESTS_PER_10_SECONDS = 40
MAX_REQUESTS_PER_SECOND = 20
MAX_ATTEMPTS = 3
# A second more than the ten of the limit: what leaves in time with it arrives sooner or later than that.
# On a busy machine three processes brought 44 requests into ten seconds without it.
WINDOW_MILLISECONDS = 11_000
# Terms of TMDB: nothing is kept longer than six months.
MAX_AGE_SECONDS = 180 * 24 * 3600
_YEAR_PARAMETERS: dict[MediaType, str] = {"movie": "year", "tv": "first_air_date_year"}


@dataclass(frozen=True, slots=True)
class TmdbAnswer:
    """What TMDB said about one title."""

    status: Literal[200, 304, 404]
    """304: unchanged since the given etag."""
    payload: str | None
    """The JSON text as it came; None unless the status is 200."""
    etag: str | None
    max_age_seconds: int | None
    """How long TMDB itself calls the answer fresh."""


def tmdb_policy(settings: Settings) -> HostPolicy:
    """An API that is asked with a token: no robots.txt, and a rate of its own."""
    stated = settings.tmdb_requests_per_10_seconds
    limits = (
        RateLimit(MAX_REQUESTS_PER_SECOND, 1_000),
        RateLimit(stated or DEFAULT_REQUESTS_PER_10_SECONDS, WINDOW_MILLISECONDS),
    )
    return HostPolicy(
        rate_limits=limits,
        loopback_rate_limits=() if stated is None else limits,
        obeys_robots=False,
        max_attempts=MAX_ATTEMPTS,
        answered_statuses=frozenset({404}),
    )


class TmdbClient:
    """Reads titles from TMDB through the polite client. Thread-safe as far as that is."""

    def __init__(self, client: PoliteClient, base_url: str, token: SecretStr) -> None:
        """`base_url` includes the version, `token` is the API Read Access Token.

        Raises:
            ConfigurationError: the token is empty or cannot stand in a header.
        """
        if not re.fullmatch(r"[\x21-\x7e]+", token.get_secret_value()):
            raise ConfigurationError("ALMANAC_TMDB_TOKEN must be one word of plain ASCII.")
        self._client = client
        self._base_url = base_url.rstrip("/")
        self._token = token
        self._policy = tmdb_policy(client.settings)

    def fetch_title(self, media_type: MediaType, tmdb_id: int, *, etag: str | None = None) -> TmdbAnswer:
        """One title with credits and external ids.

        `etag` is that of the answer already held; TMDB then answers 304 if nothing changed.

        Raises:
            ConfigurationError: TMDB does not accept the token.
            RetriableError: no usable answer after the last attempt.
            AlmanacError: as `PoliteClient.get_as`.
        """
        path = f"{media_type}/{tmdb_id:d}?append_to_response=credits,external_ids"
        answer = self._ask(path, f"tmdb {media_type}", etag)
        if answer.status == 304 and etag is None:
            raise RetriableError(f"TMDB calls a {media_type} unchanged of which we said that we hold nothing")
        return answer

    def search(self, media_type: MediaType, text: str, year: int | None) -> str:
        """The first page of what TMDB finds under a title, as JSON text.

        Raises as `fetch_title` does, and NotFoundError where TMDB has no such service.
        """
        query = {"query": text} | ({} if year is None else {_YEAR_PARAMETERS[media_type]: str(year)})
        return self._read(f"search/{media_type}?{urlencode(query)}", f"tmdb search {media_type}")

    def find(self, imdb_id: str) -> str:
        """The titles that have this IMDb id, as JSON text. Raises as `search` does."""
        path = f"find/{quote(imdb_id, safe='')}?external_source=imdb_id"
        return self._read(path, "tmdb find")

    def further_titles(self, media_type: MediaType, tmdb_id: int) -> str:
        """What a title is called elsewhere, as JSON text. Raises as `search` does."""
        return self._read(f"{media_type}/{tmdb_id:d}/alternative_titles", "tmdb alternative titles")

    def changes(self, media_type: MediaType, since: date, until: date, page: int) -> str:
        """A page of the titles that were edited from `since` to `until`, as JSON text.

        TMDB takes at most 14 days at once and pages 1 to 500. Raises as `search` does.
        """
        query = urlencode({"start_date": since.isoformat(), "end_date": until.isoformat(), "page": page})
        return self._read(f"{media_type}/changes?{query}", f"tmdb {media_type} changes")

    def _read(self, path: str, path_class: str) -> str:
        answer = self._ask(path, path_class)
        if answer.status == 404:
            raise NotFoundError(f"TMDB has nothing to answer {path_class} with (status 404)")
        if answer.payload is None:
            raise RetriableError(f"TMDB answered {path_class} without a body")
        return answer.payload

    def _ask(self, path: str, path_class: str, etag: str | None = None) -> TmdbAnswer:
        """`path_class` is all of the request that the log and messages ever hold."""
        headers = {"Accept": "application/json", "Authorization": f"Bearer {self._token.get_secret_value()}"}
        if etag is not None:
            headers["If-None-Match"] = etag
        try:
            return self._client.get_as(
                f"{self._base_url}/{path}",
                parse=_answer,
                path_class=path_class,
                headers=headers,
                policy=self._policy,
            )
        except ConfigurationError:
            raise ConfigurationError(
                "TMDB does not accept the token in ALMANAC_TMDB_TOKEN. "
                "It must be the API Read Access Token from your TMDB account's API settings."
            ) from None


def _answer(response: Response) -> TmdbAnswer:
    etag, max_age_seconds = response.headers.get("ETag"), _max_age_seconds(response)
    if response.status == 304:
        return TmdbAnswer(304, None, etag, max_age_seconds)
    try:
        payload = response.body.decode()
        document = json.loads(payload, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        document = None
    if (
        response.status == 404
        and isinstance(document, dict)
        and document.get("status_code") == NOT_FOUND_CODE
    ):
        return TmdbAnswer(404, None, None, None)
    if response.status == 404:
        raise RetriableError("A 404 that is not TMDB's own word. Is ALMANAC_TMDB_URL right?")
    if response.status != 200 or not isinstance(document, dict):
        raise RetriableError("TMDB answered with something that is not a JSON object")
    return TmdbAnswer(200, payload, etag, max_age_seconds)


def _refuse_constant(name: str) -> NoReturn:
    """NaN and Infinity, which Python reads and JSON does not have; PostgreSQL refuses the whole answer."""
    raise ValueError(name)


def _max_age_seconds(response: Response) -> int | None:
    match = re.search(r"\bmax-age=([0-9]{1,12})", response.headers.get("Cache-Control", ""))
    return None if match is None else min(int(match[1]), MAX_AGE_SECONDS)
