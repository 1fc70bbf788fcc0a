"""Users, who belongs to which cohort since when, and who follows whom. History is never deleted.

A user is a person, not a name: `learn_profile` and `take_name` follow people through renamings.
Their LID is what survives; a name is only where they are found now.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

import psycopg
from psycopg.rows import class_row

from almanac_pipeline.errors import AlmanacError, ForgottenError, NotFoundError, PrivateError
from almanac_pipeline.sources.records import PersonSummary

# Names and LIDs change hands in one transaction at a time. An arbitrary but fixed number.
NAMES_LOCK = 7_203_140


@dataclass(frozen=True, slots=True)
class Member:
    """A current member of a cohort."""

    user_id: int
    username: str
    status: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """Somebody who may belong to a circle, with what decides whether they do."""

    user_id: int
    username: str
    status: str
    listed_films_count: int | None
    """As a page of the site stated it last; None: not seen yet. The next is the same of likes."""
    listed_likes_count: int | None
    needs_profile: bool
    """Their profile was never read, and a failure to do so is not recent."""


@dataclass(frozen=True, slots=True)
class MembershipChange:
    """How many memberships began and ended."""

    added_count: int
    ended_count: int


def ensure_users(connection: psycopg.Connection, usernames: Iterable[str]) -> dict[str, int]:
    """Insert the users that are new and return every one's id by lower-case name.

    Whoever asked to be forgotten is neither inserted nor returned.
    """
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


def named_users(connection: psycopg.Connection, cohort_id: int, usernames: Sequence[str]) -> dict[str, int]:
    """Like `ensure_users`, for names that an operator wrote down: people keep them through renamings.

    A name means who has it, unless the cohort has a member who had it before, or nobody has it now.
    """
    rows = connection.execute(
        """
        select alias.username, user_id from raw.user_aliases as alias
        where alias.username = any(%(names)s)
          and (not exists (select from raw.users where users.username = alias.username)
               or exists (select from raw.cohort_members as member
                          where member.cohort_id = %(cohort)s and member.user_id = alias.user_id
                            and until is null))
        """,
        {"names": list(usernames), "cohort": cohort_id},
    )
    meant: dict[str, int] = dict(rows.fetchall())
    return meant | ensure_users(connection, [name for name in usernames if name not in meant])


def with_present_names(connection: psycopg.Connection, usernames: Sequence[str]) -> list[str]:
    """These names, and those that people who had them before have now."""
    rows = connection.execute(
        """
        select users.username from raw.user_aliases as alias join raw.users using (user_id)
        where alias.username = any(%s)
        """,
        [list(usernames)],
    )
    return [*usernames, *(name for (name,) in rows)]


def get_member(connection: psycopg.Connection, user_id: int) -> Member:
    """A user by id, with the name of today."""
    with connection.cursor(row_factory=class_row(Member)) as cursor:
        found = cursor.execute(
            "select user_id, username, status from raw.users where user_id = %s", [user_id]
        ).fetchone()
    if found is None:
        raise ForgottenError("The member is not known any more: they were forgotten meanwhile.")
    return found


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


def candidates(
    connection: psycopg.Connection, user_ids: Collection[int], profile_max_age_hours: float
) -> dict[int, Candidate]:
    """What decides about these users, by id."""
    with connection.cursor(row_factory=class_row(Candidate)) as cursor:
        found = cursor.execute(
            """
            select user_id, username, status, listed_films_count, listed_likes_count,
                   status not in ('renamed', 'forgotten')
                   and not exists (
                       select from ops.user_scrape_state as state
                       where state.user_id = users.user_id and subject = 'profile'
                         and last_success_at is not null
                   ) and not exists (
                       select from ops.scrape_failures as failure
                       where failure.user_id = users.user_id and page_kind = 'profile'
                         and resolved_at is null
                         and failed_at > now() - make_interval(mins => (60 * %s)::integer)
                   ) as needs_profile
            from raw.users where user_id = any(%s)
            """,
            [profile_max_age_hours, list(user_ids)],
        ).fetchall()
    return {candidate.user_id: candidate for candidate in found}


def set_members(
    connection: psycopg.Connection, cohort_id: int, depth_by_user: Mapping[int, int], *, may_end: bool
) -> MembershipChange:
    """Begin the memberships that are new; end those not named if `may_end`. Depth 0 is the seed."""
    wanted = {"cohort": cohort_id, "users": list(depth_by_user), "depths": list(depth_by_user.values())}
    connection.execute(
        """
        update raw.cohort_members as member set depth = wanted.depth
        from unnest(%(users)s::bigint[], %(depths)s::smallint[]) as wanted (user_id, depth)
        where member.cohort_id = %(cohort)s and member.user_id = wanted.user_id and until is null
          and member.depth <> wanted.depth
        """,
        wanted,
    )
    added = connection.execute(
        """
        insert into raw.cohort_members (cohort_id, user_id, depth)
        select %(cohort)s, user_id, depth
        from unnest(%(users)s::bigint[], %(depths)s::smallint[]) as wanted (user_id, depth)
        join raw.users using (user_id)  -- not those forgotten meanwhile
        where not exists (
            select from raw.cohort_members as known
            where known.cohort_id = %(cohort)s and known.user_id = wanted.user_id and until is null
        )
        order by user_id
        on conflict do nothing
        """,
        wanted,
    ).rowcount
    ended = 0
    if may_end:
        ended = connection.execute(
            """
            update raw.cohort_members set until = now()
            where cohort_id = %s and until is null and user_id <> all(%s)
            """,
            [cohort_id, list(depth_by_user)],
        ).rowcount
    return MembershipChange(added, ended)


def followed_by(connection: psycopg.Connection, follower_ids: Collection[int]) -> list[int]:
    """Whom any of these users follow now, as far as we know."""
    rows = connection.execute(
        "select distinct followed_id from raw.follows where follower_id = any(%s) and until is null",
        [list(follower_ids)],
    )
    return [user_id for (user_id,) in rows]


def followers_of(connection: psycopg.Connection, followed_id: int) -> list[int]:
    """Who follows the user now, as far as we know."""
    rows = connection.execute(
        "select follower_id from raw.follows where followed_id = %s and until is null", [followed_id]
    )
    return [user_id for (user_id,) in rows]


def set_follows(
    connection: psycopg.Connection, follower_id: int, followed_ids: Collection[int], *, may_end: bool
) -> None:
    """Begin the follows that are new, and end those not named if `may_end`."""
    _set_edges(connection, "follower_id", follower_id, "followed_id", followed_ids, may_end)


def set_followers(
    connection: psycopg.Connection, followed_id: int, follower_ids: Collection[int], *, may_end: bool
) -> None:
    """The same for who follows one user."""
    _set_edges(connection, "followed_id", followed_id, "follower_id", follower_ids, may_end)


def _set_edges(
    connection: psycopg.Connection, one: str, user_id: int, many: str, others: Collection[int], may_end: bool
) -> None:
    wanted = {"user": user_id, "others": sorted(others)}
    connection.execute(
        f"""
        insert into raw.follows ({one}, {many})
        select %(user)s, other from unnest(%(others)s::bigint[]) as wanted (other)
        where not exists (
            select from raw.follows as known
            where known.{one} = %(user)s and known.{many} = wanted.other and until is null
        )
        order by other
        on conflict do nothing
        """,
        wanted,
    )
    if may_end:
        connection.execute(
            f"""
            update raw.follows set until = now()
            where {one} = %(user)s and until is null and {many} <> all(%(others)s)
            """,
            wanted,
        )


def set_listed_counts(
    connection: psycopg.Connection, user_ids: Mapping[str, int], people: Iterable[PersonSummary]
) -> None:
    """Remember how many films and likes a page of people states beside their names."""
    seen = [
        (user_ids[person.username.lower()], person.films_count, person.likes_count)
        for person in people
        if person.username.lower() in user_ids
    ]
    connection.execute(
        """
        with listed as (
            select distinct on (user_id) user_id, films_count, likes_count
            from unnest(%s::bigint[], %s::integer[], %s::integer[])
                as given (user_id, films_count, likes_count)
            order by user_id
        ), locked as (
            -- In one order, so that two circles that share people never wait for each other.
            select users.user_id, listed.films_count, listed.likes_count
            from raw.users join listed using (user_id)
            where coalesce(films_count, listed_films_count) is distinct from listed_films_count
               or coalesce(likes_count, listed_likes_count) is distinct from listed_likes_count
            order by user_id
            for no key update of users
        )
        update raw.users
        set listed_films_count = coalesce(films_count, listed_films_count),
            listed_likes_count = coalesce(likes_count, listed_likes_count),
            listed_at = now()
        from locked where locked.user_id = users.user_id
        """,
        [[row[0] for row in seen], [row[1] for row in seen], [row[2] for row in seen]],
    )


def recently_unreadable(connection: psycopg.Connection, cohort_id: int, hours: float) -> set[int]:
    """The current members who were found private or gone less than so many hours ago."""
    rows = connection.execute(
        """
        select user_id from raw.cohort_members join raw.users using (user_id)
        where cohort_id = %s and until is null and status in ('private', 'deleted')
          and users.updated_at > now() - make_interval(secs => 3600 * %s)
        """,
        [cohort_id, hours],
    )
    return {user_id for (user_id,) in rows}


def mark_unreadable(connection: psycopg.Connection, user_id: int, error: AlmanacError) -> bool:
    """Remember what an error about the whole member tells: gone or private. Other errors tell nothing.

    Returns whether it told anything. `updated_at` is when it was said last.
    """
    if isinstance(error, NotFoundError):
        return _mark_deleted(connection, user_id)
    if not isinstance(error, PrivateError):
        return False
    marked = connection.execute(
        """
        update raw.users set status = 'private', updated_at = now()
        where user_id = %s and status in ('active', 'deleted', 'private')
        """,
        [user_id],
    )
    return marked.rowcount > 0


def _mark_deleted(connection: psycopg.Connection, user_id: int) -> bool:
    """Remember that the member is gone, if a page of theirs was ever read. Returns whether that is so."""
    marked = connection.execute(
        """
        update raw.users set status = 'deleted', updated_at = now()
        where user_id = %s and status in ('active', 'private', 'deleted')
          and exists (
              select from ops.user_scrape_state as state
              where state.user_id = users.user_id and state.last_success_at is not null
          )
        """,
        [user_id],
    )
    return marked.rowcount > 0


def unmark_deleted(connection: psycopg.Connection, were: Sequence[Member], since: datetime) -> None:
    """Take back what was said of these since then, that they are gone: who was private is so again."""
    connection.execute(
        """
        update raw.users set status = was, updated_at = now()
        from unnest(%s::bigint[], %s::text[]) as before (user_id, was)
        where users.user_id = before.user_id and status = 'deleted' and updated_at >= %s
        """,
        [
            [member.user_id for member in were],
            ["private" if member.status == "private" else "active" for member in were],
            since,
        ],
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
            status = case when status in ('deleted', 'private') then 'active' else status end,
            updated_at = now()
        where user_id = %(user)s
          and (status in ('deleted', 'private')
               or coalesce(%(ratings)s, stated_ratings_count) is distinct from stated_ratings_count
               or coalesce(%(likes)s, stated_likes_count) is distinct from stated_likes_count)
        """,
        {"user": user_id, "ratings": ratings_count, "likes": likes_count},
    )


