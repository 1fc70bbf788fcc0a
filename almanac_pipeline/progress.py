"""How long work says where it is, without knowing who listens.

A flow wraps its loop in `track`; the terminal and Dagster each install a reporter. Without
one, nothing is said. Safe to advance from several threads.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Reporter(Protocol):
    """Receives progress; called under a lock, so it need not be thread-safe."""

    def started(self, task: str, total: int | None) -> None: ...

    def advanced(self, task: str, done: int, total: int | None) -> None: ...

    def finished(self, task: str, done: int) -> None: ...


class Progress:
    """The handle that `track` yields."""

    def __init__(self, task: str, total: int | None) -> None:
        self.task, self.total, self.done = task, total, 0
        self._lock = threading.Lock()

    def advance(self, steps: int = 1) -> None:
        """Say that `steps` more units are done."""
        with self._lock:
            self.done += steps
            for reporter in _reporters:
                reporter.advanced(self.task, self.done, self.total)


_reporters: list[Reporter] = []


@contextmanager
def reporting(reporter: Reporter) -> Iterator[None]:
    """Have `reporter` hear of all progress in this process while the block runs."""
    _reporters.append(reporter)
    try:
        yield
    finally:
        _reporters.remove(reporter)


@contextmanager
def track(task: str, total: int | None = None) -> Iterator[Progress]:
    """Announce a task of `total` units (None: unknown) and yield its handle."""
    progress = Progress(task, total)
    for reporter in _reporters:
        reporter.started(task, total)
    try:
        yield progress
    finally:
        for reporter in _reporters:
            reporter.finished(task, progress.done)
