"""What benchmarks of the marts share: a bootstrapped database, cohorts put straight into raw, their build.

Nothing is measured here but the stages of a build.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psycopg

from almanac_pipeline.flows.publication import (
    MARTS_SELECTION,
    changed_cohorts,
    compute_waiting,
    mark_marts,
    marts_to_build,
)
from almanac_pipeline.settings import Settings
from almanac_pipeline.warehouse import dbt
from bench.stand_in import database

HISTOGRAM = [f"count_{half // 2}_{half % 2 * 5}" for half in range(1, 11)]


@contextmanager
def warehouse() -> Iterator[tuple[str, Settings]]:
    """The URL of an empty database with dbt's views and tables, and settings with a home of their own."""
    with database() as url, tempfile.TemporaryDirectory(prefix="almanac-bench") as home:
        settings = Settings(_env_file=None, home=Path(home), database_url=url)  # type: ignore[call-arg]
        dbt.bootstrap(url, settings=settings)
        yield url, settings


def copy_rows(
    connection: psycopg.Connection, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]
) -> None:
    """COPY rows into a table."""
    statement = f"copy {table} ({', '.join(columns)}) from stdin"
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for row in rows:
            copy.write_row(row)


def add_cohort(connection: psycopg.Connection, slug: str, user_ids: Iterable[int]) -> int:
    """A cohort of members who are there; returns its id."""
    row = connection.execute(
        "insert into raw.cohorts (slug, label, definition) values (%s, %s, '{}') returning cohort_id",
        [slug, slug],
    ).fetchone()
    assert row is not None
    copy_rows(connection, "raw.cohort_members", ("cohort_id", "user_id"), ((row[0], id) for id in user_ids))
    return int(row[0])


def settle(connection: psycopg.Connection) -> None:
    """Bring tables that were just filled into the state in which autovacuum keeps them."""
    connection.commit()
    connection.autocommit = True
    connection.execute("vacuum analyze")


def build(url: str, settings: Settings, slugs: Sequence[str]) -> dict[str, float]:
    """Bring the marts of these cohorts up to date as a run does, without Dagster: seconds per stage.

    The sum over the models of a stage is in `…_models`: what the database did, without dbt around it.
    """
    seconds: dict[str, float] = {}

    def spent(stage: str, started: float, nodes: Sequence[dbt.NodeResult] = ()) -> None:
        seconds[stage] = seconds.get(stage, 0) + time.perf_counter() - started
        models = sum(node.seconds for node in nodes if node.resource_type == "model")
        seconds[f"{stage}_models"] = seconds.get(f"{stage}_models", 0) + models

    with psycopg.connect(url, autocommit=True) as connection:
        started = time.perf_counter()
        changed = changed_cohorts(connection, slugs)
        spent("versions", started)
        started = time.perf_counter()
        versions = {cohort.cohort_id: str(cohort.wanted.data) for cohort in changed.values()}
        nodes = dbt.build(url, select="tag:before_statistics", cohorts=versions, settings=settings)
        spent("snapshot", started, nodes)
        started = time.perf_counter()
        compute_waiting(connection, slugs)
        spent("numpy", started)
        for stage, cohorts in marts_to_build(connection, slugs).items():
            if cohorts:
                started = time.perf_counter()
                mark_marts(connection, cohorts, built=False)
                versions = {cohort.cohort_id: str(cohort.wanted.data) for cohort in cohorts}
                nodes = dbt.build(url, select=MARTS_SELECTION[stage], cohorts=versions, settings=settings)
                mark_marts(connection, cohorts, built=True)
                spent("marts", started, nodes)
    return {stage: value for stage, value in seconds.items() if value}


def mean_and_error(values: Iterable[float], digits: int = 1) -> str:
    """Mean and its standard error, such as "43.9 +- 0.8"; values that are not defined are left out."""
    known = np.array([value for value in values if np.isfinite(value)])
    if known.size == 0:
        return "none"
    error = known.std(ddof=1) / np.sqrt(known.size) if known.size > 1 else np.nan
    return f"{known.mean():.{digits}f} +- {error:.{digits}f}"
