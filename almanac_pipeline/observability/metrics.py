"""Serves /metrics for Prometheus: read from the database when it is asked for, so nothing is counted twice.

What is read stands in warehouse/telemetry.py; here is what only this process knows, and the HTTP server.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import get_args

import psycopg
from prometheus_client import CollectorRegistry, generate_latest, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from almanac_pipeline.errors import ConfigurationError, WarehouseError
from almanac_pipeline.settings import Settings
from almanac_pipeline.warehouse.alert_rules import GIGABYTE, Access, stale_cohorts
from almanac_pipeline.warehouse.alerts import AlertKind
from almanac_pipeline.warehouse.connection import connect_to, running_database_url
from almanac_pipeline.warehouse.telemetry import MEASURES, Measure, Series, read_measure

# Prometheus gives up after 10 s; a query that takes longer than this must not hold up the others.
QUERY_TIMEOUT_MILLISECONDS = 5_000
SLOW_MEASURE_SECONDS = 300.0

STALE = "almanac_cohorts_stale"
OWN_GAUGES = {
    STALE: "Active cohorts not read and published for too long, by the rule of the alert stale_cohort; also "
    "while no daemon looks.",
    "almanac_database_up": "1: the database answers; 0: it does not, and what it would tell is missing.",
    "almanac_collection_seconds": "How long it took to collect these numbers.",
    "almanac_collection_failures": "Metrics that could not be read this time.",
    "almanac_disk_free_bytes": "Free space where the home folder is, and with it the embedded database.",
    "almanac_disk_size_bytes": "Size of that disk.",
    "almanac_disk_wanted_bytes": "Less free space than this is an alert: ALMANAC_DISK_ALERT_GIGABYTES.",
}


class AlmanacCollector(Collector):
    """Everything that is measured, read anew each time; one reader at a time."""

    def __init__(
        self, settings: Settings, access: Access, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings = settings
        self._access = access
        self._clock = clock
        self._lock = threading.Lock()
        self._slow: dict[str, tuple[float, Metric]] = {}
        """{metric: (read at, what was read)}"""

    def collect(self) -> Iterator[Metric]:
        with self._lock:
            started = time.perf_counter()
            try:
                families, failures = self._read_database()
                is_up = True
            except WarehouseError:
                families, failures, is_up = [], 0, False
            disk = shutil.disk_usage(_existing(self._settings))
            values = {
                "almanac_database_up": float(is_up),
                "almanac_collection_seconds": time.perf_counter() - started,
                "almanac_collection_failures": failures,
                "almanac_disk_free_bytes": disk.free,
                "almanac_disk_size_bytes": disk.total,
                "almanac_disk_wanted_bytes": self._settings.disk_alert_gigabytes * GIGABYTE,
            }
        yield from families
        for name, value in values.items():
            yield GaugeMetricFamily(name, OWN_GAUGES[name], value=value)

    def _read_database(self) -> tuple[list[Metric], int]:
        """The families, and how many could not be read.

        Raises:
            WarehouseError: the database does not run or cannot be reached.
        """
        url = running_database_url(self._settings)
        if url is None:
            raise WarehouseError("The database does not run: `almanac up` starts it.")
        families, failures = [], 0
        with connect_to(url, autocommit=True) as connection:
            connection.execute(
                "select set_config('statement_timeout', %s, false)", [str(QUERY_TIMEOUT_MILLISECONDS)]
            )
            for measure in MEASURES:
                try:
                    families.append(self._family(connection, measure))
                except psycopg.Error:
                    failures += 1
            try:
                families.append(self._kept(STALE, lambda: self._stale(connection)))
            except psycopg.Error:
                failures += 1
        return families, failures

    def _family(self, connection: psycopg.Connection, measure: Measure) -> Metric:
        def read() -> Metric:
            return _family(measure, read_measure(connection, measure, get_args(AlertKind)))

        return self._kept(measure.name, read) if measure.is_slow else read()

    def _stale(self, connection: psycopg.Connection) -> Metric:
        findings = stale_cohorts(connection, self._settings, self._access)
        return GaugeMetricFamily(STALE, OWN_GAUGES[STALE], value=sum(1 for _ in findings))

    def _kept(self, name: str, read: Callable[[], Metric]) -> Metric:
        """What was read of a slow metric, read again only after a while."""
        read_at, family = self._slow.get(name, (-SLOW_MEASURE_SECONDS, None))
        if family is None or self._clock() - read_at >= SLOW_MEASURE_SECONDS:
            family = read()
            self._slow[name] = (self._clock(), family)
        return family


def registry(settings: Settings, access: Access) -> CollectorRegistry:
    """A registry with the almanac's metrics and nothing of this process."""
    found = CollectorRegistry()
    found.register(AlmanacCollector(settings, access))
    return found


def exposition(settings: Settings, access: Access) -> str:
    """What /metrics answers."""
    return generate_latest(registry(settings, access)).decode()


def serve(settings: Settings, access: Access, *, host: str, port: int) -> None:
    """Answer /metrics on `host`:`port` until the process is told to end.

    Raises:
        ConfigurationError: the port is taken, or the address is none of this machine.
    """
    try:
        _, thread = start_http_server(port, addr=host, registry=registry(settings, access))
    except OSError as error:
        raise ConfigurationError(
            f"/metrics cannot be served on {host}:{port}: {error.strerror}. Choose another --port, or set "
            "ALMANAC_METRICS_PORT."
        ) from None
    with suppress(KeyboardInterrupt):
        thread.join()


def _family(measure: Measure, series: list[Series]) -> Metric:
    kind = CounterMetricFamily if measure.kind == "counter" else GaugeMetricFamily
    family = kind(measure.name, measure.description, labels=measure.labels)
    for labels, value in series:
        family.add_metric(labels, value)
    return family


def _existing(settings: Settings) -> str:
    """The home folder, or the nearest folder above it that there is."""
    return str(next(path for path in (settings.home, *settings.home.parents) if path.exists()))