def learn_profile(
    connection: psycopg.Connection,
    user_id: int,
    username: str,
    lid: str | None,
    *,
    joined_on: date | None = None,
) -> int:
    """Learn that the profile found under `username`, which is the name of user `user_id`, states `lid`.

    Returns the id of the person whose profile it is: `user_id`, unless the LID says otherwise.

    * The LID belongs to another user: that person was renamed. Their id is kept, takes the name, and
      everything that was stored under `user_id` meanwhile.
    * `user_id` is known by another LID: the name was given away. The old person loses it (status
      `renamed`, found again by the LID); the name's new owner is another user.

    One transaction.

    Raises:
        ForgottenError: the LID is that of somebody who asked to be forgotten.
    """
    name = username.lower()
    with connection.transaction():
        _begin_naming(connection, name, lid)
        owner = user_id
        if lid is not None:
            row = connection.execute("select lid from raw.users where user_id = %s", [user_id]).fetchone()
            holder = connection.execute("select user_id from raw.users where lid = %s", [lid]).fetchone()
            if row is not None and row[0] is not None and row[0] != lid:
                _give_up_name(connection, user_id)
                owner = holder[0] if holder is not None else ensure_users(connection, [name])[name]
                if holder is not None:
                    _set_name(connection, owner, name)
            elif holder is not None and holder[0] != user_id:
                owner = holder[0]
                _give_up_name(connection, user_id)
                _set_name(connection, owner, name)
                _move_rows(connection, user_id, owner)
        connection.execute(
            """
            update raw.users
            set lid = coalesce(%(lid)s, lid), joined_on = coalesce(%(joined)s, joined_on), updated_at = now()
            where user_id = %(user)s
              and (coalesce(%(lid)s, lid) is distinct from lid
                   or coalesce(%(joined)s, joined_on) is distinct from joined_on)
            """,
            {"user": owner, "lid": lid, "joined": joined_on},
        )
    return owner


