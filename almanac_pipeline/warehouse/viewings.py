"""What members logged, want to see and listed: diary entries, watchlists, lists. Opinions stay out.

Every merge is one transaction, writes a row only where something differs, and takes something
away only out of a complete snapshot that is not much smaller than what is stored. What a source
said before the moment up to which everything is known changes nothing; what it said of a viewing
before the last change of it only fills in what nobody told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

import psycopg

from almanac_pipeline.errors import ShrunkenError
from almanac_pipeline.sources.records import DiaryRow
from almanac_pipeline.warehouse import staging
from almanac_pipeline.warehouse.copying import copy_rows
from almanac_pipeline.warehouse.films import FilmKey, resolve_films
from almanac_pipeline.warehouse.opinions import Changes

SourceName = Literal["export", "api", "pages", "rss"]
FilmMatch = Literal["id", "name_year", "ambiguous", "unknown"]
Subject = Literal["diary", "watchlist", "lists"]
# Fewer stars, hearts, rewatches or reviews than these may be taken back in passing.
MARKS_LOST_COUNT = 3
# Fewer hearts, rewatches or reviews than these may be added in passing.
MARKS_GAINED_COUNT = 10


@dataclass(frozen=True, slots=True)
class DiaryEntry:
    """One viewing, as a source tells it. None: the source does not say."""

    key: str
    """What the source calls the entry; unique per member and source."""
    title: str
    release_year: int | None
    film: FilmKey | None
    """None where the source names no film that is certain."""
    film_match: FilmMatch = "id"
    watched_on: date | None = None
    logged_on: date | None = None
    rating: float | None = None
    liked: bool | None = None
    rewatch: bool = False
    has_review: bool | None = False


@dataclass(frozen=True, slots=True)
class WatchlistEntry:
    """A film that a member wants to see."""

    film: FilmKey
    added_on: date | None = None


@dataclass(frozen=True, slots=True)
class FilmList:
    """A list that a member made, with all of its films in order."""

    key: str
    """The list's short id, else its slug; unique per member."""
    name: str
    films: tuple[FilmKey, ...]
    published_on: date | None = None
    is_ranked: bool | None = None


def merge_diary(
    connection: psycopg.Connection,
    user_id: int,
    entries: Sequence[DiaryEntry],
    *,
    complete: bool,
    source: SourceName,
    as_of: datetime,
    shrink_guard_share: float,
) -> Changes:
    """Store viewings; with `complete`, those that are missing are gone. One transaction.

    A viewing is one row, whichever sources tell of it: an entry is known by its key, else by
    film and day. `as_of` is the moment at which the source knew all this.

    Raises:
        ShrunkenError: a complete diary is much smaller than the stored one, or most viewings have lost
            or gained a mark (stars, heart, rewatch, review); nothing was changed.
    """
    with connection.transaction():
        if _is_outdated(connection, user_id, "diary", as_of):
            return Changes()
        by_key = {entry.key: entry for entry in entries}
        if complete:
            stored = _count(connection, "raw.diary_entries", user_id)
            _require_not_shrunken("diary", len(by_key), stored, shrink_guard_share, source)
        _fill_incoming(connection, list(by_key.values()), source)
        _match_entries(connection, user_id, source, len(by_key))
        if source != "export":  # which names its columns
            _require_marks(connection, shrink_guard_share)
        changed, restored = _update_entries(connection, user_id, source, as_of)
        removed = 0
        if complete:
            removed = connection.execute(
                f"""
                update raw.diary_entries as stored
                set removed_at = now(), updated_at = now(), told_as_of = %(as_of)s, told_by = %(source)s
                where user_id = %(user)s and removed_at is null and {_IS_NEWER}
                  -- A review without a day is in no diary: only who told of it can miss it.
                  and (watched_on is not null or source = %(source)s)
                  and not exists (
                      select from incoming_entries as item where item.diary_entry_id = stored.diary_entry_id
                  )
                """,
                {"user": user_id, "as_of": as_of, "source": source},
            ).rowcount
            _mark_read(connection, user_id, "diary", source, as_of)
        added = _insert_entries(connection, user_id, source, as_of)
    return Changes(added=added, changed=changed, removed=removed, restored=restored)


