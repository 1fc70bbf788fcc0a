"""`almanac scrape`: read what members think, from the pages that may be read."""

from __future__ import annotations

import typer

from almanac_pipeline.cli.common import CohortOption, choose_cohort, run


def scrape(
    cohort: str | None = CohortOption,
    full: bool = typer.Option(False, "--full", help="Read every page of every member again."),
) -> None:
    """Sync members, ratings and likes of a cohort. A member without news costs one request each.

    Example: `almanac scrape --cohort friends`
    """
    run("scrape", choose_cohort(cohort), tags={"almanac/mode": "full"} if full else None)
