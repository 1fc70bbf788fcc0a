"""Cohorts put straight into the raw tables, and the whole chain from there to the marts."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from almanac_pipeline.flows.circle import CircleReport
from almanac_pipeline.flows.publication import changed_cohorts, compute_waiting, mark_marts, marts_to_build
from almanac_pipeline.settings import Settings
from almanac_pipeline.warehouse import dbt, publications
from almanac_pipeline.warehouse.statistics_tables import publish_circle
from tests.conftest import database_name


@dataclass
class Warehouse:
    """A bootstrapped database of its own; every write is committed at once."""

    url: str
    connection: psycopg.Connection
    settings: Settings

    @property
    def name(self) -> str:
        return database_name(self.url)

    # -- raw ---------------------------------------------------------------------------------

    def member(self, username: str, **columns: Any) -> int:
        return self._insert("raw.users", "user_id", username=username, **columns)

    def film(self, number: int, title: str | None = None, **columns: Any) -> int:
        defaults = {"uid": f"film:{number}", "slug": f"film-{number}", "title": title or f"Film {number}"}
        return self._insert("raw.films", "film_id", **{**defaults, **columns})

    def cohort(self, slug: str, members: list[int], **parameters: Any) -> int:
        cohort_id = self._insert(
            "raw.cohorts",
            "cohort_id",
            slug=slug,
            label=slug,
            definition=Jsonb({}),
            ranking_parameters=Jsonb(parameters),
        )
        for user_id in members:
            self.execute(
                "insert into raw.cohort_members (cohort_id, user_id) values (%s, %s)", cohort_id, user_id
            )
        return cohort_id

    def rate(
        self,
        user_id: int,
        film_id: int,
        stars: float | None,
        *,
        liked: bool = False,
        favorite: bool = False,
        at: datetime | None = None,
    ) -> None:
        self.execute(
            """
            insert into raw.ratings
                (user_id, film_id, rating, liked, favorite, rated_at, rated_at_source, source)
            values (%s, %s, %s, %s, %s, %s, %s, 'pages')
            on conflict (user_id, film_id) do update
            set rating = excluded.rating, liked = excluded.liked, updated_at = clock_timestamp()
            """,
            *(user_id, film_id, stars, liked, favorite, at, "observed" if at else None),
        )

    def histogram(self, film_id: int, counts: list[int], stated: int | None = None) -> None:
        columns = [f"count_{half // 2}_{half % 2 * 5}" for half in range(1, 11)]
        self.execute(
            f"""
            insert into raw.film_histograms (film_id, source, {", ".join(columns)}, stated_ratings)
            values (%s, 'letterboxd', {", ".join(["%s"] * 10)}, %s)
            """,
            *(film_id, *counts, stated),
        )

    def alias(self, slug: str, film_id: int) -> None:
        self.execute(
            "insert into raw.film_aliases (kind, value, film_id) values ('slug', %s, %s)", slug, film_id
        )

    def log(self, user_id: int, film_id: int, key: str) -> None:
        self.execute(
            """
            insert into raw.diary_entries (user_id, film_id, source, source_key, film_title)
            values (%s, %s, 'rss', %s, 'any')
            """,
            *(user_id, film_id, key),
        )

    def execute(self, statement: str, *parameters: Any) -> None:
        self.connection.execute(statement, parameters)

    def _insert(self, table: str, key: str, **columns: Any) -> int:
        names, values = ", ".join(columns), ", ".join(["%s"] * len(columns))
        row = self.connection.execute(
            f"insert into {table} ({names}) values ({values}) returning {key}",
            list(columns.values()),
        ).fetchone()
        assert row is not None
        return int(row[0])

    # -- the chain ---------------------------------------------------------------------------

    def build(self, *slugs: str) -> dict[str, CircleReport]:
        """Both dbt stages from the start, with numpy between them for those whose audits passed.

        Readers see it as after a publication, which is not recorded.
        """
        cohorts = changed_cohorts(self.connection, slugs, force=True)
        versions = {cohort.cohort_id: str(cohort.wanted.data) for cohort in cohorts.values()}
        dbt.build(self.url, select="tag:before_statistics", cohorts=versions, settings=self.settings)
        reports = {report.cohort: report for report in compute_waiting(self.connection, slugs, force=True)}
        due = marts_to_build(self.connection, slugs, force=True)["marts"]
        dbt.build(self.url, select="tag:after_statistics", cohorts=versions, settings=self.settings)
        mark_marts(self.connection, due, built=True)
        for cohort in due:
            with self.connection.transaction():
                publish_circle(self.connection, cohort.cohort_id)
        return reports

    def film_id(self, number: int) -> int:
        return int(self.scalar("select film_id from raw.films where slug = %s", f"film-{number}"))

    def version(self, slug: str) -> str:
        return publications.snapshot_version(self.connection, self.cohort_id(slug))

    def cohort_id(self, slug: str) -> int:
        return int(self.scalar("select cohort_id from raw.cohorts where slug = %s", slug))

    # -- looking -----------------------------------------------------------------------------

    def rows(self, query: str, *parameters: Any) -> list[dict[str, Any]]:
        with self.connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(query, parameters).fetchall()

    def scalar(self, query: str, *parameters: Any) -> Any:
        row = self.connection.execute(query, parameters).fetchone()
        return row and row[0]

    def by_film(self, mart: str, cohort: str) -> dict[int, dict[str, Any]]:
        return {
            row["film_id"]: row
            for row in self.rows(f"select * from almanac.{mart} where cohort = %s", cohort)
        }


class NewWarehouse(Protocol):
    """A bootstrapped database, or a copy of `template`, for the length of a `with` block."""

    def __call__(self, template: str = ...) -> AbstractContextManager[Warehouse]: ...
