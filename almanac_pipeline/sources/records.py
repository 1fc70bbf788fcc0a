"""The typed records that parsers return and that everything downstream reads.

Plain immutable records, no behaviour beyond trivial derived values. Ratings are stars in
half steps, 0.5 to 5.0. `None` always means "the page does not say", never "zero".
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal, NamedTuple

MediaType = Literal["movie", "tv"]
"""TMDB's two kinds of titles; the key of a title there is (media type, id)."""


class FilmItem(NamedTuple):
    """One poster of a grid or list, with what its owner thinks of it.

    A tuple, because there are more of these than of anything else, and it is made in a third of the time.
    """

    slug: str
    title: str | None = None
    release_year: int | None = None
    uid: str | None = None
    """Letterboxd's numeric id with its kind, e.g. "film:576577"."""
    lid: str | None = None
    """Letterboxd's short id, the one that joins pages, exports and the API."""
    rating: float | None = None
    liked: bool = False
    list_position: int | None = None


@dataclass(frozen=True, slots=True)
class FilmGrid:
    """One page of a member's films, likes, watchlist or list, or of a person's films."""

    page: Literal["films", "likes", "watchlist", "list", "person"]
    owner: str | None
    """As the page spells it; compare case-insensitively. None on a person's page."""
    canonical_url: str | None
    items: tuple[FilmItem, ...]
    next_page: int | None
    last_page: int | None
    total: int | None
    """The number of films the page says there are in all."""
    tmdb_person_id: int | None = None
    is_old_markup: bool = False
    """Of before August 2025, when grids named neither release years nor LIDs."""
    marked_count: int | None = None
    """Items with an element for the owner's opinion, given or not; None where such pages have none."""
    hearted_count: int | None = None
    """Items that show a heart of their own; on pages of likes that should be all. None as above."""


@dataclass(frozen=True, slots=True)
class PersonSummary:
    """One row of a following or followers page. The display name may be a real name: never stored."""

    username: str
    films_count: int | None = None
    likes_count: int | None = None


@dataclass(frozen=True, slots=True)
class PeoplePage:
    """One page of following, followers, or a film's members."""

    page: Literal["following", "followers", "members"]
    owner: str | None
    canonical_url: str | None
    people: tuple[PersonSummary, ...]
    next_page: int | None
    total: int | None
    unread_count: int = 0
    """Rows of the table in which nobody could be found."""


@dataclass(frozen=True, slots=True)
class ProfilePage:
    """A member's front page: at most four favourites and a few counts."""

    owner: str
    canonical_url: str | None
    favorites: tuple[FilmItem, ...]
    films_count: int | None = None
    ratings_count: int | None = None
    following_count: int | None = None
    followers_count: int | None = None
    lid: str | None = None
    """The member's short id, which survives renaming."""
    rating_counts: tuple[int, int, int, int, int, int, int, int, int, int] | None = None
    """How many ratings the member gave of each level, half a star first."""


@dataclass(frozen=True, slots=True)
class PersonLink:
    """A director as a film page names them."""

    name: str
    slug: str | None


@dataclass(frozen=True, slots=True)
class FilmPage:
    """What a film's own page says."""

    slug: str
    canonical_url: str | None
    title: str
    release_year: int | None
    uid: str | None
    lid: str | None
    tmdb_media_type: MediaType | None
    tmdb_id: int | None
    imdb_id: str | None
    runtime_minutes: int | None
    original_title: str | None
    directors: tuple[PersonLink, ...]
    genres: tuple[str, ...]
    countries: tuple[str, ...]
    languages: tuple[str, ...]
    average: float | None
    ratings: int | None
    """How many ratings the average rests on."""
    fans: str | None
    poster_url: str | None
    histogram_url: str | None
    """Path of the histogram fragment; None for unreleased films."""
    overview: str | None = None
    is_tmdb_linked: bool = True
    """False where no link but only an attribute names the TMDB title, which is wrong of series."""


@dataclass(frozen=True, slots=True)
class FilmJson:
    """The small JSON document beside a film's page."""

    slug: str
    title: str
    release_year: int | None
    uid: str | None
    lid: str | None
    runtime_minutes: int | None
    original_title: str | None
    directors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Histogram:
    """Global ratings of a film: counts of half a star to five stars, ascending."""

    counts: tuple[int, int, int, int, int, int, int, int, int, int]
    average: float | None
    """The site's weighted average; absent below its threshold."""
    ratings: int | None
    """The total that the page states, not the sum of the counts."""
    fans: str | None


@dataclass(frozen=True, slots=True)
class DiaryRow:
    """One viewing on a diary page."""

    viewing_id: str
    watched_on: date | None
    film: FilmItem
    rewatch: bool
    has_review: bool


@dataclass(frozen=True, slots=True)
class DiaryPage:
    owner: str | None
    canonical_url: str | None
    rows: tuple[DiaryRow, ...]
    next_page: int | None
    last_page: int | None
    total: int | None = None
    is_old_markup: bool = False
    """As of `FilmGrid`."""
    marked_count: int | None = None
    """Rows with a cell for each of rating, like, rewatch and review, given or not."""


@dataclass(frozen=True, slots=True)
class FeedEntry:
    """One viewing or review in a member's RSS feed."""

    guid: str
    film: FilmItem
    tmdb_media_type: MediaType | None
    tmdb_id: int | None
    watched_on: date | None
    published_at: datetime | None
    rewatch: bool
    liked: bool | None
    """None where the feed has no such element (before 2026)."""
    is_review: bool


@dataclass(frozen=True, slots=True)
class Feed:
    owner: str | None
    entries: tuple[FeedEntry, ...]
    lists_count: int
