"""Forgetting a person: every row of theirs goes in one transaction, and they stay out afterwards.

What remains is a salted hash of each name and id (ops.forgotten_members), by which the person is
recognised and left out. What was computed with their opinions is withdrawn at once; building it
again without them is up to the caller.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.sql import SQL, Identifier
from psycopg.types.json import Jsonb

from almanac_pipeline.errors import ForgottenError
from almanac_pipeline.warehouse import runs
from almanac_pipeline.warehouse.dbt import BUILD_LOCK

PERSONAL_ROWS = (
    ("raw.rating_events", "user_id"),
    ("raw.ratings", "user_id"),
    ("raw.diary_entries", "user_id"),
    ("raw.watchlist_entries", "user_id"),
    ("raw.lists", "user_id"),
    ("raw.follows", "follower_id"),
    ("raw.follows", "followed_id"),
    ("raw.cohort_members", "user_id"),
    ("raw.user_aliases", "user_id"),
    ("ops.staged_items", "user_id"),
    ("ops.user_scrape_state", "user_id"),
    ("ops.scrape_failures", "user_id"),
    ("ops.scrape_run_members", "user_id"),
    ("ops.imports", "user_id"),
    ("ops.alerts", "user_id"),
    # After all those whose triggers write it.
    ("ops.changed_members", "user_id"),
    ("raw.users", "user_id"),
)
"""Tables and columns by which a row is one person's, in an order that their references allow."""

MESSAGES = (
    ("ops.scrape_runs", "error_sample"),
    ("ops.scrape_run_members", "error_sample"),
    ("ops.scrape_failures", "message"),
    ("ops.enrichment_runs", "error_sample"),
    ("ops.film_metadata_sync", "last_error"),
    ("ops.alerts", "message"),
    ("ops.imports", "refusal"),
)
"""Texts that name nobody today; in a database of an earlier release they may."""

ROOTS, NAME_LISTS = ("seed", "owner"), ("usernames", "exclude")
"""Keys of cohort definitions that hold a name, or several."""

WITHDRAWN = "withdrawn"
"""The input version of a publication that emptied a cohort's tables; the next build differs from it."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What a forgetting took away."""

    rows_by_table: Mapping[str, int]
    """Deleted or blanked rows; tables without any are left out."""
    ended_cohorts: tuple[str, ...]
    """Slugs of cohorts that were made from this person's follows or list, or from this person alone."""
    named_cohorts: tuple[str, ...]
    """Slugs that contain the name; a slug cannot be changed."""
    hashes_count: int
    """Names and ids that are kept as hashes."""


def forgotten(connection: psycopg.Connection, usernames: Collection[str]) -> set[str]:
    """Those of the names, in lower case, whose bearers asked to be forgotten."""
    rows = connection.execute(
        """
        select name from unnest(%s::text[]) as given (name)
        join ops.forgotten_members on identity_hash = ops.identity_hash('username', name)
        """,
        [sorted({name.lower() for name in usernames})],
    )
    return {name for (name,) in rows}


def forgotten_users(connection: psycopg.Connection) -> list[str]:
    """Names of users in the database who asked to be forgotten: none, unless an old backup was restored."""
    rows = connection.execute(
        """
        select username from raw.users
        where ops.identity_hash('username', username) in (select identity_hash from ops.forgotten_members)
           or ops.identity_hash('lid', lid) in (select identity_hash from ops.forgotten_members)
        order by username
        """
    )
    return [name for (name,) in rows]


def require_not_forgotten(connection: psycopg.Connection, username: str) -> None:
    """Refuse what belongs to somebody who asked to be forgotten.

    Raises:
        ForgottenError: they did; the message says how to take it back, without the name.
    """
    if forgotten(connection, [username]):
        raise ForgottenError(
            "This member asked to be forgotten: nothing of theirs is read or stored. "
            "If they take that back: `almanac member allow NAME`."
        )


def is_forgotten_lid(connection: psycopg.Connection, lid: str) -> bool:
    """Whether this is the id of somebody who asked to be forgotten and has another name now.

    If so, the caller ends its transaction and calls `forget` with the new name.
    """
    row = connection.execute(
        "select from ops.forgotten_members where identity_hash = ops.identity_hash('lid', %s)", [lid]
    ).fetchone()
    return row is not None


