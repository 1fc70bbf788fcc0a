"""What members think of films: comparing a page with what is stored, and merging what was staged.

A merge is one transaction: films, ratings, events, checkpoint. It writes a row only where
something differs, and takes something away only out of a complete snapshot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal

import psycopg
from psycopg.rows import class_row

from almanac_pipeline.sources.records import FilmItem
from almanac_pipeline.warehouse import staging
from almanac_pipeline.warehouse.films import fill_incoming, open_incoming, resolve_incoming
from almanac_pipeline.warehouse.members import mark_seen
from almanac_pipeline.warehouse.runs import resolve_failures
from almanac_pipeline.warehouse.staging import GridSubject

Part = Literal["rated", "likes", "likes_unrated", "favorites"]
"""Which of a member's opinions a page speaks of."""

# The stored rows that a complete snapshot of a part should show again.
_STORED = {
    "rated": "old.rating is not null",
    "likes": "old.liked",
    "likes_unrated": "old.liked and old.rating is null",
    "favorites": "old.favorite",
}
# What an item of a part says (rating, liked, favorite); `old` is the stored row, if there is one.
_SAID = {
    "rated": "incoming.rating, incoming.liked, coalesce(old.favorite, false)",
    "likes": "old.rating, true, coalesce(old.favorite, false)",
    "likes_unrated": "old.rating, true, coalesce(old.favorite, false)",
    "favorites": "old.rating, coalesce(old.liked, false), true",
}
# What is left of a stored row that a complete snapshot no longer shows.
_LEFT = {
    "rated": "null::numeric, old.liked, old.favorite",
    "likes": "old.rating, false, old.favorite",
    "likes_unrated": "old.rating, false, old.favorite",
    "favorites": "old.rating, old.liked, false",
}
# Whether a stored row already says what an item of a newest-first page says.
_KNOWN = {"rated": "old.rating is not distinct from item.rating", "likes": "old.liked"}
_SAME = {"rated": f"{_KNOWN['rated']} and old.liked = item.liked", "likes": "old.liked"}


@dataclass(frozen=True, slots=True)
class Changes:
    """How many opinions a merge changed, by kind of event."""

    added: int = 0
    changed: int = 0
    removed: int = 0
    restored: int = 0
    new_films: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.added + self.changed + self.removed + self.restored

    def __add__(self, other: Changes) -> Changes:
        return Changes(
            self.added + other.added,
            self.changed + other.changed,
            self.removed + other.removed,
            self.restored + other.restored,
            self.new_films + other.new_films,
        )


@dataclass(frozen=True, slots=True)
class PageComparison:
    """A page of a newest-first grid against what is stored."""

    known: int
    """Items whose rating (or like) is stored already: behind the first of them nothing is newer."""
    same: int
    """Items of which nothing at all is news, not even an id of the film."""


@dataclass(frozen=True, slots=True)
class LatestChange:
    """A change of a run, for people to look at."""

    username: str
    title: str
    release_year: int | None
    kind: str
    old_rating: Decimal | None
    new_rating: Decimal | None
    old_liked: bool | None
    new_liked: bool | None
    old_favorite: bool | None
    new_favorite: bool | None
    seen_at: datetime


def count_stored(connection: psycopg.Connection, user_id: int, part: Part) -> int:
    """How many of the member's stored opinions belong to the part."""
    row = connection.execute(
        f"""
        select count(*) from raw.ratings as old
        where old.user_id = %s and old.removed_at is null and {_STORED[part]}
        """,
        [user_id],
    ).fetchone()
    assert row is not None
    return int(row[0])


def count_after_merge(
    connection: psycopg.Connection, user_id: int, subject: GridSubject, part: Literal["rated", "likes"]
) -> int:
    """How many opinions of the part will be stored once what is staged is merged."""
    row = connection.execute(
        f"""
        select count(*) from ops.staged_items as item
        left join raw.film_aliases as u on u.kind = 'uid' and u.value = item.uid
        left join raw.film_aliases as l on l.kind = 'lid' and l.value = item.lid
        left join raw.film_aliases as s on s.kind = 'slug' and s.value = item.slug
        left join raw.ratings as old on old.user_id = item.user_id
             and old.film_id = coalesce(u.film_id, l.film_id, s.film_id)
        where item.user_id = %s and item.subject = %s
          and (old.film_id is null or old.removed_at is not null or not ({_STORED[part]}))
        """,
        [user_id, subject],
    ).fetchone()
    assert row is not None
    return count_stored(connection, user_id, part) + int(row[0])


