"""Which film a source means: by uid, lid, any slug it ever had, else by name. New films, renames, merges.

Takes items from the temporary table `given`, or wherever else they lie, and puts them with their
films into another, `incoming`: one row per item. Who stores something of films shares
FILM_LOCK with others who do, so that no film goes away meanwhile; who creates or renames films
holds WRITING_LOCK as well, one at a time, which rules out duplicates; who joins two films, which is
rare, holds FILM_LOCK alone. These locks come before every other lock of a transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import psycopg

from almanac_pipeline.warehouse.copying import copy_rows
from almanac_pipeline.warehouse.film_joins import STANDING, Guess, merge_films, part_film

FILM_LOCK = 7_203_130
WRITING_LOCK = 7_203_131
SourceName = Literal["export", "api", "pages", "rss"]
# What raw.films.field_sources calls them.
_SAYS = {"export": "export", "api": "api", "pages": "page", "rss": "feed"}

# For so long after a renaming, pages with the earlier name may still be on their way to us.
STALE_PAGE = "1 day"


@dataclass(frozen=True, slots=True)
class FilmKey:
    """How a source names a film: at least one id, and what it says of title and year."""

    slug: str | None = None
    uid: str | None = None
    """Letterboxd's numeric id with its kind, e.g. "film:576577"."""
    lid: str | None = None
    """Letterboxd's short id, the one that joins pages, exports and the API."""
    title: str | None = None
    release_year: int | None = None

    def __post_init__(self) -> None:
        if self.slug is None and self.uid is None and self.lid is None:
            raise ValueError("a film needs a slug, a uid or a lid")


def resolve_films(
    connection: psycopg.Connection, films: Sequence[FilmKey], source: SourceName = "pages"
) -> list[int]:
    """The film_id of each, in their order; unknown films are created, to be enriched.

    `source` is who names them so.

    Part of the caller's transaction, which keeps the film locks to its end. Resolve all films of a
    transaction at once, before anything else is written: whoever comes back with more may wait for
    somebody who waits for them.
    """
    fill_given(connection, films)
    resolve_incoming(connection, source=source)
    return [film_id for (film_id,) in connection.execute("select film_id from incoming order by position")]


def lock_films(connection: psycopg.Connection) -> None:
    """Wait until no other transaction uses films, and keep others waiting until this one ends."""
    connection.execute("select pg_advisory_xact_lock(%s)", [FILM_LOCK])


def hold_films(connection: psycopg.Connection) -> None:
    """Let no film go away until the transaction ends; others may hold them too, and create films."""
    connection.execute("select pg_advisory_xact_lock_shared(%s)", [FILM_LOCK])


# `position` to `film_id` say which film is meant; the rest, which is for `opinions`, what is said of it.
_GIVEN_COLUMNS = """
    position integer not null,
    slug text,
    title text,
    release_year smallint,
    uid text,
    lid text,
    film_id bigint,
    rating numeric(2, 1),
    liked boolean,
    favorite boolean,
    rated_at timestamptz,
    as_of timestamptz
"""


def open_given(connection: psycopg.Connection) -> None:
    """Provide the empty table `given` for this transaction."""
    connection.execute("set local client_min_messages = warning")  # "already exists, skipping"
    connection.execute(
        f"""
        create temporary table if not exists given ({_GIVEN_COLUMNS}) on commit delete rows;
        -- Of an earlier use in the caller's own transaction.
        delete from given
        """
    )


def _open_incoming(connection: psycopg.Connection) -> None:
    """Provide the empty table `incoming` for this transaction."""
    connection.execute("set local client_min_messages = warning")
    connection.execute(
        f"""
        create temporary table if not exists incoming (
            {_GIVEN_COLUMNS},
            is_known boolean not null,
            uid_film_id bigint,
            lid_film_id bigint,
            slug_film_id bigint,
            slug_fits boolean not null default true,
            name_film_id bigint
        ) on commit delete rows;
        delete from incoming
        """
    )


