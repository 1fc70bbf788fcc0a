"""From raw rows to marts: dbt's first stage, the circle model in numpy, dbt's second stage.

Each works on those cohorts of the run for which its own stage is stale: a changed threshold gives new
labels and fits no circle, a changed parameter fits the circle and reads no ratings. Dagster skips what
waits for an asset that a run does not report, so a step reports what it left as it was, too, if a later
one has something to do; if none has, nothing is reported.
"""

from collections.abc import Iterator
from graphlib import TopologicalSorter
from typing import Any

import dagster as dg
from dagster_dbt import dbt_assets

from almanac_pipeline.defs.batches import for_each_cohort
from almanac_pipeline.defs.metadata import report_metadata
from almanac_pipeline.defs.modelling.translator import CIRCLE_MODEL, PUBLISHED_VIEWS_TAG, AlmanacTranslator
from almanac_pipeline.defs.partitioned import cohorts_of_run
from almanac_pipeline.defs.resources import Almanac, final_errors
from almanac_pipeline.errors import ConfigurationError, DbtError
from almanac_pipeline.flows.circle import CircleReport
from almanac_pipeline.flows.publication import (
    MARTS_SELECTION,
    StaleCohort,
    awaited,
    changed_cohorts,
    compute_waiting,
    mark_marts,
    marts_to_build,
)
from almanac_pipeline.partitions import cohorts
from almanac_pipeline.terminal import UNCHANGED_KEY
from almanac_pipeline.warehouse import dbt
from almanac_pipeline.warehouse.connection import connect_to

FORCE_TAG = "almanac/force"
"""Run tag: `true` builds even where nothing changed."""

if not dbt.MANIFEST.exists():
    raise ConfigurationError("dbt's manifest is missing: run `make install` or `almanac db prepare` first.")

PER_COHORT: dict[str, Any] = {
    "manifest": dbt.MANIFEST,
    "dagster_dbt_translator": AlmanacTranslator(),
    "partitions_def": cohorts,
    "backfill_policy": dg.BackfillPolicy.single_run(),
    "pool": "dbt",
}


@dbt_assets(select=f"tag:before_statistics,{dbt.TABLES}", name="before_statistics", **PER_COHORT)
def before_statistics(context: dg.AssetExecutionContext, almanac: Almanac) -> Iterator[Any]:
    slugs, nodes = cohorts_of_run(context.run, context.instance), list[dbt.NodeResult]()
    with final_errors():
        with connect_to(almanac.database_url) as connection:
            changed = changed_cohorts(connection, slugs, force=_force(context))
            due = bool(changed) or awaited(connection, slugs)
        if unchanged := len(slugs) - len(changed):
            context.log.info(f"{unchanged} cohorts show their present inputs: nothing to build")
        stale = [cohort for cohort in changed.values() if cohort.stage == "data"]
        try:
            _build(context, almanac, "tag:before_statistics", stale, nodes)
        except DbtError:
            yield from _told(context, nodes)
            raise
    yield from _told(context, nodes, all_assets=due)


@dg.asset(
    key=CIRCLE_MODEL,
    deps=[dg.AssetKey(["intermediate", name]) for name in ("cohort_audits", "int_cohort_ratings")],
    description=(
        "Puts everyone's stars on one scale, pulls films that few have rated towards the circle's "
        "average, and says how certain each place is: estimates, rank intervals and tiers."
    ),
    group_name="statistics",
    owners=["team:almanac"],
    kinds={"python", "numpy"},
    tags={"stage": "statistics"},
    partitions_def=cohorts,
    backfill_policy=dg.BackfillPolicy.single_run(),
    code_version="1",
    output_required=False,
)
def circle_model(context: dg.AssetExecutionContext, almanac: Almanac) -> Iterator[dg.MaterializeResult]:
    slugs = cohorts_of_run(context.run, context.instance)
    with final_errors(), connect_to(almanac.database_url) as connection:
        reports = compute_waiting(connection, slugs, force=_force(context))
        due = awaited(connection, slugs)
    if reports or due:
        metadata = _circle_metadata(reports) if reports else {UNCHANGED_KEY: True}
        yield from for_each_cohort(context, iter([dg.MaterializeResult(metadata=metadata)]))


