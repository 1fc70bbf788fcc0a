"""`almanac rank`: rankings, computed and shown."""

from __future__ import annotations

from typing import Literal

import typer

from almanac_pipeline.cli.common import CohortOption, choose_cohort, console, database, run

Strategy = Literal["almanac", "bayesian"]

app = typer.Typer(help="Rankings of a cohort.", no_args_is_help=True)


@app.command()
def compute(cohort: str | None = CohortOption) -> None:
    """Compute the rankings anew, even if nothing changed.

    Example: `almanac rank compute --cohort friends`
    """
    run("statistics", choose_cohort(cohort), tags={"almanac/force": "true"})


@app.command()
def show(
    cohort: str | None = CohortOption,
    strategy: Strategy = typer.Option("almanac", help="How the films are ordered."),
    limit: int = typer.Option(20, min=1, help="How many films."),
) -> None:
    """Show the best films of a cohort, with how certain each place is.

    Example: `almanac rank show --cohort friends --limit 50`
    """
    from almanac_pipeline.cli.tables import ranking_table
    from almanac_pipeline.warehouse.marts import rankings

    slug = choose_cohort(cohort)
    with database() as connection:
        rows = rankings(connection, slug, strategy=strategy, limit=limit)
    if not rows:
        console.print(
            f"Nothing is ranked in {slug} by {strategy!r} yet: `almanac cohort build {slug}` runs the chain."
        )
        raise typer.Exit(1)
    console.print(ranking_table(rows))
