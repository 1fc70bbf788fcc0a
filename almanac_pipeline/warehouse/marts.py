"""Reads what is published, and the overviews that the command line shows. Writes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg.rows import class_row

ATTRIBUTION = (
    "This product uses TMDB and the TMDB APIs but is not endorsed, certified, or otherwise approved by TMDB."
)


@dataclass(frozen=True, slots=True)
class CohortOverview:
    """A cohort in one line; counts are of its last publication, 0 before the first."""

    slug: str
    label: str
    status: str
    members: int
    films: int
    ratings: int
    published_at: datetime | None
    last_success_at: datetime | None
    """When the members were last read such that what is published shows them."""
    failures: int
    """Runs of the last 24 hours that failed, and reads of members that were not overcome since."""
    coverage: float | None
    """The least of the audited shares of ratings, likes and TMDB ids that are known; None before an audit."""
    is_held_back: bool
    """Whether a blocking audit of its last build failed: what is published is from before."""


@dataclass(frozen=True, slots=True)
class MemberOverview:
    """A current member and how far they are read."""

    username: str
    status: str
    ratings: int
    likes: int
    since: datetime
    last_read_at: datetime | None


@dataclass(frozen=True, slots=True)
class PersonOverview:
    """Somebody who is known, and what from."""

    username: str
    status: str
    cohorts: list[str]
    """Slugs of the cohorts they belong to."""
    sources: list[str]
    """Where their opinions and diary entries came from."""
    ratings: int
    last_read_at: datetime | None
    has_feed: bool
    """Whether they let us read their feed."""


def cohort_overview(connection: psycopg.Connection) -> list[CohortOverview]:
    """All cohorts by slug, with the counts of their last publication."""
    # dbt makes the audits' table, which a database without any build does not have.
    row = connection.execute("select to_regclass('intermediate.cohort_audits') is not null").fetchone()
    audits = (
        "intermediate.cohort_audits"
        if row == (True,)
        else "(select 0, '', 0, false, true) as t (cohort_id, rule, observed, blocking, passed)"
    )
    query = f"""
        select c.slug, c.label, c.status, coalesce(p.members_count, members.count) as members,
               coalesce(p.films_count, 0) as films, coalesce(p.ratings_count, 0) as ratings, p.published_at,
               pipeline.last_success_at,
               pipeline.failed_runs_count + pipeline.open_failures_count as failures,
               (select min(observed)::float from {audits}
                where cohort_id = c.cohort_id and starts_with(rule, 'coverage_')) as coverage,
               exists (select from {audits}
                       where cohort_id = c.cohort_id and blocking and not passed) as is_held_back
        from raw.cohorts as c
        join ops.cohort_pipelines as pipeline using (cohort_id)
        cross join lateral (
            select count(*) as count from raw.cohort_members as m
            where m.cohort_id = c.cohort_id and m.until is null
        ) as members
        left join lateral (
            select * from ops.publications as p
            where p.cohort_id = c.cohort_id order by p.published_at desc limit 1
        ) as p on true
        order by c.slug
    """
    with connection.cursor(row_factory=class_row(CohortOverview)) as cursor:
        return cursor.execute(query).fetchall()


def member_overview(connection: psycopg.Connection, cohort: str) -> list[MemberOverview]:
    """The current members of a cohort by name."""
    query = """
        select u.username, u.status, m.since,
               (select count(r.rating) from raw.ratings as r
                where r.user_id = u.user_id and r.removed_at is null) as ratings,
               (select count(*) from raw.ratings as r
                where r.user_id = u.user_id and r.removed_at is null and r.liked) as likes,
               (select max(s.last_success_at) from ops.user_scrape_state as s
                where s.user_id = u.user_id and s.subject = 'ratings') as last_read_at
        from raw.cohort_members as m
        join raw.users as u using (user_id)
        join raw.cohorts as c using (cohort_id)
        where c.slug = %s and m.until is null
        order by u.username
    """
    with connection.cursor(row_factory=class_row(MemberOverview)) as cursor:
        return cursor.execute(query, [cohort]).fetchall()


def people_overview(connection: psycopg.Connection) -> list[PersonOverview]:
    """Everybody who is known, by name."""
    query = """
        select u.username, u.status, u.feed_opted_in_at is not null as has_feed,
               array(select c.slug from raw.cohort_members as m join raw.cohorts as c using (cohort_id)
                     where m.user_id = u.user_id and m.until is null order by c.slug) as cohorts,
               array(select source from raw.ratings where user_id = u.user_id
                     union select source from raw.diary_entries where user_id = u.user_id
                     order by source) as sources,
               (select count(r.rating) from raw.ratings as r
                where r.user_id = u.user_id and r.removed_at is null) as ratings,
               (select max(s.last_success_at) from ops.user_scrape_state as s
                where s.user_id = u.user_id) as last_read_at
        from raw.users as u
        order by u.username
    """
    with connection.cursor(row_factory=class_row(PersonOverview)) as cursor:
        return cursor.execute(query).fetchall()
