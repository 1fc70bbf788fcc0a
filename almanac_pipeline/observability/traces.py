"""OpenTelemetry traces: a trace per run, in it a span per step, in that one per request.

Sent nowhere unless the standard variables name an endpoint (OTEL_EXPORTER_OTLP_ENDPOINT and the like, which
the SDK reads itself). A span of a run is made when its end is recorded, so a killed one has it, too. No span
holds a URL, a member or the words of a foreign exception.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, Status, StatusCode, TraceFlags

from almanac_pipeline.errors import AlmanacError
from almanac_pipeline.settings import traces_are_wanted
from almanac_pipeline.warehouse.telemetry import EndedRun

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor

FLUSH_SECONDS = 1.0

_tracer = trace.get_tracer("almanac_pipeline")
_is_configured = False
_sending: threading.Thread | None = None
_of_run: ContextVar[SpanContext | None] = ContextVar("ids of the run's own span", default=None)


def configure() -> None:
    """Send spans to the endpoint that the environment names, if it names one; twice is as good as once."""
    global _is_configured
    if _is_configured or not traces_are_wanted():
        return
    _is_configured = True
    # The SDK takes half a second to import, for those who want it.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    # Of an endpoint that does not answer, one line per batch says enough.
    logging.getLogger("opentelemetry").setLevel(logging.ERROR)
    install(BatchSpanProcessor(OTLPSpanExporter()))


def install(processor: SpanProcessor) -> None:
    """Hand the spans of this process to `processor` from now on."""
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

    class RunIds(RandomIdGenerator):
        """Random, but for the span of a run, which other processes have hung their spans on before."""

        def generate_trace_id(self) -> int:
            own = _of_run.get()
            return own.trace_id if own else super().generate_trace_id()

        def generate_span_id(self) -> int:
            own = _of_run.get()
            return own.span_id if own else super().generate_span_id()

    resource = Resource.create()  # as OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say
    if str(resource.attributes["service.name"]).startswith("unknown_service"):
        resource = resource.merge(Resource({"service.name": "cohort-almanac"}))
    provider = TracerProvider(resource=resource, id_generator=RunIds())
    provider.add_span_processor(processor)
    trace.set_tracer_provider(provider)


@contextmanager
def step(run_id: str, name: str, cohort: str | None) -> Iterator[None]:
    """A span for a step of a run while the block runs, below the span that the run will have."""
    parent = trace.set_span_in_context(NonRecordingSpan(_ids(run_id)))
    attributes = {"almanac.run_id": run_id} | ({"almanac.cohort": cohort} if cohort else {})
    with _tracer.start_as_current_span(
        name, parent, attributes=attributes, record_exception=False, set_status_on_exception=False
    ) as span:
        try:
            yield
        except BaseException as error:
            said = str(error) if isinstance(error, AlmanacError) else type(error).__name__
            span.set_status(Status(StatusCode.ERROR, said))
            raise


def runs(ended: Iterable[EndedRun]) -> None:
    """A span for each run that has ended."""
    with flushed():
        for run in ended:
            if run.started_at is not None and run.finished_at is not None:
                _run(run, run.started_at, run.finished_at)


@contextmanager
def flushed() -> Iterator[None]:
    """Send what waits once the block has ended: Dagster ends its run workers without a word."""
    try:
        yield
    finally:
        _flush()


def _flush() -> None:
    """Wait a second at most: an endpoint that does not answer keeps the SDK for seven, time-out or not."""
    global _sending
    provider = trace.get_tracer_provider()
    if not hasattr(provider, "force_flush") or (_sending is not None and _sending.is_alive()):
        return
    _sending = threading.Thread(target=provider.force_flush, daemon=True)
    _sending.start()
    _sending.join(FLUSH_SECONDS)


def _run(run: EndedRun, started_at: datetime, finished_at: datetime) -> None:
    token = _of_run.set(_ids(run.run_id))
    try:
        span = _tracer.start_span(
            run.job,
            trace.set_span_in_context(trace.INVALID_SPAN),
            attributes={"almanac.run_id": run.run_id, "almanac.status": run.status}
            | ({"almanac.cohort": run.cohort} if run.cohort else {}),
            start_time=_nanoseconds(started_at),
        )
    finally:
        _of_run.reset(token)
    if run.status != "success":
        span.set_status(Status(StatusCode.ERROR, run.failed_step))
    span.end(_nanoseconds(finished_at))


def _ids(run_id: str) -> SpanContext:
    """The ids of a run's span, the same in every process: the run's own id, and its first half."""
    number = UUID(run_id).int
    return SpanContext(number, number >> 64, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))


def _nanoseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1e9)
