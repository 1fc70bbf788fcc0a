"""When the schedules run next, without asking Dagster."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from almanac_pipeline.schedules import INCREMENTAL, SCHEDULES, next_runs, next_time

SATURDAY = datetime(2026, 2, 28, 23, 30, tzinfo=UTC)


@pytest.mark.parametrize("cron", [schedule.cron for schedule in SCHEDULES])
@pytest.mark.filterwarnings("ignore")
def test_the_next_time_is_the_one_that_dagster_takes(cron: str) -> None:
    from dagster._utils.schedules import cron_string_iterator

    for now in (SATURDAY, datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC), datetime(2028, 2, 29, tzinfo=UTC)):
        dagsters = cron_string_iterator(now.timestamp() + 1, cron, "UTC")
        assert next_time(cron, now) == next(dagsters)


def test_a_time_that_has_come_is_past_and_other_time_zones_are_understood() -> None:
    at = next_time(INCREMENTAL.cron, SATURDAY)
    assert at == datetime(2026, 3, 1, 0, 17, tzinfo=UTC)
    elsewhere = timezone(timedelta(hours=-7))
    assert next_time(INCREMENTAL.cron, at.astimezone(elsewhere)) == at + timedelta(hours=1)


def test_the_soonest_comes_first_and_what_is_off_last() -> None:
    runs = next_runs(SATURDAY, stopped=["nightly_maintenance"])
    assert {run.schedule for run in runs} == set(SCHEDULES)
    assert runs[0].schedule == INCREMENTAL
    assert (runs[-1].schedule.name, runs[-1].at) == ("nightly_maintenance", None)
    times = [run.at for run in runs[:-1] if run.at]
    assert times == sorted(times)


@pytest.mark.parametrize("cron", ["* * * * *", "0 0 1 1 *"])
def test_an_expression_beyond_our_subset_is_refused_and_not_misread(cron: str) -> None:
    with pytest.raises(ValueError, match="not a time"):
        next_time(cron, SATURDAY)
