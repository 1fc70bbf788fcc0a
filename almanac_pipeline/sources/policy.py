"""Where pages may be fetched at all, before robots.txt is even asked: the operator's statement.

Letterboxd's terms (6.11) forbid automated collection unless it was authorised, so fetching is off
for every host but this machine's own until the operator says that it was.
"""

from __future__ import annotations

from almanac_pipeline.errors import ConfigurationError
from almanac_pipeline.http.hosts import host_of, is_loopback
from almanac_pipeline.settings import Settings


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
            "Otherwise there is the stand-in: `almanac demo`. Members' own data exports (ZIP) and RSS feeds "
            "need no authorisation; importing them is not built yet."
        )


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
