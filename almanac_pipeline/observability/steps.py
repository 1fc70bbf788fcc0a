"""What is noted around every step of a run: its log lines, its span, the memory it took."""

from __future__ import annotations

import functools
import logging
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from almanac_pipeline.errors import WarehouseError
from almanac_pipeline.observability import logs, traces
from almanac_pipeline.warehouse import telemetry
from almanac_pipeline.warehouse.connection import connect_to, database_failures

logger = logging.getLogger(__name__)

# Linux counts in KiB, macOS in bytes.
_RSS_UNIT_BYTES = 1 if sys.platform == "darwin" else 1024


@contextmanager
def observed(database_url: str, *, run_id: str, task: str, cohort: str | None) -> Iterator[None]:
    """Note how the block fares as a step of a run. What cannot be noted does not end it."""
    key = None
    with suppress(WarehouseError):
        key = _member_key(database_url)
    about = {"run_id": run_id, "task": task, "cohort": cohort, "member_key": key}
    started = time.monotonic()
    with logs.bound(**about), traces.flushed(), traces.step(run_id, task, cohort):
        logger.info("step begun")
        try:
            yield
        except BaseException as error:
            seconds = time.monotonic() - started
            logger.error(
                "step failed after %.1f s: %s", seconds, logs.error_words(error), extra={"seconds": seconds}
            )
            raise
        else:
            seconds = time.monotonic() - started
            logger.info("step finished in %.1f s", seconds, extra={"seconds": seconds})
        finally:
            with suppress(WarehouseError), database_failures(), connect_to(database_url) as connection:
                telemetry.record_memory(connection, run_id, peak_memory_bytes())


def record_runs(database_url: str) -> None:
    """Bring the telemetry of all runs up to date, and trace those that have ended since.

    Raises:
        WarehouseError: the database cannot be reached, or failed.
    """
    with database_failures(), connect_to(database_url) as connection:
        ended = telemetry.record_runs(connection)
    traces.runs(ended)


def peak_memory_bytes() -> int:
    """The most memory that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT_BYTES


@functools.cache
def _member_key(database_url: str) -> bytes:
    with database_failures(), connect_to(database_url) as connection:
        return telemetry.log_salt(connection)
