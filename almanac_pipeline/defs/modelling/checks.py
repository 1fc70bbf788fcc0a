"""The audits of a cohort as asset checks: what was expected, what was observed."""

import dagster as dg

from almanac_pipeline.defs.partitioned import cohorts_of_run
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
    @dg.asset_check(asset=AUDITS, name=rule, description=description, partitions_def=cohorts)
    def check(context: dg.AssetCheckExecutionContext, almanac: Almanac) -> dg.AssetCheckResult:
        with final_errors(), connect_to(almanac.database_url) as connection:
            found = {
                slug: audit
                for slug in cohorts_of_run(context.op_execution_context.run, context.instance)
                for audit in audits(connection, get_cohort(connection, slug).cohort_id)
                if audit.rule == rule
            }
        failed = [slug for slug, audit in found.items() if not audit.passed]
        blocking = any(audit.blocking for audit in found.values())
        return dg.AssetCheckResult(
            passed=bool(found) and not failed,
            severity=dg.AssetCheckSeverity.ERROR if blocking else dg.AssetCheckSeverity.WARN,
            metadata=_numbers(found) | {slug: audit.detail for slug, audit in found.items()},
        )

    return check


def _numbers(found: dict[str, Audit]) -> dict[str, float]:
    """Expected and observed as numbers that Dagster plots; for one cohort only, as in most runs."""
    if len(found) != 1:
        return {}
    (audit,) = found.values()
    pairs = {"expected": audit.expected, "observed": audit.observed}
    return {name: float(value) for name, value in pairs.items() if value is not None}


audit_checks = [_check(rule, description) for rule, description in RULES.items()]
