"""How the whole site rated the films: which histograms are due, and storing what was read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import psycopg
from psycopg.rows import class_row

from almanac_pipeline.errors import AlmanacError
from almanac_pipeline.sources.records import Histogram
from almanac_pipeline.warehouse.copying import as_jsonb
from almanac_pipeline.warehouse.films import lock_films
from almanac_pipeline.warehouse.runs import resolve_failures
from almanac_pipeline.warehouse.upkeep import COHORT_FILMS

TOLERANCE_SHARE = 0.01
"""dbt's `histogram_tolerance_share`: by more than this the audit `global_histogram_total` fails."""

_COUNT_COLUMNS = tuple(f"count_{half_stars // 2}_{half_stars % 2 * 5}" for half_stars in range(1, 11))


@dataclass(frozen=True, slots=True)
class DueHistogram:
    """A film whose global histogram is to be read."""

    film_id: int
    histogram_url: str


@dataclass(frozen=True, slots=True)
class FetchedHistogram:
    """What reading a histogram gave; None for a film that nobody rated."""

    film_id: int
    histogram: Histogram | None = None
    error: AlmanacError | None = None


@dataclass(frozen=True, slots=True)
class HistogramPreview:
    """A film's global ratings, for people to look at."""

    title: str
    release_year: int | None
    stated_ratings: int | None
    stated_average: Decimal | None


def histograms_due(
    connection: psycopg.Connection, cohort_id: int, *, only_new: bool = False
) -> list[DueHistogram]:
    """The cohort's films whose histogram was never read or too long ago, or contradicts itself; oldest first.

    With `only_new` those that were never read, and those that contradict themselves once a day: the site may
    be wrong, and a run that is asked for by the hour must not ask for them by the hour.
    """
    with connection.cursor(row_factory=class_row(DueHistogram)) as cursor:
        return cursor.execute(
            f"""
            with seen as ({COHORT_FILMS}),
            due as (
                select film_id
                from seen join ops.films_needing_enrichment using (film_id)
                join ops.film_metadata_sync using (film_id)
                where is_histogram_due and (histogram_fetched_at is null or not %(only_new)s)
                union
                select film_id
                from seen join raw.film_histograms using (film_id) join ops.film_metadata_sync using (film_id)
                where source = 'letterboxd'
                    and abs({" + ".join(_COUNT_COLUMNS)} - stated_ratings) > %(tolerance)s * stated_ratings
                    and (histogram_fetched_at < now() - interval '1 day' or not %(only_new)s)
            )
            select film_id, histogram_url
            from due join seen using (film_id) join ops.film_metadata_sync using (film_id)
            where histogram_url is not null
            order by histogram_fetched_at nulls first, watchers_count desc, film_id
            """,
            {"cohort": cohort_id, "only_new": only_new, "tolerance": TOLERANCE_SHARE},
        ).fetchall()


def count_histograms(connection: psycopg.Connection, cohort_id: int) -> int:
    """How many of the cohort's films had their histogram read."""
    row = connection.execute(
        f"""
        select count(*) from ({COHORT_FILMS}) as seen
        join ops.film_metadata_sync using (film_id) where histogram_fetched_at is not null
        """,
        {"cohort": cohort_id},
    ).fetchone()
    assert row is not None
    return int(row[0])


def store_histograms(connection: psycopg.Connection, batch: Sequence[FetchedHistogram]) -> int:
    """Store a batch in one transaction; returns how many films' counts were new or had changed.

    A look that may be repeated with more luck is not remembered as one.
    """
    rows = [
        {
            "film_id": fetched.film_id,
            **dict(zip(_COUNT_COLUMNS, fetched.histogram.counts, strict=True)),
            "stated_ratings": fetched.histogram.ratings,
            "stated_average": fetched.histogram.average,
            "fans": fetched.histogram.fans,
        }
        for fetched in batch
        if fetched.histogram is not None
    ]
    columns = [*_COUNT_COLUMNS, "stated_ratings", "stated_average", "fans"]
    types = [*(f"{name} bigint" for name in _COUNT_COLUMNS), "stated_ratings bigint",
             "stated_average numeric(4, 2)", "fans text"]  # fmt: skip
    looked = [f.film_id for f in batch if f.error is None or not f.error.retriable]
    with connection.transaction():
        lock_films(connection)  # no film may be merged away meanwhile
        changed = connection.execute(
            f"""
            insert into raw.film_histograms as known (film_id, source, {", ".join(columns)})
            select film_id, 'letterboxd', {", ".join(columns)}
            from jsonb_to_recordset(%s) as new (film_id bigint, {", ".join(types)})
            where exists (select from raw.films where films.film_id = new.film_id)
              and not exists (
                  select from raw.film_histograms as same
                  where same.film_id = new.film_id and same.source = 'letterboxd'
                    and ({", ".join(f"same.{name}" for name in columns)})
                        is not distinct from ({", ".join(f"new.{name}" for name in columns)})
              )
            order by film_id
            on conflict (film_id, source) do update
            set {", ".join(f"{name} = excluded.{name}" for name in columns)}, fetched_at = now()
            """,
            [as_jsonb(rows)],
        ).rowcount
        connection.execute(
            "update ops.film_metadata_sync set histogram_fetched_at = now() where film_id = any(%s)", [looked]
        )
        resolve_failures(connection, "histogram", film_ids=[f.film_id for f in batch if f.error is None])
    return changed


def preview_histograms(
    connection: psycopg.Connection, film_ids: Sequence[int], limit: int = 10
) -> tuple[HistogramPreview, ...]:
    """Those of these films that most people rated."""
    with connection.cursor(row_factory=class_row(HistogramPreview)) as cursor:
        return tuple(
            cursor.execute(
                """
                select title, release_year, film_histograms.stated_ratings, film_histograms.stated_average
                from raw.film_histograms join raw.films using (film_id)
                where film_id = any(%s) and source = 'letterboxd'
                order by film_histograms.stated_ratings desc nulls last, film_id limit %s
                """,
                [list(film_ids), limit],
            ).fetchall()
        )
