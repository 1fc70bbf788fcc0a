"""The source that reads public pages: builds paths, walks pages, and checks that each is the one asked for.

Requests go through the polite client, bytes through the parsers beside this module. Off by default
for every host but this machine's own; see `sources.policy`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TypeVar
from urllib.parse import quote

from almanac_pipeline.errors import LayoutChangedError, PermanentError, WrongPageError
from almanac_pipeline.http.client import PoliteClient, Response
from almanac_pipeline.sources.pages.parsers import (
    parse_film_page,
    parse_grid,
    parse_histogram,
    parse_people,
    parse_profile,
    require_page,
)
from almanac_pipeline.sources.policy import require_page_fetching
from almanac_pipeline.sources.protocol import Grid
from almanac_pipeline.sources.records import FilmGrid, FilmPage, Histogram, PeoplePage, ProfilePage

FILMS_PER_PAGE = 72
PEOPLE_PER_PAGE = 25

_GRID_PATHS: dict[Grid, str] = {
    "rated": "films/rated/.5-5/",
    "rated_by_date": "films/rated/.5-5/by/rated-date/",
    "likes": "likes/films/",
    "likes_unrated": "likes/films/rated/none/",
}
_USERNAME = re.compile(r"[a-z0-9_-]{1,40}", re.IGNORECASE)
_SLUG = re.compile(r"[^\s/?#\\%]{1,300}")

Walked = TypeVar("Walked", FilmGrid, PeoplePage)
Parsed = TypeVar("Parsed")


class PagesSource:
    """Implements `sources.protocol.Source`. Thread-safe as far as the client is."""

    name = "pages"

    def __init__(self, client: PoliteClient, base_url: str) -> None:
        """Read from `base_url`, e.g. https://letterboxd.com.

        Raises:
            ConfigurationError: the operator has not stated that pages may be fetched from there.
        """
        require_page_fetching(client.settings, base_url)
        self._client = client
        self._base_url = base_url.rstrip("/")

    def permits(self, grid: Grid) -> bool:
        """Whether robots.txt allows this kind of grid, for anybody's."""
        return self._client.allows(f"{self._base_url}/member/{_GRID_PATHS[grid]}")

    def read_following(self, username: str) -> Iterator[PeoplePage]:
        """The pages of the people that `username` follows, fetched as they are asked for."""
        owner = _username(username)

        def fetch(number: int) -> PeoplePage:
            path = _numbered(f"/{owner}/following/", number)
            page = self._fetch(path, "following", parse_people)
            require_page(page, kind="following", path=path, owner=owner)
            return page

        return _walk(fetch, lambda page: tuple(row.username for row in page.people), 1, PEOPLE_PER_PAGE)

    def read_profile(self, username: str) -> ProfilePage:
        """The member's front page."""
        owner = _username(username)
        path = f"/{owner}/"
        page = self._fetch(path, "profile", parse_profile)
        require_page(page, kind="profile", path=path, owner=owner)
        return page

    def read_grid(self, username: str, grid: Grid, *, first_page: int = 1) -> Iterator[FilmGrid]:
        """The pages of one grid from `first_page` on, fetched as they are asked for.

        Ends after the page that says it is the last; a first page past the end is one empty page.
        """
        owner = _username(username)
        kind = "likes" if grid in ("likes", "likes_unrated") else "films"

        def fetch(number: int) -> FilmGrid:
            path = _numbered(f"/{owner}/{_GRID_PATHS[grid]}", number)
            page = self._fetch(path, grid, parse_grid)
            require_page(page, kind=kind, path=path, owner=owner)
            return page

        return _walk(fetch, lambda page: tuple(item.slug for item in page.items), first_page, FILMS_PER_PAGE)

    def read_film(self, slug: str) -> FilmPage:
        """A film's own page. Its `slug` is the page's own, which may not be the one asked for."""
        if not _SLUG.fullmatch(slug) or slug in (".", ".."):
            raise PermanentError("a film's slug must be one part of a path")
        path = f"/film/{quote(slug, safe=':')}/"
        page = self._fetch(path, "film", parse_film_page)
        require_page(page, kind="film", path=path)
        return page

    def read_histogram(self, path: str) -> Histogram | None:
        """The fragment at `FilmPage.histogram_url`; None where the site answers a blank body."""
        if not re.fullmatch(r"/csi/[^\s\\#]+", path):
            raise LayoutChangedError("a film's histogram is at an address that we do not know")
        return self._fetch(path, "histogram", parse_histogram)

    def _fetch(self, path: str, path_class: str, parse: Callable[[bytes], Parsed]) -> Parsed:
        def read(response: Response) -> Parsed:
            return parse(response.body)

        return self._client.get_as(f"{self._base_url}{path}", parse=read, path_class=path_class)


def _walk(
    fetch: Callable[[int], Walked], keys_of: Callable[[Walked], tuple[str, ...]], number: int, page_size: int
) -> Iterator[Walked]:
    """Pages from `number` on, until one says that it is the last. `fetch` has checked the number of the next.

    Raises:
        LayoutChangedError: a page contradicts its own counts or links.
        WrongPageError: a page that was seen before comes again under another number.
    """
    seen: set[tuple[str, ...]] = set()
    while True:
        page = fetch(number)
        keys = keys_of(page)
        if keys in seen:
            raise WrongPageError(f"page {number} is the same as an earlier one")
        if keys:
            seen.add(keys)
        elif page.next_page is not None or (number == 1 and page.total):
            raise LayoutChangedError(f"page {number} shows nothing although it says that there is more")
        if page.next_page is None:
            last_page = page.last_page if isinstance(page, FilmGrid) else None
            full = len(keys) >= page_size
            if (last_page or 0) > number or (full and (page.total or 0) > number * page_size):
                raise LayoutChangedError(f"page {number} is not the last one but has no link to the next")
        yield page
        if page.next_page is None:
            return
        number += 1


def _numbered(path: str, number: int) -> str:
    return path if number == 1 else f"{path}page/{number}/"


def _username(username: str) -> str:
    if not _USERNAME.fullmatch(username):
        raise PermanentError("a username holds letters, digits, _ and - only")
    return username.lower()