def compare_page(
    connection: psycopg.Connection, user_id: int, part: Literal["rated", "likes"], items: Sequence[FilmItem]
) -> PageComparison:
    """How much of a newest-first page is stored already. Reads only."""
    row = connection.execute(
        f"""
        select count(*) filter (where old.removed_at is null and {_KNOWN[part]}),
               count(*) filter (
                   where old.removed_at is null and {_SAME[part]}
                     and num_nonnulls(item.uid, item.lid, item.slug)
                         = num_nonnulls(u.film_id, l.film_id, s.film_id)
                     and coalesce(u.film_id = s.film_id, true) and coalesce(l.film_id = s.film_id, true)
               )
        from unnest(%s::text[], %s::text[], %s::text[], %s::numeric[], %s::boolean[])
            as item (slug, uid, lid, rating, liked)
        left join raw.film_aliases as u on u.kind = 'uid' and u.value = item.uid
        left join raw.film_aliases as l on l.kind = 'lid' and l.value = item.lid
        left join raw.film_aliases as s on s.kind = 'slug' and s.value = item.slug
        join raw.ratings as old on old.user_id = %s
             and old.film_id = coalesce(u.film_id, l.film_id, s.film_id)
        """,
        [
            [item.slug for item in items],
            [item.uid for item in items],
            [item.lid for item in items],
            [item.rating for item in items],
            [item.liked for item in items],
            user_id,
        ],
    ).fetchone()
    assert row is not None
    return PageComparison(int(row[0]), int(row[1]))


def merge_staged(
    connection: psycopg.Connection,
    user_id: int,
    subject: GridSubject,
    part: Literal["rated", "likes", "likes_unrated"],
    *,
    complete: bool,
    observed: bool,
    source: str,
    run_id: int,
    stated_total: int | None,
) -> Changes:
    """Merge what is staged for the member, in one transaction, and end the checkpoint.

    `complete`: everything of the part is staged, so that what is missing is gone. `observed`: an
    earlier read saw everything, so that a new rating was given between then and now.
    """
    with connection.transaction():
        open_incoming(connection)
        connection.execute(
            """
            insert into incoming (position, slug, title, release_year, uid, lid, rating, liked)
            select row_number() over (order by page_number, position),
                   slug, title, release_year, uid, lid, rating, liked
            from ops.staged_items where user_id = %s and subject = %s
            """,
            [user_id, subject],
        )
        changes = _merge_incoming(connection, user_id, part, complete, observed, source, run_id)
        staging.discard_staged(connection, user_id, subject)
        surplus = None
        if complete:
            # Only the whole of the ratings or likes is counted again by a newest-first page.
            is_whole = part != "likes_unrated" and stated_total is not None
            surplus = (stated_total or 0) - count_stored(connection, user_id, part) if is_whole else 0
        staging.mark_success(connection, user_id, subject, complete=complete, stated_surplus=surplus)
        mark_seen(
            connection,
            user_id,
            ratings_count=stated_total if part == "rated" else None,
            likes_count=stated_total if part == "likes" else None,
        )
        resolve_failures(connection, subject, user_id=user_id)
    return changes


def merge_favorites(
    connection: psycopg.Connection, user_id: int, items: Sequence[FilmItem], *, source: str, run_id: int
) -> Changes:
    """Merge the favourites of a member's profile, all of which are given. One transaction."""
    with connection.transaction():
        open_incoming(connection)
        fill_incoming(connection, items)
        changes = _merge_incoming(connection, user_id, "favorites", True, False, source, run_id)
        staging.mark_success(connection, user_id, "profile", complete=True)
        mark_seen(connection, user_id)
        resolve_failures(connection, "profile", user_id=user_id)
    return changes


def record_unchanged(connection: psycopg.Connection, user_id: int, subject: GridSubject) -> None:
    """Note a successful look that found no news: nothing in raw changes."""
    with connection.transaction():
        staging.mark_success(connection, user_id, subject, complete=False)
        mark_seen(connection, user_id)
        resolve_failures(connection, subject, user_id=user_id)


