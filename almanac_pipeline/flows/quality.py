"""Measures what is published of cohorts, has it judged, and keeps the pages that show the verdict."""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

from almanac_pipeline.quality.frames import Measurement
from almanac_pipeline.quality.suites import SUITES
from almanac_pipeline.warehouse import quality

if TYPE_CHECKING:
    from almanac_pipeline.quality.judging import Outcome

PAGES_PER_SUITE = 50
"""Pages that are kept of a suite, one per run; the oldest go first."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a suite says of one cohort."""

    outcomes: tuple[Outcome, ...]
    rows_count: int
    """Ratings, films, histograms or members that the numbers rest on."""
    page: Path | None
    """Great Expectations' page of the run; None if it could not be written."""

    def table(self) -> list[dict[str, Any]]:
        """One row per rule, those that do not hold first."""
        return [
            {
                "rule": outcome.rule.name,
                "expected": outcome.rule.expected,
                "observed": "too little to say" if outcome.observed is None else f"{outcome.observed:.4g}",
                "holds": "yes" if outcome.holds else "NO",
                "meaning": "" if outcome.holds else outcome.rule.failing,
            }
            for outcome in sorted(self.outcomes, key=lambda outcome: outcome.holds)
        ]


def judge_cohorts(
    connection: psycopg.Connection, suite_name: str, cohorts: Collection[str], folder: Path, run_id: str
) -> dict[str, Verdict]:
    """{cohort: verdict} on what was measured last; cohorts that were never measured are left out.

    Raises:
        QualityError: a rule could not be evaluated.
    """
    # Imports Great Expectations: six seconds that nobody else should wait for.
    from almanac_pipeline.quality.judging import judge

    suite = SUITES[suite_name]
    measurements = [
        Measurement(stored.cohort, stored.now, stored.before)
        for stored in quality.measurements(connection, cohorts)
    ]
    if not measurements:
        return {}
    judgement = judge(suite, measurements)
    page = keep_page(folder / suite_name, run_id, judgement.page)
    return {
        each.cohort: Verdict(
            tuple(judgement.outcomes[each.cohort]),
            round(each.now.get(suite_name, {}).get(suite.rows) or 0),
            page,
        )
        for each in measurements
    }


def keep_page(folder: Path, run_id: str, page: str) -> Path | None:
    """Write a page as UTCTIME-RUN.html, readable for its owner only, and delete the oldest beyond 50.

    None if it could not be written: the verdict stands without it.
    """
    path = folder / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{run_id[:8]}.html"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write(page)
        for old in sorted(folder.glob("*.html"))[:-PAGES_PER_SUITE]:
            old.unlink(missing_ok=True)
    except OSError:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        return None
    return path


def delete_pages(folder: Path) -> int:
    """Delete the pages of all suites; returns how many. They show numbers in which everybody has a part."""
    pages = list(folder.glob("*/*.html"))
    for page in pages:
        page.unlink(missing_ok=True)
    return len(pages)
