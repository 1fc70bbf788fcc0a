"""The daemon's part in alerts: sensors that look and tell, tick by tick, and how old an asset may be."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from almanac_pipeline.settings import get_settings
from almanac_pipeline.warehouse.alert_rules import RULES
from tests.conftest import new_database
from tests.sinks import Slack, slack
from tests.test_definitions import load

if TYPE_CHECKING:
    from dagster import DagsterInstance

# What Dagster says about its own beta features is settled in almanac_pipeline/defs/__init__.py.
pytestmark = pytest.mark.filterwarnings("ignore")

POLICIES = {
    "raw/cohort_members": timedelta(days=9),
    "raw/ratings": timedelta(hours=26),
    "raw/likes": timedelta(hours=26),
    "raw/film_metadata": timedelta(days=33),
    "raw/film_histograms": timedelta(days=33),
}


@pytest.fixture
def webhook(
    server_url: str,
    ready_template: str,
    clean_settings: None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Iterator[Slack]:
    """A webhook that is told of a database of its own, which is empty."""
    with new_database(server_url, ready_template) as url, slack() as server:
        monkeypatch.setenv("ALMANAC_HOME", str(tmp_path))
        monkeypatch.setenv("ALMANAC_DATABASE_URL", url)
        monkeypatch.setenv("ALMANAC_ALERT_WEBHOOK", server.url)
        monkeypatch.setenv("ALMANAC_DISK_ALERT_GIGABYTES", "0")
        monkeypatch.setenv("DAGSTER_HOME", "set by the instance below, and put back after the test")
        get_settings.cache_clear()
        yield server


@pytest.fixture
def instance(webhook: Slack) -> Iterator[DagsterInstance]:
    """Dagster's own rows in that database, as the daemon writes them."""
    from dagster import DagsterInstance

    from almanac_pipeline.instance import prepare_dagster_home

    prepare_dagster_home(get_settings())
    with DagsterInstance.get() as opened:
        yield opened


def tick(name: str, instance: DagsterInstance) -> str:
    """What the sensor of this name says."""
    import dagster as dg

    from almanac_pipeline.defs.alerting import sensors
    from almanac_pipeline.defs.resources import Almanac

    context = dg.build_sensor_context(instance=instance, resources={"almanac": Almanac()})
    answer: Any = getattr(sensors, name)(context)
    return str(answer.skip_message)


def fail_run(instance: DagsterInstance) -> None:
    """A run fails, and the sensor of failed runs sees it."""
    import dagster as dg
    from dagster._core.test_utils import create_run_for_test

    from almanac_pipeline.defs.alerting.sensors import run_failures
    from almanac_pipeline.defs.resources import Almanac

    run = create_run_for_test(instance, job_name="scrape", status=dg.DagsterRunStatus.STARTED)
    event = instance.report_run_failed(run)
    run_failures(
        dg.build_run_status_sensor_context(
            sensor_name="run_failures",
            dagster_instance=instance,
            dagster_run=run,
            dagster_event=event,
            resources={"almanac": Almanac()},
        )
    )


def test_the_third_failed_run_within_ten_minutes_is_told_once(
    instance: DagsterInstance, webhook: Slack
) -> None:
    for _ in range(2):
        fail_run(instance)
    assert tick("alert_messages", instance) == "nothing new"
    fail_run(instance)
    assert tick("alert_messages", instance) == "webhook: 1 alerts"
    assert "3 runs failed within 10 minutes: scrape 3" in webhook.texts()[0]
    fail_run(instance)
    assert tick("alert_messages", instance) == "nothing new"
    with psycopg.connect(get_settings().database_url.get_secret_value(), autocommit=True) as connection:  # type: ignore[union-attr]
        connection.execute("update dagster.runs set end_time = end_time - 600")
    assert tick("surroundings", instance) == "0 open"
    assert tick("alert_messages", instance) == "webhook: 1 alerts"
    assert "resolved: runs: runs fail one after another" in webhook.texts()[0]


def test_a_failed_check_is_told_until_it_passes_and_a_warning_is_not(
    instance: DagsterInstance, webhook: Slack
) -> None:
    import dagster as dg

    def evaluate(passed: bool, severity: str) -> None:
        instance.report_runless_asset_event(
            dg.AssetCheckEvaluation(
                asset_key=dg.AssetKey(["raw", "ratings"]),
                check_name="drift",
                passed=passed,
                severity=dg.AssetCheckSeverity(severity),
                description="the mean moved by half a star",
            )
        )

    evaluate(False, "WARN")
    assert tick("check_failures", instance) == "0 open"
    evaluate(False, "ERROR")
    assert tick("check_failures", instance) == "1 open"
    tick("alert_messages", instance)
    assert (
        "critical: raw/ratings drift: a check that must pass has failed: the mean moved by half a star"
        in webhook.texts()[0]
    )
    evaluate(True, "ERROR")
    assert tick("check_failures", instance) == "0 open"


def test_a_cohort_that_nobody_reads_is_told_by_the_sensor_of_freshness(
    instance: DagsterInstance, webhook: Slack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALMANAC_LETTERBOXD_URL", "http://127.0.0.1:1")
    get_settings.cache_clear()
    with psycopg.connect(get_settings().database_url.get_secret_value(), autocommit=True) as connection:  # type: ignore[union-attr]
        connection.execute(
            "insert into raw.cohorts (slug, label, definition, created_at)"
            " values ('friends', 'Friends', '{}', now() - interval '25 hours')"
        )
    assert tick("freshness", instance) == "1 open"
    tick("alert_messages", instance)
    assert "friends: a cohort was not read and published for too long" in webhook.texts()[0]


def test_every_rule_has_a_sensor_that_looks_and_all_run_from_the_start() -> None:
    from dagster import DefaultSensorStatus

    from almanac_pipeline.defs.alerting import sensors

    looked_at = sensors.FAILURES + sensors.CHECKS + sensors.FRESHNESS + sensors.VOLUME + sensors.SURROUNDINGS
    assert sorted(looked_at) == sorted(RULES)
    defined = {sensor.name: sensor for sensor in load().sensors or []}
    for sensor in sensors.alerting:
        assert defined[sensor.name].default_status == DefaultSensorStatus.RUNNING, sensor.name


def test_the_ui_calls_assets_stale_after_their_cadence_and_the_daemon_judges(
    instance: DagsterInstance,
) -> None:
    graph = load().resolve_asset_graph()
    policies = {
        key.to_user_string(): graph.get(key).freshness_policy
        for key in graph.get_all_asset_keys()
        if graph.get(key).freshness_policy is not None
    }
    assert {name: policy.fail_window.to_timedelta() for name, policy in policies.items()} == POLICIES
    assert "FRESHNESS_DAEMON" in instance.get_required_daemon_types()
