"""Threads for work that waits for the outside: bounded, and stopped at the first fatal error."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import TypeVar

from almanac_pipeline.errors import AlmanacError, PermanentError, RetriableError

Item = TypeVar("Item")
Result = TypeVar("Result")


class StoppedError(AlmanacError):
    """Another thread met a fatal error, so this one gave up between two pages."""


def in_parallel(
    work: Callable[[Item, threading.Event], Result], items: Sequence[Item], workers: int
) -> Iterator[tuple[Item, Result]]:
    """Do `work(item, stopping)` for every item on threads; yield (item, result) as they finish.

    The first exception ends everything: nothing new is begun, `stopping` is set so that long
    work can end early, what is under way is waited for, and the exception is raised here.
    """
    stopping = threading.Event()
    waiting = iter(items)
    running: dict[Future[Result], Item] = {}
    executor = ThreadPoolExecutor(max_workers=workers)
    try:
        while True:
            for item in islice(waiting, 2 * workers - len(running)):
                running[executor.submit(work, item, stopping)] = item
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                item = running.pop(future)
                yield item, future.result()
    finally:
        stopping.set()
        executor.shutdown(wait=True, cancel_futures=True)


def require_some_success(what: str, attempted: int, errors: Sequence[AlmanacError]) -> None:
    """Raise if every single attempt failed; some failures are a number in the report.

    Raises:
        RetriableError: all failed, and one of them may succeed later.
        PermanentError: all failed for good.
    """
    if not attempted or len(errors) < attempted:
        return
    kind = RetriableError if any(error.retriable for error in errors) else PermanentError
    raise kind(f"None of the {attempted} {what} could be read. The first reason: {errors[0]}")
