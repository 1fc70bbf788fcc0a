"""Which cohorts share a run."""

from __future__ import annotations

import pytest

from almanac_pipeline.launch import neighbours


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (["a"], [["a"]]),
        (["c", "b"], [["b", "c"]]),
        (["a", "c", "d"], [["a"], ["c", "d"]]),
        (["a", "b", "c", "d"], [["a", "b", "c", "d"]]),
    ],
)
def test_only_neighbours_among_the_partitions_share_a_run(
    chosen: list[str], expected: list[list[str]]
) -> None:
    """A run has one range of partitions: one that holds a cohort nobody asked for would build it too."""
    assert neighbours(["a", "b", "c", "d"], chosen) == expected
