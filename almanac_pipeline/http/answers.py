"""What an answer means before anybody parses it: fine, gone, later, or a refusal.

Generic rules of HTTP and of the usual gatekeepers; knows no site's markup. A refusal is judged
by status, headers, title and the machinery of the page, never by words in its text: a film may
well be called "Access Denied".
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from almanac_pipeline.errors import (
    ConfigurationError,
    NotFoundError,
    PermanentError,
    RetriableError,
)

# 426 is what Cloudflare answered in the blocks of 2025.
REFUSING_STATUSES = frozenset({403, 426})
GONE_STATUSES = frozenset({404, 410})

_DOCUMENT = re.compile(
    rb"\A(?:\xef\xbb\xbf)?\s*(?:<!--.{0,500}?-->\s*)*<(?:!doctype\s+html|html)\b", re.I | re.S
)
_TITLE = re.compile(rb"<title[^>]*>(.*?)</title>", re.I | re.S)
_HEADING = re.compile(rb"<h[12]\b[^>]*>(.*?)</h[12]>", re.I | re.S)
_TAG = re.compile(rb"<[^>]+>")
# A site's own page names itself; a gatekeeper's page, served at any address, cannot.
_NAMES_ITSELF = (b"og:url", b'rel="canonical"', b"rel=canonical")
# Plain substrings: a pattern with alternatives costs half a millisecond per page.
_MACHINERY = (
    b"_cf_chl_opt",
    b"cf-browser-verification",
    b"cf-error-details",
    b"challenge-error-text",
    b"challenge-form",
    b"cf-turnstile",
    b"g-recaptcha",
    b"h-captcha",
)
_GATEKEEPER_WORDS = re.compile(
    r"^(?:just a moment|access denied|attention required|you are being rate limited"
    r"|checking your browser|one more step|ddos-guard|verify(?:ing)? (?:that )?you are (?:a )?human"
    r"|.{0,40}\bcaptcha\b)",
    re.I,
)
_READ_BYTES = 65_536


def refusal(status: int, headers: Mapping[str, str], body: bytes) -> str | None:
    """Why this answer means "go away", or None.

    `headers` must look names up regardless of case.
    """
    if reason := challenge(status, headers, body):
        return reason
    return f"status {status}" if status in REFUSING_STATUSES else None


def challenge(status: int, headers: Mapping[str, str], body: bytes) -> str | None:
    """Why this answer is a gatekeeper's and not the site's, or None."""
    if headers.get("cf-mitigated", "").lower() == "challenge":
        return f"a challenge (status {status})"
    if _is_gatekeeper_page(status, body[:_READ_BYTES]):
        return f"a challenge page (status {status})"
    return None


def raise_for_status(status: int, *, what: str, retry_after_seconds: float | None = None) -> None:
    """Raise the error that a status calls for; 2xx and 304 pass.

    `what` names host and kind of page, nothing more.

    Raises:
        RetriableError: 408, 425, 429 or 5xx.
        NotFoundError: 404 or 410.
        ConfigurationError: 401.
        PermanentError: every other status.
    """
    if 200 <= status < 300 or status == 304:
        return
    if status in (408, 425, 429) or status >= 500:
        raise RetriableError(f"{what}: status {status}", retry_after_seconds=retry_after_seconds)
    if status in GONE_STATUSES:
        raise NotFoundError(f"{what}: does not exist (status {status})")
    if status == 401:
        raise ConfigurationError(f"{what}: the credentials are missing or not accepted (status 401)")
    raise PermanentError(f"{what}: unexpected status {status}")


def _is_gatekeeper_page(status: int, start: bytes) -> bool:
    if status in GONE_STATUSES or not _DOCUMENT.match(start):
        return False
    lowered = start.lower()
    if status < 400 and any(mark in lowered for mark in _NAMES_ITSELF):
        return False
    if any(mark in lowered for mark in _MACHINERY):
        return True
    spoken = [*_TITLE.findall(start)[:1], *_HEADING.findall(start)[:2]]
    return any(_GATEKEEPER_WORDS.search(_plain(text)) for text in spoken)


def _plain(markup: bytes) -> str:
    text = _TAG.sub(b" ", markup).decode("utf-8", "replace")
    return " ".join(text.replace("\u200e", "").split())
