"""The `almanac` command in a process of its own, as `Popen` starts it, without its first five seconds.

So long Dagster and dbt take to import, which is most of a command's time. Here a process that has
imported them is forked for each command: only the modules are shared, never settings or connections.
`Home.demo` starts the installed program itself.
"""

from __future__ import annotations

import atexit
import gc
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

# What the definitions are made of. They themselves, and the command line, look at the settings and at the
# terminal when they are imported: each command does that itself.
IMPORTED = [
    "almanac_pipeline.defs.alerting.sensors",
    "almanac_pipeline.defs.automation.timetable",
    "almanac_pipeline.defs.ingestion.sensors",
    "almanac_pipeline.defs.quality.sensors",
    "almanac_pipeline.flows.circle",
    "dbt.cli.main",
]

OUTPUTS = ("stdout", "stderr")

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(IMPORTED)


class Command:
    """A command that was begun; the methods are those of `Popen`."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        self._arguments = list(arguments)
        self._folder = tempfile.TemporaryDirectory(prefix="almanac-command.")
        self._process = _processes.Process(
            target=_run, args=(self._arguments, dict(environment), Path(self._folder.name))
        )
        self._process.start()

    def poll(self) -> int | None:
        return self._process.exitcode

    def kill(self) -> None:
        self._process.kill()

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(self._arguments, timeout or 0)
        with self._folder as folder:
            stdout, stderr = ((Path(folder) / name).read_text(encoding="utf-8") for name in OUTPUTS)
        return stdout, stderr

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode


def _run(arguments: list[str], environment: dict[str, str], folder: Path) -> None:
    """What the forked process does."""
    gc.set_threshold(200_000, 50, 100)  # as in tests/conftest.py
    os.environ.clear()
    os.environ.update(environment)
    for descriptor, name in enumerate(OUTPUTS, start=1):
        with (folder / name).open("wb") as file:
            os.dup2(file.fileno(), descriptor)
        setattr(sys, name, os.fdopen(descriptor, "w", encoding="utf-8", closefd=False))
    sys.argv = ["almanac", *arguments]
    from almanac_pipeline.cli import main

    try:
        main()
    finally:
        # A process that was forked does not do this by itself.
        atexit._run_exitfuncs()
