"""Which export files were imported or refused, by the hash of their content; never by their names."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import date, datetime

import psycopg
from psycopg.types.json import Jsonb

from almanac_pipeline.errors import ForgottenError, ImportFileError
from almanac_pipeline.warehouse.forgetting import drop_if_unused
from almanac_pipeline.warehouse.runs import member_lock


@contextmanager
def refusing_what_does_not_fit() -> Iterator[None]:
    """Blame on the file what the database says of its values; only other failures are the database's.

    Raises:
        ImportFileError: a value cannot be stored. The server's own message would repeat it.
    """
    try:
        yield
    except (
        psycopg.DataError,
        psycopg.errors.ProgramLimitExceeded,
        psycopg.errors.CheckViolation,
    ) as error:
        raise ImportFileError(
            f"The database cannot store a value of the export ({type(error).__name__}); nothing of it was "
            "imported. Download the export again; if that does not help, report it."
        ) from None


def is_known_member(connection: psycopg.Connection, username: str) -> bool:
    """Whether somebody has this name, or had it before."""
    row = connection.execute(
        "select from raw.users where username = %(name)s"
        " union all select from raw.user_aliases where username = %(name)s limit 1",
        {"name": username},
    ).fetchone()
    return row is not None


def is_imported(connection: psycopg.Connection, content_sha256: bytes, user_id: int) -> bool:
    """Whether this content was imported for this member before, with every part of it."""
    row = connection.execute(
        "select from ops.imports where content_sha256 = %s and user_id = %s and refusal is null",
        [content_sha256, user_id],
    ).fetchone()
    return row is not None


def known_contents(connection: psycopg.Connection, hashes: Collection[bytes]) -> set[bytes]:
    """Those of the contents that were imported or refused before."""
    rows = connection.execute(
        "select distinct content_sha256 from ops.imports where content_sha256 = any(%s)", [list(hashes)]
    )
    return {content for (content,) in rows}


def is_outdated(connection: psycopg.Connection, user_id: int, as_of: datetime) -> bool:
    """Whether the member's ratings are all known up to a later moment than that."""
    row = connection.execute(
        """
        select known_as_of > %s from ops.user_scrape_state where user_id = %s and subject = 'ratings'
        """,
        [as_of, user_id],
    ).fetchone()
    return row is not None and bool(row[0])


def record_import(
    connection: psycopg.Connection,
    content_sha256: bytes,
    user_id: int,
    run_id: int,
    *,
    as_of: datetime,
    rows_by_file: Mapping[str, int],
) -> None:
    """Remember the content as imported, in the transaction that stored it."""
    connection.execute(
        "delete from ops.imports where content_sha256 = %s and refusal is not null", [content_sha256]
    )
    connection.execute(
        """
        insert into ops.imports (content_sha256, user_id, scrape_run_id, as_of, rows_by_file)
        values (%s, %s, %s, %s, %s)
        """,
        [content_sha256, user_id, run_id, as_of, Jsonb(dict(rows_by_file))],
    )


def record_joining(connection: psycopg.Connection, user_id: int, joined_on: date | None) -> None:
    """Store when the member joined the site, if the export says so."""
    connection.execute(
        """
        update raw.users set joined_on = %(day)s, updated_at = now()
        where user_id = %(user)s and joined_on is distinct from coalesce(%(day)s, joined_on)
        """,
        {"user": user_id, "day": joined_on},
    )


def record_refusal(
    connection: psycopg.Connection,
    content_sha256: bytes,
    run_id: int,
    reason: str,
    *,
    user_id: int | None = None,
) -> None:
    """Remember that the content, or a part of it, was refused, so that it is not tried again by itself.

    `user_id`: whose it is, if the rest of it was imported.
    """
    connection.execute(
        """
        insert into ops.imports (content_sha256, user_id, scrape_run_id, refusal) values (%s, %s, %s, %s)
        on conflict (content_sha256, user_id) do update
        set scrape_run_id = excluded.scrape_run_id, refusal = excluded.refusal, imported_at = now()
        """,
        [content_sha256, user_id, run_id, reason],
    )


def drop_started(connection: psycopg.Connection, user_id: int) -> bool:
    """Delete a user whose first import stored nothing; False if something else is known of them."""
    with connection.transaction():
        connection.execute(
            "delete from ops.scrape_run_members where user_id = %s and outcome = 'started'", [user_id]
        )
        return drop_if_unused(connection, user_id)


def drop_left_behind(connection: psycopg.Connection) -> None:
    """Do so with the users of imports that were killed; those under way hold the member's lock."""
    rows = connection.execute(
        """
        select distinct user_id from ops.scrape_runs join ops.scrape_run_members using (scrape_run_id)
        where subject = 'import' and outcome = 'started'
        """
    ).fetchall()
    for (user_id,) in rows:
        with suppress(ForgottenError), member_lock(connection, "ratings", user_id, wait=False) as got:
            if got:
                drop_started(connection, user_id)
