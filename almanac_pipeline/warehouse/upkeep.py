"""What films lack: the view behind the queue, and how much of a cohort is covered. Changes no film.

ops.films_needing_enrichment (migrations 0005, 0006) is the one definition of what is missing or too old.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

import psycopg
from psycopg.rows import class_row

Reason = Literal[
    "page", "title", "tmdb_id", "poster", "overview", "year", "runtime", "director_id", "histogram"
]
"""page, title: not read yet, or too long ago; histogram: missing or too old; else what is missing."""
Field = Literal["tmdb_id", "year", "runtime", "poster", "director_id", "histogram"]
"""What coverage counts: a film has it unless it is among the reasons."""
FIELDS: tuple[Field, ...] = get_args(Field)
HISTOGRAM_FIELDS: tuple[Field, ...] = ("histogram",)
PAGE_FIELDS: tuple[Field, ...] = tuple(field for field in FIELDS if field not in HISTOGRAM_FIELDS)
COVERAGE_MIN_SHARE = 0.99

COHORT_FILMS = """
    with members as (
        select user_id from raw.cohort_members where cohort_id = %(cohort)s and until is null
    )
    select film_id, count(*) as watchers_count
    from (
        select user_id, film_id from members join raw.ratings using (user_id) where removed_at is null
        union
        select user_id, film_id from members join raw.diary_entries using (user_id)
        where removed_at is null and film_id is not null
    ) as seen
    group by film_id
"""
"""SQL: the films of the present members of %(cohort)s, and how many have seen each."""


@dataclass(frozen=True, slots=True)
class NeedingFilm:
    """A film that lacks something, for people to look at."""

    film_id: int
    title: str
    release_year: int | None
    watchers_count: int
    """Members of the cohort, or of all cohorts, who rated or liked it."""
    status: str
    next_attempt_at: datetime
    """Not asked about before then; of histograms this says nothing."""
    reasons: list[Reason]


@dataclass(frozen=True, slots=True)
class Coverage:
    """How many of a cohort's films have each of `FIELDS`."""

    films_count: int
    covered: dict[Field, int]

    def share(self, field: Field) -> float:
        """0 to 1; 1 where there are no films."""
        return self.covered[field] / self.films_count if self.films_count else 1.0


def prepare_view(connection: psycopg.Connection, *, histogram_max_age_days: float) -> None:
    """Let the view call histograms older than that too old, and the database know how large its tables are.

    A first sync fills them faster than autovacuum looks: without statistics 5,000 films took minutes.
    """
    connection.execute(
        "analyze raw.films, raw.film_people, raw.people, raw.ratings, raw.cohort_members,"
        " ops.film_metadata_sync"
    )
    connection.execute(
        """
        update ops.age_limits set max_age = make_interval(secs => %(seconds)s)
        where subject = 'histogram' and max_age <> make_interval(secs => %(seconds)s)
        """,
        {"seconds": histogram_max_age_days * 86_400},
    )


def films_needing_enrichment(
    connection: psycopg.Connection, cohort_id: int | None = None
) -> list[NeedingFilm]:
    """The films that lack something, those seen by most first; of one cohort, or all that there are."""
    everybody = "select film_id, count(*) as watchers_count from raw.ratings where removed_at is null"
    seen = f"left join ({everybody} group by film_id)" if cohort_id is None else f"join ({COHORT_FILMS})"
    with connection.cursor(row_factory=class_row(NeedingFilm)) as cursor:
        return cursor.execute(
            f"""
            select film_id, title, release_year, coalesce(watchers_count, 0) as watchers_count,
                   status, next_attempt_at, reasons
            from ops.films_needing_enrichment
            join raw.films using (film_id)
            {seen} as seen using (film_id)
            order by watchers_count desc, film_id
            """,
            {"cohort": cohort_id},
        ).fetchall()


def coverage(connection: psycopg.Connection, cohort_id: int) -> Coverage:
    """What is known of the films of the cohort's present members."""
    lacking = ", ".join(
        f"count(*) filter (where '{field}' = any(needing.reasons)) as {field}" for field in FIELDS
    )
    row = connection.execute(
        f"""
        select count(*), {lacking}
        from ({COHORT_FILMS}) as seen
        left join ops.films_needing_enrichment as needing using (film_id)
        """,
        {"cohort": cohort_id},
    ).fetchone()
    assert row is not None
    films_count, *missing = row
    return Coverage(
        films_count, {field: films_count - count for field, count in zip(FIELDS, missing, strict=True)}
    )