def fill_given(
    connection: psycopg.Connection, films: Iterable[FilmKey], film_ids: Iterable[int] | None = None
) -> None:
    """Put films into an empty `given`; `film_ids` names those that are already known to be meant."""
    open_given(connection)
    keys = ((n, f.slug, f.title, f.release_year, f.uid, f.lid) for n, f in enumerate(films))
    columns = "position, slug, title, release_year, uid, lid"
    if film_ids is None:
        copy_rows(connection, f"given ({columns})", keys)
    else:
        rows = ((*key, film_id) for key, film_id in zip(keys, film_ids, strict=True))
        copy_rows(connection, f"given ({columns}, film_id)", rows)


# A slug counts only where its film has no other id that contradicts the item's: slugs are given
# away again. The best evidence comes first.
_FILM_BY_SLUG = "case when slug_fits then slug_film_id end"
_FILM_BY_IDS = f"coalesce(uid_film_id, lid_film_id, {_FILM_BY_SLUG})"
_FILM_BY_ID = f"coalesce(film_id, {_FILM_BY_IDS})"
_BEST_MATCH = f"coalesce({_FILM_BY_ID}, name_film_id)"


def resolve_incoming(
    connection: psycopg.Connection,
    given: str = "table given",
    parameters: Mapping[str, object] | None = None,
    source: str = "pages",
) -> int:
    """Fill `incoming` with what is given and its films, and return how many films were new.

    `given` is a query for rows with the columns of the table `given`. Creates unknown films (to be
    enriched), adds ids that were not known yet, follows renamed slugs, and joins two films that turn
    out to be one. Writes nothing else where nothing is new. The transaction holds the film locks that
    it took to its end.
    """
    _open_incoming(connection)
    with connection.transaction() as attempt:
        hold_films(connection)
        if _match_known(connection, given, parameters):
            return 0
        connection.execute("select pg_advisory_xact_lock(%s)", [WRITING_LOCK])
        _match_aliases(connection)
        if _find_wrong_guess(connection) is None and _find_twins(connection) is None:
            return _write_films(connection, _SAYS[source])
        # Two who share a lock could never both get it alone: the savepoint gives it back first.
        raise psycopg.Rollback(attempt)
    lock_films(connection)
    _match_known(connection, given, parameters)
    _match_aliases(connection)
    while (film_id := _find_wrong_guess(connection)) is not None:
        part_film(connection, film_id)
        _match_aliases(connection)
    while twins := _find_twins(connection):
        merge_films(connection, *twins)
        _match_aliases(connection)
    return _write_films(connection, _SAYS[source])


def join_same_titles(connection: psycopg.Connection) -> int:
    """Join the film that exports name by its LID alone with the one without LID that is the same TMDB title.

    Only where no third film is that title. Returns how many pairs were joined. One transaction.
    """
    with connection.transaction():
        lock_films(connection)
        _open_incoming(connection)
        pairs = connection.execute(
            f"""
            select array_agg(film_id order by {STANDING.format("film_id")} desc, film_id)
            from raw.films where tmdb_id is not null
            group by tmdb_media_type, tmdb_id
            having count(*) = 2 and count(lid) = 1 and count(coalesce(uid, slug)) = 1
            """
        ).fetchall()
        for ((keep, drop),) in pairs:
            merge_films(connection, keep, drop, "tmdb_id")
    return len(pairs)