def merge_watchlist(
    connection: psycopg.Connection,
    user_id: int,
    entries: Sequence[WatchlistEntry],
    *,
    complete: bool,
    source: SourceName,
    as_of: datetime,
    shrink_guard_share: float,
) -> Changes:
    """Store what a member wants to see; with `complete`, films that are missing are gone.

    Raises:
        ShrunkenError: a complete watchlist is much smaller than the stored one; nothing was changed.
    """
    with connection.transaction():
        if _is_outdated(connection, user_id, "watchlist", as_of):
            return Changes()
        film_ids = resolve_films(connection, [entry.film for entry in entries], source)
        wanted = {
            film_id: entry.added_on for film_id, entry in sorted(zip(film_ids, entries, strict=True), key=_id)
        }
        if complete:
            stored = _count(connection, "raw.watchlist_entries", user_id)
            _require_not_shrunken("watchlist", len(wanted), stored, shrink_guard_share, source)
        row = connection.execute(
            """
            with written as (
                insert into raw.watchlist_entries as stored (user_id, film_id, added_on, source)
                select %(user)s, film_id, added_on, %(source)s
                from unnest(%(films)s::bigint[], %(days)s::date[]) as wanted (film_id, added_on)
                on conflict (user_id, film_id) do update
                set added_on = coalesce(excluded.added_on, stored.added_on),
                    source = case when stored.removed_at is null then stored.source else excluded.source end,
                    removed_at = null
                where stored.removed_at is not null
                   or coalesce(excluded.added_on, stored.added_on) is distinct from stored.added_on
                returning film_id
            )
            -- Reads the table as it was before.
            select count(*) filter (where before.film_id is null),
                   count(*) filter (where before.film_id is not null and before.removed_at is null),
                   count(*) filter (where before.removed_at is not null)
            from written
            left join raw.watchlist_entries as before
                on before.user_id = %(user)s and before.film_id = written.film_id
            """,
            {"user": user_id, "source": source, "films": list(wanted), "days": list(wanted.values())},
        ).fetchone()
        assert row is not None
        added, changed, restored = row
        removed = 0
        if complete:
            removed = connection.execute(
                f"""
                update raw.watchlist_entries as stored set removed_at = now()
                where user_id = %(user)s and removed_at is null and {_WAS_KNOWN}
                  and film_id <> all(%(films)s)
                """,
                {"user": user_id, "as_of": as_of, "films": list(wanted)},
            ).rowcount
            _mark_read(connection, user_id, "watchlist", source, as_of)
    return Changes(added=added, changed=changed, removed=removed, restored=restored)


def merge_lists(
    connection: psycopg.Connection,
    user_id: int,
    lists: Sequence[FilmList],
    *,
    complete: bool,
    source: SourceName,
    as_of: datetime,
    shrink_guard_share: float,
) -> Changes:
    """Store lists, each of which is given with all its films; with `complete`, those missing are gone.

    Counts lists, not films.

    Raises:
        ShrunkenError: far fewer lists than are stored; nothing was changed.
    """
    with connection.transaction():
        if _is_outdated(connection, user_id, "lists", as_of):
            return Changes()
        by_key = {film_list.key: film_list for film_list in lists}
        if complete:
            stored = _count(connection, "raw.lists", user_id)
            _require_not_shrunken("lists", len(by_key), stored, shrink_guard_share, source)
        film_ids = iter(
            resolve_films(
                connection, [film for film_list in by_key.values() for film in film_list.films], source
            )
        )
        known_films: dict[str, list[int]] = {}
        gone_before: set[str] = set()
        for key, is_removed, films in connection.execute(
            """
            select source_key, removed_at is not null, array(
                select film_id from raw.list_entries as entry
                where entry.list_id = lists.list_id order by list_position
            ) from raw.lists where user_id = %s
            """,
            [user_id],
        ):
            known_films[key] = films
            if is_removed:
                gone_before.add(key)
        added = changed = restored = 0
        for key, film_list in by_key.items():
            films = [next(film_ids) for _ in film_list.films]
            row = connection.execute(
                """
                insert into raw.lists as stored
                    (user_id, source, source_key, name, published_on, is_ranked)
                values (%(user)s, %(source)s, %(key)s, %(name)s, %(published)s, coalesce(%(ranked)s, false))
                on conflict (user_id, source_key) do update
                set name = excluded.name,
                    published_on = coalesce(excluded.published_on, stored.published_on),
                    is_ranked = coalesce(%(ranked)s, stored.is_ranked),
                    updated_at = now(), removed_at = null
                where stored.removed_at is not null or stored.name <> excluded.name
                   or coalesce(excluded.published_on, stored.published_on)
                      is distinct from stored.published_on
                   or coalesce(%(ranked)s, stored.is_ranked) <> stored.is_ranked
                   or %(has_other_films)s
                returning list_id
                """,
                {
                    "user": user_id,
                    "source": source,
                    "key": key,
                    "name": film_list.name,
                    "published": film_list.published_on,
                    "ranked": film_list.is_ranked,
                    "has_other_films": known_films.get(key, films) != films,
                },
            ).fetchone()
            if row is None:
                continue
            list_id = row[0]
            if key not in known_films:
                added += 1
            elif key in gone_before:
                restored += 1
            else:
                changed += 1
            if known_films.get(key) != films:
                connection.execute("delete from raw.list_entries where list_id = %s", [list_id])
                connection.execute(
                    """
                    insert into raw.list_entries (list_id, film_id, list_position)
                    select %s, film_id, list_position
                    from unnest(%s::bigint[]) with ordinality as entry (film_id, list_position)
                    """,
                    [list_id, films],
                )
        removed = 0
        if complete:
            removed = connection.execute(
                f"""
                update raw.lists as stored set removed_at = now(), updated_at = now()
                where user_id = %(user)s and removed_at is null and {_WAS_KNOWN}
                  and source_key <> all(%(keys)s)
                """,
                {"user": user_id, "as_of": as_of, "keys": list(by_key)},
            ).rowcount
            _mark_read(connection, user_id, "lists", source, as_of)
    return Changes(added=added, changed=changed, removed=removed, restored=restored)


