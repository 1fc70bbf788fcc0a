"""The one Definitions object of the code location `almanac`."""

import dagster as dg

from almanac_pipeline.defs import jobs
from almanac_pipeline.defs.alerting.sensors import alerting
from almanac_pipeline.defs.automation import housekeeping, timetable
from almanac_pipeline.defs.automation.chain import chain
from almanac_pipeline.defs.automation.changes import changes
from almanac_pipeline.defs.automation.discovery import discovery, first_builds
from almanac_pipeline.defs.enrichment import assets as enrichment
from almanac_pipeline.defs.enrichment import maintenance
from almanac_pipeline.defs.enrichment.checks import coverage_checks
from almanac_pipeline.defs.ingestion import assets as ingestion
from almanac_pipeline.defs.ingestion import exports, sensors
from almanac_pipeline.defs.modelling import assets as modelling
from almanac_pipeline.defs.modelling.checks import audit_checks
from almanac_pipeline.defs.observability.sensors import run_telemetry
from almanac_pipeline.defs.publication import assets as publication
from almanac_pipeline.defs.quality import assets as quality
from almanac_pipeline.defs.quality.checks import quality_checks
from almanac_pipeline.defs.quality.sensors import published_cohorts
from almanac_pipeline.defs.resources import Almanac
from almanac_pipeline.executor import in_process
from almanac_pipeline.observability import logs, traces
from almanac_pipeline.settings import get_settings

# Here, because every process that executes steps or sensors begins by importing this.
logs.configure(get_settings)
traces.configure()

defs = dg.Definitions(
    assets=dg.load_assets_from_modules(
        [ingestion, exports, enrichment, maintenance, modelling, publication, quality, housekeeping]
    ),
    asset_checks=[*audit_checks, *coverage_checks, *quality_checks],
    jobs=[
        jobs.cohort_almanac,
        jobs.scrape,
        jobs.follow_graph,
        jobs.incremental,
        jobs.viewings,
        jobs.enrich,
        jobs.statistics,
        jobs.import_exports,
        jobs.maintenance,
        jobs.nightly_maintenance,
        jobs.quality,
    ],
    sensors=[
        sensors.inbox,
        discovery,
        first_builds,
        chain,
        changes,
        published_cohorts,
        run_telemetry,
        *alerting,
    ],
    schedules=timetable.timetable,
    resources={"almanac": Almanac()},
    executor=in_process,
)
