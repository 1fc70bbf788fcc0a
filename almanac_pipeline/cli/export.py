"""`almanac export`: marts as files."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import typer
from rich.markup import escape

from almanac_pipeline.cli.common import CohortOption, choose_cohort, console, database, print_notice
from almanac_pipeline.cli.rank import Strategy, require_published
from almanac_pipeline.errors import ConfigurationError

if TYPE_CHECKING:
    from almanac_pipeline.warehouse.mart_files import MartFile, Written

app = typer.Typer(help="Marts as files.", no_args_is_help=True)

MartOption = typer.Option("film_rankings", help="A table or view of the schema almanac.")
StrategyOption = typer.Option(None, help="Only this ranking of film_rankings.")
LimitOption = typer.Option(None, min=1, help="How many rows; all by default.")
PrivateOption = typer.Option(
    False,
    "--private",
    help="Also rows that rest on fewer than three members, and marts per member: for your own eyes.",
)


@app.callback()
def group() -> None:
    """Marts as files."""


@app.command()
def csv(
    cohort: str | None = CohortOption,
    mart: str = MartOption,
    output: Path | None = typer.Option(
        None, "--output", "-o", help="File to write; standard output by default."
    ),
    letterboxd: bool = typer.Option(
        False, "--letterboxd", help="Films of a ranking or slice, as a list that Letterboxd imports."
    ),
    strategy: Strategy | None = StrategyOption,
    limit: int | None = LimitOption,
    private: bool = PrivateOption,
) -> None:
    """Write one mart of a cohort as CSV with a header.

    Example: `almanac export csv --cohort friends --mart hidden_gems --letterboxd -o list.csv`
    """
    from almanac_pipeline.warehouse import mart_files

    write = mart_files.write_letterboxd_list if letterboxd else mart_files.write_csv
    if letterboxd and mart == "film_rankings":
        strategy = strategy or "almanac"
    file = _file(cohort, mart, strategy, limit, private=private)
    with database() as connection:
        require_published(connection, file.cohort)
        if output is None:
            _say_what_is_missing(write(connection, file, sys.stdout.buffer))
            return
        with _replacing(output) as stream:
            written = write(connection, file, stream)
    _say_what_was_written(output, file, written)


@app.command()
def parquet(
    output: Path = typer.Argument(help="File to write."),
    cohort: str | None = CohortOption,
    mart: str = MartOption,
    strategy: Strategy | None = StrategyOption,
    limit: int | None = LimitOption,
    private: bool = PrivateOption,
) -> None:
    """Write one mart of a cohort as Parquet, with the types of its columns.

    Example: `almanac export parquet stats.parquet --cohort friends --mart cohort_film_stats`
    """
    from almanac_pipeline.warehouse.mart_files import write_parquet

    file = _file(cohort, mart, strategy, limit, private=private)
    with database() as connection:
        require_published(connection, file.cohort)
        with _replacing(output) as stream:
            written = write_parquet(connection, file, stream)
    _say_what_was_written(output, file, written)


def _file(
    cohort: str | None, mart: str, strategy: str | None, limit: int | None, *, private: bool
) -> MartFile:
    from almanac_pipeline.warehouse.mart_files import MartFile

    return MartFile(mart, choose_cohort(cohort), private=private, strategy=strategy, limit=limit)


@contextmanager
def _replacing(output: Path) -> Iterator[IO[bytes]]:
    """A file beside `output` that takes its place at the end: an interrupted export leaves no half a file.

    Raises:
        ConfigurationError: it cannot be written.
    """
    unfinished = output.with_name(output.name + ".part")
    try:
        with unfinished.open("wb") as stream:
            yield stream
        unfinished.replace(output)
    except OSError as error:
        raise ConfigurationError(f"{output} cannot be written: {error.strerror}.") from None
    finally:
        unfinished.unlink(missing_ok=True)


def _say_what_was_written(output: Path, file: MartFile, written: Written) -> None:
    console.print(
        f"{escape(str(output))}: {written.rows:,} rows of {file.mart}", highlight=False, soft_wrap=True
    )
    _say_what_is_missing(written)


def _say_what_is_missing(written: Written) -> None:
    if written.left_out:
        print_notice(
            f"{written.left_out:,} rows rest on fewer than three members and were left out;"
            " --private writes them, for your own eyes."
        )
