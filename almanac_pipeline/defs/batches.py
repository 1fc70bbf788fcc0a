"""Steps that do the same for every cohort of their run, and tell Dagster of each."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import dagster as dg

from almanac_pipeline.defs.partitioned import cohorts_of_run
from almanac_pipeline.flows.automation import each_cohort
from almanac_pipeline.terminal import SUMMARY_KEY

Report = TypeVar("Report")


def materialize_each(
    context: dg.AssetExecutionContext,
    sync: Callable[[str], Report],
    describe: Callable[[str, Report], Mapping[str, Any]],
) -> dg.MaterializeResult:
    """Sync every cohort of the run; each of which that succeeds is told in its own partition.

    Raises:
        AlmanacError: as `flows.automation.each_cohort` does.
    """
    done = each_cohort(cohorts_of_run(context.run, context.instance), sync)
    for slug, report in done.reports.items():
        metadata = describe(slug, report)
        if slug in context.partition_keys:
            context.add_asset_metadata(metadata, partition_key=slug)
        else:
            context.log_event(dg.AssetMaterialization(context.asset_key, metadata=metadata, partition=slug))
    for slug, error in done.failures.items():
        context.log.warning(f"{slug}: {error}")
        if slug in context.partition_keys:
            context.add_asset_metadata({SUMMARY_KEY: f"FAILED: {error}"}, partition_key=slug)
    failed = {"failed_cohorts": ", ".join(done.failures)} if done.failures else {}
    return dg.MaterializeResult(metadata=failed)


def for_each_cohort(context: dg.AssetExecutionContext, results: Iterator[Any]) -> Iterator[Any]:
    """Results of a step that builds all cohorts of its run at once, told in the partition of each."""
    chosen = cohorts_of_run(context.run, context.instance)
    others = [slug for slug in chosen if slug not in context.partition_keys]
    for result in results:
        yield result
        key = result.asset_key or context.asset_key
        for slug in others:
            if isinstance(result, dg.MaterializeResult):
                context.log_event(dg.AssetMaterialization(key, metadata=result.metadata, partition=slug))
            else:
                context.log_event(
                    dg.AssetCheckEvaluation(
                        asset_key=key,
                        check_name=result.check_name,
                        passed=result.passed,
                        metadata=result.metadata,
                        partition=slug,
                    )
                )