def hold_off(connection: psycopg.Connection) -> None:
    """Let nobody be forgotten until the caller's transaction ends."""
    connection.execute("lock table raw.users in row exclusive mode")


def allow(connection: psycopg.Connection, username: str) -> bool:
    """Forget that the person asked to be forgotten, under all names and ids; False if they had not."""
    return bool(
        connection.execute(
            """
            delete from ops.forgotten_members where forgotten_at = (
                select forgotten_at from ops.forgotten_members
                where identity_hash = ops.identity_hash('username', %s)
            )
            """,
            [username.lower()],
        ).rowcount
    )


def forget(connection: psycopg.Connection, username: str) -> Forgotten:
    """Delete everything about the person and keep them out. Repeating it changes nothing.

    Waits for a sync of the member and a build of statistics that are under way. `connection` must
    be in autocommit mode; all is done in one transaction.
    """
    name = username.lower()
    while True:
        user_ids = _person(connection, name)
        with ExitStack() as held:
            try:
                for user_id in user_ids:
                    # A circle being read asks afterwards who was forgotten meanwhile: nobody waits for it.
                    for subject in (each for each in runs.MEMBER_LOCKS if not each.startswith("follow")):
                        held.enter_context(runs.member_lock(connection, subject, user_id, wait=True))
            except ForgottenError:
                continue  # somebody else forgot them while we waited
            with connection.transaction():
                # Nobody writes statistics, and nobody inserts or renames a user, until we are done:
                # who waits here sees the hashes afterwards.
                connection.execute("select pg_advisory_xact_lock(%s)", [BUILD_LOCK])
                connection.execute(
                    "lock table raw.users, intermediate.circle_parameters in share row exclusive mode"
                )
                if _person(connection, name) == user_ids:
                    return _erase(connection, name, user_ids)


def drop_if_unused(connection: psycopg.Connection, user_id: int) -> bool:
    """Delete a user of whom nothing is stored but the name; whether it was so."""
    not_uses = ("raw.users", "ops.changed_members")
    tables = [(table, column) for table, column in PERSONAL_ROWS if table not in not_uses]
    unused = SQL(" and ").join(
        SQL("not exists (select from {} where {} = %(user)s)").format(
            Identifier(*table.split(".")), Identifier(column)
        )
        for table, column in [*tables, ("raw.cohorts", "seed_user_id")]
    )
    with connection.transaction():
        # Whoever is about to refer to the user either waits for us or is seen by the next statement.
        connection.execute("select from raw.users where user_id = %s for update", [user_id])
        return bool(
            connection.execute(
                SQL("delete from raw.users where user_id = %(user)s and {}").format(unused), {"user": user_id}
            ).rowcount
        )


def withdrawn_cohorts(connection: psycopg.Connection) -> list[str]:
    """Slugs of the active cohorts whose tables a forgetting emptied and no build has filled since."""
    rows = connection.execute(
        """
        select slug from raw.cohorts
        where status <> 'archived' and %s = (
            select input_version from ops.publications
            where publications.cohort_id = cohorts.cohort_id
            order by published_at desc, publication_id desc limit 1
        )
        order by slug
        """,
        [WITHDRAWN],
    )
    return [slug for (slug,) in rows]


def _person(connection: psycopg.Connection, name: str) -> list[int]:
    """The users that are this person: by present or former name, and those they were renamed from or to."""
    rows = connection.execute(
        """
        with recursive person (user_id, username, renamed_to) as (
            select user_id, username, renamed_to from raw.users
            where username = %(name)s
               or user_id in (select user_id from raw.user_aliases where username = %(name)s)
                  and not exists (select from raw.users where username = %(name)s)
            union
            select u.user_id, u.username, u.renamed_to from raw.users as u
            join person on u.username = person.renamed_to or u.renamed_to = person.username
        )
        select user_id from person order by user_id
        """,
        {"name": name},
    )
    return [user_id for (user_id,) in rows]


