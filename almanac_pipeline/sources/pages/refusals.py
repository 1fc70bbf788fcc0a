"""Is a 403 the site's own word about one member, or does it mean us?

Only the first may go on with the next member; taking a block for a private profile would ask on
against a stop sign. So everything must fit: the site's bare message page, which says that the member
is private, has nothing on it that a gatekeeper's page needs, and comes from the site itself. No saved
copy of such a page exists; it is taken to look like the site's page for "not found", which does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from selectolax.lexbor import LexborHTMLParser

from almanac_pipeline.errors import PrivateError
from almanac_pipeline.http.client import Response
from almanac_pipeline.sources.pages.parsers.text import clean

# The saved message page has 2 kB.
MAX_MESSAGE_BYTES = 20_000
_TITLE = re.compile(r"letterboxd\b.{0,3}\bprivate$", re.IGNORECASE)
_SENTENCE = re.compile(
    r"\b(?:this|the) (?:account|profile|member|user)(?:[’']s (?:account|profile|page))? is private\b",
    re.IGNORECASE,
)
# Others report a joke about Dr. Falken's classified files, under a title they do not name.
_REPORTED_TITLE = re.compile(r"\W*letterboxd\b", re.IGNORECASE)
_REPORTED_SENTENCE = re.compile(r"\bfalken\b|\bclassified\b", re.IGNORECASE)
# A message needs none of these; challenges and block pages do.
_MACHINERY = "script, iframe, form, input, noscript, meta[http-equiv=refresh], [id^=cf-], [class^=cf-]"
_GATEKEEPER_WORDS = re.compile(r"cloudflare|\bray id\b|\byour ip\b|blocked|denied|captcha", re.IGNORECASE)


def private_member(response: Response) -> PrivateError | None:
    """The error that this 403 stands for if the site says by it that the member is private.

    For `PoliteClient.get_as`, which asks only about pages that show no challenge.
    """
    if len(response.body) > MAX_MESSAGE_BYTES or not _is_from_the_site(response.headers):
        return None
    tree = LexborHTMLParser(response.body.decode("utf-8", errors="replace"))
    title, message = tree.css_first("title"), tree.css_first("body.error section.message")
    if title is None or message is None or tree.css_first(_MACHINERY) is not None:
        return None
    text = " ".join(message.text(separator=" ").split())
    heading = clean(title.text())
    says_private = (_SENTENCE.search(text) and _TITLE.search(heading)) or (
        _REPORTED_SENTENCE.search(text) and _REPORTED_TITLE.match(heading)
    )
    if _GATEKEEPER_WORDS.search(text) or not says_private:
        return None
    return PrivateError("the site says that this member is private; their own export can be imported")


def _is_from_the_site(headers: Mapping[str, str]) -> bool:
    """Whether an answer that came through a gatekeeper was made behind it.

    All saved answers of the site, its 404 pages too, name the cache that stands in front of it
    (x-cache). Pages that Cloudflare makes itself cannot.
    """
    through_gatekeeper = "cf-ray" in headers or "cloudflare" in headers.get("server", "").lower()
    return not through_gatekeeper or "x-cache" in headers
