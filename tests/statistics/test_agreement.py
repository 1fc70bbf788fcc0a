"""Van der Eijk's A against published worked examples and golden values."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from almanac_pipeline.statistics.agreement import agreement


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([30, 40, 210, 130, 530, 50, 10], 0.6113),
        ([2.4, 2.8, 3.2, 6.2, 13.5, 30.4, 41.6], 0.61),
        ([1.6, 2.6, 8.2, 21, 29.3, 27, 10.3], 0.48),
        ([2, 0, 1, 1], 0.083),
        ([0, 0, 7, 0, 0], 1),
        ([1, 1, 1, 1, 1], 0),
        ([1, 0, 0, 0, 1], -1),
    ],
)
def test_published_examples_come_out(counts: list[float], expected: float) -> None:
    assert agreement(np.array(counts)) == pytest.approx(expected, abs=0.005 if expected > 0.45 else 0.0005)


@pytest.mark.shared
def test_histograms_of_real_films_equal_the_golden_values(shared_dir: Path) -> None:
    golden = json.loads((shared_dir / "data/golden/methods.json").read_text())
    rows = [*golden["ordinal"].values(), *golden["ml_films"]]
    found = [agreement(np.array(row["counts"])) for row in rows]
    assert found == pytest.approx([row["agreement_A"] for row in rows], abs=1e-12)


@pytest.mark.parametrize("counts", [[0, 0, 0], [1, 2]])
def test_nothing_counted_and_too_few_buckets_are_refused(counts: list[int]) -> None:
    with pytest.raises(ValueError, match="agreement needs"):
        agreement(np.array(counts))
