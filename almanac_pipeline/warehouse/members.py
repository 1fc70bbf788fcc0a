"""Users, who belongs to which cohort since when, and who follows whom. History is never deleted."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import psycopg
from psycopg.rows import class_row


@dataclass(frozen=True, slots=True)
class Member:
    """A current member of a cohort."""

    user_id: int
    username: str
    status: str


@dataclass(frozen=True, slots=True)
class MembershipChange:
    """User names whose membership began or ended, in alphabetical order."""

    added: tuple[str, ...]
    ended: tuple[str, ...]


def ensure_users(connection: psycopg.Connection, usernames: Iterable[str]) -> dict[str, int]:
    """Insert the users that are new and return ids by lower-case name. Forgotten people are left out."""
    names = sorted({name.lower() for name in usernames})
    connection.execute(
        """
        insert into raw.users (username)
        select name from unnest(%s::text[]) as wanted (name)
        where not exists (select from raw.users where username = name)
          and not exists (
              select from ops.forgotten_members where identity_hash = ops.identity_hash('username', name)
          )
        order by name
        on conflict (username) do nothing
        """,
        [names],
    )
    rows = connection.execute("select username, user_id from raw.users where username = any(%s)", [names])
    return dict(rows.fetchall())


def current_members(connection: psycopg.Connection, cohort_id: int) -> list[Member]:
    """The members of the cohort now, by user name."""
    with connection.cursor(row_factory=class_row(Member)) as cursor:
        return cursor.execute(
            """
            select user_id, username, status
            from raw.cohort_members join raw.users using (user_id)
            where cohort_id = %s and until is null
            order by username
            """,
            [cohort_id],
        ).fetchall()


def readable_members(connection: psycopg.Connection, cohort_id: int) -> list[Member]:
    """The current members whose pages may be asked for: not those renamed away or to be forgotten."""
    members = current_members(connection, cohort_id)
    return [member for member in members if member.status not in ("renamed", "forgotten")]


def count_followed(connection: psycopg.Connection, follower_id: int) -> int:
    """How many people the user follows, as far as we know."""
    row = connection.execute(
        "select count(*) from raw.follows where follower_id = %s and until is null", [follower_id]
    ).fetchone()
    assert row is not None
    return int(row[0])


def set_members(
    connection: psycopg.Connection, cohort_id: int, depth_by_user: Mapping[int, int], *, may_end: bool
) -> MembershipChange:
    """Begin the memberships that are new; end those not named if `may_end`. Depth 0 is the seed."""
    added = connection.execute(
        """
        with begun as (
            insert into raw.cohort_members (cohort_id, user_id, depth)
            select %(cohort)s, user_id, depth
            from unnest(%(users)s::bigint[], %(depths)s::smallint[]) as wanted (user_id, depth)
            where not exists (
                select from raw.cohort_members as known
                where known.cohort_id = %(cohort)s and known.user_id = wanted.user_id and until is null
            )
            order by user_id
            returning user_id
        )
        select username from begun join raw.users using (user_id) order by username
        """,
        {"cohort": cohort_id, "users": list(depth_by_user), "depths": list(depth_by_user.values())},
    ).fetchall()
    ended: list[tuple[str]] = []
    if may_end:
        ended = connection.execute(
            """
            with over as (
                update raw.cohort_members set until = now()
                where cohort_id = %s and until is null and user_id <> all(%s)
                returning user_id
            )
            select username from over join raw.users using (user_id) order by username
            """,
            [cohort_id, list(depth_by_user)],
        ).fetchall()
    return MembershipChange(tuple(name for (name,) in added), tuple(name for (name,) in ended))


def set_follows(
    connection: psycopg.Connection, follower_id: int, followed_ids: Collection[int], *, may_end: bool
) -> None:
    """The same for whom one user follows."""
    followed = sorted(followed_ids)
    connection.execute(
        """
        insert into raw.follows (follower_id, followed_id)
        select %(follower)s, followed_id from unnest(%(followed)s::bigint[]) as wanted (followed_id)
        where not exists (
            select from raw.follows as known
            where known.follower_id = %(follower)s and known.followed_id = wanted.followed_id
              and until is null
        )
        """,
        {"follower": follower_id, "followed": followed},
    )
    if may_end:
        connection.execute(
            """
            update raw.follows set until = now()
            where follower_id = %s and until is null and followed_id <> all(%s)
            """,
            [follower_id, followed],
        )


def mark_deleted(connection: psycopg.Connection, user_id: int) -> None:
    """Remember that the member's pages are gone, if they were ever read. Nothing else changes."""
    connection.execute(
        """
        update raw.users set status = 'deleted', updated_at = now()
        where user_id = %s and status in ('active', 'private')
          and exists (
              select from ops.user_scrape_state as state
              where state.user_id = users.user_id and state.last_success_at is not null
          )
        """,
        [user_id],
    )


def mark_seen(
    connection: psycopg.Connection,
    user_id: int,
    *,
    ratings_count: int | None = None,
    likes_count: int | None = None,
) -> None:
    """Remember the totals that the member's pages state, and that the member exists (again)."""
    connection.execute(
        """
        update raw.users
        set stated_ratings_count = coalesce(%(ratings)s, stated_ratings_count),
            stated_likes_count = coalesce(%(likes)s, stated_likes_count),
            status = case status when 'deleted' then 'active' else status end,
            updated_at = now()
        where user_id = %(user)s
          and (status = 'deleted'
               or coalesce(%(ratings)s, stated_ratings_count) is distinct from stated_ratings_count
               or coalesce(%(likes)s, stated_likes_count) is distinct from stated_likes_count)
        """,
        {"user": user_id, "ratings": ratings_count, "likes": likes_count},
    )
