"""Syncs what a member's RSS feed tells: the newest viewings, with their ratings, likes and TMDB ids.

A rating that was given without logging a viewing is in no feed, and no feed is complete: nothing
is ever removed by one.
"""

from __future__ import annotations

from datetime import UTC, datetime

from almanac_pipeline.flows.grids import MemberRead, Reading, require_owner
from almanac_pipeline.flows.routes import Feeds
from almanac_pipeline.sources.records import Feed, FeedEntry
from almanac_pipeline.warehouse import alerts, enrichment, opinions, runs, staging, viewings
from almanac_pipeline.warehouse.films import FilmKey
from almanac_pipeline.warehouse.member_state import MemberState
from almanac_pipeline.warehouse.opinions import Opinion
from almanac_pipeline.warehouse.viewings import DiaryEntry

FEED_ENTRIES = 50
"""A feed with as many viewings may leave out older ones."""


def sync_feed(reading: Reading, feeds: Feeds) -> MemberRead:
    """Read the feed of a member who agreed to it, and store what is news in it. The caller holds the lock.

    Raises:
        AlmanacError: it could not be read; nothing was stored.
    """
    connection, member = reading.connection, reading.member
    read_at = datetime.now(UTC)
    reading.asks()
    feed = feeds.read_feed(member.username)
    require_owner(member.username, feed.owner)
    reading.got(len(feed.entries))
    has_gap = leaves_a_gap(feed, member)
    with connection.transaction():
        changes = opinions.merge_opinions(
            connection,
            member.user_id,
            [_opinion(entry) for entry in feed.entries if entry.published_at is not None],
            complete_parts=frozenset(),
            as_of=read_at,
            source="rss",
            run_id=reading.run.run_id,
            shrink_guard_share=reading.settings.shrink_guard_share,
        )
        viewings.merge_diary(
            connection,
            member.user_id,
            [_viewing(entry) for entry in feed.entries],
            complete=False,
            source="rss",
            as_of=read_at,
            shrink_guard_share=reading.settings.shrink_guard_share,
        )
        if has_gap:
            staging.mark_suspicious(connection, member.user_id, "feed")
            alerts.raise_alert(
                connection,
                "feed_gap",
                f"member {member.user_id}",
                "The feed no longer reaches back to what was known: a new export or full read is due.",
                user_id=member.user_id,
            )
        else:
            staging.mark_success(connection, member.user_id, "feed", complete=False)
            alerts.resolve_alerts(connection, "feed_gap", f"member {member.user_id}")
        runs.resolve_failures(connection, "feed", user_id=member.user_id)
    # After the merge, which must not wait for films once it has written.
    enrichment.learn_tmdb_ids(
        connection,
        {
            entry.film.slug: (entry.tmdb_media_type, entry.tmdb_id)
            for entry in feed.entries
            if entry.tmdb_media_type is not None and entry.tmdb_id is not None
        },
    )
    return reading.ended("incremental" if changes.total else "unchanged", changes, has_gap=has_gap)


def leaves_a_gap(feed: Feed, member: MemberState) -> bool:
    """Whether viewings may have been missed between what is known and the feed's oldest one. Pure.

    Known is everything up to the last complete reading of the ratings, by pages or export, and up
    to the last feed that left no gap. A feed that is not full holds all there is.
    """
    published = [entry.published_at for entry in feed.entries if entry.published_at is not None]
    if len(feed.entries) < FEED_ENTRIES or not published:
        return False
    known = [
        moment
        for moment in (member.state("ratings").last_full_at, member.state("feed").last_success_at)
        if moment is not None
    ]
    return not known or min(published) > max(known)


def _key(entry: FeedEntry) -> FilmKey:
    return FilmKey(slug=entry.film.slug, title=entry.film.title, release_year=entry.film.release_year)


def _opinion(entry: FeedEntry) -> Opinion:
    rating = entry.film.rating
    return Opinion(
        _key(entry),
        rating=rating,
        liked=entry.liked,
        rated_at=entry.published_at if rating is not None else None,
        as_of=entry.published_at,
    )


def _viewing(entry: FeedEntry) -> DiaryEntry:
    return DiaryEntry(
        # The number alone: a viewing that gets a review changes its kind, letterboxd-watch-777.
        key=entry.guid.rpartition("-")[2],
        title=entry.film.title or entry.film.slug,
        release_year=entry.film.release_year,
        film=_key(entry),
        watched_on=entry.watched_on,
        logged_on=entry.published_at.date() if entry.published_at is not None else None,
        rating=entry.film.rating,
        liked=entry.liked,
        rewatch=entry.rewatch,
        has_review=entry.is_review,
    )
