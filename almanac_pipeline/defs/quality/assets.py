"""The measurements that the quality checks judge."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from almanac_pipeline.defs.partitioned import cohorts_of_run
from almanac_pipeline.defs.publication.assets import publications
from almanac_pipeline.defs.resources import Almanac, final_errors
from almanac_pipeline.partitions import cohorts
from almanac_pipeline.terminal import SUMMARY_KEY
from almanac_pipeline.warehouse.connection import connect_to
from almanac_pipeline.warehouse.quality import measure


# The checks stand here and not at what they speak of: nothing that publishes waits for them.
@dg.asset(
    key=["ops", "quality_measurements"],
    deps=[publications],
    description="How a cohort's numbers are spread at its last publication: what the quality checks judge.",
    group_name="quality",
    owners=["team:almanac"],
    kinds={"python", "postgres"},
    partitions_def=cohorts,
    backfill_policy=dg.BackfillPolicy.single_run(),
    code_version="1",
)
def quality_measurements(context: dg.AssetExecutionContext, almanac: Almanac) -> Iterator[Any]:
    chosen = cohorts_of_run(context.run, context.instance)
    with final_errors(), connect_to(almanac.database_url) as connection:
        measured = measure(connection, chosen)
    for cohort in set(measured) - set(context.partition_keys):
        yield dg.AssetMaterialization(asset_key=context.asset_key, partition=cohort)
    summary = f"{len(measured):,} of {len(chosen):,} cohorts"
    yield dg.MaterializeResult(metadata={SUMMARY_KEY: summary, "cohorts": len(measured)})