def take_name(connection: psycopg.Connection, user_id: int, username: str) -> None:
    """Learn that the member is called `username` now, because their old name leads there.

    Whoever is stored under that name is the same person, unless their LIDs say otherwise: then the
    old name leads to somebody else, and this member loses it without gaining another. One transaction.

    Raises:
        ForgottenError: the name is that of somebody who asked to be forgotten.
    """
    name = username.lower()
    with connection.transaction():
        _begin_naming(connection, name, None)
        row = connection.execute(
            """
            select other.user_id, other.lid <> person.lid
            from raw.users as other, raw.users as person
            where other.username = %s and person.user_id = %s
            """,
            [name, user_id],
        ).fetchone()
        if row is not None and row[0] == user_id:
            return
        if row is not None and row[1]:
            _give_up_name(connection, user_id)
            return
        if row is not None:
            _give_up_name(connection, row[0])
        _set_name(connection, user_id, name)
        if row is not None:
            _move_rows(connection, row[0], user_id)


def _begin_naming(connection: psycopg.Connection, name: str, lid: str | None) -> None:
    """Wait for other changes of names, and refuse those of forgotten people."""
    connection.execute("select pg_advisory_xact_lock(%s)", [NAMES_LOCK])
    row = connection.execute(
        """
        select from ops.forgotten_members
        where identity_hash in (ops.identity_hash('username', %s), ops.identity_hash('lid', %s))
        """,
        [name, lid],
    ).fetchone()
    if row is not None:
        raise ForgottenError("This member asked to be forgotten: nothing of theirs is read or stored.")