@dataclass(frozen=True, slots=True)
class Comparison:
    """A page of a diary or watchlist against what is stored."""

    same: int
    """Rows of which nothing is news."""
    known: int
    """Rows that are stored, be it with other contents."""


def compare_diary(connection: psycopg.Connection, user_id: int, rows: Sequence[DiaryRow]) -> Comparison:
    """How much of a page is stored already, whichever source told of it. Reads only."""
    return _compare(
        connection,
        user_id,
        rows,
        """
        select count(*) filter (where stored.same), count(*)
        from item cross join lateral (
            select bool_or(entry.rating is not distinct from item.rating
                           and coalesce(entry.liked, false) = item.liked and entry.rewatch = item.rewatch
                           and entry.has_review = item.has_review
                           and entry.watched_on is not distinct from item.watched_on) as same
            from raw.diary_entries as entry
            where entry.user_id = %(user)s and entry.removed_at is null
              and ((entry.source = 'pages' and entry.source_key = item.key)
                   or (entry.source <> 'pages' and entry.film_id = item.film_id
                       and entry.watched_on = item.watched_on))
        ) as stored
        where stored.same is not null
        """,
    )


def compare_watchlist(connection: psycopg.Connection, user_id: int, rows: Sequence[DiaryRow]) -> Comparison:
    """The same for what a member wants to see."""
    return _compare(
        connection,
        user_id,
        rows,
        """
        select count(*), count(*) from item
        join raw.watchlist_entries as entry on entry.user_id = %(user)s and entry.film_id = item.film_id
        where entry.removed_at is null
        """,
    )


def count_stored(connection: psycopg.Connection, user_id: int, subject: Literal["diary", "watchlist"]) -> int:
    """How many entries are stored of the member's diary or watchlist."""
    tables = {"diary": "raw.diary_entries", "watchlist": "raw.watchlist_entries"}
    return _count(connection, tables[subject], user_id)


