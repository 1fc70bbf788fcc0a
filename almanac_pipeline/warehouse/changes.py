"""Which cohorts' inputs have changed, found without reading their ratings.

Triggers (migration 0010) note members, films and cohorts in queues, in the transaction of the change
itself. So nothing committed is missed; but something may be noted that makes no difference, which the
build finds out (`flows/publication.changed_cohorts`).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg.rows import class_row

# A change elsewhere concerns the cohorts that are compared with all members for want of another average.
EMPTY_QUEUES = """
with members as (
    delete from ops.changed_members returning user_id
),
films as (
    delete from ops.changed_films returning film_id
),
itself as (
    delete from ops.changed_cohorts returning cohort_id
),
changed_films as materialized (
    select distinct film_id from films
),
watchers as (
    select user_id from changed_films join raw.ratings using (film_id) where removed_at is null
    union
    select user_id from changed_films join raw.diary_entries using (film_id) where removed_at is null
    union
    select user_id from members
),
changed as (
    select cohort_id from itself
    union
    select cohort_id from watchers join raw.cohort_members using (user_id) where until is null
    union
    select cohort_id
    from raw.cohorts
    cross join lateral (
        select inputs from ops.publications
        where publications.cohort_id = cohorts.cohort_id
        order by published_at desc, publication_id desc limit 1
    ) as latest
    where inputs -> 'global_averages' ? 'members'
        and (exists (select from members) or exists (select from itself))
)
insert into ops.cohort_changes (cohort_id, change_number, changed_at)
select cohort_id, nextval('ops.change_numbers'), clock_timestamp()
from changed join raw.cohorts using (cohort_id)
on conflict (cohort_id) do update
    set change_number = excluded.change_number, changed_at = excluded.changed_at
"""


@dataclass(frozen=True, slots=True)
class ChangedCohort:
    """An active cohort of which something may have changed."""

    cohort_id: int
    slug: str
    change_number: int
    waiting_since: datetime | None
    """Since when a build is put off, because a run has the cohort in hand."""
    members_count: int


def empty_queues(connection: psycopg.Connection) -> None:
    """Give every cohort with a change since the last call a new change number, and commit."""
    connection.execute(EMPTY_QUEUES)
    connection.commit()


def note_all_cohorts(connection: psycopg.Connection) -> None:
    """Have every cohort looked at again: its tables were emptied, or are made by other code now."""
    connection.execute("insert into ops.changed_cohorts select cohort_id from raw.cohorts")
    connection.commit()


def note_cohort(connection: psycopg.Connection, cohort_id: int) -> None:
    """Have this cohort looked at again. The caller commits."""
    connection.execute("insert into ops.changed_cohorts (cohort_id) values (%s)", [cohort_id])


def changed_since(connection: psycopg.Connection, change_number: int) -> list[ChangedCohort]:
    """The active cohorts that changed after that number, in the order in which they were created."""
    with connection.cursor(row_factory=class_row(ChangedCohort)) as cursor:
        return cursor.execute(
            """
            select cohort_id, slug, change_number, waiting_since, (
                select count(*) from raw.cohort_members
                where cohort_members.cohort_id = cohorts.cohort_id and until is null
            ) as members_count
            from ops.cohort_changes join raw.cohorts using (cohort_id)
            where change_number > %s and status = 'active'
                -- Of one that never had anybody there is nothing to show.
                and exists (
                    select from raw.cohort_members where cohort_members.cohort_id = cohorts.cohort_id
                )
            order by cohort_id
            """,
            [change_number],
        ).fetchall()


def postpone(connection: psycopg.Connection, cohort_ids: Collection[int]) -> None:
    """Give these cohorts a new change number, so that the next look finds them again. Commits."""
    connection.execute(
        """
        update ops.cohort_changes set change_number = nextval('ops.change_numbers'),
            waiting_since = coalesce(waiting_since, clock_timestamp())
        where cohort_id = any(%s)
        """,
        [list(cohort_ids)],
    )
    connection.commit()


def end_waiting(connection: psycopg.Connection, cohort_ids: Collection[int]) -> None:
    """Note that these cohorts are waited for no longer. Commits."""
    connection.execute(
        "update ops.cohort_changes set waiting_since = null"
        " where cohort_id = any(%s) and waiting_since is not null",
        [list(cohort_ids)],
    )
    connection.commit()
