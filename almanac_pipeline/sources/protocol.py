"""The one interface that every source of a member's taste offers to the flows.

A source yields pages lazily, in the site's order, so that the reader may stop as soon as it
has met what it already knows. A page that is not the page asked for raises; it is never empty.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, Protocol

from almanac_pipeline.sources.records import (
    DiaryPage,
    FilmGrid,
    FilmJson,
    FilmPage,
    Histogram,
    PeoplePage,
    ProfilePage,
)

Grid = Literal["rated", "rated_by_date", "likes", "likes_unrated"]
"""rated: every rated film; rated_by_date: the same, newest rating first; likes: newest like first.

All but `likes` are filtered views: the total that they state may be that of the filtered films or
of the whole list (all watched films, all likes). It is a claim, not a count to fail on.
"""
Circle = Literal["following", "followers"]
"""The two lists of people that a member has."""
FilmRelation = Literal["members", "fans"]
"""members: who has seen the film; fans: who calls it one of their four favourites."""
PersonRole = Literal["director", "actor", "writer", "producer"]
PageClass = Literal[
    "rated",
    "rated_by_date",
    "likes",
    "likes_unrated",
    "following",
    "followers",
    "profile",
    "diary",
    "watchlist",
    "list",
    "film",
    "film_json",
    "histogram",
    "person",
    "members",
    "fans",
]
"""Every kind of page that a source may be asked for."""


class Source(Protocol):
    """Reads members and films. Every method may raise the errors of `almanac_pipeline.errors`.

    Of a member's pages: NotFoundError where there is no such member, PrivateError where the site says
    that they keep their pages to themselves, RenamedError where the name leads to another member's page.
    """

    name: str
    """How rows remember where they came from: pages, rss, export, api."""

    def permits(self, page_class: PageClass) -> bool:
        """Whether robots.txt and the operator's policy allow this kind of page."""
        ...

    def read_profile(self, username: str) -> ProfilePage:
        """The member's front page."""
        ...

    def read_grid(self, username: str, grid: Grid, *, first_page: int = 1) -> Iterator[FilmGrid]:
        """The pages of one of the member's grids, from `first_page` on."""
        ...

    def read_following(self, username: str) -> Iterator[PeoplePage]:
        """The pages of the people that `username` follows."""
        ...

    def read_followers(self, username: str) -> Iterator[PeoplePage]:
        """The pages of the people who follow `username`."""
        ...

    def read_diary(self, username: str, *, first_page: int = 1) -> Iterator[DiaryPage]:
        """The pages of the member's diary, the latest evening first."""
        ...

    def read_watchlist(self, username: str, *, first_page: int = 1) -> Iterator[FilmGrid]:
        """The pages of what the member wants to see, the newest wish first."""
        ...

    def read_list(self, username: str, slug: str) -> Iterator[FilmGrid]:
        """The pages of a list that the member made."""
        ...

    def read_film(self, slug: str) -> FilmPage:
        """A film's own page."""
        ...

    def read_film_json(self, slug: str) -> FilmJson:
        """The small document beside a film's page."""
        ...

    def read_film_people(self, slug: str, relation: FilmRelation) -> Iterator[PeoplePage]:
        """The pages of the members who stand in that relation to a film."""
        ...

    def read_histogram(self, path: str) -> Histogram | None:
        """The fragment at `FilmPage.histogram_url`; None where the site answers a blank body."""
        ...

    def read_person(self, role: PersonRole, slug: str) -> FilmGrid:
        """The films of a person in that role, all on one page, with their TMDB id."""
        ...
