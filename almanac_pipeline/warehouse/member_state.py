"""What is known of members before they are read: earlier reads, counts, signs of news. Writes nothing."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import datetime

import psycopg

from almanac_pipeline.warehouse.staging import ScrapeState, Subject


@dataclass(frozen=True, slots=True)
class MemberState:
    """Everything that decides how a member is read next."""

    user_id: int
    username: str
    status: str = "active"
    feed_opted_in_at: datetime | None = None
    stated_ratings_count: int | None = None
    listed_films_count: int | None = None
    """Films watched, as a profile or following page stated it last."""
    listed_likes_count: int | None = None
    """Films liked, as a following page stated it last."""
    ratings_count: int = 0
    """Stored now, as is the next."""
    likes_count: int = 0
    changed_at: datetime | None = None
    """When an opinion of theirs last changed here, by any source."""
    unreadable_hours: float | None = None
    """How long ago their pages were last found private or gone; None: they are there."""
    states: dict[Subject, ScrapeState] = field(default_factory=dict)

    def state(self, subject: Subject) -> ScrapeState:
        """What is known of earlier reads of the subject; an empty state if there was none."""
        return self.states.get(subject) or ScrapeState()

    @property
    def has_signs_of_likes(self) -> bool:
        """Whether the likes may have changed since they were last looked at.

        Somebody who rates a film may like it, and a following page may show another number of
        likes than it did then.
        """
        likes = self.state("likes")
        if likes.last_success_at is None or self.listed_likes_count != likes.listed_count:
            return True
        return self.changed_at is not None and self.changed_at > likes.last_success_at


def read_member_states(connection: psycopg.Connection, user_ids: Collection[int]) -> list[MemberState]:
    """The state of each of these members, by user name."""
    wanted = list(user_ids)
    states: dict[int, dict[Subject, ScrapeState]] = {user_id: {} for user_id in wanted}
    for user_id, subject, *columns in connection.execute(
        """
        select user_id, subject, mode, next_page, stated_total, stated_surplus, pages_started_at,
               last_success_at, last_full_at, suspicious_at, listed_count, now()
        from ops.user_scrape_state where user_id = any(%s)
        """,
        [wanted],
    ):
        states[user_id][subject] = ScrapeState(*columns)
    rows = connection.execute(
        """
        select user_id, username, status, feed_opted_in_at, stated_ratings_count,
               listed_films_count, listed_likes_count,
               stored.ratings_count, stored.likes_count, event.changed_at,
               case when status in ('private', 'deleted')
                    then extract(epoch from now() - updated_at)::float8 / 3600 end
        from raw.users
        cross join lateral (
            select count(rating) as ratings_count, count(*) filter (where liked) as likes_count
            from raw.ratings where ratings.user_id = users.user_id and removed_at is null
        ) as stored
        cross join lateral (
            select max(seen_at) as changed_at from raw.rating_events where user_id = users.user_id
        ) as event
        where user_id = any(%s)
        order by username
        """,
        [wanted],
    ).fetchall()
    return [replace(MemberState(*row), states=states[row[0]]) for row in rows]
