"""`almanac doctor`: is everything in place, and what to do where it is not."""

from __future__ import annotations

import typer

from almanac_pipeline.cli.common import console
from almanac_pipeline.cli.tables import hanging


def doctor(
    live: bool = typer.Option(
        False, "--live", help="Ask the sites too: one polite request per permitted kind."
    ),
) -> None:
    """Check configuration, database, schema, disk and policy; exit 1 if something is wrong.

    Example: `almanac doctor --live`
    """
    from rich.markup import escape

    from almanac_pipeline.examination import examine
    from almanac_pipeline.settings import get_settings

    wrong = 0
    for finding in examine(get_settings(), live=live):
        mark = {True: "[green]✓[/]", False: "[red]✗[/]", None: "[yellow]–[/]"}[finding.passed]
        hanging(console, f"{mark} {finding.subject:<13} ", escape(finding.message))
        wrong += finding.passed is False
    if wrong:
        raise typer.Exit(1)