def _write_films(connection: psycopg.Connection, said_by: str) -> int:
    """Create, rename and complete films by the rows of `incoming` that tell something new of them."""
    connection.execute(f"update incoming set film_id = {_BEST_MATCH} where film_id is null and not is_known")
    # A slug that now belongs to another film: the film that had it keeps its other ids.
    connection.execute(
        """
        update raw.films set slug = null, updated_at = now()
        from incoming
        where not incoming.is_known and incoming.slug_film_id is distinct from incoming.film_id
          and films.film_id = incoming.slug_film_id and films.slug = incoming.slug
        """
    )
    new = connection.execute(
        """
        with new as (
            insert into raw.films (slug, uid, lid, title, release_year, field_sources)
            select distinct on (coalesce(uid, lid, slug))
                slug, uid, lid, coalesce(title, slug, lid, uid), release_year,
                jsonb_build_object('title', case when title is null then 'slug' else %(said_by)s::text end)
                || case when release_year is null then '{}'
                        else jsonb_build_object('release_year', %(said_by)s::text) end
            from incoming
            where film_id is null
            order by coalesce(uid, lid, slug), position
            returning film_id, slug, uid, lid
        ), pending as (
            insert into ops.film_metadata_sync (film_id) select film_id from new
        )
        update incoming set film_id = new.film_id
        from new
        where incoming.film_id is null
          and coalesce(incoming.uid, incoming.lid, incoming.slug) = coalesce(new.uid, new.lid, new.slug)
        """,
        {"said_by": said_by},
    ).rowcount
    _refresh_known(connection, said_by)
    connection.execute(
        f"""
        update raw.films as film
        set field_sources = case when is_guess then field_sources || '{{"lid": "name"}}'
                                 else field_sources - 'lid' end,
            updated_at = now()
        from (
            select film_id, {_FILM_BY_IDS} is null as is_guess
            from incoming
            where not is_known and film_id in (name_film_id, lid_film_id)
              and ({_FILM_BY_IDS} is null or film_id in (uid_film_id, slug_film_id))
        ) as said
        where film.film_id = said.film_id and said.is_guess <> (film.field_sources ? 'lid')
        """
    )
    connection.execute(
        """
        insert into raw.film_aliases (kind, value, film_id)
        select distinct on (ids.kind, ids.value) ids.kind, ids.value, incoming.film_id
        from incoming
        cross join lateral (
            values ('slug', slug, slug_film_id), ('uid', uid, uid_film_id), ('lid', lid, lid_film_id)
        ) as ids (kind, value, known_film_id)
        where not incoming.is_known and ids.value is not null
          and ids.known_film_id is distinct from incoming.film_id
        order by ids.kind, ids.value
        on conflict (kind, value) where kind in ('slug', 'lid', 'uid')
        do update set film_id = excluded.film_id
        """
    )
    return new


def known_films(given: str) -> str:
    """A query for the rows of the query `given`, and as `known_id` the film of which a row tells nothing new.

    Most rows are such; of the others it is null. One index probe each, however many films there are:
    a join would read them all.
    """
    probe = """
        select film_id from raw.films as film
        where {} and film.film_id = coalesce(given.film_id, film.film_id)
          and coalesce(film.uid = given.uid, given.uid is null)
          and coalesce(film.lid = given.lid, given.lid is null)
          and (film.release_year is not null or given.release_year is null)
          and (film.field_sources ->> 'title' is distinct from 'slug' or given.title is null)
          and (given.lid is null or given.slug is null or not film.field_sources ? 'lid')
    """
    return f"""
        select given.*, case when slug is not null then ({probe.format("film.slug = given.slug")})
                             else ({probe.format("film.lid = given.lid")}) end as known_id
        from ({given}) as given
        offset 0 -- so that it is probed once
    """


def _match_known(connection: psycopg.Connection, given: str, parameters: Mapping[str, object] | None) -> bool:
    """Fill `incoming`, with the films of rows that tell nothing new of them; True if all are such."""
    columns = "position, slug, title, release_year, uid, lid, rating, liked, favorite, rated_at, as_of"
    connection.execute(
        f"""
        insert into incoming ({columns}, film_id, is_known)
        select {columns}, coalesce(known_id, film_id), known_id is not null
        from ({known_films(given)}) as matched
        """,
        parameters,
        prepare=False,  # a plan that was made for ten films would be used for 100,000
    )
    return connection.execute("select from incoming where not is_known limit 1").fetchone() is None


