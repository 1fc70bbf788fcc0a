"""What people have agreed to: that their feed is read. Who wants no part in it at all is in `forgetting`."""

from __future__ import annotations

import psycopg

from almanac_pipeline.warehouse.forgetting import require_not_forgotten
from almanac_pipeline.warehouse.members import ensure_users


def set_feed_opt_in(connection: psycopg.Connection, username: str, opted_in: bool) -> None:
    """Note that the member lets us read their feed, or no longer does. An unknown member becomes known.

    Raises:
        ForgottenError: they asked to be forgotten.
    """
    with connection.transaction():
        require_not_forgotten(connection, username)
        [user_id] = ensure_users(connection, [username]).values()
        connection.execute(
            """
            update raw.users
            set feed_opted_in_at = case when %(on)s then now() end, updated_at = now()
            where user_id = %(user)s and (feed_opted_in_at is not null) <> %(on)s
            """,
            {"on": opted_in, "user": user_id},
        )


def has_opted_in(connection: psycopg.Connection) -> bool:
    """Whether any member lets us read their feed."""
    row = connection.execute(
        "select exists (select from raw.users where feed_opted_in_at is not null and status = 'active')"
    ).fetchone()
    return row is not None and bool(row[0])
