"""How old an asset may be before the Dagster UI calls it stale.

A policy looks at the asset's last materialization, of whatever cohort; one cohort that is left behind is
the alert `stale_cohort`. What is materialized only when something changed has none: it may be old and right.
"""

from datetime import timedelta

import dagster as dg

# Each has two hours or days more than the cadence of its schedule, for as long as its runs may take.
DAILY = dg.FreshnessPolicy.time_window(warn_window=timedelta(hours=24), fail_window=timedelta(hours=26))
WEEKLY = dg.FreshnessPolicy.time_window(warn_window=timedelta(days=7), fail_window=timedelta(days=9))
MONTHLY = dg.FreshnessPolicy.time_window(warn_window=timedelta(days=31), fail_window=timedelta(days=33))