def _erase(connection: psycopg.Connection, name: str, user_ids: list[int]) -> Forgotten:
    names = _names(connection, name, user_ids)
    hashes_count = _remember_hashes(connection, names, user_ids)
    rows = Counter[str]()
    withdrawn = [
        cohort_id
        for (cohort_id,) in connection.execute(
            "select distinct cohort_id from raw.cohort_members where user_id = any(%s)", [user_ids]
        )
    ]
    ended = _clean_cohorts(connection, names, user_ids, rows)
    _clean_samples(connection, user_ids)
    if user_ids:
        _withdraw(connection, user_ids, [*withdrawn, *ended], rows)
    any_name = "|".join(map(re.escape, names))
    quoted = rf"(^|[^a-z0-9_-])({any_name})($|[^a-z0-9_-])"
    for table, column in MESSAGES:
        rows[table] += connection.execute(
            SQL("update {} set {} = 'removed: it named a forgotten member' where {} ~* %s").format(
                Identifier(*table.split(".")), Identifier(column), Identifier(column)
            ),
            [quoted],
        ).rowcount
    for table, column in PERSONAL_ROWS:
        rows[table] += connection.execute(
            SQL("delete from {} where {} = any(%s)").format(
                Identifier(*table.split(".")), Identifier(column)
            ),
            [user_ids],
        ).rowcount
    # In a slug - and _ stand between words, too.
    slugs = connection.execute(
        "select slug from raw.cohorts where slug ~ %s order by slug",
        [rf"(^|[^a-z0-9])({any_name})($|[^a-z0-9])"],
    )
    return Forgotten(
        rows_by_table={table: count for table, count in sorted(rows.items()) if count},
        ended_cohorts=tuple(sorted(ended.values())),
        named_cohorts=tuple(slug for (slug,) in slugs),
        hashes_count=hashes_count,
    )


def _clean_samples(connection: psycopg.Connection, user_ids: list[int]) -> None:
    """Take the names out of the samples that PostgreSQL keeps of columns for its planner (pg_statistic).

    Before the rows are deleted, because of an empty table the old sample would stay.
    """
    samples = {
        "raw.users": "username = concat('-', user_id), renamed_to = null, lid = null",
        "raw.user_aliases": "username = concat('-', md5(username))",
        "intermediate.int_cohort_members": "username = ''",
    }
    for table, blank in samples.items():
        # dbt makes the last one.
        if connection.execute("select where to_regclass(%s) is not null", [table]).rowcount:
            identifier = Identifier(*table.split("."))
            connection.execute(
                SQL("update {} set {} where user_id = any(%s)").format(identifier, SQL(blank)), [user_ids]
            )
            connection.execute(SQL("analyze {}").format(identifier))
    connection.execute("analyze raw.cohorts")


def _names(connection: psycopg.Connection, name: str, user_ids: list[int]) -> list[str]:
    """All names of the person, but for those that somebody else bears today."""
    rows = connection.execute(
        """
        select name from (
            select %(name)s::text as name
            union select username from raw.users where user_id = any(%(ids)s)
            union select renamed_to from raw.users where user_id = any(%(ids)s) and renamed_to is not null
            union select username from raw.user_aliases where user_id = any(%(ids)s)
        ) as names
        where name not in (select username from raw.users where user_id <> all(%(ids)s))
        order by name
        """,
        {"name": name, "ids": user_ids},
    )
    return [found for (found,) in rows]


def _remember_hashes(connection: psycopg.Connection, names: list[str], user_ids: list[int]) -> int:
    """Keep the hashes of names and ids; those of one person share forgotten_at."""
    return connection.execute(
        """
        insert into ops.forgotten_members (identity_hash)
        select ops.identity_hash('username', name) from unnest(%s::text[]) as given (name)
        union
        select ops.identity_hash('lid', lid) from raw.users where user_id = any(%s) and lid is not null
        on conflict (identity_hash) do update set forgotten_at = excluded.forgotten_at
        """,
        [names, user_ids],
    ).rowcount


