"""A small site in memory, behind the Source protocol: the fake of the outside for the flows."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from almanac_pipeline.errors import NotFoundError, PrivateError, RenamedError
from almanac_pipeline.sources.protocol import FilmRelation, Grid, PageClass, PersonRole
from almanac_pipeline.sources.records import (
    DiaryPage,
    DiaryRow,
    FilmGrid,
    FilmItem,
    FilmJson,
    FilmPage,
    Histogram,
    PeoplePage,
    PersonLink,
    PersonSummary,
    ProfilePage,
)
from almanac_pipeline.tally import count_request

PageKind = Literal["following", "followers", "members", "fans"]
GridPageKind = Literal["rated", "rated_by_date", "likes", "likes_unrated", "watchlist", "list"]
_GRID_PAGES = {"rated": "films", "rated_by_date": "films", "likes_unrated": "likes"}


def film(number: int, **changes: object) -> FilmItem:
    """Film number so-and-so, as a grid shows it."""
    item = FilmItem(
        slug=f"film-{number}",
        title=f"Film {number}",
        release_year=1950 + number % 70,
        uid=f"film:{number}",
        lid=f"L{number}",
    )
    return item._replace(**changes)  # type: ignore[arg-type]


@dataclass
class Person:
    """What a member's pages show. `rated` and `likes` are newest first."""

    rated: list[FilmItem] = field(default_factory=list)
    likes: list[FilmItem] = field(default_factory=list)
    favorites: list[FilmItem] = field(default_factory=list)
    following: list[str] = field(default_factory=list)
    watchlist: list[FilmItem] = field(default_factory=list)
    diary: list[DiaryRow] = field(default_factory=list)
    lists: dict[str, list[FilmItem]] = field(default_factory=dict)
    lid: str | None = None
    is_private: bool = False

    def rate(self, item: FilmItem, rating: float) -> None:
        """Give stars, which puts the film first."""
        self.rated = [item._replace(rating=rating), *(f for f in self.rated if f.slug != item.slug)]

    def unrate(self, item: FilmItem) -> None:
        self.rated = [f for f in self.rated if f.slug != item.slug]

    def like(self, item: FilmItem) -> None:
        self.likes = [item, *self.likes]

    def unlike(self, item: FilmItem) -> None:
        self.likes = [f for f in self.likes if f.slug != item.slug]


