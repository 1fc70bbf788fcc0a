"""The source that reads public pages: builds paths, walks pages, and checks that each is the one asked for.

Requests go through the polite client, bytes through the parsers beside this module. Off by default
for every host but this machine's own; see `sources.policy`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeVar
from urllib.parse import quote

from almanac_pipeline.errors import LayoutChangedError, PermanentError, RenamedError, WrongPageError
from almanac_pipeline.http.client import PoliteClient, Response
from almanac_pipeline.inspection import keep_page
from almanac_pipeline.sources.pages.canary import Canary
from almanac_pipeline.sources.pages.parsers import (
    parse_diary,
    parse_film_json,
    parse_film_page,
    parse_grid,
    parse_histogram,
    parse_people,
    parse_profile,
    require_page,
)
from almanac_pipeline.sources.pages.parsers.text import path_segments
from almanac_pipeline.sources.pages.refusals import private_member
from almanac_pipeline.sources.policy import permits_pages, require_page_fetching
from almanac_pipeline.sources.protocol import Circle, FilmRelation, Grid, PageClass, PersonRole
from almanac_pipeline.sources.records import (
    DiaryPage,
    FilmGrid,
    FilmJson,
    FilmPage,
    Histogram,
    PeoplePage,
    ProfilePage,
)

PAGE_SIZES: dict[PageClass, int] = {
    "rated": 72,
    "rated_by_date": 72,
    "likes": 72,
    "likes_unrated": 72,
    "following": 25,
    "followers": 25,
    "members": 25,
    "fans": 25,
    "diary": 50,
    "watchlist": 28,
    "list": 100,
}
"""How many items a full page shows, for the kinds that go on over several pages."""

_PATHS: dict[PageClass, str] = {
    "profile": "/{owner}/",
    "rated": "/{owner}/films/rated/.5-5/",
    "rated_by_date": "/{owner}/films/rated/.5-5/by/rated-date/",
    "likes": "/{owner}/likes/films/",
    "likes_unrated": "/{owner}/likes/films/rated/none/",
    "following": "/{owner}/following/",
    "followers": "/{owner}/followers/",
    "diary": "/{owner}/diary/",
    "watchlist": "/{owner}/watchlist/",
    "list": "/{owner}/list/{slug}/",
    "film": "/film/{slug}/",
    "film_json": "/film/{slug}/json/",
    "members": "/film/{slug}/members/",
    "fans": "/film/{slug}/fans/",
    "histogram": "/csi/film/{slug}/rating-histogram/",
    "person": "/{role}/{slug}/",
}
# Views of a part of a list, which may state the total of the whole of it.
_FILTERED: frozenset[PageClass] = frozenset(("rated", "rated_by_date", "likes_unrated"))
# What a page must be, where its kind has another name among the records.
_RECORD_KINDS: dict[PageClass, str] = {
    "rated": "films",
    "rated_by_date": "films",
    "likes_unrated": "likes",
    "fans": "members",
}
_USERNAME = re.compile(r"[a-z0-9_-]{1,40}", re.IGNORECASE)
_SLUG = re.compile(r"[^\s/?#\\%]{1,300}")

Walked = TypeVar("Walked", FilmGrid, PeoplePage, DiaryPage)
Page = TypeVar("Page", FilmGrid, PeoplePage, DiaryPage, ProfilePage, FilmPage)
Parsed = TypeVar("Parsed")


class PagesSource:
    """Implements `sources.protocol.Source`. Thread-safe as far as the client is."""

    name = "pages"

    def __init__(self, client: PoliteClient, base_url: str, canary: Canary | None = None) -> None:
        """Read from `base_url`, e.g. https://letterboxd.com. `canary` counts over a run what its pages show.

        Where the operator has not stated that pages may be fetched, every reading raises ConfigurationError.
        """
        self._client = client
        self._base_url = base_url.rstrip("/")
        self._keep = partial(keep_page, client.settings.inspection_folder)
        self._canary = canary or Canary(self._keep)

    def permits(self, page_class: PageClass) -> bool:
        """Whether policy and robots.txt allow this kind of page, anybody's and with all that follow it."""
        if not permits_pages(self._client.settings, self._base_url):
            return False
        path = _PATHS[page_class].format(owner="member", slug="some-name", role="director")
        paths = [path, _numbered(page_class, path, 2)] if page_class in PAGE_SIZES else [path]
        return all(self._client.allows(f"{self._base_url}{each}") for each in paths)

    def read_profile(self, username: str) -> ProfilePage:
        """The member's front page."""
        owner = _username(username)
        return self._page("profile", _PATHS["profile"].format(owner=owner), parse_profile, owner)

    def read_grid(self, username: str, grid: Grid, *, first_page: int = 1) -> Iterator[FilmGrid]:
        """The pages of one grid from `first_page` on, fetched as they are asked for.

        Ends after the page that says it is the last; a first page past the end is one empty page.
        """
        return self._films_of(username, grid, first_page)

    def read_following(self, username: str) -> Iterator[PeoplePage]:
        """The pages of the people that `username` follows, fetched as they are asked for."""
        return self._people_of(username, "following")

    def read_followers(self, username: str) -> Iterator[PeoplePage]:
        """The pages of the people who follow `username`, fetched as they are asked for."""
        return self._people_of(username, "followers")

    def read_diary(self, username: str, *, first_page: int = 1) -> Iterator[DiaryPage]:
        """The pages of the member's diary from `first_page` on, the latest evening first."""
        owner = _username(username)
        path = _PATHS["diary"].format(owner=owner)
        return self._walk("diary", path, parse_diary, _viewings, first_page, owner)

    def read_watchlist(self, username: str, *, first_page: int = 1) -> Iterator[FilmGrid]:
        """The pages of what the member wants to see from `first_page` on, the newest wish first."""
        return self._films_of(username, "watchlist", first_page)

    def read_list(self, username: str, slug: str) -> Iterator[FilmGrid]:
        """The pages of a list that the member made, in the list's order."""
        owner = _username(username)
        path = _PATHS["list"].format(owner=owner, slug=_slug(slug))
        return self._walk("list", path, parse_grid, _slugs, 1, owner)

    def read_film(self, slug: str) -> FilmPage:
        """A film's own page. Its `slug` is the page's own, which may not be the one asked for."""
        return self._page("film", _PATHS["film"].format(slug=_slug(slug)), parse_film_page)

    def read_film_json(self, slug: str) -> FilmJson:
        """The small document beside a film's page. Its `slug` may not be the one asked for."""
        return self._fetch(_PATHS["film_json"].format(slug=_slug(slug)), "film_json", parse_film_json)

    def read_film_people(self, slug: str, relation: FilmRelation) -> Iterator[PeoplePage]:
        """The pages of who has seen a film, or of its fans, fetched as they are asked for."""
        path = _PATHS[relation].format(slug=_slug(slug))
        return self._walk(relation, path, parse_people, _usernames, 1, None)

    def read_histogram(self, path: str) -> Histogram | None:
        """The fragment at `FilmPage.histogram_url`; None where the site answers a blank body."""
        if not re.fullmatch(r"/csi/[^\s\\#]+", path):
            raise LayoutChangedError("a film's histogram is at an address that we do not know")
        return self._fetch(path, "histogram", parse_histogram)

    def read_person(self, role: PersonRole, slug: str) -> FilmGrid:
        """The films of a person in that role, which the site shows on one page.

        Raises:
            LayoutChangedError: the page goes on, which none did.
        """
        page = self._page("person", _PATHS["person"].format(role=role, slug=_slug(slug)), parse_grid)
        if page.next_page is not None:
            raise LayoutChangedError("a person's films go on over a second page")
        return page

    def _films_of(self, username: str, page_class: PageClass, first_page: int) -> Iterator[FilmGrid]:
        owner = _username(username)
        path = _PATHS[page_class].format(owner=owner)
        return self._walk(page_class, path, parse_grid, _slugs, first_page, owner)

    def _people_of(self, username: str, circle: Circle) -> Iterator[PeoplePage]:
        owner = _username(username)
        path = _PATHS[circle].format(owner=owner)
        return self._walk(circle, path, parse_people, _usernames, 1, owner)

    def _walk(
        self,
        page_class: PageClass,
        path: str,
        parse: Callable[[bytes], Walked],
        keys_of: Callable[[Walked], tuple[str, ...]],
        first_page: int,
        owner: str | None,
    ) -> Iterator[Walked]:
        """The pages of a kind that goes on over several, each checked to be the one asked for."""

        def fetch(number: int) -> Walked:
            return self._page(page_class, _numbered(page_class, path, number), parse, owner)

        return _walk(fetch, keys_of, first_page, PAGE_SIZES[page_class], page_class in _FILTERED)

    def _page(
        self, page_class: PageClass, path: str, parse: Callable[[bytes], Page], owner: str | None = None
    ) -> Page:
        """One page, checked to be of that kind, address and owner, and to show what such pages show.

        Raises:
            RenamedError: the site led to the same page of a member of another name.
            WrongPageError: it is another page.
            LayoutDriftError: its items lack what such items have.
        """

        def read(response: Response) -> tuple[Page, Response]:
            return parse(response.body), response

        page, response = self._ask(path, page_class, read, is_of_a_member=owner is not None)
        if owner is not None:
            _require_same_name(owner, path, response.url, getattr(page, "owner", None))
        require_page(page, kind=_RECORD_KINDS.get(page_class, page_class), path=path, owner=owner)
        self._canary.check(page, response.body)
        return page

    def _fetch(self, path: str, path_class: PageClass, parse: Callable[[bytes], Parsed]) -> Parsed:
        def read(response: Response) -> Parsed:
            return parse(response.body)

        return self._ask(path, path_class, read)

    def _ask(
        self,
        path: str,
        path_class: PageClass,
        read: Callable[[Response], Parsed],
        *,
        is_of_a_member: bool = False,
    ) -> Parsed:
        """What `read` makes of a page; one that it cannot read is kept for a person to look at."""
        require_page_fetching(self._client.settings, self._base_url)

        def read_or_keep(response: Response) -> Parsed:
            try:
                return read(response)
            except LayoutChangedError as error:
                kept = self._keep(path_class, response.body)
                where = "" if kept is None else f"; the page is kept at {kept}"
                raise LayoutChangedError(f"{error}{where}") from None

        return self._client.get_as(
            f"{self._base_url}{path}",
            parse=read_or_keep,
            path_class=path_class,
            explains_refusal=private_member if is_of_a_member else None,
        )


