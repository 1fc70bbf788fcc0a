"""robots.txt: fetched once per host, shared between processes, judged by protego.

urllib.robotparser ignores `*` inside a path and would answer wrongly for real sites.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from protego import Protego

from almanac_pipeline.errors import RetriableError
from almanac_pipeline.http.host_state import HostState

MAX_ROBOTS_BYTES = 512_000
# A site in trouble is not asked for its robots.txt again by every page that waits for it.
FAILURE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Rules:
    """What one host's robots.txt says to us."""

    robots: Protego
    agent: str
    fresh_until: float
    """On the monotonic clock."""

    def allow(self, url: str) -> bool:
        """Whether `url` may be fetched."""
        return bool(self.robots.can_fetch(url, self.agent))

    @property
    def crawl_delay_seconds(self) -> float | None:
        """The pause that the host asks for between requests."""
        return self.robots.crawl_delay(self.agent)


class RobotsRules:
    """Answers from memory, from ops.http_hosts, or by `fetch`, in this order."""

    def __init__(self, state: HostState, *, agent: str, max_age_seconds: float) -> None:
        self._state = state
        self._agent = agent
        self._max_age_seconds = max_age_seconds
        self._lock = threading.Lock()
        self._turns: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._rules: dict[str, Rules] = {}
        self._failures: dict[str, tuple[float, RetriableError]] = {}

    def rules_for(self, host: str, fetch: Callable[[], str]) -> Rules:
        """The rules of `host`; `fetch` returns the text of its robots.txt, empty if it has none.

        Raises whatever `fetch` raises: without an answer nothing is allowed.
        """
        known = self._rules.get(host)
        if known is not None and time.monotonic() < known.fresh_until:
            return known
        with self._lock:
            turn = self._turns[host]
        with turn:
            known = self._rules.get(host)
            if known is None or time.monotonic() >= known.fresh_until:
                known = self._rules[host] = self._read(host, self._remembering(host, fetch))
        return known

    def _remembering(self, host: str, fetch: Callable[[], str]) -> Callable[[], str]:
        """`fetch`, which fails at once for a while after it has failed."""

        def attempt() -> str:
            until, earlier = self._failures.get(host, (0.0, None))
            if earlier is not None and time.monotonic() < until:
                raise RetriableError(str(earlier), retry_after_seconds=until - time.monotonic())
            try:
                return fetch()
            except RetriableError as error:
                self._failures[host] = (time.monotonic() + FAILURE_SECONDS, error)
                raise

        return attempt

    def _read(self, host: str, fetch: Callable[[], str]) -> Rules:
        stored = self._state.read_robots(host, self._max_age_seconds)
        if stored is not None:
            return self._parse(stored.text, stored.age_seconds)
        with self._state.robots_turn(host):
            stored = self._state.read_robots(host, self._max_age_seconds)
            if stored is not None:
                return self._parse(stored.text, stored.age_seconds)
            text = fetch().replace("\x00", "")
            self._state.write_robots(host, text)
            return self._parse(text, 0.0)

    def _parse(self, text: str, age_seconds: float) -> Rules:
        fresh_until = time.monotonic() + self._max_age_seconds - age_seconds
        return Rules(Protego.parse(text), self._agent, fresh_until)
