"""How many requests a piece of work has sent, without knowing who sends them.

The HTTP client counts each one, retries and redirects too; whoever starts the work reads the count.
Threads that are started by `flows.workers` count for who started them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class Tally:
    """A count that several threads add to."""

    def __init__(self) -> None:
        self.count = 0
        self._lock = threading.Lock()

    def add(self) -> None:
        with self._lock:
            self.count += 1


_tally: ContextVar[Tally | None] = ContextVar("tally", default=None)


@contextmanager
def requests_tally() -> Iterator[Tally]:
    """Count what is sent while the block runs."""
    tally = Tally()
    token = _tally.set(tally)
    try:
        yield tally
    finally:
        _tally.reset(token)


def count_request() -> None:
    """One more request is sent."""
    tally = _tally.get()
    if tally is not None:
        tally.add()
