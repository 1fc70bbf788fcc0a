"""`almanac stats`: the statistics of a cohort."""

from __future__ import annotations

import typer

from almanac_pipeline.cli.common import CohortOption, choose_cohort, run

app = typer.Typer(help="Film statistics of a cohort.", no_args_is_help=True)


@app.command()
def refresh(
    cohort: str | None = CohortOption,
    force: bool = typer.Option(False, "--force", help="Build even if nothing changed."),
) -> None:
    """Rebuild statistics, rankings and labels if their inputs changed.

    Example: `almanac stats refresh --cohort friends`
    """
    run("statistics", choose_cohort(cohort), tags={"almanac/force": "true"} if force else None)