def _merge_incoming(
    connection: psycopg.Connection,
    user_id: int,
    part: Part,
    complete: bool,
    observed: bool,
    source: str,
    run_id: int,
) -> Changes:
    new_films = resolve_incoming(connection)
    gone = (
        f"""
        union all
        select old.film_id, {_LEFT[part]}
        from raw.ratings as old
        where old.user_id = %(user)s and old.removed_at is null and {_STORED[part]}
          and not exists (select from incoming where incoming.film_id = old.film_id)
        """
        if complete
        else ""
    )
    row = connection.execute(
        f"""
        with target (film_id, rating, liked, favorite) as (
            select incoming.film_id, {_SAID[part]}
            from incoming
            left join raw.ratings as old on old.user_id = %(user)s and old.film_id = incoming.film_id
            {gone}
        ), change as (
            select target.*,
                   old.rating as old_rating, old.liked as old_liked, old.favorite as old_favorite,
                   case when target.rating is not null or target.liked or target.favorite then
                       case when old.film_id is null then 'added'
                            when old.removed_at is not null then 'restored'
                            else 'changed' end
                   else 'removed' end as kind
            from target
            left join raw.ratings as old on old.user_id = %(user)s and old.film_id = target.film_id
            where old.film_id is null
               or (target.rating, target.liked, target.favorite)
                  is distinct from (old.rating, old.liked, old.favorite)
            order by target.film_id
        ), written as (
            insert into raw.ratings as stored
                (user_id, film_id, rating, liked, favorite, rated_at, rated_at_source, source)
            select %(user)s, film_id, rating, liked, favorite,
                   case when %(observed)s and rating is not null then now() end,
                   case when %(observed)s and rating is not null then 'observed' end,
                   %(source)s
            from change
            on conflict (user_id, film_id) do update
            set rating = excluded.rating, liked = excluded.liked, favorite = excluded.favorite,
                -- When a rating was given stays known for as long as the rating stays.
                rated_at = case when stored.rating is distinct from excluded.rating
                                then excluded.rated_at else stored.rated_at end,
                rated_at_source = case when stored.rating is distinct from excluded.rating
                                       then excluded.rated_at_source else stored.rated_at_source end,
                source = excluded.source,
                updated_at = now(),
                removed_at = case when excluded.rating is null and not excluded.liked
                                       and not excluded.favorite then now() end
        ), told as (
            insert into raw.rating_events
                (user_id, film_id, kind, old_rating, new_rating, old_liked, new_liked,
                 old_favorite, new_favorite, source, scrape_run_id)
            select %(user)s, film_id, kind, old_rating, rating, old_liked, liked,
                   old_favorite, favorite, %(source)s, %(run)s
            from change
        )
        select count(*) filter (where kind = 'added'), count(*) filter (where kind = 'changed'),
               count(*) filter (where kind = 'removed'), count(*) filter (where kind = 'restored')
        from change
        """,
        {"user": user_id, "observed": observed, "source": source, "run": run_id},
    ).fetchone()
    assert row is not None
    added, changed, removed, restored = row
    return Changes(added, changed, removed, restored, new_films)


def latest_changes(connection: psycopg.Connection, run_id: int, limit: int = 10) -> tuple[LatestChange, ...]:
    """The last changes that a run made."""
    with connection.cursor(row_factory=class_row(LatestChange)) as cursor:
        return tuple(
            cursor.execute(
                """
                select username, title, release_year, kind, old_rating, new_rating, old_liked, new_liked,
                       old_favorite, new_favorite, seen_at
                from raw.rating_events
                join raw.users using (user_id)
                join raw.films using (film_id)
                where scrape_run_id = %s
                order by rating_event_id desc
                limit %s
                """,
                [run_id, limit],
            ).fetchall()
        )


def rating_counts(connection: psycopg.Connection, cohort_id: int) -> tuple[int, ...]:
    """How often the cohort's members gave half a star to five stars: ten counts, ascending."""
    rows = connection.execute(
        """
        select level, count(rating)
        from generate_series(1, 10) as level
        left join (
            select rating from raw.ratings
            join raw.cohort_members as member using (user_id)
            where member.cohort_id = %s and member.until is null and removed_at is null
        ) as given on given.rating * 2 = level
        group by level order by level
        """,
        [cohort_id],
    )
    return tuple(int(count) for _, count in rows)
