"""An enrichment in a process of its own, to be killed: -m tests.flows.enrich_once DATABASE SITE COHORT."""

from __future__ import annotations

import sys

from bench.stand_in import enrich, settings_for

if __name__ == "__main__":
    database_url, site_url, cohort = sys.argv[1:]
    enrich(database_url, settings_for(site_url, http_workers=4), cohort)
