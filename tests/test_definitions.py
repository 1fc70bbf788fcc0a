"""The Dagster definitions: the asset graph as it stands in asset_graph.txt, jobs, pools, no retries.

A change of the graph shows in review as a change of that file. Write it anew with
`.venv/bin/python -m tests.test_definitions`.
"""

from __future__ import annotations

import json
import re
import tomllib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml  # type: ignore[import-untyped]

from almanac_pipeline.cli.common import CHAINED_JOB
from almanac_pipeline.settings import PROJECT_ROOT

if TYPE_CHECKING:
    from dagster import Definitions
    from dagster._core.definitions.assets.graph.asset_graph import AssetGraph

SNAPSHOT = Path(__file__).with_name("asset_graph.txt")
GROUPS = {"ingestion", "viewings", "enrichment", "statistics", "almanac", "maintenance", "quality"}
BY_COMMANDS = ["cohort_almanac", "enrich", "scrape", "statistics", "viewings", "quality"]
COHORT_JOBS = [*BY_COMMANDS, "follow_graph", "incremental"]
JOBS = [*COHORT_JOBS, "import_exports", "maintenance", "nightly_maintenance"]

# What Dagster says about its own beta features is settled in almanac_pipeline/defs/__init__.py.
pytestmark = pytest.mark.filterwarnings("ignore")


def load() -> Definitions:
    """The definitions, from a manifest that is up to date."""
    from almanac_pipeline.warehouse import dbt

    dbt.prepare()
    from almanac_pipeline.definitions import defs

    return defs


@pytest.fixture(scope="module")
def defs() -> Definitions:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return load()


@pytest.fixture(scope="module")
def graph(defs: Definitions) -> AssetGraph:
    return defs.resolve_asset_graph()


def describe(defs: Definitions) -> Iterator[str]:
    """The lines of the snapshot."""
    graph = defs.resolve_asset_graph()
    checks: dict[str, list[str]] = {}
    for check in graph.asset_check_keys:
        checks.setdefault(check.asset_key.to_user_string(), []).append(check.name)
    for key in sorted(graph.get_all_asset_keys()):
        node, name = graph.get(key), key.to_user_string()
        partitions = node.partitions_def.name if node.partitions_def else "none"  # type: ignore[attr-defined]
        yield f"asset {name}"
        kinds = ", ".join(sorted(node.kinds))
        yield f"  group {node.group_name}, owners {', '.join(node.owners)}, kinds {kinds}"
        yield f"  pool {', '.join(sorted(node.pools or [])) or 'none'}, partitions {partitions}"
        yield from (
            f"  waits for {parent}" for parent in sorted(p.to_user_string() for p in node.parent_keys)
        )
        yield from (f"  check {check}" for check in sorted(checks.get(name, [])))
    for job in jobs(defs):
        steps = sorted(key.to_user_string() for key in job.asset_layer.selected_asset_keys)
        yield f"job {job.name}"
        yield from (f"  {step}" for step in steps)
    yield from (f"schedule {name}" for name in sorted(each.name for each in defs.schedules or []))
    yield from (f"sensor {name}" for name in sorted(each.name for each in defs.sensors or []))


def jobs(defs: Definitions) -> list[Any]:
    """Our jobs, resolved."""
    return [defs.resolve_job_def(name) for name in JOBS]


# -- the graph -----------------------------------------------------------------------------------


def test_the_asset_graph_is_the_one_that_was_reviewed(defs: Definitions) -> None:
    assert list(describe(defs)) == SNAPSHOT.read_text().splitlines(), (
        "The asset graph changed. If that is meant: .venv/bin/python -m tests.test_definitions"
    )


def test_every_asset_says_what_it_is_to_whom_it_belongs_and_what_makes_it(graph: AssetGraph) -> None:
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        assert len(key.path) == 2, key
        assert node.group_name in GROUPS, key
        assert node.owners, key
        assert node.kinds, key
        assert node.code_version, key
        assert re.match(r"[A-Z0-9].+\.", node.description or ""), f"{key}: {node.description!r}"


