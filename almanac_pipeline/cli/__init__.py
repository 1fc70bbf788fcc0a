"""The `almanac` command: thin Typer commands, one module per noun.

A command reads its options, calls one function of another room and prints the answer. Heavy
imports happen inside the commands, so that `almanac --help` answers at once.
"""

from __future__ import annotations

import sys

import typer

from almanac_pipeline import __version__
from almanac_pipeline.cli import (
    alerts,
    backfill,
    backup,
    cohort,
    db,
    demo,
    docs,
    doctor,
    enrich,
    export,
    fetching,
    films,
    import_,
    member,
    metrics,
    parse,
    quality,
    rank,
    runs,
    sandbox,
    scrape,
    service,
    stats,
    taste,
)
from almanac_pipeline.cli.common import print_error, print_notice
from almanac_pipeline.errors import AlmanacError

app = typer.Typer(
    name="almanac",
    help="What a circle of film people thinks: ratings, rankings and divergences per cohort.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(demo.demo)
app.command()(sandbox.sandbox)
app.command()(service.up)
app.command()(service.down)
app.command()(service.status)
app.command()(scrape.scrape)
app.command()(enrich.enrich)
app.command()(backfill.backfill)
app.command()(backfill.bootstrap_full_cohort)
app.command()(fetching.pause)
app.command()(fetching.unpause)
app.command()(fetching.unblock)
app.command("import")(import_.import_)
app.command()(parse.parse)
app.command()(doctor.doctor)
app.command()(metrics.metrics)
app.command()(docs.docs)
app.command()(quality.quality)
app.command()(backup.backup)
app.command()(backup.restore)
app.command()(taste.taste)
app.command()(taste.compare)
app.add_typer(alerts.app, name="alerts")
app.add_typer(db.app, name="db")
app.add_typer(cohort.app, name="cohort")
app.add_typer(member.app, name="member")
app.add_typer(films.app, name="films")
app.add_typer(runs.app, name="runs")
app.add_typer(stats.app, name="stats")
app.add_typer(rank.app, name="rank")
app.add_typer(export.app, name="export")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"almanac {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
    ),
) -> None:
    """What a circle of film people thinks: ratings, rankings and divergences per cohort."""


def main() -> None:
    """Entry point: an error of ours is one clear line and exit code 1, never a traceback."""
    from pydantic import ValidationError

    try:
        app()
    except AlmanacError as error:
        print_error(str(error))
        sys.exit(1)
    except ValidationError as error:
        for problem in error.errors(include_input=False, include_url=False):
            name = "_".join(str(part) for part in problem["loc"]).upper()
            print_error(f"setting ALMANAC_{name}: {problem['msg'].removeprefix('Value error, ')}")
        sys.exit(1)
    except OSError as error:
        # A full disk, a folder that may not be written: nothing that a traceback would explain better.
        print_error(": ".join(filter(None, (str(error.filename or ""), error.strerror or str(error)))))
        sys.exit(1)
    except SystemExit as ended:
        # Typer makes this code of Ctrl-C.
        if ended.code == 130:
            print_notice("Interrupted. What was committed stays; the next run goes on from there.")
        raise
