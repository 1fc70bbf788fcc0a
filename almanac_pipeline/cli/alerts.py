"""`almanac alerts`: what an operator should know, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from almanac_pipeline.cli.common import console, database

if TYPE_CHECKING:
    from almanac_pipeline.warehouse.alerts import Alert, AlertKind

app = typer.Typer(help="What needs an operator's attention.", invoke_without_command=True)

# One line each; docs/operations.md says more.
WHAT_TO_DO: dict[AlertKind, str] = {
    "blocked": "find out why the site refused us; then `almanac unblock HOST`",
    "suspicious": "look whether the member really removed so much; nothing was deleted",
    "feed_gap": "import a new export of the member, or have their pages read in full",
    "volume": "look into the run; `almanac pause` if it should not ask so much",
    "layout": "look at the page kept in the inspection folder; nothing of it was stored",
    "budget": "nothing: it goes on tomorrow (UTC), or raise ALMANAC_REQUESTS_PER_DAY",
}


@app.callback()
def alerts(context: typer.Context) -> None:
    """List what needs attention, newest first, with what to do.

    Example: `almanac alerts`
    """
    if context.invoked_subcommand is not None:
        return
    from rich.markup import escape

    from almanac_pipeline.cli.tables import hanging
    from almanac_pipeline.warehouse.alerts import open_alerts

    with database() as connection:
        found = open_alerts(connection)
    for alert in found:
        hanging(console, f"{alert.alert_id:>4}  {alert.kind:<10}  ", escape(_words(alert)))
    console.print("`almanac alerts resolve ID` when one is dealt with" if found else "no alerts")


@app.command()
def resolve(
    alert_id: int = typer.Argument(metavar="ID", help="The number that `almanac alerts` shows."),
) -> None:
    """Close an alert that is dealt with. It comes again if its cause does.

    Example: `almanac alerts resolve 3`
    """
    from almanac_pipeline.warehouse.alerts import resolve_alert

    with database() as connection:
        if not resolve_alert(connection, alert_id):
            console.print(f"no open alert has the number {alert_id}", highlight=False)
            raise typer.Exit(1)
    console.print(f"alert {alert_id} is resolved", highlight=False)


def _words(alert: Alert) -> str:
    about = ", ".join(filter(None, (alert.subject, alert.username)))
    times = f", {alert.times_seen} times" if alert.times_seen > 1 else ""
    seen = f"last seen {alert.last_seen_at:%Y-%m-%d %H:%M} UTC{times}"
    return f"{about}: {alert.message} ({seen}). To do: {WHAT_TO_DO[alert.kind]}"
