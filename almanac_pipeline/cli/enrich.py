"""`almanac enrich`: what the wide world knows of the films."""

from __future__ import annotations

from almanac_pipeline.cli.common import CohortOption, choose_cohort, run


def enrich(cohort: str | None = CohortOption) -> None:
    """Fetch film pages, TMDB entries and global histograms that are missing or due.

    Example: `almanac enrich --cohort friends`
    """
    run("enrich", choose_cohort(cohort))