def _compare(
    connection: psycopg.Connection, user_id: int, rows: Sequence[DiaryRow], query: str
) -> Comparison:
    row = connection.execute(
        f"""
        with item as (
            select given.*, coalesce(u.film_id, l.film_id, s.film_id) as film_id
            from unnest(%(keys)s::text[], %(days)s::date[], %(slugs)s::text[], %(uids)s::text[],
                        %(lids)s::text[], %(ratings)s::numeric[], %(liked)s::boolean[],
                        %(rewatch)s::boolean[], %(review)s::boolean[])
                as given (key, watched_on, slug, uid, lid, rating, liked, rewatch, has_review)
            left join raw.film_aliases as u on u.kind = 'uid' and u.value = given.uid
            left join raw.film_aliases as l on l.kind = 'lid' and l.value = given.lid
            left join raw.film_aliases as s on s.kind = 'slug' and s.value = given.slug
        )
        {query}
        """,
        {
            "user": user_id,
            "keys": [row.viewing_id for row in rows],
            "days": [row.watched_on for row in rows],
            "slugs": [row.film.slug for row in rows],
            "uids": [row.film.uid for row in rows],
            "lids": [row.film.lid for row in rows],
            "ratings": [row.film.rating for row in rows],
            "liked": [row.film.liked for row in rows],
            "rewatch": [row.rewatch for row in rows],
            "review": [row.has_review for row in rows],
        },
    ).fetchone()
    assert row is not None
    return Comparison(*row)


# What another source saw only after the snapshot was made cannot be missing from it. Rows of
# exports are as old as what is known by them, whenever they were imported.
_WAS_KNOWN = "(stored.source = 'export' or stored.first_seen_at <= %(as_of)s)"
# Of a viewing its own moment is known, unless it was stored before these were kept.
_IS_NEWER = """coalesce(
    (%(as_of)s::timestamptz, raw.source_rank(%(source)s))
        >= (stored.told_as_of, raw.source_rank(stored.told_by)),
    true
)"""


def _id(pair: tuple[int, WatchlistEntry]) -> int:
    return pair[0]


def _count(connection: psycopg.Connection, table: str, user_id: int) -> int:
    row = connection.execute(
        f"select count(*) from {table} where user_id = %s and removed_at is null", [user_id]
    ).fetchone()
    assert row is not None
    return int(row[0])


def _require_not_shrunken(
    subject: Subject, count: int, stored: int, share: float, source: SourceName
) -> None:
    if staging.is_shrunken(count, stored, share, source):
        raise ShrunkenError(
            f"The {subject} of the member would shrink from {stored:,} to {count:,} entries: none of these "
            "was changed. If that is right, run once with a lower ALMANAC_SHRINK_GUARD_SHARE.",
            subject=subject,
        )


def _require_marks(connection: psycopg.Connection, share: float) -> None:
    """A mark whose markup has changed looks like one that nobody, or everybody, has: no total tells."""
    row = connection.execute(
        """
        select described, count(*), count(*) filter (where is_kept)
        from incoming_entries as item join raw.diary_entries as stored using (diary_entry_id)
        cross join lateral (
            values ('with a rating', %(lost)s, stored.rating is not null, item.rating is not null),
                   ('with a like', %(lost)s, stored.liked, item.liked is distinct from false),
                   ('as a rewatch', %(lost)s, stored.rewatch, item.rewatch),
                   ('with a review', %(lost)s, stored.has_review, item.has_review is distinct from false),
                   ('without a like', %(gained)s, not stored.liked, item.liked is distinct from true),
                   ('as no rewatch', %(gained)s, not stored.rewatch, not item.rewatch),
                   -- An export without reviews.csv did not say that there are none.
                   ('without a review', %(gained)s, not stored.has_review and stored.source <> 'export',
                    item.has_review is distinct from true)
        ) as mark (described, doubted_count, is_stored, is_kept)
        where stored.removed_at is null and item.is_certain and is_stored
        group by described, doubted_count
        having count(*) filter (where is_kept) < %(share)s * count(*)
           and count(*) filter (where not is_kept) >= doubted_count
        limit 1
        """,
        {"share": share, "lost": MARKS_LOST_COUNT, "gained": MARKS_GAINED_COUNT},
    ).fetchone()
    if row is not None:
        raise ShrunkenError(
            "Of {1:,} viewings that are stored {0}, {2:,} are still shown so: nothing was changed. "
            "If that is right, run once with a lower ALMANAC_SHRINK_GUARD_SHARE.".format(*row),
            subject="diary",
        )


def _is_outdated(connection: psycopg.Connection, user_id: int, subject: Subject, as_of: datetime) -> bool:
    """Whether everything is known up to a later moment than that."""
    row = connection.execute(
        "select known_as_of > %s from ops.user_scrape_state where user_id = %s and subject = %s",
        [as_of, user_id, subject],
    ).fetchone()
    return row is not None and bool(row[0])


