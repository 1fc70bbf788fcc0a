"""Which cohorts have to be built, from which stage on, and the record that they were published."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import psycopg

from almanac_pipeline.errors import ConfigurationError, HeldBackError
from almanac_pipeline.flows.circle import CircleReport, compute_circle
from almanac_pipeline.statistics.parameters import RankingParameters
from almanac_pipeline.warehouse.changes import note_cohort
from almanac_pipeline.warehouse.cohorts import get_cohort
from almanac_pipeline.warehouse.publications import (
    Publication,
    Stage,
    StageVersions,
    audits,
    built_versions,
    have_passed,
    input_version,
    last_publication,
    mark_built,
    mark_computed,
    ranking_parameters,
    record_publication,
    require_passed,
    snapshot_version,
    wanted_versions,
)
from almanac_pipeline.warehouse.staging import doubt_incomplete_ratings
from almanac_pipeline.warehouse.statistics_tables import refresh_planner_statistics

MARTS_SELECTION: Mapping[Stage, str] = {"marts": "tag:after_statistics", "labels": "ranking_insights+"}
"""dbt's selection of what a stage builds."""


@dataclass(frozen=True, slots=True)
class StaleCohort:
    """A cohort whose tables do not show its present inputs."""

    slug: str
    cohort_id: int
    stage: Stage
    """The first stage that has to be built."""
    wanted: StageVersions
    """What each stage should be built from; None after `data`, as long as that is to be built itself."""


def changed_cohorts(
    connection: psycopg.Connection, slugs: Iterable[str], *, force: bool = False
) -> dict[str, StaleCohort]:
    """Those cohorts whose inputs are others than their tables show; with `force`, all from the start."""
    changed = {}
    for slug in slugs:
        cohort_id = get_cohort(connection, slug).cohort_id
        data, shown = snapshot_version(connection, cohort_id), built_versions(connection, cohort_id)
        if force or data != shown.data:
            changed[slug] = StaleCohort(slug, cohort_id, "data", StageVersions(data, None, None, None))
        elif cohort := _waiting(connection, slug, cohort_id, shown):
            changed[slug] = cohort
    return changed


def compute_waiting(
    connection: psycopg.Connection, slugs: Iterable[str], *, force: bool = False
) -> list[CircleReport]:
    """Fit the circles of those cohorts that passed their audits and await it, each in one transaction.

    A cohort whose parameters are not understood keeps what it has: `publish` holds it back and says why.
    """
    reports = []
    for cohort in _waiting_cohorts(connection, slugs, force=force):
        if force or cohort.stage == "statistics":
            with contextlib.suppress(ConfigurationError), connection.transaction():
                report = compute_circle(connection, cohort.slug)
                mark_computed(connection, cohort.cohort_id, cohort.wanted.statistics, report.rows_hash)
                reports.append(report)
    if reports:
        refresh_planner_statistics(connection)
    return reports


def marts_to_build(
    connection: psycopg.Connection, slugs: Iterable[str], *, force: bool = False
) -> dict[Stage, list[StaleCohort]]:
    """The cohorts that await all of their marts, and those that await their labels only."""
    due: dict[Stage, list[StaleCohort]] = {"marts": [], "labels": []}
    for cohort in _waiting_cohorts(connection, slugs, force=force):
        if cohort.stage in due:
            due["marts" if force else cohort.stage].append(cohort)
    return due


def mark_marts(connection: psycopg.Connection, cohorts: Iterable[StaleCohort], *, built: bool) -> None:
    """Note before and after a build of marts what they show; nothing while it runs.

    A cohort whose snapshot was replaced meanwhile got no marts: it is built by whoever replaced it.
    """
    for cohort in cohorts:
        if built_versions(connection, cohort.cohort_id).data == cohort.wanted.data:
            marts, labels = (cohort.wanted.marts, cohort.wanted.labels) if built else (None, None)
            mark_built(connection, [cohort.cohort_id], {"marts": marts, "labels": labels})
    connection.commit()


def _waiting_cohorts(
    connection: psycopg.Connection, slugs: Iterable[str], *, force: bool
) -> Iterator[StaleCohort]:
    """Cohorts that passed their audits and whose later stages are stale; with `force`, all that passed.

    Reads no ratings: the snapshot stands for the data, and what changed since it was taken is for the
    next run.
    """
    for slug in slugs:
        cohort_id = get_cohort(connection, slug).cohort_id
        if have_passed(audits(connection, cohort_id)):
            shown = built_versions(connection, cohort_id)
            if cohort := _waiting(connection, slug, cohort_id, shown, force=force):
                yield cohort


def _waiting(
    connection: psycopg.Connection, slug: str, cohort_id: int, shown: StageVersions, *, force: bool = False
) -> StaleCohort | None:
    wanted = wanted_versions(connection, cohort_id, str(shown.data))
    stage = wanted.first_difference(shown) or ("labels" if force else None)
    return StaleCohort(slug, cohort_id, stage, wanted) if stage else None


def shows_news(connection: psycopg.Connection, slug: str) -> bool:
    """Whether the cohort's tables show something else than its last publication recorded."""
    cohort_id = get_cohort(connection, slug).cohort_id
    last = last_publication(connection, cohort_id)
    return last is None or last.input_version != input_version(built_versions(connection, cohort_id))


def awaited(connection: psycopg.Connection, slugs: Sequence[str], *, force: bool = False) -> bool:
    """Whether a step after the data has something to do for one of the cohorts."""
    # One that still waits for its statistics after they were computed has parameters that nobody understands:
    # `publish` says so.
    waits = next(_waiting_cohorts(connection, slugs, force=force), None)
    return waits is not None or any(shows_news(connection, slug) for slug in slugs)


def why_held_back(connection: psycopg.Connection, slug: str) -> str | None:
    """The rules that the cohort's last build failed, or what is wrong with its parameters; None: nothing."""
    cohort_id = get_cohort(connection, slug).cohort_id
    try:
        RankingParameters.from_mapping(ranking_parameters(connection, cohort_id))
    except ConfigurationError as error:
        return str(error).rstrip(".")
    failed = [each.rule for each in audits(connection, cohort_id) if each.blocking and not each.passed]
    return f"its last build failed {', '.join(failed)}" if failed else None


def publish(
    connection: psycopg.Connection, slugs: Iterable[str], *, run_id: str, force: bool = False
) -> list[Publication]:
    """Record the publication of each cohort whose marts show something else than its last one.

    Members whose ratings an audit found to be incomplete are marked to be read in full. A cohort whose
    snapshot is gone, as a crash of the database between the steps of a run leaves it, is noted as changed.

    Raises:
        HeldBackError: some cohorts' audits failed, or their parameters are not understood; they keep their
            last good rows, and the others are recorded.
    """
    publications, held_back = [], []
    for slug in slugs:
        cohort_id = get_cohort(connection, slug).cohort_id
        doubt_incomplete_ratings(connection, cohort_id)
        try:
            RankingParameters.from_mapping(ranking_parameters(connection, cohort_id))
            if not audits(connection, cohort_id):
                # This run may only go on where another stopped: a new one builds from the start.
                note_cohort(connection, cohort_id)
            require_passed(connection, cohort_id)
            if force or shows_news(connection, slug):
                publications.append(record_publication(connection, cohort_id, run_id=run_id))
        except (HeldBackError, ConfigurationError) as error:
            held_back.append(f"{slug}: {error}")
        connection.commit()
    if held_back:
        raise HeldBackError("; ".join(held_back))
    return publications
