"""Steps of several cohorts: which ones they are of, and a check's result for each under its own name."""

from collections.abc import Iterator, Mapping

import dagster as dg

from almanac_pipeline.cohort_tags import cohorts_of
from almanac_pipeline.partitions import cohorts


def cohorts_of_run(run: dg.DagsterRun, instance: dg.DagsterInstance) -> list[str]:
    """The cohorts of a run, however it was asked for."""
    return cohorts_of(run.tags, instance.get_dynamic_partitions(str(cohorts.name)))


def evaluations(
    key: dg.AssetCheckKey, results: Mapping[str, dg.AssetCheckResult]
) -> Iterator[dg.AssetCheckEvaluation | dg.Output]:
    """What a check that is partitioned by cohorts yields for several of them.

    An AssetCheckResult names the cohort of a run that has one; of a range it names none, and all its
    cohorts stay planned for ever.
    """
    for cohort, result in results.items():
        yield dg.AssetCheckEvaluation(
            asset_key=key.asset_key,
            check_name=key.name,
            passed=result.passed,
            metadata=result.metadata,
            severity=result.severity,
            description=result.description,
            partition=cohort,
            blocking=False,
        )
    yield dg.Output(None)