def test_every_check_says_what_it_holds(defs: Definitions, graph: AssetGraph) -> None:
    audits = [check for check in graph.asset_check_keys if check.name in rules_of_the_audit()]
    assert len(audits) == len(rules_of_the_audit())
    for check in audits:
        spec = graph.get_check_spec(check)
        assert re.fullmatch(r"[A-Z0-9].+\.", spec.description or ""), check
        # They say what they found; what gates the marts is the audit itself.
        assert not spec.blocking, check


def rules_of_the_audit() -> set[str]:
    """The rules that the dbt model of the audits computes."""
    model = PROJECT_ROOT / "dbt_project" / "models" / "intermediate" / "cohort_audits.sql"
    found = re.findall(r"'(\w+)' as rule|\('(\w+)', '\w+', '\w+', '", model.read_text())
    return {rule for pair in found for rule in pair if rule}


def test_every_rule_of_the_audit_is_a_check(graph: AssetGraph) -> None:
    assert len(rules_of_the_audit()) >= 6
    assert rules_of_the_audit() <= {check.name for check in graph.asset_check_keys}


def test_every_test_of_dbt_is_a_check(graph: AssetGraph) -> None:
    from almanac_pipeline.warehouse import dbt

    manifest = json.loads(dbt.MANIFEST.read_text())["nodes"]
    tests = {name for name, node in manifest.items() if node["resource_type"] == "test"}
    checks = {
        graph.get_check_spec(check).metadata.get("dagster_dbt/unique_id") for check in graph.asset_check_keys
    }
    assert tests <= checks


def test_every_raw_table_that_dbt_reads_is_written_by_an_asset(graph: AssetGraph) -> None:
    from almanac_pipeline.defs.modelling.translator import WRITERS

    sources = yaml.safe_load(
        (PROJECT_ROOT / "dbt_project" / "models" / "staging" / "raw" / "_raw__sources.yml").read_text()
    )["sources"]
    read = {f"{source['name']}.{table['name']}" for source in sources for table in source["tables"]}
    assets = {key.to_user_string() for key in graph.get_all_asset_keys()}
    assert read == set(WRITERS)
    assert {asset for writers in WRITERS.values() for asset in writers} <= assets


# -- jobs ----------------------------------------------------------------------------------------


def test_every_job_resolves_and_is_partitioned_by_cohort_and_by_nothing_else(defs: Definitions) -> None:
    for job in jobs(defs):
        partitions = job.partitions_def.name if job.partitions_def else None
        assert partitions == ("cohorts" if job.name in COHORT_JOBS else None), job.name
        assert job.description, job.name


def test_rankings_wait_for_no_film_and_every_asset_has_its_job(defs: Definitions, graph: AssetGraph) -> None:
    keys = {job.name: set(job.asset_layer.selected_asset_keys) for job in jobs(defs)}
    # An export belongs to a member, an answer of TMDB to a film; no ranking needs diaries and watchlists.
    others = ("enrich", "import_exports", "maintenance", "nightly_maintenance", "quality", "viewings")
    apart = [keys[name] for name in others]
    assert keys["cohort_almanac"].union(*apart) == set(graph.get_all_asset_keys())
    assert not any(keys["cohort_almanac"] & each for each in apart)
    assert keys["scrape"] | keys["statistics"] == keys["cohort_almanac"]
    # What is new is read without looking who belongs to the circle, and built by the sensor.
    assert keys["incremental"] == keys["scrape"] - keys["follow_graph"] | keys["enrich"]


def test_the_commands_start_jobs_that_exist() -> None:
    started = {
        job
        for file in (PROJECT_ROOT / "almanac_pipeline").rglob("*.py")
        for job in re.findall(r"\brun(?:_job)?\(\"(\w+)\"", file.read_text())
    }
    assert started | {CHAINED_JOB} == set(BY_COMMANDS)


