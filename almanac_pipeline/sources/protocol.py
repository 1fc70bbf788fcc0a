"""The one interface that every source of a member's taste offers to `syncing`.

A source yields pages lazily, in the site's order, so that the reader may stop as soon as it
has met what it already knows. A page that is not the page asked for raises; it is never empty.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, Protocol

from almanac_pipeline.sources.records import (
    FilmGrid,
    FilmPage,
    Histogram,
    PeoplePage,
    ProfilePage,
)

Grid = Literal["rated", "rated_by_date", "likes", "likes_unrated"]
"""rated: every rated film; rated_by_date: the same, newest rating first; likes: newest like first."""


class Source(Protocol):
    """Reads members and films. Every method may raise the errors of `almanac_pipeline.errors`."""

    name: str
    """How rows remember where they came from: pages, rss, export, api."""

    def permits(self, grid: Grid) -> bool:
        """Whether robots.txt and the operator's policy allow this kind of grid."""
        ...

    def read_following(self, username: str) -> Iterator[PeoplePage]:
        """The pages of the people that `username` follows."""
        ...

    def read_profile(self, username: str) -> ProfilePage:
        """The member's front page."""
        ...

    def read_grid(self, username: str, grid: Grid, *, first_page: int = 1) -> Iterator[FilmGrid]:
        """The pages of one of the member's grids, from `first_page` on."""
        ...

    def read_film(self, slug: str) -> FilmPage:
        """A film's own page."""
        ...

    def read_histogram(self, path: str) -> Histogram | None:
        """The fragment at `FilmPage.histogram_url`; None where the site answers a blank body."""
        ...
