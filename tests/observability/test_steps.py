"""A run that Dagster executes leaves log lines, telemetry and a trace, and none of them names anybody."""

import json
import logging
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import psycopg
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from almanac_pipeline.defs.resources import Almanac, final_errors
from almanac_pipeline.errors import NotFoundError
from almanac_pipeline.http.client import PoliteClient
from almanac_pipeline.observability import logs, traces
from almanac_pipeline.settings import get_settings
from almanac_pipeline.warehouse.telemetry import EndedRun
from tests.conftest import new_database
from tests.http.fake_site import Answer, FakeSite
from tests.http.fake_site import site as site

# Dagster warns of itself while it executes.
pytestmark = pytest.mark.filterwarnings("ignore")

MEMBER = "qqxann"


@pytest.fixture(scope="module")
def exporter() -> InMemorySpanExporter:
    """What keeps the spans of this process from now on: OpenTelemetry lets nobody take that back."""
    found = InMemorySpanExporter()
    traces.install(SimpleSpanProcessor(found))
    return found


@pytest.fixture
def spans(exporter: InMemorySpanExporter) -> InMemorySpanExporter:
    exporter.clear()
    return exporter


@pytest.fixture
def home(
    server_url: str,
    ready_template: str,
    fresh_logging: logging.Logger,
    clean_settings: None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Iterator[str]:
    """The URL of the database that the process's settings name."""
    logs.configure(get_settings)
    with new_database(server_url, ready_template) as url:
        monkeypatch.setenv("ALMANAC_HOME", str(tmp_path))
        monkeypatch.setenv("ALMANAC_DATABASE_URL", url)
        get_settings.cache_clear()
        yield url


def reads(site: FakeSite) -> dg.AssetsDefinition:
    @dg.asset
    def pages(context: dg.AssetExecutionContext, almanac: Almanac) -> None:
        settings = almanac.settings
        with (
            final_errors(),
            logs.bound(user_id=17),
            PoliteClient.open(
                settings, almanac.database_url, context.run.run_id, backoff_seconds=0.01
            ) as client,
        ):
            client.get(f"{site.url}/{MEMBER}/films/", path_class="grid")
            raise NotFoundError("The film is gone.")

    return pages


def test_a_step_that_fails_leaves_its_lines_its_spans_and_its_memory(
    home: str, site: FakeSite, spans: InMemorySpanExporter, tmp_path: Path
) -> None:
    site.script(f"/{MEMBER}/films/", Answer(status=503), Answer())
    run = dg.materialize(
        [reads(site)],
        resources={"almanac": Almanac()},
        tags={"almanac/cohorts": "friends,critics"},
        raise_on_error=False,
    )
    assert not run.success
    [path] = (tmp_path / "logs").glob("*.jsonl")
    begun, retried, failed = (json.loads(line) for line in path.read_text().splitlines())
    assert {line["run_id"] for line in (begun, retried, failed)} == {run.run_id}
    assert (begun["message"], begun["task"], begun["cohort"]) == ("step begun", "pages", "2 cohorts")
    assert "member" not in begun
    assert (retried["path_class"], len(retried["member"])) == ("grid", logs.HASH_DIGITS)
    assert failed["message"].endswith("NotFoundError: The film is gone.")
    robots, first, second, step = spans.get_finished_spans()
    assert [span.name for span in (robots, first, second)] == ["GET robots", "GET grid", "GET grid"]
    assert {span.parent.span_id for span in (robots, first, second) if span.parent} == {step.context.span_id}
    assert [span.attributes["http.response.status_code"] for span in (first, second)] == [503, 200]  # type: ignore[index]
    assert (step.name, step.status.is_ok) == ("pages", False)
    told = path.read_text() + "".join(span.to_json() for span in spans.get_finished_spans())
    assert MEMBER not in told
    with psycopg.connect(home) as connection:
        rows = connection.execute("select run_id, peak_memory_bytes > 10000000 from ops.run_telemetry")
        assert rows.fetchall() == [(run.run_id, True)]


def test_the_span_of_a_run_is_the_one_that_its_steps_hang_below(spans: InMemorySpanExporter) -> None:
    run_id = "0d1c2b3a-0000-4000-8000-00000000000f"
    with traces.step(run_id, "raw__ratings", "friends"):
        pass
    at = datetime(2026, 1, 1, tzinfo=UTC)
    traces.runs([EndedRun(run_id, "scrape", "friends", "failure", at, at.replace(minute=1), "raw__ratings")])
    step, run = spans.get_finished_spans()
    assert run.parent is None
    assert ids(run) == (step.parent.trace_id, step.parent.span_id) if step.parent else False
    assert run.context.trace_id == int(run_id.replace("-", ""), 16)
    assert (run.end_time or 0) - (run.start_time or 0) == 60_000_000_000
    assert not run.status.is_ok


def ids(span: ReadableSpan) -> tuple[int, int]:
    return span.context.trace_id, span.context.span_id


def test_traces_are_sent_only_where_the_standard_variables_say(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    installed: list[object] = []
    monkeypatch.setattr(traces, "install", installed.append)
    monkeypatch.setattr(traces, "_is_configured", False)
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", raising=False)
    traces.configure()
    assert installed == []
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    traces.configure()
    traces.configure()
    [processor] = installed
    processor.shutdown()  # type: ignore[attr-defined]


def test_an_endpoint_that_does_not_answer_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    answers, asked = threading.Event(), []

    class Waiting:
        def force_flush(self) -> None:
            asked.append(1)
            answers.wait()

    monkeypatch.setattr(traces.trace, "get_tracer_provider", Waiting)
    monkeypatch.setattr(traces, "FLUSH_SECONDS", 0.01)
    for _ in range(3):
        with traces.flushed():
            pass
    assert len(asked) == 1
    answers.set()
