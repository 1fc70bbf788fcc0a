"""Threads for work that waits for the outside: bounded, and stopped at the first fatal error."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from almanac_pipeline.errors import (
    AlmanacError,
    LayoutChangedError,
    LayoutDriftError,
    PermanentError,
    RetriableError,
    WrongPageError,
)

Item = TypeVar("Item")
Result = TypeVar("Result")

BATCH_SIZE = 50
# At a polite pace fifty films take minutes, and what is not committed is asked for again after a kill.
BATCH_SECONDS = 5.0
# TMDB is asked for so many titles at once at most.
MAX_AT_ONCE = 10
# So many members whose pages cannot be understood are no coincidence.
MAX_ODD_IN_A_ROW = 3
# Of fewer members all may really be gone.
GONE_DOUBTED_FROM = 4


class StoppedError(AlmanacError):
    """Another thread met a fatal error, so this one gave up between two pages."""


def in_parallel(
    work: Callable[[Item, threading.Event], Result], items: Iterable[Item], workers: int
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
                running[executor.submit(copy_context().run, work, item, stopping)] = item
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                item = running.pop(future)
                yield item, future.result()
    finally:
        stopping.set()
        executor.shutdown(wait=True, cancel_futures=True)


def in_batches(
    work: Callable[[Item, threading.Event], Result],
    items: Sequence[Item],
    workers: int,
    commit: Callable[[Sequence[Result]], None],
) -> list[Result]:
    """Like `in_parallel`, with the results handed to `commit` a batch at a time; returns them all.

    A batch is full after 50 results or 5 seconds. What is finished is committed even if an
    exception ends the work.
    """
    everything: list[Result] = []
    batch: list[Result] = []
    last_commit = time.monotonic()

    def flush() -> None:
        if batch:
            commit(batch)
            everything.extend(batch)
            batch.clear()

    try:
        for _, result in in_parallel(work, items, workers):
            batch.append(result)
            if len(batch) == BATCH_SIZE or time.monotonic() - last_commit > BATCH_SECONDS:
                flush()
                last_commit = time.monotonic()
    finally:
        flush()
    return everything


@dataclass(slots=True)
class LayoutWatch:
    """Ends a run in which one member after the other shows pages that are not what they were, or is gone."""

    guard_share: float
    """The share of members, of those who were there, that must still be there."""
    in_a_row: int = 0
    seen_count: int = 0
    gone_count: int = 0

    def saw(self, errors: Sequence[AlmanacError], *, has_success: bool, is_gone: bool) -> None:
        """Take note of what came of one member; `is_gone` if they were there before and are not now.

        Raises:
            LayoutDriftError: this was the third, without a member in between who could be read; or the
                fourth who is gone, without anybody who is not.
        """
        self.seen_count += bool(errors or has_success)
        self.gone_count += is_gone
        if self.gone_count == self.seen_count:
            self.ended()
        odd = [error for error in errors if isinstance(error, (LayoutChangedError, WrongPageError))]
        if odd:
            self.in_a_row += 1
        elif has_success:
            self.in_a_row = 0
        if odd and self.in_a_row >= MAX_ODD_IN_A_ROW:
            raise LayoutDriftError(
                f"The pages of {self.in_a_row} members in a row are not what was asked for, or have changed; "
                f"nothing more is read. The last reason: {odd[0]}"
            )

    def ended(self) -> None:
        """Judge how many members are gone, which only all of them tell: the first few may well be.

        Raises:
            LayoutDriftError: more than can be.
        """
        left = self.seen_count - self.gone_count
        if self.seen_count >= GONE_DOUBTED_FROM and left < self.guard_share * self.seen_count:
            raise LayoutDriftError(
                f"The site says that {self.gone_count} of {self.seen_count} members do not exist; that is "
                "not believed, nobody is marked as gone, and nothing more is read. If it is right, run once "
                "with a lower ALMANAC_SHRINK_GUARD_SHARE"
            )


def require_some_success(what: str, attempted: int, errors: Sequence[AlmanacError]) -> None:
    """Raise if every single attempt failed; some failures are a number in the report.

    Raises:
        RetriableError: all failed, and one of them may succeed later.
        PermanentError: all failed for good.
    """
    if not attempted or len(errors) < attempted:
        return
    none = f"None of the {attempted} {what} could be read"
    if any(error.retriable for error in errors):
        raise RetriableError(f"{none}; run again later. The first reason: {errors[0]}")
    raise PermanentError(f"{none}. The first reason: {errors[0]}")
