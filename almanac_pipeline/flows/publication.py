"""Which cohorts have to be built, and the record that they were published."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import psycopg

from almanac_pipeline.errors import HeldBackError
from almanac_pipeline.warehouse.cohorts import get_cohort
from almanac_pipeline.warehouse.publications import (
    Publication,
    input_version,
    last_publication,
    record_publication,
)


@dataclass(frozen=True, slots=True)
class ChangedCohort:
    """A cohort whose marts do not show its present inputs."""

    slug: str
    cohort_id: int
    input_version: str


def changed_cohorts(
    connection: psycopg.Connection, slugs: Iterable[str], *, force: bool = False
) -> dict[str, ChangedCohort]:
    """Those cohorts whose inputs differ from their last publication's; with `force`, all of them."""
    changed = {}
    for slug in slugs:
        cohort_id = get_cohort(connection, slug).cohort_id
        version = input_version(connection, cohort_id)
        last = last_publication(connection, cohort_id)
        if force or last is None or last.input_version != version:
            changed[slug] = ChangedCohort(slug, cohort_id, version)
    return changed


def publish(
    connection: psycopg.Connection, changed: Iterable[ChangedCohort], *, run_id: str
) -> list[Publication]:
    """Record each cohort's publication.

    Raises:
        HeldBackError: some cohorts' audits failed; the others are recorded.
    """
    publications, held_back = [], []
    for cohort in changed:
        try:
            publications.append(
                record_publication(
                    connection, cohort.cohort_id, input_version=cohort.input_version, run_id=run_id
                )
            )
        except HeldBackError as error:
            held_back.append(f"{cohort.slug}: {error}")
        connection.commit()
    if held_back:
        raise HeldBackError("; ".join(held_back))
    return publications
