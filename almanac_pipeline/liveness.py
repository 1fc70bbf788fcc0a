"""Whether a run that is said to go on still lives: its process beats, and others judge.

On the machine of the process the process itself is looked for, so that one that is suspended or waits for
a database lives on. From elsewhere only silence can be judged, and a silence counts only if it lasts while
one watches: a clock that was set, a machine that slept, or a database that was away are silent, too.
"""

from __future__ import annotations

import functools
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from almanac_pipeline.errors import WarehouseError
from almanac_pipeline.services import start_time
from almanac_pipeline.settings import get_settings
from almanac_pipeline.warehouse import heartbeats
from almanac_pipeline.warehouse.connection import connect_to, database_failures, running_database_url
from almanac_pipeline.warehouse.heartbeats import Process, Sign

BEAT_SECONDS = 15.0
# A database may be restarted or restored meanwhile, and a full processor may hold a beat up.
SILENCE_SECONDS = 180.0
# Four beats: whoever lives is heard of again within this time.
DOUBT_SECONDS = 60.0


@functools.cache
def _place() -> tuple[str, str]:
    """This start of this machine, and the namespace of its process numbers; its name without /proc."""
    try:
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return boot_id, os.readlink("/proc/self/ns/pid")
    except OSError:
        return socket.gethostname(), ""


def this_process() -> Process:
    """This process, such that a later one can tell whether it still lives."""
    return Process(*_place(), os.getpid(), start_time(os.getpid()))


def has_gone(process: Process, *, is_only_machine: bool) -> bool | None:
    """Whether a process has ended; None if that cannot be told from here.

    `is_only_machine`: no other machine can reach the database, so that another start is an earlier one.
    """
    boot_id, pid_namespace = _place()
    if process.boot_id != boot_id:
        return True if is_only_machine else None
    if process.pid_namespace != pid_namespace:
        return None
    found = start_time(process.pid)
    if found == process.started:
        return None if found == "unknown" else False
    return True


class Watch:
    """Tells the dead from the silent, look by look. Keep it: a doubt needs a second look."""

    def __init__(self, *, is_only_machine: bool | None = None) -> None:
        self._is_only_machine = is_only_machine
        self._doubted_since: dict[str, float] = {}

    def is_dead(self, sign: Sign, *, now: float | None = None) -> bool:
        """Whether the run's process has died. `now` is in seconds of `time.monotonic`."""
        now = time.monotonic() if now is None else now
        only = self._is_only_machine
        if only is None:
            only = get_settings().database_url is None
        gone = None if sign.process is None else has_gone(sign.process, is_only_machine=only)
        if gone is None and sign.silent_seconds > SILENCE_SECONDS:
            return now - self._doubted_since.setdefault(sign.run_id, now) >= DOUBT_SECONDS
        self._doubted_since.pop(sign.run_id, None)
        return gone is True

    def doubts(self, run_id: str) -> bool:
        """Whether the run was silent when it was last looked at, and may be dead."""
        return run_id in self._doubted_since


@contextmanager
def beating(run_id: str) -> Iterator[None]:
    """Say now and every 15 seconds that the process of this run lives, until the block ends.

    A database that is away is waited for and never started: somebody may have stopped it.
    """
    stopping = threading.Event()
    thread = threading.Thread(
        target=_beat, args=(run_id, this_process(), stopping), name="heartbeat", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        # What hangs in a database that is away ends with the process.
        thread.join(timeout=1)


def _beat(run_id: str, process: Process, stopping: threading.Event) -> None:
    while True:
        with suppress(WarehouseError), database_failures():
            if (url := running_database_url()) is not None:
                with connect_to(url) as connection:
                    heartbeats.beat(connection, run_id, process)
        if stopping.wait(BEAT_SECONDS):
            return
