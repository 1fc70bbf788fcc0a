"""`almanac alerts`: what an operator should know, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from almanac_pipeline.cli.common import console, database

if TYPE_CHECKING:
    from almanac_pipeline.flows.alerts import Delivery
    from almanac_pipeline.warehouse.alerts import Alert

app = typer.Typer(help="What needs an operator's attention.", invoke_without_command=True)


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


@app.command()
def send() -> None:
    """Look at everything that raises alerts, and tell the webhook and the e-mail addresses what is new.

    Under the daemon that happens by itself.

    Example: `almanac alerts send`
    """
    from almanac_pipeline.flows import alerts as flow
    from almanac_pipeline.settings import get_settings
    from almanac_pipeline.warehouse.connection import database_failures, prepared_database_url

    settings, url = get_settings(), prepared_database_url()
    with database_failures():
        flow.look(url, settings)
        deliveries = flow.send(url, settings)
    _print_deliveries(deliveries, nothing="nothing new to tell")


@app.command("try")
def try_() -> None:
    """Send a word to the webhook and the e-mail addresses, to see that it arrives; what they missed follows.

    Example: `almanac alerts try`
    """
    from almanac_pipeline.flows.alerts import try_sinks
    from almanac_pipeline.settings import get_settings
    from almanac_pipeline.warehouse.connection import running_database_url

    nothing = "nobody is told: set ALMANAC_ALERT_WEBHOOK, or ALMANAC_ALERT_EMAIL_TO and its companions"
    _print_deliveries(try_sinks(running_database_url(), get_settings()), nothing=nothing)


def _print_deliveries(deliveries: list[Delivery], *, nothing: str) -> None:
    """A line per sink; exit code 1 if one could not be told."""
    if not deliveries:
        console.print(nothing, highlight=False)
    for delivery in deliveries:
        news = f"{delivery.news_count} alerts" if delivery.news_count else "a word"
        console.print(delivery.error or f"{delivery.sink}: told {news}", highlight=False)
    if any(delivery.error for delivery in deliveries):
        raise typer.Exit(1)


def _words(alert: Alert) -> str:
    from almanac_pipeline.warehouse.alerts import KINDS, utc

    about = ", ".join(filter(None, (alert.subject, alert.username)))
    times = f", {alert.times_seen} times" if alert.times_seen > 1 else ""
    seen = f"last seen {utc(alert.last_seen_at)}{times}"
    kind = KINDS[alert.kind]
    return f"{about}: {alert.message} ({seen}). To do: {kind.to_do}; docs/runbook/{kind.runbook}.md"