def _match_aliases(connection: psycopg.Connection) -> None:
    """Note where the ids of the other rows lead: one index probe each, however many films there are."""
    connection.execute(
        """
        update incoming
        set uid_film_id = (select film_id from raw.film_aliases where kind = 'uid' and value = incoming.uid),
            lid_film_id = (select film_id from raw.film_aliases where kind = 'lid' and value = incoming.lid),
            slug_film_id = (
                select film_id from raw.film_aliases where kind = 'slug' and value = incoming.slug
            ),
            name_film_id = null
        where not is_known
        """,
        prepare=False,
    )
    connection.execute(
        """
        update incoming
        set slug_fits = (
            select coalesce(film.uid = incoming.uid, true) and coalesce(film.lid = incoming.lid, true)
            from raw.films as film where film.film_id = incoming.slug_film_id
        )
        where not is_known and slug_film_id is not null
          and slug_film_id is distinct from coalesce(uid_film_id, lid_film_id)
        """
    )
    _match_names(connection)


def _match_names(connection: psycopg.Connection) -> None:
    """Note the film that an export names by its lid alone, and a feed or an old page without any lid.

    Title and year join the two only where nothing else has them, neither a film nor another item, or
    where both are the same TMDB title: what is ambiguous stays apart. One index probe each.
    """
    connection.execute(
        f"""
        with item as (
            select lower(btrim(title)) as name, release_year,
                   min(coalesce(uid, lid, slug)) as identity,
                   min(slug) as slug, min(uid) as uid, min(lid) as lid, min({_FILM_BY_ID}) as film_id
            from incoming
            where title is not null and release_year is not null
            group by lower(btrim(title)), release_year
            having count(distinct coalesce(uid, lid, slug)) = 1 and not bool_or(is_known)
               and (min(lid) is null or coalesce(min(slug), min(uid)) is null)
        ), twin as (
            select item.identity, other.film_id
            from item
            left join raw.films as own using (film_id)
            cross join lateral (
                select case when count(*) = 1 then min(film_id)
                            when count(*) filter (where has_same_title) = 1
                            then min(film_id) filter (where has_same_title) end as film_id
                from raw.films as film
                cross join lateral (
                    select (film.tmdb_media_type, film.tmdb_id) = (own.tmdb_media_type, own.tmdb_id)
                ) as tmdb (has_same_title)
                where lower(btrim(film.title)) = item.name and film.release_year = item.release_year
                  and film.film_id is distinct from item.film_id
            ) as found
            join raw.films as other on other.film_id = found.film_id
            where coalesce((other.tmdb_media_type, other.tmdb_id)
                           = (own.tmdb_media_type, own.tmdb_id), true)
              -- The site numbers the slugs of films of one title and year.
              and concat_ws(' ', item.slug, own.slug, other.slug) !~ '-[0-9]{{4}}-[0-9]+( |$)'
              and case when coalesce(item.lid, own.lid) is null
                       then other.lid is not null and other.slug is null and other.uid is null
                       else other.lid is null and coalesce(item.slug, own.slug, item.uid, own.uid) is null
                  end
        )
        update incoming set name_film_id = twin.film_id
        from twin
        where not is_known and twin.identity = coalesce(incoming.uid, incoming.lid, incoming.slug)
        """
    )


def _find_wrong_guess(connection: psycopg.Connection) -> int | None:
    """A film that was joined by a guess which a row speaks against.

    It names one of its ids together with an id of another film; or it is another film of the name,
    where the name was all.
    """
    row = connection.execute(
        f"""
        select film.film_id
        from incoming
        join raw.films as film on film.film_id in (uid_film_id, lid_film_id, slug_film_id)
        where not is_known and film.field_sources ? 'lid' and coalesce(film.uid, film.slug) is not null
          and incoming.lid is not null and coalesce(incoming.uid, incoming.slug) is not null
          and (lid_film_id is distinct from film.film_id
               or film.film_id not in (coalesce(uid_film_id, 0), coalesce(slug_film_id, 0)))
        union all
        select film.film_id
        from (
            select lower(btrim(title)) as name, release_year, {_FILM_BY_ID} as known_film_id
            from incoming where not is_known
        ) as item
        join raw.films as film on lower(btrim(film.title)) = item.name
             and film.release_year = item.release_year
        where film.field_sources ->> 'lid' = 'name' and coalesce(film.uid, film.slug) is not null
          and film.film_id is distinct from known_film_id
        limit 1
        """
    ).fetchone()
    return None if row is None else int(row[0])


