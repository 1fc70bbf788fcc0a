"""How much of a cohort's films is covered, as asset checks: 99 % of each field is expected."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from almanac_pipeline.defs.enrichment.assets import coverage_shares, film_histograms, film_metadata
from almanac_pipeline.defs.partitioned import cohorts_of_run, evaluations
from almanac_pipeline.defs.resources import Almanac, final_errors
from almanac_pipeline.partitions import cohorts
from almanac_pipeline.warehouse.upkeep import COVERAGE_MIN_SHARE, HISTOGRAM_FIELDS, PAGE_FIELDS, Field


def _check(asset: dg.AssetsDefinition, name: str, fields: tuple[Field, ...]) -> dg.AssetChecksDefinition:
    key = dg.AssetCheckKey(asset.key, name)

    @dg.asset_check(
        asset=asset,
        name=name,
        description=f"At least 99 % of the cohort's films have each of: {', '.join(fields)}.",
        partitions_def=cohorts,
    )
    def check(context: dg.AssetCheckExecutionContext, almanac: Almanac) -> Iterator[Any]:
        chosen = cohorts_of_run(context.op_execution_context.run, context.instance)
        with final_errors():
            results = {slug: _coverage(coverage_shares(almanac, slug, fields)) for slug in chosen}
        yield from evaluations(key, results)

    return check


def _coverage(shares: dict[str, float]) -> dg.AssetCheckResult:
    observed = min(shares.values())
    below = [f"{name} {share:.1%}" for name, share in shares.items() if share < COVERAGE_MIN_SHARE]
    return dg.AssetCheckResult(
        passed=observed >= COVERAGE_MIN_SHARE,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(below) or None,
        metadata={"expected": COVERAGE_MIN_SHARE, "observed": observed, **shares},
    )


coverage_checks = [
    _check(film_metadata, "coverage_of_films", PAGE_FIELDS),
    _check(film_histograms, "coverage_of_histograms", HISTOGRAM_FIELDS),
]
