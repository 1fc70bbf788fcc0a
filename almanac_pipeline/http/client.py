"""The only place of the project that sends an HTTP request.

Every request passes the same gate: kill switch, blocks, robots.txt, rate limit, budget. Every attempt
leaves a row in ops.http_requests. Nothing here knows what a page holds; nothing here hides who
we are: no cookies, no proxies, no settings taken from the environment. Errors name the host and
the kind of page, never a URL, a header or a member.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import NoReturn, TypeVar
from urllib.parse import urljoin, urlsplit

import requests
import urllib3.exceptions
from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, StatusCode
from psycopg import Connection
from psycopg_pool import ConnectionPool, PoolTimeout
from requests.adapters import HTTPAdapter
from urllib3.exceptions import MaxRetryError

import almanac_pipeline
from almanac_pipeline.errors import (
    BlockedError,
    BudgetSpentError,
    ConfigurationError,
    DatabaseAwayError,
    LongPauseError,
    NotFoundError,
    PausedError,
    PermanentError,
    RetriableError,
    WarehouseError,
    WrongPageError,
)
from almanac_pipeline.http.answers import challenge, raise_for_status, refusal
from almanac_pipeline.http.database import open_later
from almanac_pipeline.http.host_state import HostState
from almanac_pipeline.http.hosts import HostPolicy, RateLimit, host_of, page_policy
from almanac_pipeline.http.limiter import HostLimiter
from almanac_pipeline.http.request_log import RequestLog, RequestRow
from almanac_pipeline.http.retry import backoff
from almanac_pipeline.http.robots import MAX_ROBOTS_BYTES, RobotsRules, Rules
from almanac_pipeline.postgres import PATIENCE_SECONDS
from almanac_pipeline.settings import Settings
from almanac_pipeline.tally import count_request

logger = logging.getLogger(__name__)
tracer = trace.get_tracer(__name__)

AGENT = "CohortAlmanac"
# A film page is about 300 kB; the largest page of a person about 2 MB.
MAX_BODY_BYTES = 20_000_000
MAX_REDIRECTS = 3
# A longer wait is handed back to the caller instead of holding a thread.
MAX_WAIT_SECONDS = 120.0
# The read time-out is per packet; a body that drips may take this many time-outs in all.
BODY_TIMEOUTS = 4
BACKOFF_SECONDS = 1.0
CHUNK_BYTES = 65_536
REDIRECTS = frozenset({301, 302, 303, 307, 308})


Answer = TypeVar("Answer")
# Says whether a 403 is the site's own word about what was asked for, and no refusal of us.
ExplainsRefusal = Callable[["Response"], PermanentError | None]


@dataclass(frozen=True, slots=True)
class Response:
    """A successful answer (2xx, 304 or what the policy names), or the 403 for `ExplainsRefusal`.

    The body is decoded from its transfer coding.
    """

    status: int
    body: bytes
    headers: Mapping[str, str]
    """Names in any case."""
    url: str
    """Where the answer came from, after redirects."""


@dataclass(frozen=True, slots=True)
class _Exchange:
    """What came of one request; `failure` says in words why there is no whole answer."""

    status: int | None
    headers: Mapping[str, str]
    body: bytes
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class _Asking:
    """What stays the same over the attempts and redirects of one question."""

    host: str
    path_class: str
    headers: Mapping[str, str]
    limits: tuple[RateLimit, ...]
    budget: int | None
    answered_statuses: frozenset[int]
    explains_refusal: ExplainsRefusal | None

    def __str__(self) -> str:
        return f"{self.host} ({self.path_class})"

    def told(self) -> dict[str, str]:
        """What log lines say of it."""
        return {"host": self.host, "path_class": self.path_class}


@dataclass(slots=True)
class RequestCounts:
    """What a client has done so far, for the metadata of a run."""

    requests: int = 0
    retries: int = 0
    cache_hits: int = 0
    bytes: int = 0
    seconds: float = 0.0
    """Time spent waiting for answers, summed over threads."""


def user_agent(contact: str | None) -> str:
    """Who we are and how to reach the operator.

    Raises:
        ConfigurationError: the contact cannot stand in a header.
    """
    contact = (contact or "").strip() or "cohort-almanac; contact not set"
    if not re.fullmatch(r"[\x20-\x7e]{1,200}", contact) or set(contact) & set("()\\"):
        raise ConfigurationError("ALMANAC_CONTACT must be an e-mail address or a URL in plain ASCII.")
    return f"{AGENT}/{almanac_pipeline.__version__} (+{contact})"


class PoliteClient:
    """Sends GET requests. Thread-safe; one per run, used by all of its threads; a context manager."""

    def __init__(
        self,
        settings: Settings,
        pool: ConnectionPool[Connection],
        limiter: HostLimiter,
        *,
        run_id: str | None,
        backoff_seconds: float,
    ) -> None:
        self.settings = settings
        self.counts = RequestCounts()
        self._pool = pool
        self._limiter = limiter
        self._retry = backoff(backoff_seconds)
        self._policy = page_policy(settings)
        self._state = HostState(pool)
        self._log = RequestLog(pool, run_id)
        self._counts_lock = threading.Lock()
        self._robots = RobotsRules(
            self._state, agent=AGENT, max_age_seconds=settings.robots_max_age_hours * 3600
        )
        self._headers = {
            "User-Agent": user_agent(settings.contact),
            "Accept": "*/*",
            "Accept-Encoding": "gzip, deflate",
        }
        # The adapter without a session around it: keeps connections, and neither cookies nor redirects.
        self._adapter = HTTPAdapter(pool_connections=8, pool_maxsize=max(8, settings.http_workers))

    @classmethod
    def open(
        cls,
        settings: Settings,
        database_url: str,
        run_id: str | None = None,
        *,
        backoff_seconds: float = BACKOFF_SECONDS,
        connect_seconds: float = PATIENCE_SECONDS,
    ) -> PoliteClient:
        """A client whose limits, blocks and request log live in the database at `database_url`.

        `run_id` marks its rows in ops.http_requests. `backoff_seconds` is about the pause before the
        first retry; each further one doubles it.

        Raises:
            ConfigurationError: the contact cannot stand in a header.
            DatabaseAwayError: the database cannot be reached.
        """
        pool = open_later(database_url, name="almanac http", min_size=1, max_size=4, autocommit=True)
        client = cls(
            settings, pool, HostLimiter(database_url), run_id=run_id, backoff_seconds=backoff_seconds
        )
        try:
            pool.open(wait=True, timeout=connect_seconds)
        except PoolTimeout:
            pool.close()
            raise DatabaseAwayError(
                "The database that the HTTP client keeps its limits in cannot be reached."
            ) from None
        return client

    def __enter__(self) -> PoliteClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.close()
        except WarehouseError:
            # What ended the run says more than the log that could not be written after it.
            if error is None:
                raise

    def close(self) -> None:
        """Write the rest of the request log and give all connections back.

        Raises:
            WarehouseError: the log cannot be written.
        """
        try:
            self._log.flush()
        finally:
            self._adapter.close()
            self._limiter.close()
            self._pool.close()

    def get(
        self,
        url: str,
        *,
        path_class: str,
        headers: Mapping[str, str] | None = None,
        policy: HostPolicy | None = None,
    ) -> Response:
        """The answer to a GET, after as many attempts as the policy allows; see `get_as`."""
        return self.get_as(url, parse=_unparsed, path_class=path_class, headers=headers, policy=policy)

    def get_as(
        self,
        url: str,
        *,
        parse: Callable[[Response], Answer],
        path_class: str,
        headers: Mapping[str, str] | None = None,
        policy: HostPolicy | None = None,
        explains_refusal: ExplainsRefusal | None = None,
    ) -> Answer:
        """What `parse` makes of the answer to a GET, after as many attempts as the policy allows.

        `path_class` names the kind of page in logs and errors. `policy` is the one for web pages
        unless given. Where `parse` raises RetriableError (a truncated page), the page is asked for
        again within the same attempts; where it raises BlockedError, the host is blocked.
        A 403 blocks the host, unless it comes from no gatekeeper and `explains_refusal` returns the
        error that it stands for; that is raised instead.

        Raises:
            LongPauseError: the host asked for a pause that is longer than anybody waits for.
            RetriableError: no usable answer after the last attempt.
            NotFoundError: 404 or 410.
            BlockedError: the host refuses us, now or earlier, or its robots.txt forbids the path.
            PausedError: an operator switched fetching off.
            BudgetSpentError: the host has had its requests of this day.
            WarehouseError: the database with limits and log has been away for some seconds.
            ConfigurationError: 401, or a URL or header that cannot be sent at all.
            WrongPageError: a redirect to another host, or a chain of redirects.
            PermanentError: another status, or a body beyond the size limit.
        """
        policy = policy or self._policy
        host = host_of(url)
        rules = self._rules(url) if policy.obeys_robots else None
        limits = policy.limits_for(host)
        if rules is not None and (delay := rules.crawl_delay_seconds):
            limits = (*limits, RateLimit(1, round(delay * 1000)))
        asking = _Asking(
            host,
            path_class,
            headers or {},
            limits,
            policy.budget_for(host),
            policy.answered_statuses,
            explains_refusal,
        )
        retry = self._retry.new(total=policy.max_attempts - 1)
        attempt = 1
        while True:
            try:
                response = self._follow(url, asking, rules, attempt)
                try:
                    return parse(response)
                except BlockedError:
                    raise self._block(asking, "a challenge page") from None
            except LongPauseError:
                raise
            except RetriableError as error:
                failure = error
            try:
                retry = retry.increment("GET")
            except MaxRetryError:
                exhausted = True
            else:
                exhausted = False
            asked_pause = failure.retry_after_seconds or 0.0
            if asked_pause > MAX_WAIT_SECONDS:
                raise _long_pause(str(failure), asking.host, asked_pause)
            if exhausted:
                raise failure
            pause = max(retry.get_backoff_time(), asked_pause)
            logger.warning(
                "%s; asked again in %.1f s", failure, pause, extra={**asking.told(), "attempt": attempt}
            )
            time.sleep(pause)
            attempt += 1

    def allows(self, url: str) -> bool:
        """Whether the host's robots.txt lets us fetch `url`.

        Raises:
            RetriableError: robots.txt cannot be had at the moment.
            BlockedError: the host refuses us.
            PausedError: an operator switched fetching off.
        """
        return self._rules(url).allow(url)

    def unblock(self, host: str) -> bool:
        """An operator's word that `host` may be asked again; whether it was blocked or paused."""
        return self._state.unblock(host.lower())

    def _rules(self, url: str) -> Rules:
        parts = urlsplit(url)
        return self._robots.rules_for(
            host_of(url), lambda: self._fetch_robots(f"{parts.scheme}://{parts.netloc}")
        )

    def _fetch_robots(self, origin: str) -> str:
        policy = replace(self._policy, obeys_robots=False)
        try:
            response = self.get(f"{origin}/robots.txt", path_class="robots", policy=policy)
        except NotFoundError:
            return ""
        return response.body[:MAX_ROBOTS_BYTES].decode("utf-8", "replace")

    def _follow(self, url: str, asking: _Asking, rules: Rules | None, attempt: int) -> Response:
        """One attempt: the request, and the redirects within the host that it leads to."""
        for _ in range(MAX_REDIRECTS + 1):
            if rules is not None and not rules.allow(url):
                raise BlockedError(f"{asking}: robots.txt forbids this path, so it is not fetched")
            response = self._send(url, asking, attempt)
            if response.status not in REDIRECTS:
                return response
            target = urljoin(url, response.headers["Location"])
            same_host = host_of(target) == asking.host
            if not same_host or (url.startswith("https:") and not target.startswith("https:")):
                raise WrongPageError(f"{asking}: redirected to another host")
            url = target
        raise WrongPageError(f"{asking}: more than {MAX_REDIRECTS} redirects in a row")

    def _send(self, url: str, asking: _Asking, attempt: int) -> Response:
        """One request and its row in the log; returns a good answer or a redirect."""
        host = asking.host
        self._wait_for_turn(asking)
        requested_at = datetime.now(UTC)
        started = time.perf_counter()
        with _span(asking, attempt) as span:
            exchange = self._exchange(url, asking.headers, str(asking))
            if exchange.status is not None:
                span.set_attribute("http.response.status_code", exchange.status)
            if exchange.failure is not None or (exchange.status or 0) >= 400:
                span.set_status(StatusCode.ERROR, exchange.failure)
        seconds = time.perf_counter() - started
        self._record(exchange, requested_at, seconds, host, asking.path_class, attempt)
        if exchange.status is None or exchange.failure is not None:
            raise RetriableError(f"{asking}: {exchange.failure}")
        if len(exchange.body) > MAX_BODY_BYTES:
            raise PermanentError(f"{asking}: the body is larger than {MAX_BODY_BYTES:,} bytes")
        response = Response(exchange.status, exchange.body, exchange.headers, url)
        if reason := refusal(exchange.status, exchange.headers, exchange.body):
            if (explained := _explained(response, asking.explains_refusal)) is not None:
                raise explained
            raise self._block(asking, reason)
        is_redirect = exchange.status in REDIRECTS and "Location" in exchange.headers
        if not is_redirect and exchange.status not in asking.answered_statuses:
            retry_after = self._retry.retry_after_seconds(exchange.headers)
            if exchange.status == 429 or (exchange.status == 503 and retry_after):
                self._state.postpone(host, retry_after or self._retry.backoff_factor * 2**attempt)
            raise_for_status(exchange.status, what=str(asking), retry_after_seconds=retry_after)
        return response

    def _block(self, asking: _Asking, reason: str) -> BlockedError:
        """Let nobody ask the host any more; returns the error that says so."""
        self._state.block(asking.host, f"{reason} in place of {asking.path_class}")
        logger.error("%s: refused with %s", asking, reason, extra=asking.told())
        return BlockedError(
            f"{asking}: refused with {reason}. Nothing more is asked of {asking.host}. "
            f"Find out why, then `almanac unblock {asking.host}`."
        )

    def _wait_for_turn(self, asking: _Asking) -> None:
        """Return when the request may be sent now; it is counted then."""
        self._pass_gate(asking)
        if asking.limits:
            self._limiter.acquire(asking.host, asking.limits)
            # Whoever has waited at the gate needs a new turn: others have waited there with them.
            while self._pass_gate(asking):
                self._limiter.acquire(asking.host, asking.limits)
        if asking.budget is not None and not self._state.spend(asking.host, asking.budget):
            self._end_of_budget(asking, asking.budget)

    def _pass_gate(self, asking: _Asking) -> bool:
        """Return when the host may be asked, and whether that took a wait; or raise why it may not."""
        host, waited = asking.host, False
        while True:
            gate = self._state.gate(host)
            if not gate.fetching:
                raise PausedError(
                    f"{asking}: fetching was switched off by `almanac pause`; `almanac unpause` ends that"
                )
            if gate.blocked_reason is not None:
                raise BlockedError(
                    f"{asking}: {host} has refused us since {gate.blocked_at} ({gate.blocked_reason}). "
                    f"Nothing more is asked of it until `almanac unblock {host}`."
                )
            if asking.budget is not None and gate.requests_today >= asking.budget:
                self._end_of_budget(asking, asking.budget)
            if gate.wait_seconds <= 0:
                return waited
            if gate.wait_seconds > MAX_WAIT_SECONDS:
                raise _long_pause(str(asking), host, gate.wait_seconds)
            time.sleep(gate.wait_seconds)
            waited = True

    def _end_of_budget(self, asking: _Asking, budget: int) -> NoReturn:
        self._state.report_spent(asking.host, budget)
        raise BudgetSpentError(
            f"{asking}: the {budget:,} requests that {asking.host} gets in a day are spent. It goes on after "
            "midnight UTC; run again then, or raise ALMANAC_REQUESTS_PER_DAY."
        )

    def _exchange(self, url: str, headers: Mapping[str, str], what: str) -> _Exchange:
        """Send and read. Exceptions of the libraries hold URLs and headers: none gets out of here."""
        try:
            request = requests.Request("GET", url, headers={**self._headers, **headers}).prepare()
        except (requests.RequestException, UnicodeError):
            request = None
        if request is None:
            raise ConfigurationError(f"{what}: the URL or a header cannot be sent")
        timeout = self.settings.http_timeout_seconds
        deadline = time.monotonic() + BODY_TIMEOUTS * timeout
        status: int | None = None
        received: Mapping[str, str] = {}
        body = bytearray()
        failure: str | None = None
        try:
            with self._adapter.send(request, stream=True, timeout=timeout, proxies={}) as answer:
                status, received = answer.status_code, answer.headers
                while len(body) <= MAX_BODY_BYTES:
                    chunk = answer.raw.read1(CHUNK_BYTES, decode_content=True)
                    if not chunk:
                        break
                    body += chunk
                    if time.monotonic() > deadline:
                        failure = f"the body took longer than {BODY_TIMEOUTS * timeout:g} s"
                        break
        except (requests.Timeout, urllib3.exceptions.TimeoutError):
            failure = f"no answer within {timeout:g} s"
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError):
            failure = "the connection failed" if status is None else "the answer broke off"
        return _Exchange(status, received, bytes(body), failure)

    def _record(
        self,
        exchange: _Exchange,
        requested_at: datetime,
        seconds: float,
        host: str,
        path_class: str,
        attempt: int,
    ) -> None:
        cache_hit = exchange.status == 304
        count_request()
        with self._counts_lock:
            self.counts.requests += 1
            self.counts.retries += attempt > 1
            self.counts.cache_hits += cache_hit
            self.counts.bytes += len(exchange.body)
            self.counts.seconds += seconds
        self._log.add(
            RequestRow(
                requested_at=requested_at,
                host=host,
                path_class=path_class,
                status=exchange.status,
                milliseconds=round(seconds * 1000),
                bytes=len(exchange.body),
                cache_hit=cache_hit,
                attempt=attempt,
            )
        )


def _span(asking: _Asking, attempt: int) -> AbstractContextManager[Span]:
    """A span for one request. It names the kind of page; URLs hold names of members."""
    return tracer.start_as_current_span(
        f"GET {asking.path_class}",
        kind=SpanKind.CLIENT,
        attributes={
            "http.request.method": "GET",
            "http.request.resend_count": attempt - 1,
            "server.address": asking.host,
            "almanac.path_class": asking.path_class,
        },
        record_exception=False,
        set_status_on_exception=False,
    )


def _long_pause(what: str, host: str, seconds: float) -> LongPauseError:
    until = datetime.now(UTC) + timedelta(seconds=seconds)
    return LongPauseError(
        f"{what}; {host} asked not to be asked before {until:%Y-%m-%d %H:%M} UTC ({seconds / 60:.0f} min). "
        "Run again then; what was read stays",
        pause_seconds=seconds,
    )


def _unparsed(response: Response) -> Response:
    return response


def _explained(response: Response, explains: ExplainsRefusal | None) -> PermanentError | None:
    """What the site itself says by a 403. A gatekeeper's page is never asked about."""
    if explains is None or response.status != 403:
        return None
    if challenge(response.status, response.headers, response.body):
        return None
    return explains(response)
