"""The audits of a cohort as asset checks: what was expected, what was observed."""

from collections.abc import Iterable, Iterator
from typing import Any

import dagster as dg

from almanac_pipeline.defs.partitioned import cohorts_of_run, evaluations
from almanac_pipeline.defs.resources import Almanac, final_errors
from almanac_pipeline.partitions import cohorts
from almanac_pipeline.warehouse.cohorts import get_cohort
from almanac_pipeline.warehouse.connection import connect_to
from almanac_pipeline.warehouse.publications import Audit, audits

AUDITS = dg.AssetKey(["intermediate", "cohort_audits"])

RULES = {
    "no_duplicate_member_film": "No member has two rows for one film, also not under two of its names.",
    "bucket_sums_equal_ratings": "The ten half-star buckets of every film add up to its raters.",
    "global_histogram_total": "Every global histogram adds up to the stated count within 1 %.",
    "coverage_tmdb_id": "99 % of the films have a TMDB id.",
    "coverage_rating": "99 % of the ratings that profiles state are known.",
    "coverage_like_flag": "99 % of the likes that profiles state are known.",
}


def _check(rule: str, description: str) -> dg.AssetChecksDefinition:
    key = dg.AssetCheckKey(AUDITS, rule)

    @dg.asset_check(asset=AUDITS, name=rule, description=description, partitions_def=cohorts)
    def check(context: dg.AssetCheckExecutionContext, almanac: Almanac) -> Iterator[Any]:
        chosen = cohorts_of_run(context.op_execution_context.run, context.instance)
        with final_errors(), connect_to(almanac.database_url) as connection:
            results = {
                slug: _result(audits(connection, get_cohort(connection, slug).cohort_id), rule)
                for slug in chosen
            }
        yield from evaluations(key, results)

    return check


def _result(outcomes: Iterable[Audit], rule: str) -> dg.AssetCheckResult:
    """What the audit of a cohort found. One that was never made has not passed."""
    audit = next((each for each in outcomes if each.rule == rule), None)
    if audit is None:
        return dg.AssetCheckResult(passed=False, description="never audited")
    numbers = {"expected": audit.expected, "observed": audit.observed}
    return dg.AssetCheckResult(
        passed=audit.passed,
        severity=dg.AssetCheckSeverity.ERROR if audit.blocking else dg.AssetCheckSeverity.WARN,
        description=audit.detail,
        metadata={name: float(value) for name, value in numbers.items() if value is not None},
    )


audit_checks = [_check(rule, description) for rule, description in RULES.items()]