def _walk(
    fetch: Callable[[int], Walked],
    keys_of: Callable[[Walked], tuple[str, ...]],
    number: int,
    page_size: int,
    is_filtered: bool,
) -> Iterator[Walked]:
    """Pages from `number` on, until one says that it is the last. `fetch` has checked the number of the next.

    A filtered view may state the total of what it is a part of, so a total alone proves nothing:
    where a full last page states more than was shown, the page behind it is looked at.

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
        total, last_page = page.total or 0, getattr(page, "last_page", None) or 0
        if keys:
            seen.add(keys)
        elif page.next_page is not None or (number == 1 and total and not is_filtered):
            raise LayoutChangedError(f"page {number} shows nothing although it says that there is more")
        if page.next_page is None:
            is_cut = last_page > number
            if not is_cut and not last_page and len(keys) >= page_size and total > number * page_size:
                is_cut = bool(keys_of(fetch(number + 1)))
            if is_cut:
                raise LayoutChangedError(f"page {number} is not the last one but has no link to the next")
        yield page
        if page.next_page is None:
            return
        number += 1


def _slugs(page: FilmGrid) -> tuple[str, ...]:
    return tuple(item.slug for item in page.items)


def _usernames(page: PeoplePage) -> tuple[str, ...]:
    return tuple(person.username for person in page.people)


def _viewings(page: DiaryPage) -> tuple[str, ...]:
    return tuple(row.viewing_id for row in page.rows)


def _numbered(page_class: PageClass, path: str, number: int) -> str:
    """The path of a later page. Those of a diary live below its films."""
    if number == 1:
        return path
    return f"{path}films/page/{number}/" if page_class == "diary" else f"{path}page/{number}/"


def _require_same_name(owner: str, path: str, url: str, found_owner: str | None) -> None:
    """Pass unless the site has led to the same page of another member, whom the page names too.

    Raises:
        RenamedError: it has; the error carries the new name, its message does not.
    """
    asked, came = path_segments(path), path_segments(url)
    if not came or came[0].lower() == owner or came[1:] != asked[1:]:
        return
    if found_owner is not None and found_owner.lower() == came[0].lower() and _USERNAME.fullmatch(came[0]):
        raise RenamedError("the member has another name now", username=came[0].lower())


def _username(username: str) -> str:
    if not _USERNAME.fullmatch(username):
        raise PermanentError("a username holds letters, digits, _ and - only")
    return username.lower()


def _slug(slug: str) -> str:
    if not _SLUG.fullmatch(slug) or slug in (".", ".."):
        raise PermanentError("a film's or list's slug must be one part of a path")
    return quote(slug, safe=":")
