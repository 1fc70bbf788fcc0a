"""Dagster objects and nothing else: assets, checks, jobs and resources, one folder per domain."""

import warnings

import dagster as dg

# Used knowingly, on an exact pin: backfill policies (beta) and partitioned checks (preview).
warnings.filterwarnings("ignore", category=dg.BetaWarning, module="dagster")
warnings.filterwarnings("ignore", category=dg.PreviewWarning, module="dagster")
# Meant: reading is one run per cohort, building is one run for many; a job with both takes the former.
warnings.filterwarnings("ignore", message="Asset job .* varying BackfillPolicies", category=UserWarning)