@dataclass
class World:
    """Implements `Source`. `calls` counts what was asked; `faults` raise or change a page."""

    people: dict[str, Person] = field(default_factory=dict)
    film_pages: dict[str, FilmPage] = field(default_factory=dict)
    histograms: dict[str, Histogram | None] = field(default_factory=dict)
    page_size: int = 3
    permitted: set[PageClass] = field(default_factory=lambda: set(get_args(PageClass)))
    renamed: dict[str, str] = field(default_factory=dict)
    """Names that lead to another one."""
    film_people: dict[tuple[str, FilmRelation], list[str]] = field(default_factory=dict)
    states_counts: bool = False
    """Whether pages of people state films and likes beside the names."""
    name: str = "pages"
    calls: Counter[tuple[str, str]] = field(default_factory=Counter)
    on_call: Callable[[str, str, int], None] = lambda kind, key, page: None
    change_page: Callable[[FilmGrid, int], FilmGrid] = lambda page, number: page
    stated_offset: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def person(self, username: str) -> Person:
        return self.people.setdefault(username, Person())

    def total_calls(self) -> int:
        return self.calls.total()

    def _called(self, kind: str, key: str, page: int = 1) -> None:
        with self._lock:
            self.calls[kind, key] += 1
        count_request()
        self.on_call(kind, key, page)

    def _find(self, username: str) -> Person:
        if username in self.renamed:
            raise RenamedError("the member has another name now", username=self.renamed[username])
        if username not in self.people:
            raise NotFoundError("the member does not exist")
        if self.people[username].is_private:
            raise PrivateError("the member keeps their pages to themselves")
        return self.people[username]

    def permits(self, page_class: PageClass) -> bool:
        return page_class in self.permitted

    def summary(self, name: str) -> PersonSummary:
        person = self.people.get(name.lower())
        if person is None or not self.states_counts:
            return PersonSummary(name)
        return PersonSummary(name, films_count=len(person.rated), likes_count=len(person.likes))

    def _people(self, kind: PageKind, key: str, names: Callable[[], list[str]]) -> Iterator[PeoplePage]:
        number, more = 1, True
        while more:
            self._called(kind, key, number)
            found = names()
            first = (number - 1) * self.page_size
            more = first + self.page_size < len(found)
            yield PeoplePage(
                page="members" if kind == "fans" else kind,
                owner=key.title() if kind in ("following", "followers") else None,
                canonical_url=None,
                people=tuple(self.summary(name) for name in found[first : first + self.page_size]),
                next_page=number + 1 if more else None,
                total=len(found) + self.stated_offset,
            )
            number += 1

    def read_following(self, username: str) -> Iterator[PeoplePage]:
        return self._people("following", username, lambda: self._find(username).following)

    def followers(self, username: str) -> list[str]:
        self._find(username)
        return [name for name, person in self.people.items() if username in map(str.lower, person.following)]

    def read_followers(self, username: str) -> Iterator[PeoplePage]:
        return self._people("followers", username, lambda: self.followers(username))

    def read_film_people(self, slug: str, relation: FilmRelation) -> Iterator[PeoplePage]:
        def names() -> list[str]:
            if (slug, relation) not in self.film_people:
                raise NotFoundError("the film does not exist")
            return self.film_people[slug, relation]

        return self._people(relation, slug, names)

    def read_profile(self, username: str) -> ProfilePage:
        self._called("profile", username)
        person = self._find(username)
        return ProfilePage(
            owner=username.title(),
            canonical_url=None,
            favorites=tuple(person.favorites),
            films_count=len(person.rated) if self.states_counts else None,
            lid=person.lid,
        )

    def items(self, username: str, grid: Grid) -> list[FilmItem]:
        person = self._find(username)
        liked, rated = {f.slug for f in person.likes}, {f.slug for f in person.rated}
        if grid == "likes":
            return [f._replace(liked=True) for f in person.likes]
        if grid == "likes_unrated":
            return [f._replace(liked=True) for f in person.likes if f.slug not in rated]
        items = [f._replace(liked=f.slug in liked) for f in person.rated]
        return items if grid == "rated_by_date" else sorted(items, key=lambda f: f.slug)

    def read_grid(self, username: str, grid: Grid, *, first_page: int = 1) -> Iterator[FilmGrid]:
        return self._films(grid, username, lambda: self.items(username, grid), first_page)

    def read_watchlist(self, username: str, *, first_page: int = 1) -> Iterator[FilmGrid]:
        return self._films("watchlist", username, lambda: self._find(username).watchlist, first_page)

    def read_list(self, username: str, slug: str) -> Iterator[FilmGrid]:
        def items() -> list[FilmItem]:
            if slug not in self._find(username).lists:
                raise NotFoundError("the list does not exist")
            return self._find(username).lists[slug]

        return self._films("list", username, items, 1)

    def _films(
        self, kind: GridPageKind, username: str, items: Callable[[], list[FilmItem]], first_page: int
    ) -> Iterator[FilmGrid]:
        number, more = first_page, True
        while more:
            self._called(kind, username, number)
            found = items()
            first = (number - 1) * self.page_size
            more = first + self.page_size < len(found)
            page = FilmGrid(
                page=_GRID_PAGES.get(kind, kind),  # type: ignore[arg-type]  # the rest is named alike
                owner=username.title(),
                canonical_url=None,
                items=tuple(found[first : first + self.page_size]),
                next_page=number + 1 if more else None,
                last_page=None,
                total=len(found) + self.stated_offset,
            )
            page = self.change_page(page, number)
            yield page
            more = page.next_page is not None
            number += 1

    def read_diary(self, username: str, *, first_page: int = 1) -> Iterator[DiaryPage]:
        number, more = first_page, True
        while more:
            self._called("diary", username, number)
            rows = self._find(username).diary
            first = (number - 1) * self.page_size
            more = first + self.page_size < len(rows)
            yield DiaryPage(
                owner=username.title(),
                canonical_url=None,
                rows=tuple(rows[first : first + self.page_size]),
                next_page=number + 1 if more else None,
                last_page=None,
                total=len(rows) + self.stated_offset,
            )
            number += 1

    def read_film_json(self, slug: str) -> FilmJson:
        raise NotFoundError("there are no such documents here")

    def read_person(self, role: PersonRole, slug: str) -> FilmGrid:
        raise NotFoundError("there are no such pages here")

    def read_film(self, slug: str) -> FilmPage:
        self._called("film", slug)
        if slug not in self.film_pages:
            raise NotFoundError(f"{slug} does not exist.")
        return self.film_pages[slug]

    def read_histogram(self, path: str) -> Histogram | None:
        self._called("histogram", path)
        if path not in self.histograms:
            raise NotFoundError(f"{path} does not exist.")
        return self.histograms[path]


def film_page(item: FilmItem, **changes: object) -> FilmPage:
    """The page of a film."""
    number = int((item.uid or "film:0").split(":")[1])
    page = FilmPage(
        slug=item.slug,
        canonical_url=None,
        title=item.title or item.slug,
        release_year=item.release_year,
        uid=item.uid,
        lid=item.lid,
        tmdb_media_type="movie",
        tmdb_id=1000 + number,
        imdb_id=f"tt{number:07}",
        runtime_minutes=100,
        original_title=None,
        directors=(PersonLink("Agnes Field", "agnes-field"),),
        genres=("Drama", "War"),
        countries=("France",),
        languages=("French",),
        average=3.5,
        ratings=100,
        fans=None,
        poster_url="https://images.example/poster.jpg",
        histogram_url=f"/csi/film/{item.slug}/rating-histogram/",
    )
    return replace(page, **changes)  # type: ignore[arg-type]


def histogram(*counts: int) -> Histogram:
    """A histogram whose stated total is right."""
    assert len(counts) == 10
    return Histogram(counts=counts, average=3.2, ratings=sum(counts), fans="2")  # type: ignore[arg-type]
