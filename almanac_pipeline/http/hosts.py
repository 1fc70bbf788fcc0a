"""What identifies a host and at which rate it may be asked. Pure; no requests, no database."""

from __future__ import annotations

import ipaddress
import math
from dataclasses import dataclass
from urllib.parse import urlsplit

from almanac_pipeline.errors import ConfigurationError
from almanac_pipeline.settings import Settings

DEFAULT_REQUESTS_PER_SECOND = 0.2
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
    obeys_robots: bool = True
    """False only for an API that is asked with a token of its own."""

    def limits_for(self, host: str) -> tuple[RateLimit, ...]:
        """The limits of `host`; empty means that nothing is counted."""
        return self.loopback_rate_limits if is_loopback(host) else self.rate_limits


def page_policy(settings: Settings) -> HostPolicy:
    """The policy for web pages: robots.txt, and evenly spaced requests."""
    stated = settings.requests_per_second
    return HostPolicy(
        rate_limits=(spaced(stated or DEFAULT_REQUESTS_PER_SECOND),),
        loopback_rate_limits=() if stated is None else (spaced(stated),),
    )


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
