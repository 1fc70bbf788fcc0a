"""What a person at the terminal sees while a Dagster run executes in this process.

A live view in a terminal, one plain line per finished step elsewhere. Reads Dagster's events
and the flows' progress; decides nothing.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from almanac_pipeline.progress import reporting

if TYPE_CHECKING:
    from dagster import DagsterEvent

SUMMARY_KEY = "summary"
"""Metadata entry of a materialization that says in one line what happened."""

UNCHANGED_KEY = "unchanged"
"""Metadata entry of a materialization that wrote nothing: the asset shows its present inputs already."""


class RunView:
    """Shows one run. Use as a context manager around the loop over its events."""

    def __init__(self, console: Console) -> None:
        self._given = console
        self._tasks: dict[str, TaskID] = {}
        self._started: dict[str, float] = {}
        self._summaries: dict[str, list[str]] = {}
        self._tables: Counter[str] = Counter()
        self._passed: Counter[str] = Counter()
        self._checks: set[str] = set()
        self.seconds: dict[str, float] = {}
        """Seconds of each finished step, by step name."""
        self.skipped: list[str] = []
        self.failed_checks: list[str] = []

    def __enter__(self) -> RunView:
        with ExitStack() as opened:
            self._console = opened.enter_context(_beside_the_capture(self._given))
            self._progress = opened.enter_context(
                Progress(
                    SpinnerColumn(),
                    TextColumn("{task.description:<19}"),
                    BarColumn(bar_width=28),
                    TextColumn("{task.fields[count]}"),
                    TimeElapsedColumn(),
                    console=self._console,
                    transient=True,
                    disable=not self._console.is_terminal,
                    # What a step prints belongs to its log in the Dagster UI.
                    redirect_stdout=False,
                    redirect_stderr=False,
                )
            )
            opened.enter_context(reporting(self))
            self._opened = opened.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._opened.close()

    # -- Dagster's events -------------------------------------------------------------------

    def handle(self, event: DagsterEvent) -> None:
        """Show what one event of the run means to a person."""
        step = event.step_key or ""
        kind = event.event_type_value
        if kind == "STEP_START":
            self._started[step] = time.monotonic()
            self._tasks[step] = self._progress.add_task(_readable(step), total=None, count="")
        elif kind == "ASSET_MATERIALIZATION":
            metadata = event.step_materialization_data.materialization.metadata
            summary = metadata.get(SUMMARY_KEY)
            if summary is not None and summary.value:
                self._summaries.setdefault(step, []).append(str(summary.value))
            self._tables[step] += UNCHANGED_KEY not in metadata
        elif kind == "ASSET_CHECK_EVALUATION":
            check = event.asset_check_evaluation_data
            if step.endswith(check.check_name):
                # A step that is nothing but this check; a line of its own only if it fails.
                self._checks.add(step)
            if check.passed:
                self._passed[step] += 1
            else:
                self.failed_checks.append(f"{check.asset_key.to_user_string()}: {check.check_name}")
                cohort = f" for {check.partition}" if check.partition else ""
                name = f"check {check.check_name} of {check.asset_key.to_user_string()}{cohort}"
                # A warning holds nothing back.
                warns = check.severity.value == "WARN"
                verdict = f"[yellow]! {name} warns[/]" if warns else f"[red]✗ {name} failed[/]"
                reason = f"[dim]: {escape(check.description)}[/]" if check.description else ""
                self._console.print(verdict + reason, highlight=False)
        elif kind in ("STEP_SUCCESS", "STEP_FAILURE"):
            self._finish(step, succeeded=kind == "STEP_SUCCESS")
        elif kind == "STEP_SKIPPED":
            self.skipped.append(step)

    def waits(self, step: str, pool: str, holders: Sequence[str]) -> None:
        """Say that a step waits for its place in a pool, and who has the places."""
        held = f", held by {'; '.join(holders)}" if holders else ""
        self._console.print(
            f"[yellow]…[/] {_readable(step)} waits for a place in the pool {pool}{held}. Ctrl-C ends it.",
            highlight=False,
        )

    def _finish(self, step: str, *, succeeded: bool) -> None:
        seconds = time.monotonic() - self._started.get(step, time.monotonic())
        self.seconds[step] = round(seconds, 2)
        if step in self._tasks:
            self._progress.remove_task(self._tasks.pop(step))
        if succeeded and step in self._checks:
            return
        mark = "[green]✓[/]" if succeeded else "[red]✗[/]"
        line = (
            f"{mark} {_readable(step):<17}{seconds:6.1f} s  [dim]{escape(self._summary(step, succeeded))}[/]"
        )
        # In a terminal one step is one line; a file has no edge to stop at.
        if self._console.is_terminal:
            self._console.print(line, highlight=False, no_wrap=True, overflow="ellipsis")
        else:
            self._console.print(line, highlight=False, soft_wrap=True)

    def _summary(self, step: str, succeeded: bool) -> str:
        """What the step's assets say of themselves, or how many tables it made."""
        if not succeeded:
            return ""
        if step in self._summaries:
            return "; ".join(dict.fromkeys(self._summaries[step]))
        if not self._tables[step]:
            return "nothing to do"
        tables, tests = self._tables[step], self._passed[step]
        return f"{tables} table{'s' * (tables != 1)}, {tests} test{'s' * (tests != 1)} passed"

    # -- the flows' progress ----------------------------------------------------------------

    def started(self, task: str, total: int | None) -> None:
        # A flow that is called like its step has the step's row.
        row = next((self._tasks[step] for step in self._tasks if _readable(step) == task), None)
        if row is None:
            row = self._progress.add_task(f"  {task}", total=total, count="")
        self._tasks[f"· {task}"] = row
        self.advanced(task, 0, total)

    def advanced(self, task: str, done: int, total: int | None) -> None:
        if (row := self._tasks.get(f"· {task}")) is not None:
            count = f"{done:,}" if total is None else f"{done:,}/{total:,}"
            self._progress.update(row, total=total, completed=done, count=count)

    def finished(self, task: str, done: int) -> None:
        row = self._tasks.pop(f"· {task}", None)
        if row is not None and row not in self._tasks.values():
            self._progress.remove_task(row)


def _readable(step: str) -> str:
    return step.rpartition("__")[2].replace("_", " ")


@contextmanager
def _beside_the_capture(console: Console) -> Iterator[Console]:
    """A console that reaches the terminal while a run executes.

    Dagster points file descriptor 1 at the steps' log files and mirrors them with `tail`, which
    is a second late and loses the end; a copy of the descriptor is not touched by that.
    """
    try:
        console.file.flush()
        descriptor = os.dup(console.file.fileno())
    except (OSError, ValueError):  # no file behind it
        yield console
        return
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace") as stream:
        yield Console(file=stream, width=console.width)