@pytest.mark.parametrize(
    ("name", "started"),
    [
        ("inbox", ["import_exports"]),
        ("discovery", []),
        ("first_builds", ["cohort_almanac"]),
        ("chain", ["enrich", "statistics"]),
        ("changes", ["statistics"]),
    ],
)
def test_sensors_run_from_the_start(defs: Definitions, name: str, started: list[str]) -> None:
    from dagster import DefaultSensorStatus

    sensor = defs.resolve_sensor_def(name)
    assert sensor.default_status == DefaultSensorStatus.RUNNING
    assert [target.job_name for target in sensor.targets] == started


def test_schedules_run_from_the_start_at_the_times_that_status_shows(defs: Definitions) -> None:
    from dagster import DefaultScheduleStatus

    from almanac_pipeline.schedules import SCHEDULES

    assert {(each.name, each.cron_schedule, each.execution_timezone) for each in defs.schedules or []} == {
        (schedule.name, schedule.cron, "UTC") for schedule in SCHEDULES
    }
    assert {each.default_status for each in defs.schedules or []} == {DefaultScheduleStatus.RUNNING}


def test_no_schedule_reads_everything_again(defs: Definitions) -> None:
    for schedule in defs.schedules or []:
        tags = defs.resolve_job_def(schedule.job_name).tags
        assert "almanac/mode" not in tags, schedule.name


def test_steps_are_tried_again_three_times_at_most_and_runs_only_if_their_process_died(
    defs: Definitions, graph: AssetGraph
) -> None:
    for assets in graph.assets_defs:
        assert assets.op.retry_policy is None, assets.op.name
    for job in jobs(defs):
        assert job.op_retry_policy is not None, job.name
        assert job.op_retry_policy.max_retries == 3, job.name
        assert job.op_retry_policy.backoff, job.name
        assert job.tags["dagster/retry_on_asset_or_op_failure"] == "false", job.name
        assert "dagster/max_retries" not in job.tags, job.name
    retries = yaml.safe_load((PROJECT_ROOT / "dagster.yaml").read_text())["run_retries"]
    assert retries == {"enabled": True, "max_retries": 3, "retry_on_asset_or_op_failure": False}


def test_steps_share_one_process(defs: Definitions) -> None:
    assert {job.executor_def.name for job in jobs(defs)} == {"in_process"}


# -- pools ---------------------------------------------------------------------------------------


def test_every_pool_has_a_limit_and_every_limit_a_pool(graph: AssetGraph) -> None:
    from almanac_pipeline.instance import POOL_LIMITS

    pools = {assets.op.pool for assets in graph.assets_defs if assets.op.pool}
    assert pools == set(POOL_LIMITS)
    assert POOL_LIMITS["dbt"] == 1


def test_whatever_asks_the_outside_or_runs_dbt_waits_in_a_pool(graph: AssetGraph) -> None:
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        asks = node.group_name in ("ingestion", "viewings", "enrichment")
        assert bool(node.pools) == (asks or "dbt" in node.kinds), key


# -- files that Dagster reads ----------------------------------------------------------------------


def test_workspace_and_project_name_the_same_location() -> None:
    project = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text())["tool"]["dg"]["project"]
    [entry] = yaml.safe_load((PROJECT_ROOT / "workspace.yaml").read_text())["load_from"]
    assert entry["python_module"] == {
        "module_name": project["code_location_target_module"],
        "location_name": project["code_location_name"],
    }


def test_dagsters_file_names_classes_of_ours_that_exist() -> None:
    import importlib

    config = yaml.safe_load((PROJECT_ROOT / "dagster.yaml").read_text())
    for entry in (config["storage"]["custom"], config["compute_logs"]):
        assert hasattr(importlib.import_module(entry["module"]), entry["class"])
    assert config["telemetry"] == config["nux"] == {"enabled": False}
    assert config["run_monitoring"]["free_slots_after_run_end_seconds"] > 0


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    SNAPSHOT.write_text("".join(f"{line}\n" for line in describe(load())))
