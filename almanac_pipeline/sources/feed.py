"""The source that reads members' RSS feeds, of those who agreed to it. One request each.

A feed is offered for reading, so no authorisation is needed; robots.txt is obeyed and the site is
told who asks. What a feed says is parsed in `rss`.
"""

from __future__ import annotations

from urllib.parse import quote

from almanac_pipeline.errors import ConfigurationError, RenamedError, WrongPageError
from almanac_pipeline.http.client import PoliteClient, Response
from almanac_pipeline.http.hosts import host_of
from almanac_pipeline.sources.pages.parsers.text import path_segments
from almanac_pipeline.sources.pages.refusals import private_member
from almanac_pipeline.sources.policy import permits_feeds
from almanac_pipeline.sources.records import Feed
from almanac_pipeline.sources.rss import parse_feed


class FeedSource:
    """Reads feeds through the polite client. Thread-safe as far as the client is."""

    name = "rss"

    def __init__(self, client: PoliteClient, base_url: str) -> None:
        self._client = client
        self._base_url = base_url.rstrip("/")

    def permits(self) -> bool:
        """Whether we say who we are, and robots.txt allows feeds."""
        return permits_feeds(self._client.settings, self._base_url) and self._client.allows(
            f"{self._base_url}/member/rss/"
        )

    def read_feed(self, username: str) -> Feed:
        """The member's newest viewings and reviews, newest first.

        Raises:
            ConfigurationError: no contact is set, which the site must be told.
            RenamedError: the site led to the feed of another name.
            WrongPageError: it is another member's feed.
            AlmanacError: as the client and `parse_feed` do.
        """
        if not permits_feeds(self._client.settings, self._base_url):
            raise ConfigurationError(
                f"Feeds of {host_of(self._base_url)} are read only by somebody whom the site can reach: "
                "set ALMANAC_CONTACT=<your e-mail address or URL>."
            )
        asked = username.lower()
        url = f"{self._base_url}/{quote(asked, safe='')}/rss/"
        feed, came_from = self._client.get_as(
            url, parse=_parse, path_class="rss", explains_refusal=private_member
        )
        owner = (feed.owner or "").lower()
        if owner == asked:
            return feed
        if path_segments(came_from)[:1] == [owner]:
            raise RenamedError("the member has another name now", username=owner)
        raise WrongPageError("a feed came, but another member's")


def _parse(response: Response) -> tuple[Feed, str]:
    return parse_feed(response.body), response.url