def _mark_read(
    connection: psycopg.Connection, user_id: int, subject: Subject, source: SourceName, as_of: datetime
) -> None:
    staging.mark_success(
        connection, user_id, subject, complete=True, read_at=as_of, known_as_of=as_of, source=source
    )


def _fill_incoming(connection: psycopg.Connection, entries: Sequence[DiaryEntry], source: SourceName) -> None:
    """Put the entries into `incoming_entries`, with their films looked up."""
    named = [entry.film for entry in entries if entry.film is not None]
    film_ids = iter(resolve_films(connection, named, source))
    connection.execute("set local client_min_messages = warning")  # "already exists, skipping"
    connection.execute(
        """
        create temporary table if not exists incoming_entries (
            position integer primary key,
            source_key text not null,
            film_id bigint,
            film_match text not null,
            film_title text not null,
            film_year smallint,
            watched_on date,
            logged_on date,
            rating numeric(2, 1),
            liked boolean,
            rewatch boolean not null,
            has_review boolean,
            diary_entry_id bigint,
            is_certain boolean not null default true
        ) on commit delete rows
        """
    )
    connection.execute("delete from incoming_entries")
    copy_rows(
        connection,
        "incoming_entries (position, source_key, film_id, film_match, film_title, film_year,"
        " watched_on, logged_on, rating, liked, rewatch, has_review)",
        (
            (
                position, entry.key, next(film_ids) if entry.film is not None else None,
                entry.film_match, entry.title, entry.release_year, entry.watched_on, entry.logged_on,
                entry.rating, entry.liked, entry.rewatch, entry.has_review,
            )
            for position, entry in enumerate(entries)
        ),
    )  # fmt: skip


# By what two entries of different sources are one viewing: the film, or where one of them does not
# know it, title and year; and the day. Of several on one day those with the same rating and rewatch,
# else the same rating, else the nth is the nth.
_SAME_VIEWING = tuple(
    (identity + marks, condition)
    for identity, condition in (
        ("film_id", "item.film_id is not null"),
        ("lower(film_title), film_year", "(item.film_id is null or stored.film_id is null)"),
    )
    for marks in (", rating, rewatch", ", rating", "")
)


def _match_entries(connection: psycopg.Connection, user_id: int, source: SourceName, count: int) -> None:
    """Note which stored row each of the `count` incoming entries is, and whether that is certain.

    It is not where only the place on the day decides: such a row is the entry's, but stays as it is.
    Removed rows come last, and only certain ones: a viewing whose day was corrected is the row that
    another source has told of since, and not this source's own of the earlier day.
    """
    for removed, unmatched, wanted in (
        ("null", "", ""),
        ("not null", "and item.diary_entry_id is null", "and item.n = 1 and stored.n = 1"),
    ):
        count -= connection.execute(
            f"""
            update incoming_entries as item set diary_entry_id = stored.diary_entry_id
            from raw.diary_entries as stored
            where stored.user_id = %s and stored.source = %s and stored.source_key = item.source_key
              and stored.removed_at is {removed} {unmatched}
            """,
            [user_id, source],
        ).rowcount
        if count > 0:  # else the planner takes it that nearly all are matched, and loops over the rest
            connection.execute("analyze incoming_entries")
        others = connection.execute(
            f"""
            select from raw.diary_entries
            where user_id = %s and source <> %s and watched_on is not null and removed_at is {removed} limit 1
            """,
            [user_id, source],
        ).rowcount
        for identity, condition in _SAME_VIEWING if others else ():
            if count == 0:
                return
            count -= connection.execute(
                f"""
                with item as (
                    select position, film_id, (row({identity}, watched_on))::text as viewing,
                           row_number() over (partition by {identity}, watched_on order by position) as nth,
                           count(*) over (partition by {identity}, watched_on) as n
                    from incoming_entries where diary_entry_id is null and watched_on is not null
                ), stored as (
                    select diary_entry_id, film_id, (row({identity}, watched_on))::text as viewing,
                           row_number() over (
                               partition by {identity}, watched_on order by diary_entry_id
                           ) as nth,
                           count(*) over (partition by {identity}, watched_on) as n
                    from raw.diary_entries as entry
                    where user_id = %s and source <> %s and watched_on is not null
                      and removed_at is {removed}
                      and not exists (
                          select from incoming_entries as known
                          where known.diary_entry_id = entry.diary_entry_id
                      )
                )
                update incoming_entries as target
                set diary_entry_id = stored.diary_entry_id, is_certain = item.n = 1 and stored.n = 1
                from item
                join stored on item.viewing = stored.viewing and item.nth = stored.nth
                    and {condition} {wanted}
                where target.position = item.position
                """,
                [user_id, source],
            ).rowcount