def _find_twins(connection: psycopg.Connection) -> tuple[int, int, Guess | None] | None:
    """Two films that one row shows to be one: the one to keep, the other, and whether that is a guess."""
    return connection.execute(
        f"""
        with pair as (
            select {_BEST_MATCH} as best_id, other_id,
                   case when other_id = name_film_id then 'name' end as guess
            from incoming
            cross join lateral unnest(
                array[uid_film_id, lid_film_id, {_FILM_BY_SLUG}, name_film_id]
            ) as other_id
            where not is_known
        )
        select case when other_is_better then other_id else best_id end,
               case when other_is_better then best_id else other_id end,
               case when best.tmdb_id is not null and guess is not null
                         and (best.tmdb_media_type, best.tmdb_id) = (other.tmdb_media_type, other.tmdb_id)
                    then 'tmdb_id' else guess end
        from pair
        join raw.films as best on best.film_id = best_id
        join raw.films as other on other.film_id = other_id
        cross join lateral (
            select {STANDING.format("other_id")} > {STANDING.format("best_id")} as other_is_better
        ) as standing
        where best_id <> other_id
          and coalesce(best.uid = other.uid, true) and coalesce(best.lid = other.lid, true)
        limit 1
        """
    ).fetchone()


def _refresh_known(connection: psycopg.Connection, said_by: str) -> None:
    """Add ids and years that were unknown; a slug that the film never had is its new name.

    An earlier slug is one again if an id of the film comes with it, and the present one is not so new
    that the page may merely be older.
    """
    connection.execute(
        f"""
        with seen as (
            select distinct on (incoming.film_id) incoming.*, is_renamed
            from incoming
            join raw.films as film using (film_id)
            cross join lateral (
                select incoming.slug <> coalesce(film.slug, '') and (
                    incoming.slug_film_id is distinct from incoming.film_id
                    or (incoming.uid = film.uid or incoming.lid = film.lid) and not exists (
                        select from raw.film_aliases
                        where kind = 'slug' and value = film.slug
                          and first_seen_at > now() - interval '{STALE_PAGE}'
                    )
                ) as is_renamed
            ) as naming
            where not incoming.is_known and (
                is_renamed
                or (film.uid is null and incoming.uid is not null)
                or (film.lid is null and incoming.lid is not null)
                or (film.release_year is null and incoming.release_year is not null)
                or (film.field_sources ->> 'title' = 'slug' and incoming.title is not null)
            )
            order by incoming.film_id, incoming.position
        ), again as (
            -- A renamed film often got a new title or another TMDB link: read its page again. One that
            -- could not be matched is looked for again with what is known now.
            update ops.film_metadata_sync as sync
            set status = 'pending', attempts = 0, next_attempt_at = now(),
                page_fetched_at = case when not is_renamed then page_fetched_at end, updated_at = now()
            from seen
            where sync.film_id = seen.film_id and sync.status <> 'overridden'
              and (is_renamed or sync.status in ('ambiguous', 'not_found'))
        ), back as (
            -- Of a slug, since when it is the film's name.
            update raw.film_aliases as alias set first_seen_at = now()
            from seen
            where is_renamed and alias.film_id = seen.film_id and kind = 'slug' and value = seen.slug
        )
        update raw.films as film
        set slug = case when is_renamed then seen.slug else film.slug end,
            uid = coalesce(film.uid, seen.uid),
            lid = coalesce(film.lid, seen.lid),
            release_year = coalesce(film.release_year, seen.release_year),
            title = case when is_renamed or film.field_sources ->> 'title' = 'slug'
                         then coalesce(seen.title, film.title) else film.title end,
            field_sources = film.field_sources
                || case when seen.title is not null
                             and (is_renamed or film.field_sources ->> 'title' = 'slug')
                        then jsonb_build_object('title', %(said_by)s::text) else '{{}}' end
                || case when film.release_year is null and seen.release_year is not null
                        then jsonb_build_object('release_year', %(said_by)s::text) else '{{}}' end,
            updated_at = now()
        from seen
        where film.film_id = seen.film_id
        """,
        {"said_by": said_by},
    )
