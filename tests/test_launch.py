"""How a run is told its cohorts."""

from __future__ import annotations

import pytest

from almanac_pipeline.cohort_tags import cohorts_of
from almanac_pipeline.launch import tags_of_runs


@pytest.mark.parametrize("chosen", [["a"], ["c", "b"], ["a", "d"], ["d", "a", "b"], ["a", "b", "c", "d"]])
def test_one_run_does_all_chosen_cohorts_and_no_others_wherever_they_stand(chosen: list[str]) -> None:
    known = ["a", "b", "c", "d"]
    [tags] = tags_of_runs(known, chosen)
    assert cohorts_of(tags, known) == sorted(chosen)


def test_scattered_cohorts_that_no_tag_can_name_take_several_runs() -> None:
    known = [f"{number:03}-{'x' * 60}" for number in range(100)]
    runs = tags_of_runs(known, known[::2])
    assert len(runs) == 2
    assert [slug for tags in runs for slug in cohorts_of(tags, known)] == known[::2]
    assert len(tags_of_runs(known, known)) == 1