def _give_up_name(connection: psycopg.Connection, user_id: int) -> None:
    """Leave the user without a name of their own. No name of the site contains a tilde."""
    _remember_alias(connection, user_id)
    connection.execute(
        """
        update raw.users
        set username = split_part(username, '~', 1) || '~' || user_id, status = 'renamed', updated_at = now()
        where user_id = %s
        """,
        [user_id],
    )


def _set_name(connection: psycopg.Connection, user_id: int, name: str) -> None:
    _remember_alias(connection, user_id)
    connection.execute(
        "update raw.users set username = %s, status = 'active', updated_at = now() where user_id = %s",
        [name, user_id],
    )


def _remember_alias(connection: psycopg.Connection, user_id: int) -> None:
    connection.execute(
        """
        insert into raw.user_aliases (username, user_id)
        select username, user_id from raw.users where user_id = %s and username not like '%%~%%'
        on conflict (username) do update set user_id = excluded.user_id, until = excluded.until
        """,
        [user_id],
    )


# Rows of %(old)s that say again what rows of %(kept)s say, in tables where one of each kind may be.
_SAID_TWICE = (
    """
    delete from raw.ratings as one using raw.ratings as other
    where one.film_id = other.film_id
      and (one.user_id, other.user_id) in ((%(old)s, %(kept)s), (%(kept)s, %(old)s))
      and (one.updated_at, one.user_id) < (other.updated_at, other.user_id)
    """,
    """
    delete from raw.diary_entries as one using raw.diary_entries as other
    where one.user_id = %(old)s and other.user_id = %(kept)s
      and one.source = other.source and one.source_key = other.source_key
    """,
    """
    delete from raw.watchlist_entries as one using raw.watchlist_entries as other
    where one.user_id = %(old)s and other.user_id = %(kept)s and one.film_id = other.film_id
    """,
    """
    delete from raw.lists as one using raw.lists as other
    where one.user_id = %(old)s and other.user_id = %(kept)s and one.source_key = other.source_key
    """,
    """
    delete from raw.cohort_members as one using raw.cohort_members as other
    where one.user_id = %(old)s and other.user_id = %(kept)s and one.cohort_id = other.cohort_id
      and (one.since = other.since or (one.until is null and other.until is null))
    """,
    """
    delete from raw.follows as one using raw.follows as other
    where one.follower_id = %(old)s and other.follower_id = %(kept)s and one.followed_id = other.followed_id
      and (one.since = other.since or (one.until is null and other.until is null))
    """,
    """
    delete from raw.follows as one using raw.follows as other
    where one.followed_id = %(old)s and other.followed_id = %(kept)s and one.follower_id = other.follower_id
      and (one.since = other.since or (one.until is null and other.until is null))
    """,
    """
    delete from raw.follows
    where (follower_id, followed_id) in ((%(old)s, %(kept)s), (%(kept)s, %(old)s))
    """,
    # What was read under the new name is no complete reading of the person.
    "delete from ops.staged_items where user_id in (%(old)s, %(kept)s)",
    "delete from ops.user_scrape_state where user_id = %(old)s",
    "update ops.user_scrape_state set next_page = null where user_id = %(kept)s and next_page is not null",
    """
    delete from ops.scrape_run_members as one using ops.scrape_run_members as other
    where one.user_id = %(old)s and other.user_id = %(kept)s and one.scrape_run_id = other.scrape_run_id
    """,
    """
    delete from ops.imports as one using ops.imports as other
    where one.user_id = %(old)s and other.user_id = %(kept)s and one.content_sha256 = other.content_sha256
    """,
)
_MOVED = (
    ("raw.ratings", "user_id"),
    ("raw.rating_events", "user_id"),
    ("raw.diary_entries", "user_id"),
    ("raw.watchlist_entries", "user_id"),
    ("raw.lists", "user_id"),
    ("raw.cohort_members", "user_id"),
    ("raw.follows", "follower_id"),
    ("raw.follows", "followed_id"),
    ("raw.cohorts", "seed_user_id"),
    ("ops.scrape_failures", "user_id"),
    ("ops.scrape_run_members", "user_id"),
    ("ops.alerts", "user_id"),
    ("ops.imports", "user_id"),
)


def _move_rows(connection: psycopg.Connection, old_id: int, kept_id: int) -> None:
    """Everything stored under `old_id` is `kept_id`'s from now on; the row `old_id` goes."""
    ids = {"old": old_id, "kept": kept_id}
    for statement in _SAID_TWICE:
        connection.execute(statement, ids)
    for table, column in _MOVED:
        connection.execute(f"update {table} set {column} = %(kept)s where {column} = %(old)s", ids)
    connection.execute(
        """
        with old as (delete from raw.users where user_id = %(old)s returning *)
        update raw.users as kept
        set lid = coalesce(kept.lid, old.lid),
            feed_opted_in_at = coalesce(kept.feed_opted_in_at, old.feed_opted_in_at),
            joined_on = coalesce(kept.joined_on, old.joined_on),
            listed_films_count = coalesce(old.listed_films_count, kept.listed_films_count),
            listed_likes_count = coalesce(old.listed_likes_count, kept.listed_likes_count)
        from old where kept.user_id = %(kept)s
        """,
        ids,
    )
