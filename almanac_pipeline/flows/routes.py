"""Decides how each member is synced, from what is permitted and what is known of them.

`plan_route` is pure: it asks nothing and stores nothing. `almanac scrape --plan` prints what it
returns and the sync executes it. How a step is read is in `grids`, `ratings` and `feed`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from almanac_pipeline.settings import Settings
from almanac_pipeline.sources.pages.source import PAGE_SIZES
from almanac_pipeline.sources.policy import fresh_minutes
from almanac_pipeline.sources.protocol import Grid, PageClass, Source
from almanac_pipeline.sources.records import Feed
from almanac_pipeline.warehouse.member_state import MemberState
from almanac_pipeline.warehouse.staging import Mode, ScrapeState

MEMBER_PAGES: tuple[PageClass, ...] = ("profile", "rated", "rated_by_date", "likes", "likes_unrated")
"""The kinds of pages that a route may lead over."""

StepKind = Literal["profile", "rated", "rated_by_date", "feed", "likes", "likes_unrated"]


class Feeds(Protocol):
    """What we need of `sources.feed.FeedSource`."""

    def permits(self) -> bool: ...

    def read_feed(self, username: str) -> Feed: ...


@dataclass(frozen=True, slots=True)
class Permissions:
    """What the operator's policy and robots.txt allow us to ask."""

    pages: frozenset[PageClass] = frozenset()
    """Empty also where the policy forbids pages altogether."""
    feed: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to read of a member, and how many requests it takes as far as is known."""

    reads: StepKind
    mode: Mode
    requests_min: int
    requests_max: int | None
    """None where nothing tells how many pages there are."""


@dataclass(frozen=True, slots=True)
class Route:
    """How one member is synced: the steps in their order, and why these. No steps: nothing is asked."""

    member: MemberState
    steps: tuple[Step, ...]
    reasons: tuple[str, ...]

    def step(self, *kinds: StepKind) -> Step | None:
        """The step that reads one of these, if the route has it."""
        return next((step for step in self.steps if step.reads in kinds), None)

    @property
    def requests_min(self) -> int:
        """The fewest requests that the route takes."""
        return sum(step.requests_min for step in self.steps)

    @property
    def requests_max(self) -> int | None:
        """The most, or None where that is not known."""
        return most_requests(self.steps)


def most_requests(parts: Sequence[Step | Route]) -> int | None:
    """The sum of the most requests of each part; None if one of them does not know."""
    known = [part.requests_max for part in parts if part.requests_max is not None]
    return sum(known) if len(known) == len(parts) else None


def permissions(source: Source, feeds: Feeds | None) -> Permissions:
    """Ask policy and robots.txt once for every kind of page. `feeds` is None where nobody's feed is wanted.

    Raises:
        RetriableError: robots.txt cannot be had at the moment.
        BlockedError, PausedError: the host refuses us, or fetching is switched off.
    """
    pages = frozenset(kind for kind in MEMBER_PAGES if source.permits(kind))
    return Permissions(pages, feeds is not None and feeds.permits())


def plan_route(
    member: MemberState,
    may: Permissions,
    settings: Settings,
    *,
    full: bool = False,
    ratings_are_read: bool = False,
) -> Route:
    """How this member is to be synced now. With `full`, everything that is permitted.

    `ratings_are_read` says that the state is the one after the ratings were read, so that it is
    known whether they had news; before that the likes are a step that may turn out to be needless.
    """
    ratings, why_ratings = _ratings_step(member, may, settings, full)
    feed, why_feed = _feed_step(member, may, settings, full, ratings)
    before = [step for step in (_profile_step(member, may, settings, full, ratings), ratings, feed) if step]
    likes, why_likes = _likes_step(
        member, may, settings, full, may_be_needless=bool(before) and not ratings_are_read
    )
    steps = (*before, *([likes] if likes else []))
    return Route(member, steps, tuple(filter(None, (why_ratings, why_feed, why_likes))))


def _ratings_step(
    member: MemberState, may: Permissions, settings: Settings, full: bool
) -> tuple[Step | None, str]:
    state = member.state("ratings")
    if not may.pages & {"rated", "rated_by_date"}:
        has_feed = may.feed and member.feed_opted_in_at is not None
        return None, "" if has_feed else "no page and no feed of theirs may be fetched: import an export"
    if not full and _is_fresh(state, settings):
        return None, "ratings were read a moment ago"
    is_old = state.full_is_older_than(settings.full_read_max_age_hours)
    by_date = "rated_by_date" in may.pages
    pages = _pages_of(_known_ratings(member))
    if full:
        why = "everything, as asked for"
    elif state.last_full_at is None:
        why = "everything, for the first time"
    elif state.suspicious_at is not None:
        why = "everything, because the last answer was not to be believed"
    elif by_date and not (is_old and state.stated_surplus):
        least = min(1 + settings.overlap_pages, pages or 1)
        return Step("rated_by_date", "incremental", least, pages), "newest ratings until one is known"
    elif is_old:
        why = "all ratings, because they were last read in full too long ago"
    elif _feed_has_gap(member):
        why = "all ratings, because the feed no longer reaches back to the last reading"
    else:
        return None, "robots.txt forbids newest ratings first, and all were read not long ago"
    if "rated" not in may.pages:
        return None, "robots.txt forbids the page of all ratings"
    return Step("rated", "full", pages or 1, pages), why


def _profile_step(
    member: MemberState, may: Permissions, settings: Settings, full: bool, ratings: Step | None
) -> Step | None:
    """The favourites; before a full reading also the counts that tell whether it was complete."""
    state = member.state("profile")
    begins_full_reading = ratings is not None and ratings.mode == "full"
    is_due = state.success_is_older_than(settings.profile_max_age_hours) and not _is_fresh(state, settings)
    if "profile" in may.pages and (full or begins_full_reading or is_due):
        return Step("profile", "full", 1, 1)
    return None


def _feed_step(
    member: MemberState, may: Permissions, settings: Settings, full: bool, ratings: Step | None
) -> tuple[Step | None, str]:
    """The newest viewings, where pages do not tell the newest ratings."""
    if member.feed_opted_in_at is None or not may.feed or "rated_by_date" in may.pages:
        return None, ""
    if not full and _is_fresh(member.state("feed"), settings):
        return None, "the feed was read a moment ago"
    why = "" if ratings else "the newest viewings from the feed"
    return Step("feed", "incremental", 1, 1), why


def _likes_step(
    member: MemberState, may: Permissions, settings: Settings, full: bool, *, may_be_needless: bool
) -> tuple[Step | None, str]:
    state = member.state("likes")
    if not may.pages & {"likes", "likes_unrated"} or (not full and _is_fresh(state, settings)):
        return None, ""
    pages = _pages_of(member.listed_likes_count or (member.likes_count if state.last_full_at else None))
    if full or state.last_full_at is None:
        # Hearts of rated films come with the grid of all ratings.
        kind: Grid = "likes_unrated" if "likes_unrated" in may.pages else "likes"
        return Step(kind, "full", 1, pages), ""
    if "likes" not in may.pages:
        return None, "robots.txt forbids newest likes first"
    most = max(pages or 1, min(1 + settings.overlap_pages, pages or 1))
    if state.suspicious_at is not None or state.success_is_older_than(settings.likes_max_age_hours):
        return Step("likes", "incremental", 1, most), "newest likes, not looked at for long"
    if member.has_signs_of_likes:
        return Step("likes", "incremental", 1, most), "newest likes, because there is news"
    if may_be_needless:
        return Step("likes", "incremental", 0, most), "likes if there is news"
    return None, "no sign of new likes"


def _is_fresh(state: ScrapeState, settings: Settings) -> bool:
    return not state.success_is_older_than(fresh_minutes(settings) / 60)


def _feed_has_gap(member: MemberState) -> bool:
    """Whether the feed was found not to reach back to the last complete reading."""
    found_at, read_at = member.state("feed").suspicious_at, member.state("ratings").last_full_at
    return found_at is not None and (read_at is None or found_at > read_at)


def _known_ratings(member: MemberState) -> int | None:
    if member.state("ratings").last_full_at is not None:
        return member.ratings_count
    return member.stated_ratings_count


def _pages_of(films_count: int | None) -> int | None:
    return None if films_count is None else max(1, -(-films_count // PAGE_SIZES["rated"]))
