"""`almanac export`: marts as files."""

from __future__ import annotations

import sys
from pathlib import Path

import typer
from rich.markup import escape

from almanac_pipeline.cli.common import CohortOption, choose_cohort, console, database
from almanac_pipeline.errors import ConfigurationError

app = typer.Typer(help="Marts as files.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Marts as files."""


@app.command()
def csv(
    cohort: str | None = CohortOption,
    mart: str = typer.Option("film_rankings", help="A table of the schema almanac."),
    output: Path | None = typer.Option(
        None, "--output", "-o", help="File to write; standard output by default."
    ),
) -> None:
    """Write one mart of a cohort as CSV with a header.

    Example: `almanac export csv --cohort friends --mart film_rankings -o rankings.csv`
    """
    from almanac_pipeline.warehouse.marts import copy_mart_csv

    slug = choose_cohort(cohort)
    with database() as connection:
        if output is None:
            copy_mart_csv(connection, mart, slug, sys.stdout.buffer)
            return
        # Written beside and moved, so that an interrupted export never leaves half a file.
        unfinished = output.with_name(output.name + ".part")
        try:
            with unfinished.open("wb") as stream:
                rows = copy_mart_csv(connection, mart, slug, stream)
            unfinished.replace(output)
        except OSError as error:
            raise ConfigurationError(f"{output} cannot be written: {error.strerror}.") from None
        finally:
            unfinished.unlink(missing_ok=True)
    console.print(f"{escape(str(output))}: {rows:,} rows of {mart}", highlight=False, soft_wrap=True)
