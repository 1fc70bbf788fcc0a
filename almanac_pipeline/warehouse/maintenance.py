"""TMDB's answers as they age: which have changed since, which end soon, and what must be thrown away.

The answers themselves are stored by `enrichment`. An answer without fresh_until is to be asked for again.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date

import psycopg
from psycopg.rows import class_row

from almanac_pipeline.sources.records import MediaType

# From one monthly maintenance to the next but one, and an hour or two more: one may be missed, as on a
# machine that is off at that hour, and still nothing is kept longer than the terms allow.
LATEST_RUN_DAYS = 63
# What ends within these days is asked for again: more than until then.
ENDS_SOON_DAYS = 71

# Answers about films whose title is settled; of the others the queue takes care.
_HELD = """
    raw.tmdb_payloads as answer
    join raw.films as film
        on (film.tmdb_media_type, film.tmdb_id) = (answer.media_type, answer.tmdb_id)
    join ops.film_metadata_sync as sync on sync.film_id = film.film_id
        and sync.status in ('fetched', 'overridden')
"""


@dataclass(frozen=True, slots=True)
class HeldTitles:
    """The titles of a kind that we hold and that some film is."""

    count: int
    oldest_on: date | None
    """The day (UTC) on which the oldest of them was last confirmed."""
    known_until: date | None
    """Up to which day TMDB's lists of changes were read, if ever."""


@dataclass(frozen=True, slots=True)
class StaleTitle:
    """A title to be asked for again, and the films that it is."""

    media_type: MediaType
    tmdb_id: int
    film_ids: list[int]


def held_titles(connection: psycopg.Connection, media_type: MediaType) -> HeldTitles:
    """What we hold of this kind."""
    with connection.cursor(row_factory=class_row(HeldTitles)) as cursor:
        found = cursor.execute(
            f"""
            select count(distinct answer.tmdb_id) as count,
                   min(answer.fetched_at at time zone 'UTC')::date as oldest_on,
                   (select known_until from ops.tmdb_change_cursors where media_type = %(type)s)
                       as known_until
            from {_HELD} where answer.media_type = %(type)s
            """,
            {"type": media_type},
        ).fetchone()
    assert found is not None
    return found


def note_changes(
    connection: psycopg.Connection,
    media_type: MediaType,
    changed: Collection[int] | None,
    known_until: date,
) -> int:
    """Remember what TMDB lists as changed until that day; None: that is not known, so it may be all.

    Returns how many of the titles that we hold are meant. One transaction.
    """
    with connection.transaction():
        noted = connection.execute(
            """
            update raw.tmdb_payloads set fresh_until = null
            where media_type = %s and (%s::bigint[] is null or tmdb_id = any(%s))
            """,
            [media_type, *[None if changed is None else list(changed)] * 2],
        ).rowcount
        connection.execute(
            """
            insert into ops.tmdb_change_cursors (media_type, known_until) values (%s, %s)
            on conflict (media_type) do update set known_until = excluded.known_until
            """,
            [media_type, known_until],
        )
    return noted


def note_ends(connection: psycopg.Connection) -> int:
    """Let what the terms let us keep only for a little longer be asked for again; returns how many."""
    return connection.execute(
        """
        update raw.tmdb_payloads set fresh_until = null
        where expires_at < now() + make_interval(days => %s) and fresh_until is not null
        """,
        [ENDS_SOON_DAYS],
    ).rowcount


def stale_titles(connection: psycopg.Connection) -> list[StaleTitle]:
    """The titles to be asked for again, those that end first at the front."""
    with connection.cursor(row_factory=class_row(StaleTitle)) as cursor:
        return cursor.execute(
            f"""
            select answer.media_type, answer.tmdb_id,
                   array_agg(film.film_id order by film.film_id) as film_ids
            from {_HELD}
            where answer.fresh_until is null and sync.next_attempt_at <= now()
            group by answer.media_type, answer.tmdb_id, answer.expires_at
            order by answer.expires_at, answer.media_type, answer.tmdb_id
            """
        ).fetchall()


def purge_ending(connection: psycopg.Connection) -> int:
    """Delete the answers whose terms end before the next maintenance but one; returns how many.

    Those that were to be kept have been asked for again before.
    """
    return connection.execute(
        "delete from raw.tmdb_payloads where expires_at <= now() + make_interval(days => %s)",
        [LATEST_RUN_DAYS],
    ).rowcount
