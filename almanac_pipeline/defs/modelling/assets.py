"""From raw rows to marts: dbt's first stage, the circle model in numpy, dbt's second stage.

Each works on those cohorts of the run whose inputs changed since their last publication.
"""

from collections.abc import Iterator
from typing import Any

import dagster as dg
from dagster_dbt import dbt_assets

from almanac_pipeline.defs.metadata import report_metadata
from almanac_pipeline.defs.modelling.translator import CIRCLE_MODEL, AlmanacTranslator
from almanac_pipeline.defs.resources import Almanac, final_errors
from almanac_pipeline.errors import ConfigurationError
from almanac_pipeline.flows.circle import compute_circle
from almanac_pipeline.flows.publication import changed_cohorts
from almanac_pipeline.partitions import cohorts
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


@dbt_assets(select="tag:before_statistics", name="before_statistics", **PER_COHORT)
def before_statistics(context: dg.AssetExecutionContext, almanac: Almanac) -> Iterator[Any]:
    yield from _build(context, almanac, "tag:before_statistics")


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
    with final_errors(), connect_to(almanac.database_url) as connection:
        reports = [compute_circle(connection, slug) for slug in _changed(context, almanac)]
    if reports:
        yield dg.MaterializeResult(
            metadata=report_metadata(
                reports[-1],
                "; ".join(
                    f"{r.films:,} films, {r.eligible_films:,} ranked in {r.tiers} tiers, "
                    f"circle mean {r.overall_mean:.2f}"
                    if r.overall_mean is not None
                    else "no ratings"
                    for r in reports
                ),
                cohorts=len(reports),
            )
        )


@dbt_assets(select="tag:after_statistics", name="after_statistics", **PER_COHORT)
def after_statistics(context: dg.AssetExecutionContext, almanac: Almanac) -> Iterator[Any]:
    yield from _build(context, almanac, "tag:after_statistics")


def _changed(context: dg.AssetExecutionContext, almanac: Almanac) -> dict[str, Any]:
    """The cohorts of this run that have to be built, by slug."""
    force = context.run.tags.get(FORCE_TAG) == "true"
    with connect_to(almanac.database_url) as connection:
        changed = changed_cohorts(connection, context.partition_keys, force=force)
    unchanged = len(context.partition_keys) - len(changed)
    if unchanged:
        context.log.info(f"{unchanged} cohorts have the inputs of their last publication: nothing to build")
    return changed


def _build(context: dg.AssetExecutionContext, almanac: Almanac, select: str) -> Iterator[Any]:
    """Build one stage and say of every model and test what became of it."""
    with final_errors():
        changed = _changed(context, almanac)
        if not changed:
            return
        nodes = dbt.build(
            almanac.database_url,
            select=select,
            cohorts={cohort.cohort_id: cohort.input_version for cohort in changed.values()},
            run_id=context.run.run_id,
        )
    specs = {spec.metadata["dagster_dbt/unique_id"]: spec for spec in context.assets_def.specs}
    checks = {spec.metadata["dagster_dbt/unique_id"]: spec for spec in context.assets_def.check_specs}
    for node in nodes:
        if (spec := specs.get(node.unique_id)) is not None:
            rows = {} if node.rows_affected is None else {"dagster/row_count": node.rows_affected}
            yield dg.MaterializeResult(
                asset_key=spec.key,
                metadata={"seconds": round(node.seconds, 3), "table": node.relation, **rows},
            )
        elif (check := checks.get(node.unique_id)) is not None:
            yield dg.AssetCheckResult(
                asset_key=check.asset_key,
                check_name=check.name,
                passed=True,
                metadata={"status": node.status, "seconds": round(node.seconds, 3)},
            )
