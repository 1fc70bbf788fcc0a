"""`almanac runs`: what ran, why it failed, and once more."""

from __future__ import annotations

from typing import Literal

import typer
from rich.markup import escape

from almanac_pipeline.cli.common import console, print_unread_members, run_again
from almanac_pipeline.cli.tables import hanging, plain_table

RunStatus = Literal["queued", "starting", "started", "success", "failure", "canceling", "canceled"]

app = typer.Typer(help="Runs of the jobs, of the command line and of the daemon.", no_args_is_help=True)

RunArgument = typer.Argument(metavar="RUN", help="The run's id, or the first characters of it.")


@app.command("list")
def list_(
    cohort: str | None = typer.Option(None, "--cohort", "-c", help="Only runs of this cohort."),
    job: str | None = typer.Option(None, help="Only runs of this job, as `scrape` or `enrich`."),
    status: RunStatus | None = typer.Option(None, help="Only runs in this state."),
    limit: int = typer.Option(20, "--limit", "-n", min=1, help="How many, the newest first."),
) -> None:
    """List the last runs: when, of what, how long, and how they ended.

    Example: `almanac runs list --status failure`
    """
    from almanac_pipeline.runs import last_runs

    table = plain_table("run", "job", "cohorts", "status", "began (UTC)", "seconds>")
    for run in last_runs(cohort=cohort, job=job, status=status, limit=limit):
        began = f"{run.began_at:%Y-%m-%d %H:%M:%S}" if run.began_at else ""
        seconds = "" if run.seconds is None else f"{run.seconds:,.1f}"
        table.add_row(run.run_id[:8], run.job, escape(run.cohorts), _coloured(run.status), began, seconds)
    console.print(
        table if table.row_count else "No such run. `almanac runs list` shows the last ones of all."
    )


@app.command()
def show(run: str = RunArgument) -> None:
    """Show the steps of a run, what they read and wrote, why it failed, and what to do now.

    Example: `almanac runs show 1a2b3c4d`
    """
    from almanac_pipeline.runs import run_report

    report = run_report(run)
    of = f" of {escape(report.run.cohorts)}" if report.run.cohorts else ""
    console.print(
        f"[bold]{report.run.run_id}[/]  {report.run.job}{of}: {_coloured(report.run.status)}", highlight=False
    )
    if report.repeats:
        console.print(f"repeats {report.repeats[:8]}", highlight=False)
    table = plain_table("step", "status", "seconds>", "what")
    for step in report.steps:
        seconds = "" if step.seconds is None else f"{step.seconds:,.1f}"
        table.add_row(step.name, _coloured(step.status), seconds, escape(step.summary))
    console.print(table)
    for failure in report.failures:
        hanging(console, "[red]✗[/] ", escape(failure))
    print_unread_members(report.run.run_id)
    if report.run.status in ("failure", "canceled"):
        if report.is_final:
            console.print("The same would fail again until that is mended. Then:", highlight=False)
        console.print(
            f"`almanac runs resume {run}` goes on where it ended; `almanac runs retry {run}` repeats it all.",
            highlight=False,
        )


@app.command()
def retry(run: str = RunArgument) -> None:
    """Do the whole of a run again. What was read and committed is not asked for again while it is fresh.

    Example: `almanac runs retry 1a2b3c4d`
    """
    run_again(run, only_what_failed=False)


@app.command()
def resume(run: str = RunArgument) -> None:
    """Go on with a run that failed: the steps that failed, and those that never began.

    Example: `almanac runs resume 1a2b3c4d`
    """
    run_again(run, only_what_failed=True)


def _coloured(status: str) -> str:
    colour = {"success": "green", "failure": "red", "canceled": "yellow", "skipped": "dim"}.get(status)
    return f"[{colour}]{status}[/]" if colour else status
