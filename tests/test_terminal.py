"""What a person sees of a run: a line per step, also past Dagster's log capture, and no bars left over."""

import io
import os
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from almanac_pipeline.progress import track
from almanac_pipeline.terminal import SUMMARY_KEY, RunView

if TYPE_CHECKING:
    from dagster import DagsterEvent

# Dagster's own warnings are not what is tested here.
pytestmark = pytest.mark.filterwarnings("ignore")

LONG = "483 films read, 481 from TMDB, " * 4 + "964 requests"


@pytest.fixture(scope="module")
def events() -> list["DagsterEvent"]:
    """The events of a real run: two assets that say what they did, one that does not, one that fails."""
    import dagster as dg

    @dg.asset(key=["raw", "ratings"])
    def ratings() -> dg.MaterializeResult[None]:
        return dg.MaterializeResult(metadata={SUMMARY_KEY: "2,427 ratings [of] 25 members"})

    @dg.asset(key=["raw", "film_metadata"], deps=[ratings])
    def film_metadata() -> dg.MaterializeResult[None]:
        return dg.MaterializeResult(metadata={SUMMARY_KEY: LONG})

    @dg.multi_asset(
        name="before_statistics",
        specs=[dg.AssetSpec(["intermediate", name], deps=[film_metadata]) for name in ("one", "two")],
        check_specs=[dg.AssetCheckSpec("unique", asset=["intermediate", "one"])],
    )
    def before_statistics() -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        yield dg.MaterializeResult(asset_key=["intermediate", "one"])
        yield dg.MaterializeResult(asset_key=["intermediate", "two"])
        yield dg.AssetCheckResult(asset_key=["intermediate", "one"], check_name="unique", passed=True)

    @dg.asset_check(asset=ratings)
    def coverage() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=False)

    @dg.asset_check(asset=ratings)
    def duplicates() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=True)

    @dg.asset_check(asset=ratings)
    def volume() -> dg.AssetCheckResult:
        warning = dg.AssetCheckSeverity.WARN
        return dg.AssetCheckResult(passed=False, severity=warning, description="half [of] the usual")

    @dg.asset(key=["ops", "publications"], deps=[before_statistics])
    def publications() -> None:
        raise dg.Failure("no")

    result = dg.materialize(
        [ratings, film_metadata, before_statistics, coverage, duplicates, volume, publications],
        raise_on_error=False,
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
    )
    return list(result.all_events)


def shown(console: Console, events: list["DagsterEvent"]) -> tuple[RunView, str]:
    with RunView(console) as view:
        for event in events:
            view.handle(event)
    assert isinstance(console.file, io.StringIO)
    return view, re.sub(r"\d+\.\d s", "0.0 s", console.file.getvalue())


def test_every_step_is_one_line_with_what_it_did(events: list["DagsterEvent"]) -> None:
    view, text = shown(Console(file=io.StringIO(), width=80), events)
    assert {line.rstrip() for line in text.splitlines()} == {
        "✓ ratings             0.0 s  2,427 ratings [of] 25 members",
        f"✓ film metadata       0.0 s  {LONG}",
        "✓ before statistics   0.0 s  2 tables, 1 test passed",
        "✗ check coverage of raw/ratings failed",
        "! check volume of raw/ratings warns: half [of] the usual",
        "✗ publications        0.0 s",
    }
    assert view.failed_checks == ["raw/ratings: coverage", "raw/ratings: volume"]
    assert {"raw__ratings", "before_statistics", "ops__publications"} <= set(view.seconds)


def test_a_step_that_had_nothing_to_do_says_so(events: list["DagsterEvent"]) -> None:
    kept = [event for event in events if event.event_type_value in ("STEP_START", "STEP_SUCCESS")]
    _, text = shown(Console(file=io.StringIO(), width=80), kept)
    assert "✓ before statistics   0.0 s  nothing to do" in text.splitlines()


def test_in_a_terminal_a_line_is_cut_at_its_edge_and_not_wrapped(events: list["DagsterEvent"]) -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    _, text = shown(console, events)
    lines = [re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", line) for line in text.replace("\r", "\n").splitlines()]
    [line] = [line for line in lines if line.startswith("✓ film metadata")]
    assert len(line) <= 80
    assert line.endswith("…")


def test_a_line_reaches_the_terminal_while_the_descriptor_is_a_log_file(events: list["DagsterEvent"]) -> None:
    read_end, write_end = os.pipe()
    with os.fdopen(write_end, "w") as stream, open(os.devnull, "w") as log:
        console = Console(file=stream, width=80)
        with RunView(console) as view:
            # As Dagster does while it captures what steps print.
            before = os.dup(write_end)
            os.dup2(log.fileno(), write_end)
            for event in events:
                view.handle(event)
            os.dup2(before, write_end)
            os.close(before)
        console.print("afterwards")
    with os.fdopen(read_end) as terminal:
        lines = terminal.read().splitlines()
    assert len(lines) == 7
    assert lines[-1] == "afterwards"


def test_a_flow_has_the_row_of_its_step_and_no_row_stays(events: list["DagsterEvent"]) -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    start = {event.step_key: event for event in events if event.event_type_value == "STEP_START"}
    end = {event.step_key: event for event in events if event.event_type_value == "STEP_SUCCESS"}
    with RunView(console) as view:
        view.handle(start["raw__ratings"])
        with track("ratings", 1200) as progress:
            [row] = view._progress.tasks
            progress.advance(1100)
            assert (row.completed, row.total, row.fields["count"]) == (1100, 1200, "1,100/1,200")
        with track("members") as progress:
            progress.advance()
            assert [task.fields["count"] for task in view._progress.tasks] == ["1,100/1,200", "1"]
        view.handle(end["raw__ratings"])
        assert view._progress.tasks == []
