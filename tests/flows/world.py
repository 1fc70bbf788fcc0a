"""A small site in memory, behind the Source protocol: the fake of the outside for the flows."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from almanac_pipeline.errors import NotFoundError
from almanac_pipeline.sources.protocol import Grid
from almanac_pipeline.sources.records import (
    FilmGrid,
    FilmItem,
    FilmPage,
    Histogram,
    PeoplePage,
    PersonLink,
    PersonSummary,
    ProfilePage,
)


def film(number: int, **changes: object) -> FilmItem:
    """Film number so-and-so, as a grid shows it."""
    item = FilmItem(
        slug=f"film-{number}",
        title=f"Film {number}",
        release_year=1950 + number % 70,
        uid=f"film:{number}",
        lid=f"L{number}",
    )
    return replace(item, **changes)  # type: ignore[arg-type]


@dataclass
class Person:
    """What a member's pages show. `rated` and `likes` are newest first."""

    rated: list[FilmItem] = field(default_factory=list)
    likes: list[FilmItem] = field(default_factory=list)
    favorites: list[FilmItem] = field(default_factory=list)
    following: list[str] = field(default_factory=list)

    def rate(self, item: FilmItem, rating: float) -> None:
        """Give stars, which puts the film first."""
        self.rated = [replace(item, rating=rating), *(f for f in self.rated if f.slug != item.slug)]

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
    permitted: set[Grid] = field(default_factory=lambda: {"rated", "rated_by_date", "likes", "likes_unrated"})
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
        self.on_call(kind, key, page)

    def _find(self, username: str) -> Person:
        if username not in self.people:
            raise NotFoundError(f"{username} does not exist.")
        return self.people[username]

    def permits(self, grid: Grid) -> bool:
        return grid in self.permitted

    def read_following(self, username: str) -> Iterator[PeoplePage]:
        number, more = 1, True
        while more:
            self._called("following", username, number)
            names = self._find(username).following
            first = (number - 1) * self.page_size
            more = first + self.page_size < len(names)
            yield PeoplePage(
                page="following",
                owner=username.title(),
                canonical_url=None,
                people=tuple(PersonSummary(name) for name in names[first : first + self.page_size]),
                next_page=number + 1 if more else None,
                total=len(names) + self.stated_offset,
            )
            number += 1

    def read_profile(self, username: str) -> ProfilePage:
        self._called("profile", username)
        return ProfilePage(
            owner=username.title(), canonical_url=None, favorites=tuple(self._find(username).favorites)
        )

    def items(self, username: str, grid: Grid) -> list[FilmItem]:
        person = self._find(username)
        liked, rated = {f.slug for f in person.likes}, {f.slug for f in person.rated}
        if grid == "likes":
            return [replace(f, liked=True) for f in person.likes]
        if grid == "likes_unrated":
            return [replace(f, liked=True) for f in person.likes if f.slug not in rated]
        items = [replace(f, liked=f.slug in liked) for f in person.rated]
        return items if grid == "rated_by_date" else sorted(items, key=lambda f: f.slug)

    def read_grid(self, username: str, grid: Grid, *, first_page: int = 1) -> Iterator[FilmGrid]:
        number, more = first_page, True
        while more:
            self._called(grid, username, number)
            items = self.items(username, grid)
            first = (number - 1) * self.page_size
            more = first + self.page_size < len(items)
            page = FilmGrid(
                page="likes" if grid.startswith("likes") else "films",
                owner=username.title(),
                canonical_url=None,
                items=tuple(items[first : first + self.page_size]),
                next_page=number + 1 if more else None,
                last_page=None,
                total=len(items) + self.stated_offset,
            )
            page = self.change_page(page, number)
            yield page
            more = page.next_page is not None
            number += 1

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
