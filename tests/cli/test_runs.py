"""`almanac runs`: what ran is shown, and what failed goes on."""

from __future__ import annotations

import re

import psycopg
import pytest

from tests.cli.conftest import Almanac

# Dagster and its libraries warn of themselves while they are imported and execute.
pytestmark = pytest.mark.filterwarnings("ignore")


def test_a_run_that_failed_is_shown_with_its_reason_and_resumed_where_it_ended(
    almanac: Almanac, published: str
) -> None:
    with psycopg.connect(published, autocommit=True) as connection:
        connection.execute('update raw.cohorts set ranking_parameters = \'{"min_raters": "many"}\'')
        failed = almanac("stats", "refresh", "--force")
        assert failed.code == 1
        connection.execute("update raw.cohorts set ranking_parameters = '{}'")

    [row] = [line for line in almanac("runs", "list", "--status", "failure").lines if "statistics" in line]
    run = row.split()[0]
    assert re.fullmatch("[0-9a-f]{8}", run)
    assert "friends" in row

    shown = almanac("runs", "show", run)
    assert "min_raters" in shown.out, shown
    # Nobody mended it yet, and a repetition alone would not.
    assert "The same would fail again until that is mended. Then:" in shown.out
    assert f"almanac runs resume {run}" in shown.out
    succeeded = {line.split()[0] for line in shown.lines if " success " in line}
    assert succeeded

    resumed = almanac("runs", "resume", run)
    assert (resumed.code, resumed.err) == (0, ""), resumed
    newest = almanac("runs", "list", "--cohort", "friends", "--limit", "1").lines[-1]
    assert newest.split()[:4] == [newest[:8], "statistics", "friends", "success"]
    again = almanac("runs", "show", newest[:8])
    assert f"repeats {run}" in again.out
    assert not succeeded & {line.split()[0] for line in again.lines if " success " in line}

    assert almanac("runs", "resume", newest[:8]).error.startswith(f"Nothing of run {newest[:8]} failed.")


def test_a_run_that_does_not_exist_is_refused(almanac: Almanac, published: str) -> None:
    assert almanac("runs", "show", "zzz").error == (
        "There is no run 'zzz': `almanac runs list` shows the last ones."
    )
    assert almanac("runs", "list", "--cohort", "nobody").out.startswith("No such run.")
