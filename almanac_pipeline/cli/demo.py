"""`almanac demo`: the main job on a stand-in site, from nothing to a ranked cohort."""

from __future__ import annotations

import time
from pathlib import Path

import typer

from almanac_pipeline.cli.common import console


def demo(
    exit_: bool = typer.Option(False, "--exit", help="End after the result instead of serving the UI."),
    movielens: Path | None = typer.Option(
        None, exists=True, file_okay=False, help="A MovieLens folder (ratings.csv, movies.csv, links.csv)."
    ),
    members: int = typer.Option(25, min=1, help="Size of the circle; with MovieLens the N lowest ids."),
    member_ids: str | None = typer.Option(None, help="With MovieLens: exactly these people, e.g. 3,17,42."),
    films: int = typer.Option(600, min=1, help="Films of the generated world."),
    seed: int = typer.Option(7, help="Another seed, another world."),
) -> None:
    """Build a circle's almanac on a built-in stand-in for Letterboxd and TMDB, then show the Dagster UI.

    Nothing leaves this machine. Run it again: it asks only for what may have changed.

    Example: `almanac demo --exit --movielens ../shared/data/ml-latest-small --members 100`
    """
    from almanac_pipeline.demonstration import World, run_demo

    started = time.monotonic()
    world = World(
        movielens=movielens.absolute() if movielens else None,
        members=members,
        member_ids=member_ids,
        films=films,
        seed=seed,
    )
    run_demo(world, console=console, started=started, serve=not exit_)
