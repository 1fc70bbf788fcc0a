"""`almanac doctor`: is everything in place, and what to do where it is not."""

from __future__ import annotations

import typer

from almanac_pipeline.cli.common import console


def doctor(
    live: bool = typer.Option(
        False, "--live", help="Ask the sites too: one polite request per permitted kind."
    ),
) -> None:
    """Check configuration, database, schema, disk and policy; exit 1 if something is wrong.

    Example: `almanac doctor --live`
    """
    from almanac_pipeline.examination import examine
    from almanac_pipeline.settings import get_settings

    wrong = 0
    for finding in examine(get_settings(), live=live):
        mark = {True: "[green]✓[/]", False: "[red]✗[/]", None: "[yellow]–[/]"}[finding.passed]
        console.print(f"{mark} {finding.subject:<14} {finding.message}", highlight=False, soft_wrap=True)
        wrong += finding.passed is False
    if wrong:
        raise typer.Exit(1)