def _update_entries(
    connection: psycopg.Connection, user_id: int, source: SourceName, as_of: datetime
) -> tuple[int, int]:
    """Bring the stored rows up to date; how many changed, and how many came back."""
    row = connection.execute(
        f"""
        with said as (
            select stored.diary_entry_id, is_newer,
                   case when stays then stored.film_id else item.film_id end as film_id,
                   case when stays then stored.film_match else item.film_match end as film_match,
                   item.film_title, item.film_year,
                   case when is_newer then coalesce(item.watched_on, stored.watched_on)
                        else coalesce(stored.watched_on, item.watched_on) end as watched_on,
                   -- Sources differ in whose midnight ends a day: the row's own decides.
                   case when is_newer and stored.source = %(source)s
                        then coalesce(item.logged_on, stored.logged_on)
                        else coalesce(stored.logged_on, item.logged_on) end as logged_on,
                   -- No stars are an answer, too.
                   case when is_newer then item.rating else stored.rating end as rating,
                   case when is_newer then coalesce(item.liked, stored.liked)
                        else coalesce(stored.liked, item.liked) end as liked,
                   case when is_newer then item.rewatch else stored.rewatch end as rewatch,
                   case when is_newer then coalesce(item.has_review, stored.has_review)
                        else stored.has_review end as has_review
            from incoming_entries as item
            join raw.diary_entries as stored using (diary_entry_id)
            cross join lateral (
                select {_IS_NEWER} as is_newer,
                       -- A film that this source cannot tell stays; so does one that was named by its id
                       -- where this source has found one by its name.
                       stored.film_id is not null and (
                           item.film_id is null or stored.film_match = 'id' and item.film_match <> 'id'
                       ) as stays
            ) as news
            where stored.user_id = %(user)s and item.is_certain
              and (is_newer or stored.removed_at is null)
        ), written as (
            update raw.diary_entries as stored
            set film_told_by = case when said.film_id is not distinct from stored.film_id
                                    then stored.film_told_by else nullif(%(source)s, stored.source) end,
                film_id = said.film_id, film_match = said.film_match, film_title = said.film_title,
                film_year = said.film_year, watched_on = said.watched_on, logged_on = said.logged_on,
                rating = said.rating, liked = said.liked, rewatch = said.rewatch,
                has_review = said.has_review, updated_at = now(), removed_at = null,
                told_as_of = case when is_newer then %(as_of)s else stored.told_as_of end,
                told_by = case when is_newer then %(source)s else stored.told_by end
            from said
            where stored.diary_entry_id = said.diary_entry_id
              and (stored.removed_at is not null
                   or row(stored.film_id, stored.film_match, stored.watched_on, stored.logged_on,
                          stored.rating, stored.liked, stored.rewatch, stored.has_review)
                      is distinct from
                      row(said.film_id, said.film_match, said.watched_on, said.logged_on,
                          said.rating, said.liked, said.rewatch, said.has_review))
            returning stored.diary_entry_id
        )
        select count(*) filter (where before.removed_at is null),
               count(*) filter (where before.removed_at is not null)
        from written join raw.diary_entries as before using (diary_entry_id)
        """,
        {"user": user_id, "source": source, "as_of": as_of},
    ).fetchone()
    assert row is not None
    return int(row[0]), int(row[1])


def _insert_entries(connection: psycopg.Connection, user_id: int, source: SourceName, as_of: datetime) -> int:
    return connection.execute(
        """
        insert into raw.diary_entries
            (user_id, film_id, film_match, source, source_key, film_title, film_year, watched_on, logged_on,
             rating, liked, rewatch, has_review, told_as_of, told_by)
        select %(user)s, film_id, film_match, %(source)s, source_key, film_title, film_year, watched_on,
               logged_on, rating, liked, rewatch, coalesce(has_review, false), %(as_of)s, %(source)s
        from incoming_entries where diary_entry_id is null order by position
        """,
        {"user": user_id, "source": source, "as_of": as_of},
    ).rowcount
