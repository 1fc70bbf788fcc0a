"""One check per suite: which rules hold for each cohort of the run. None of them holds a cohort back."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from almanac_pipeline.defs.metadata import markdown_table
from almanac_pipeline.defs.partitioned import cohorts_of_run, evaluations
from almanac_pipeline.defs.quality.assets import quality_measurements
from almanac_pipeline.defs.resources import Almanac, final_errors
from almanac_pipeline.flows.quality import Verdict, judge_cohorts
from almanac_pipeline.partitions import cohorts
from almanac_pipeline.quality.suites import SUITES, Suite
from almanac_pipeline.warehouse.connection import connect_to


def _check(suite: Suite) -> dg.AssetChecksDefinition:
    key = dg.AssetCheckKey(quality_measurements.key, suite.name)

    @dg.asset_check(
        asset=quality_measurements, name=suite.name, description=suite.description, partitions_def=cohorts
    )
    def check(context: dg.AssetCheckExecutionContext, almanac: Almanac) -> Iterator[Any]:
        run = context.op_execution_context.run
        chosen = cohorts_of_run(run, context.instance)
        with final_errors(), connect_to(almanac.database_url) as connection:
            verdicts = judge_cohorts(
                connection, suite.name, chosen, almanac.settings.data_docs_folder, run.run_id
            )
        yield from evaluations(key, {cohort: _result(verdicts.get(cohort)) for cohort in chosen})

    return check


def _result(verdict: Verdict | None) -> dg.AssetCheckResult:
    """A verdict as Dagster shows it. What was not published was not looked at, which is no success."""
    if verdict is None:
        words = "never published, or withdrawn: there is nothing to judge"
        return dg.AssetCheckResult(passed=False, severity=dg.AssetCheckSeverity.WARN, description=words)
    failed = [outcome for outcome in verdict.outcomes if not outcome.holds]
    return dg.AssetCheckResult(
        passed=not failed,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(outcome.words for outcome in failed) or None,
        metadata={
            "rows": verdict.rows_count,
            "rules": markdown_table(verdict.table()),
            "expected": {outcome.rule.name: outcome.rule.expected for outcome in verdict.outcomes},
            "observed": {outcome.rule.name: outcome.observed for outcome in verdict.outcomes},
            **({"data_docs": dg.MetadataValue.path(verdict.page)} if verdict.page else {}),
        },
    )


quality_checks = [_check(suite) for suite in SUITES.values()]
