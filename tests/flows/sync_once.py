"""One sync in a process of its own, to be killed: python -m tests.flows.sync_once DATABASE SITE COHORT."""

from __future__ import annotations

import sys

from bench.stand_in import settings_for, sync

if __name__ == "__main__":
    database_url, site_url, cohort = sys.argv[1:]
    sync(database_url, settings_for(site_url, http_workers=4), cohort)
