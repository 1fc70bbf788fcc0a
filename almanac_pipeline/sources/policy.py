"""Where pages may be fetched at all, before robots.txt is even asked: the operator's statement.

Letterboxd's terms (6.11) forbid automated collection unless it was authorised, so fetching is off
for every host but this machine's own until the operator says that it was.
"""

from __future__ import annotations

from almanac_pipeline.errors import ConfigurationError
from almanac_pipeline.http.hosts import host_of, is_loopback
from almanac_pipeline.settings import Settings

DEFAULT_FRESH_MINUTES = 10.0


def require_page_fetching(settings: Settings, base_url: str) -> None:
    """Pass if pages of `base_url` may be fetched under these settings.

    Raises:
        ConfigurationError: they may not; the message says what to set and what to use instead.
    """
    missing = _missing(settings, base_url)
    if missing:
        raise ConfigurationError(
            f"Fetching pages from {host_of(base_url)} is off. Letterboxd's terms forbid automated "
            f"collection unless it has authorised you; if it has, set {' and '.join(missing)}. "
            "Members' own data exports (ZIP) need no authorisation: `almanac import FILE.zip`; nor do the "
            "RSS feeds of those who agree: `almanac member feed NAME on`. To try it out: `almanac demo`."
        )


def permits_pages(settings: Settings, base_url: str) -> bool:
    """Whether `require_page_fetching` would pass."""
    return not _missing(settings, base_url)


def permits_feeds(settings: Settings, base_url: str) -> bool:
    """Whether feeds of `base_url` may be asked for, robots.txt and the members allowing: we say who asks."""
    return is_loopback(host_of(base_url)) or bool((settings.contact or "").strip())


def fresh_minutes(settings: Settings) -> float:
    """For how long a member who was read is not read again; a site of this machine may be asked at once."""
    if settings.fresh_minutes is not None:
        return settings.fresh_minutes
    return 0.0 if is_loopback(host_of(settings.letterboxd_url)) else DEFAULT_FRESH_MINUTES


def describe_page_fetching(settings: Settings, base_url: str) -> str:
    """One line for `almanac doctor`: whether pages may be fetched, and why."""
    host = host_of(base_url)
    if is_loopback(host):
        return f"pages from {host}: on, it is this machine"
    missing = _missing(settings, base_url)
    if missing:
        return f"pages from {host}: off until {' and '.join(missing)} is set"
    return f"pages from {host}: on, the operator states to be authorised"


def _missing(settings: Settings, base_url: str) -> list[str]:
    if is_loopback(host_of(base_url)):
        return []
    missing = [] if settings.authorised else ["ALMANAC_AUTHORISED=true"]
    if not (settings.contact or "").strip():
        missing.append("ALMANAC_CONTACT=<your e-mail address or URL>")
    return missing
