"""Van der Eijk's A against published worked examples and golden values."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from almanac_pipeline.statistics.agreement import RESAMPLES, agreement, agreement_intervals
from tests.statistics.plain_agreement import peeled


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([30, 40, 210, 130, 530, 50, 10], 0.6113),
        # Published in per cent with one decimal; A does not change if all counts are ten times as large.
        ([24, 28, 32, 62, 135, 304, 416], 0.61),
        ([16, 26, 82, 210, 293, 270, 103], 0.48),
        ([2, 0, 1, 1], 0.083),
        ([0, 0, 7, 0, 0], 1),
        ([1, 1, 1, 1, 1], 0),
        ([1, 0, 0, 0, 1], -1),
    ],
)
def test_published_examples_come_out(counts: list[int], expected: float) -> None:
    assert agreement(np.array(counts)) == pytest.approx(expected, abs=0.005 if expected > 0.45 else 0.0005)


@pytest.mark.shared
def test_histograms_of_real_films_equal_the_golden_values(shared_dir: Path) -> None:
    golden = json.loads((shared_dir / "data/golden/methods.json").read_text())
    rows = [*golden["ordinal"].values(), *golden["ml_films"]]
    found = [agreement(np.round(np.array(row["counts"]) * 10).astype(int)) for row in rows]
    assert found == pytest.approx([row["agreement_A"] for row in rows], abs=1e-12)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(st.integers(0, 9), min_size=5, max_size=5).filter(any), min_size=1, max_size=8))
def test_many_films_at_once_equal_each_alone_by_the_book(films: list[list[int]]) -> None:
    found = agreement(np.array(films))
    assert found == pytest.approx([peeled(film) for film in films], abs=1e-12)
    assert agreement(np.array(films).T, axis=0).tolist() == found.tolist()


def test_counts_of_a_whole_site_are_no_trouble() -> None:
    small = np.array([30, 40, 210, 130, 530, 50, 10])
    assert agreement(small * 10**9) == pytest.approx(agreement(small))


@pytest.mark.parametrize("counts", [[0, 0, 0], [1, 2], [1.5, 2.0, 3.0]])
def test_what_is_no_histogram_is_refused(counts: list[float]) -> None:
    with pytest.raises(ValueError, match="agreement needs"):
        agreement(np.array(counts))


FILMS = np.array(
    [
        [0, 0, 0, 0, 0, 2, 3, 5, 2, 0],
        [3, 1, 0, 0, 1, 0, 0, 1, 2, 5],
        [0, 0, 0, 0, 0, 0, 0, 8, 0, 0],
        [0, 0, 0, 0, 0, 0, 3, 2, 2, 0],
        [4, 0, 9, 11, 20, 31, 60, 55, 30, 9],
    ]
)


def test_bootstrap_intervals_equal_those_of_ratings_drawn_one_by_one() -> None:
    low, high = agreement_intervals(FILMS)
    generator = np.random.default_rng(8)
    for film, counts in enumerate(FILMS):
        if film == 3:
            continue
        ratings = np.repeat(np.arange(10), counts)
        drawn = generator.choice(ratings, size=(8_000, ratings.size))
        values = agreement(np.stack([(drawn == k).sum(axis=1) for k in range(10)], axis=1))
        # The Monte Carlo error of a 5 % quantile of 1,000 draws is 0.7 % of probability.
        assert (values < low[film] - 1e-9).mean() <= 0.05 + 0.028
        assert (values <= low[film] + 1e-9).mean() >= 0.05 - 0.028
        assert (values > high[film] + 1e-9).mean() <= 0.05 + 0.028
        assert (values >= high[film] - 1e-9).mean() >= 0.05 - 0.028
    assert RESAMPLES == 1_000


def test_unanimous_films_have_no_interval_to_speak_of_and_few_ratings_none() -> None:
    low, high = agreement_intervals(FILMS)
    assert (low[2], high[2]) == (1, 1)
    assert np.isnan([low[3], high[3]]).all()


def test_an_interval_depends_on_the_film_alone_and_not_on_the_memory_it_may_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    together = np.stack(agreement_intervals(FILMS[[0, 1, 1, 4]]))
    assert np.stack(agreement_intervals(FILMS[[1]]))[:, 0].tolist() == together[:, 1].tolist()
    monkeypatch.setattr("almanac_pipeline.statistics.agreement.CHUNK_CELLS", 1)
    assert np.stack(agreement_intervals(FILMS[[0, 1, 1, 4]])).tolist() == together.tolist()