def _clean_cohorts(
    connection: psycopg.Connection, names: list[str], user_ids: list[int], rows: Counter[str]
) -> dict[int, str]:
    """Take the names out of definitions and labels. Returns id and slug of the cohorts that end by it.

    Who somebody follows or lists is theirs as well: a cohort made from it keeps no member and is
    archived, as is one of which nobody is left.
    """
    ended: dict[int, str] = {}
    cohorts = connection.execute(
        "select cohort_id, slug, label, definition, coalesce(seed_user_id = any(%s), false) from raw.cohorts",
        [user_ids],
    ).fetchall()
    quoted = re.compile(r"(?<![a-z0-9_-])(" + "|".join(map(re.escape, names)) + r")(?![a-z0-9_-])", re.I)
    for cohort_id, slug, label, definition, is_seed in cohorts:
        cleaned = _without(definition, names)
        new_label = slug if quoted.search(label) else label
        if not is_seed and cleaned == definition and new_label == label:
            continue
        lost_root = any(cleaned.get(key) != definition[key] for key in ROOTS if key in cleaned)
        if is_seed or lost_root or cleaned.get("usernames") == []:
            ended[cohort_id] = slug
            rows["raw.cohort_members"] += connection.execute(
                "delete from raw.cohort_members where cohort_id = %s", [cohort_id]
            ).rowcount
        rows["raw.cohorts"] += connection.execute(
            """
            update raw.cohorts
            set definition = %(definition)s, label = %(label)s, updated_at = now(),
                seed_user_id = case when %(ends)s then null else seed_user_id end,
                status = case when %(ends)s then 'archived' else status end
            where cohort_id = %(id)s
            """,
            {
                "definition": Jsonb(cleaned),
                "label": new_label,
                "ends": cohort_id in ended,
                "id": cohort_id,
            },
        ).rowcount
    return ended


def _without(definition: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """The definition without these names: gone from lists, null where one person stands."""

    def cleaned(key: str, value: Any) -> Any:
        if key in NAME_LISTS:
            several = value if isinstance(value, list) else [] if value is None else [value]
            return [name for name in several if not is_one(name)]
        return None if key in ROOTS and is_one(value) else value

    def is_one(value: object) -> bool:
        # A row that somebody inserted may have it in capitals.
        return str(value).strip().lower() in names

    # What is no object defines nothing.
    if not isinstance(definition, Mapping):
        return {}
    return {key: cleaned(key, value) for key, value in definition.items()}


def _withdraw(
    connection: psycopg.Connection, user_ids: list[int], cohort_ids: list[int], rows: Counter[str]
) -> None:
    """Empty the statistics, marts, histories of places and measurements of these cohorts, and of those that
    are compared with the ratings of all members and know a film that one of the users rated."""
    tables = connection.execute(
        """
        select table_schema, table_name, column_name
        from information_schema.columns join information_schema.tables using (table_schema, table_name)
        where table_type = 'BASE TABLE'
          -- A partition's rows go with those of the table that it is part of.
          and not (select relispartition from pg_class
                   where oid = format('%I.%I', table_schema, table_name)::regclass)
          and ((table_schema, column_name) in (('intermediate', 'cohort_id'), ('almanac', 'cohort'))
               or table_schema = 'ops' and table_name in ('rank_stretches', 'quality_measurements')
                   and column_name = 'cohort_id')
        order by 1, 2
        """
    ).fetchall()
    if ("intermediate", "int_cohort_film_globals", "cohort_id") in tables:
        cohort_ids = cohort_ids + [
            cohort_id
            for (cohort_id,) in connection.execute(
                """
                with rated as (
                    select film_id from raw.ratings where user_id = any(%(users)s) and rating is not null
                )
                select cohort_id from intermediate.int_cohort_film_globals join rated using (film_id)
                where global_source = 'members'
                union
                -- What was published last may be compared otherwise than the last build.
                select cohort_id from almanac.cohort_film_stats join rated using (film_id)
                join raw.cohorts on cohorts.slug = cohort
                where global_source = 'members'
                """,
                {"users": user_ids},
            )
        ]
    key = {"cohort_id": SQL("cohort_id"), "cohort": SQL("slug")}
    for schema, table, column in tables:
        rows[f"{schema}.{table}"] += connection.execute(
            SQL("delete from {} where {} in (select {} from raw.cohorts where cohort_id = any(%s))").format(
                Identifier(schema, table), Identifier(column), key[column]
            ),
            [cohort_ids],
        ).rowcount
    connection.execute(
        """
        insert into ops.publications (cohort_id, input_version, members_count, films_count, ratings_count)
        select distinct cohort_id, %s, 0, 0, 0 from ops.publications where cohort_id = any(%s)
        """,
        [WITHDRAWN, cohort_ids],
    )
