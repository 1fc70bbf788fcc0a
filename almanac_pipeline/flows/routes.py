"""Decides how each member is synced, from what is permitted and what is known of them.

`plan_route` is pure: it asks nothing and stores nothing. `almanac scrape --plan` prints what it
returns and the sync executes it. How a step is read is in `grids`, `ratings` and `feed`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol

from almanac_pipeline.settings import Settings
from almanac_pipeline.sources.pages.source import PAGE_SIZES
from almanac_pipeline.sources.policy import fresh_minutes
from almanac_pipeline.sources.protocol import PageClass, Source
from almanac_pipeline.sources.records import Feed
from almanac_pipeline.warehouse.member_state import MemberState
from almanac_pipeline.warehouse.staging import Mode, ScrapeState

MEMBER_PAGES: tuple[PageClass, ...] = ("profile", "rated", "rated_by_date", "likes", "likes_unrated")
"""The kinds of pages that a route may lead over."""

# What a profile counts is compared with pages that are read at most this much later.
COUNTS_MAX_AGE_HOURS = 1.0

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
    is_nowhere: bool = False
    """Nothing of the member may ever be fetched under the present settings."""

    @property
    def requests(self) -> tuple[int, int | None]:
        """The fewest and the most requests that the route takes; most is None where nothing tells."""
        return add_requests([(step.requests_min, step.requests_max) for step in self.steps])


def add_requests(parts: Sequence[tuple[int, int | None]]) -> tuple[int, int | None]:
    """The fewest and most requests of several parts together; most is None if one does not know its own."""
    most = [part for _, part in parts if part is not None]
    return sum(least for least, _ in parts), sum(most) if len(most) == len(parts) else None


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
    began_at: datetime | None = None,
) -> Route:
    """How this member is to be synced now. With `full`, everything that is permitted.

    What was read within the freshness window, or by another run since this one began, is not read
    again. `ratings_are_read` says that the state is the one after the ratings were read, so that it
    is known whether they had news; before that the likes are a step that may turn out needless.
    """
    return _Planner(member, may, settings, full, ratings_are_read, began_at).plan()


@dataclass(frozen=True, slots=True)
class _Planner:
    member: MemberState
    may: Permissions
    settings: Settings
    full: bool
    ratings_are_read: bool
    began_at: datetime | None

    def plan(self) -> Route:
        has_pages = bool(self.may.pages & {"rated", "rated_by_date", "likes", "likes_unrated"})
        if not has_pages and not self._has_feed:
            why = "neither pages nor a feed of theirs may be fetched: import an export"
            return Route(self.member, (), (why,), is_nowhere=True)
        hours = self.member.unreadable_hours
        if not self.full and hours is not None and hours < self.settings.profile_max_age_hours:
            return Route(self.member, (), (f"found {self.member.status} not long ago",))
        ratings, why_ratings = self._ratings()
        feed, why_feed = self._feed()
        steps = [step for step in (self._profile(ratings), ratings, feed) if step]
        likes, why_likes = self._likes(may_be_needless=bool(steps) and not self.ratings_are_read)
        if likes:
            steps.append(likes)
        return Route(self.member, tuple(steps), tuple(filter(None, (why_ratings, why_feed, why_likes))))

    @property
    def _has_feed(self) -> bool:
        return self.may.feed and self.member.feed_opted_in_at is not None

    def _is_fresh(self, state: ScrapeState) -> bool:
        read_at = state.last_full_at if self.full else state.last_success_at
        if read_at is not None and self.began_at is not None and read_at > self.began_at:
            return True
        return not self.full and not state.success_is_older_than(fresh_minutes(self.settings) / 60)

    def _ratings(self) -> tuple[Step | None, str]:
        state, by_date = self.member.state("ratings"), "rated_by_date" in self.may.pages
        if not self.may.pages & {"rated", "rated_by_date"}:
            return None, ""
        if self._is_fresh(state):
            return None, "ratings were read a moment ago"
        is_old = state.full_is_older_than(self.settings.full_read_max_age_hours)
        known = self.member.ratings_count if state.last_full_at else self.member.stated_ratings_count
        pages = _pages_of(known)
        if self.full:
            why = "everything, as asked for"
        elif state.last_full_at is None:
            why = "everything, for the first time"
        elif state.suspicious_at is not None:
            why = "all ratings, because the last answer was not to be believed"
        elif by_date and not (is_old and state.stated_surplus):
            least = min(1 + self.settings.overlap_pages, pages or 1)
            return Step("rated_by_date", "incremental", least, pages), "newest ratings, until one is known"
        elif is_old:
            why = "all ratings, which were last read in full too long ago"
        elif self._feed_has_gap:
            why = "all ratings, because the feed no longer reaches back to the last reading"
        else:
            return None, "newest ratings first are forbidden by robots.txt, and all were read not long ago"
        if "rated" not in self.may.pages:
            return None, "the page of all ratings is forbidden by robots.txt"
        return Step("rated", "full", pages or 1, pages), why

    def _profile(self, ratings: Step | None) -> Step | None:
        """The favourites; before a full reading also the counts that tell whether it was complete."""
        state = self.member.state("profile")
        is_due = self.full or state.success_is_older_than(self.settings.profile_max_age_hours)
        wanted = is_due and not self._is_fresh(state)
        if ratings is not None and ratings.mode == "full":
            wanted = wanted or state.success_is_older_than(COUNTS_MAX_AGE_HOURS)
        return Step("profile", "full", 1, 1) if "profile" in self.may.pages and wanted else None

    def _feed(self) -> tuple[Step | None, str]:
        """The newest viewings, where the pages do not tell the newest ratings."""
        if not self._has_feed or "rated_by_date" in self.may.pages:
            return None, ""
        if self._is_fresh(self.member.state("feed")):
            return None, "the feed was read a moment ago"
        return Step("feed", "incremental", 1, 1), "newest viewings from the feed"

    @property
    def _feed_has_gap(self) -> bool:
        found_at = self.member.state("feed").suspicious_at
        read_at = self.member.state("ratings").last_full_at
        return found_at is not None and (read_at is None or found_at > read_at)

    def _likes(self, *, may_be_needless: bool) -> tuple[Step | None, str]:
        state = self.member.state("likes")
        if not self.may.pages & {"likes", "likes_unrated"} or self._is_fresh(state):
            return None, ""
        stored = self.member.likes_count if state.last_full_at else None
        listed = self.member.listed_likes_count
        pages = _pages_of(stored if listed is None else listed)
        if self.full or state.last_full_at is None:
            # Hearts of rated films come with the grid of all ratings.
            kind: StepKind = "likes_unrated" if "likes_unrated" in self.may.pages else "likes"
            return Step(kind, "full", 1, pages), ""
        if "likes" not in self.may.pages:
            return None, "newest likes first are forbidden by robots.txt"
        least = min(1 + self.settings.overlap_pages, pages or 1)
        if state.suspicious_at is not None or state.success_is_older_than(self.settings.likes_max_age_hours):
            return Step("likes", "incremental", least, pages), "newest likes, not looked at for long"
        if self.member.has_signs_of_likes:
            return Step("likes", "incremental", least, pages), "newest likes, because there is news"
        if may_be_needless:
            return Step("likes", "incremental", 0, pages), "newest likes if there is news"
        return None, "no sign of new likes"


def circle_pages(definition: Mapping[str, Any]) -> frozenset[PageClass]:
    """The kinds of pages that tell who is in a circle; none where the definition itself says it."""
    match definition:
        case {"kind": "following" | "followers" as circle}:
            return frozenset((circle,))
        case {"kind": "list", "relation": "fans" | "members" as relation}:
            return frozenset(("list", relation))
        case {"kind": "film", "relation": relation}:
            return frozenset((relation,))
    return frozenset()


def circle_requests(
    definition: Mapping[str, Any],
    may: frozenset[PageClass],
    settings: Settings,
    *,
    seed: ScrapeState,
    stored_count: int,
    is_settled: bool,
) -> tuple[int, int | None] | None:
    """The fewest and most requests for finding who is in a circle; most is None where nothing tells.

    None if its pages may not be fetched. `seed` is what is known of earlier reads of whom the seed
    follows, or who follows them; `stored_count` how many these are, and `is_settled` whether just
    they are the members: each one who leaves or comes in anew takes a profile.
    """
    pages = circle_pages(definition)
    if not pages:
        return 0, 0
    is_graph = definition["kind"] in ("following", "followers")
    if is_graph and not seed.success_is_older_than(fresh_minutes(settings) / 60):
        return 0, 0 if is_settled and definition.get("depth", 1) == 1 else None
    if not pages <= may:
        return None
    return max(1, -(-stored_count // PAGE_SIZES["following"])), None


def _pages_of(films_count: int | None) -> int | None:
    return None if films_count is None else max(1, -(-films_count // PAGE_SIZES["rated"]))
