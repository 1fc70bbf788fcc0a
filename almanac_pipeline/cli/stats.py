"""`almanac stats`: the statistics of a cohort."""

from __future__ import annotations

import typer

from almanac_pipeline.cli.common import choose_cohorts, run

app = typer.Typer(help="Film statistics of a cohort.", no_args_is_help=True)


@app.command()
def refresh(
    cohort: list[str] | None = typer.Option(
        None, "--cohort", "-c", help="Slug of a cohort; can be repeated. All cohorts by default."
    ),
    force: bool = typer.Option(False, "--force", help="Build even if nothing changed."),
) -> None:
    """Rebuild statistics, rankings and labels of the cohorts whose inputs changed.

    Example: `almanac stats refresh --cohort friends`
    """
    run("statistics", *choose_cohorts(cohort), tags={"almanac/force": "true"} if force else None)
