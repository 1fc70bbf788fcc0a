"""What identifies a host, and how fast and how often it may be asked. Pure; no requests, no database."""

from __future__ import annotations

import ipaddress
import math
from dataclasses import dataclass
from urllib.parse import urlsplit

from almanac_pipeline.errors import ConfigurationError
from almanac_pipeline.settings import Settings

DEFAULT_REQUESTS_PER_SECOND = 0.2
# 17,280 would go through at the default rate; 6,000 read 100 members of 1,500 ratings and 3,000 films.
DEFAULT_REQUESTS_PER_DAY = 10_000
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most `requests` in any window of `window_milliseconds`."""

    requests: int
    window_milliseconds: int


@dataclass(frozen=True, slots=True)
class HostPolicy:
    """How one kind of service may be asked."""

    rate_limits: tuple[RateLimit, ...]
    loopback_rate_limits: tuple[RateLimit, ...] = ()
    """For hosts of this machine; empty means no limit."""
    requests_per_day: int | None = None
    loopback_requests_per_day: int | None = None
    """Per UTC day; None means that nothing is counted."""
    obeys_robots: bool = True
    """False only for an API that is asked with a token of its own."""
    max_attempts: int = 4
    """How often a question is asked at most, until there is a usable answer."""
    answered_statuses: frozenset[int] = frozenset()
    """Statuses beside 2xx and 304 by which the service answers; the caller's parser reads them."""

    def limits_for(self, host: str) -> tuple[RateLimit, ...]:
        """The limits of `host`; empty means that nothing is counted."""
        return self.loopback_rate_limits if is_loopback(host) else self.rate_limits

    def budget_for(self, host: str) -> int | None:
        """How many requests `host` may get in a UTC day."""
        return self.loopback_requests_per_day if is_loopback(host) else self.requests_per_day


def page_policy(settings: Settings) -> HostPolicy:
    """The policy for web pages: robots.txt, evenly spaced requests, and so many a day."""
    stated = settings.requests_per_second
    return HostPolicy(
        rate_limits=(spaced(stated or DEFAULT_REQUESTS_PER_SECOND),),
        loopback_rate_limits=() if stated is None else (spaced(stated),),
        requests_per_day=settings.requests_per_day or DEFAULT_REQUESTS_PER_DAY,
        loopback_requests_per_day=settings.requests_per_day,
    )


def budget_words(settings: Settings, host: str, requests: int) -> str:
    """How much of its day's budget for web pages `host` has had, in words."""
    budget = page_policy(settings).budget_for(host)
    return f"{requests:,} requests today (UTC)" + ("" if budget is None else f" of {budget:,}")


def spaced(requests_per_second: float) -> RateLimit:
    """One request per interval, so that a rate never arrives as a burst."""
    return RateLimit(1, math.ceil(1000 / requests_per_second))


def host_of(url: str) -> str:
    """Host of a URL in lower case, with the port unless it is the scheme's own.

    Raises:
        ConfigurationError: not an http(s) URL, or one that carries a user name or password.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ConfigurationError("A URL to be fetched is malformed.") from None
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise ConfigurationError("A URL to be fetched must start with http:// or https:// and name a host.")
    if "@" in parts.netloc:
        raise ConfigurationError("A URL to be fetched must not carry a user name or password.")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return host if port in (None, _DEFAULT_PORTS[parts.scheme]) else f"{host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether `host` (as `host_of` gives it) is this machine and nothing else."""
    name = urlsplit(f"//{host}").hostname or ""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
