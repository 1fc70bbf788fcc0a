"""The record of publications: written last, so that a killed run publishes again."""

from collections.abc import Iterator

import dagster as dg

from almanac_pipeline.defs.batches import for_each_cohort
from almanac_pipeline.defs.modelling.assets import FORCE_TAG, after_statistics
from almanac_pipeline.defs.partitioned import cohorts_of_run
from almanac_pipeline.defs.resources import Almanac, final_errors
from almanac_pipeline.flows.publication import publish
from almanac_pipeline.partitions import cohorts
from almanac_pipeline.terminal import SUMMARY_KEY
from almanac_pipeline.warehouse.connection import connect_to


@dg.asset(
    key=["ops", "publications"],
    deps=[after_statistics],
    description="When a cohort's marts last changed, from which inputs, by which run.",
    group_name="almanac",
    owners=["team:almanac"],
    kinds={"python", "postgres"},
    partitions_def=cohorts,
    backfill_policy=dg.BackfillPolicy.single_run(),
    code_version="1",
    output_required=False,
)
def publications(context: dg.AssetExecutionContext, almanac: Almanac) -> Iterator[dg.MaterializeResult]:
    slugs, force = cohorts_of_run(context.run, context.instance), context.run.tags.get(FORCE_TAG) == "true"
    with final_errors(), connect_to(almanac.database_url) as connection:
        published = publish(connection, slugs, run_id=context.run.run_id, force=force)
    if published:
        members, films, ratings = (
            sum(getattr(publication, f"{name}_count") for publication in published)
            for name in ("members", "films", "ratings")
        )
        metadata = {
            SUMMARY_KEY: f"{members:,} members, {films:,} films, {ratings:,} ratings",
            "members": members,
            "films": films,
            "ratings": ratings,
            "input_version": published[-1].input_version[:12],
        }
        yield from for_each_cohort(context, iter([dg.MaterializeResult(metadata=metadata)]))