def _circle_metadata(reports: list[CircleReport]) -> dict[str, Any]:
    summary = "; ".join(
        f"{r.films:,} films, {r.eligible_films:,} ranked in {r.tiers} tiers, circle mean {r.overall_mean:.2f}"
        if r.overall_mean is not None
        else "no ratings"
        for r in reports
    )
    return report_metadata(reports[-1], summary, cohorts=len(reports))


@dbt_assets(
    select=f"tag:after_statistics,{dbt.TABLES} tag:{PUBLISHED_VIEWS_TAG}",
    name="after_statistics",
    **PER_COHORT,
)
def after_statistics(context: dg.AssetExecutionContext, almanac: Almanac) -> Iterator[Any]:
    slugs, nodes = cohorts_of_run(context.run, context.instance), list[dbt.NodeResult]()
    with final_errors(), connect_to(almanac.database_url) as connection:
        due = marts_to_build(connection, slugs, force=_force(context))
        try:
            for stage, select in MARTS_SELECTION.items():
                mark_marts(connection, due[stage], built=False)
                _build(context, almanac, select, due[stage], nodes)
                mark_marts(connection, due[stage], built=True)
        except DbtError:
            yield from _told(context, nodes)
            raise
        published_next = awaited(connection, slugs)
    yield from _told(context, nodes, all_assets=bool(nodes) or published_next)


def _force(context: dg.AssetExecutionContext) -> bool:
    return context.run.tags.get(FORCE_TAG) == "true"


def _build(
    context: dg.AssetExecutionContext,
    almanac: Almanac,
    select: str,
    cohorts: list[StaleCohort],
    nodes: list[dbt.NodeResult],
) -> None:
    """Build the cohorts, if there are any, and add to `nodes` what ran, also when it fails."""
    if not cohorts:
        return
    versions = {cohort.cohort_id: str(cohort.wanted.data) for cohort in cohorts}
    try:
        nodes += dbt.build(almanac.database_url, select=select, cohorts=versions, run_id=context.run.run_id)
    except DbtError as error:
        nodes += error.nodes
        raise


def _told(
    context: dg.AssetExecutionContext, nodes: list[dbt.NodeResult], *, all_assets: bool = False
) -> Iterator[Any]:
    """The results, in the partition of each cohort."""
    yield from for_each_cohort(context, _results(context, nodes, all_assets=all_assets))


def _results(
    context: dg.AssetExecutionContext, nodes: list[dbt.NodeResult], *, all_assets: bool = False
) -> Iterator[Any]:
    """What became of every table and test; with `all_assets` also that the others are as they should be."""
    specs = {spec.metadata["dagster_dbt/unique_id"]: spec for spec in context.assets_def.specs}
    checks = {spec.metadata["dagster_dbt/unique_id"]: spec for spec in context.assets_def.check_specs}
    # Two builds of one run (marts here, labels there) are one materialization: the last says it all.
    latest = {node.unique_id: node for node in nodes}
    built = {
        specs[key].key: node for key, node in latest.items() if key in specs and node.status == "success"
    }
    # Dagster wants assets after those that they wait for.
    dependencies = {spec.key: {dep.asset_key for dep in spec.deps} for spec in specs.values()}
    for key in TopologicalSorter(dependencies).static_order():
        if (node := built.get(key)) is not None:
            rows = {} if node.rows_affected is None else {"dagster/row_count": node.rows_affected}
            metadata = {"seconds": round(node.seconds, 3), "table": node.relation, **rows}
            yield dg.MaterializeResult(asset_key=key, metadata=metadata)
        elif all_assets and key in dependencies:
            yield dg.MaterializeResult(asset_key=key, metadata={UNCHANGED_KEY: True})
    for unique_id, node in latest.items():
        if (check := checks.get(unique_id)) is not None and node.status in ("pass", "warn", "fail"):
            yield dg.AssetCheckResult(
                asset_key=check.asset_key,
                check_name=check.name,
                passed=node.status == "pass",
                description=None if node.status == "pass" else node.message,
                metadata={"status": node.status, "seconds": round(node.seconds, 3)},
            )
