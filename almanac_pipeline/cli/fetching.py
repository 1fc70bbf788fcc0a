"""`almanac pause`, `unpause`, `unblock`: the operator's hand on what is fetched."""

from __future__ import annotations

import typer

from almanac_pipeline.cli.common import console, database


def pause() -> None:
    """Stop all fetching at once, in every process, until `almanac unpause`.

    Example: `almanac pause`
    """
    from almanac_pipeline.warehouse.switches import set_fetching

    with database() as connection:
        set_fetching(connection, enabled=False)
    console.print("fetching is off; runs under way stop before their next request")


def unpause() -> None:
    """Allow fetching again after `almanac pause`.

    Example: `almanac unpause`
    """
    from almanac_pipeline.warehouse.switches import set_fetching

    with database() as connection:
        set_fetching(connection, enabled=True)
    console.print("fetching is on")


def unblock(
    host: str | None = typer.Argument(None, help="The host to ask again; without it, lists those blocked."),
) -> None:
    """Ask a host again that has refused us. Find out why it did before you do this.

    Example: `almanac unblock letterboxd.com`
    """
    from almanac_pipeline.http.client import PoliteClient
    from almanac_pipeline.settings import get_settings
    from almanac_pipeline.warehouse.connection import prepared_database_url
    from almanac_pipeline.warehouse.switches import blocked_hosts

    if host is None:
        with database() as connection:
            blocked = blocked_hosts(connection)
        for entry in blocked:
            console.print(f"{entry.host}  since {entry.blocked_at:%Y-%m-%d %H:%M} UTC: {entry.reason}")
        if not blocked:
            console.print("no host is blocked")
        return
    settings = get_settings()
    with PoliteClient.open(settings, prepared_database_url(settings)) as client:
        if not client.unblock(host):
            console.print(f"{host} was not blocked", highlight=False)
            raise typer.Exit(1)
    console.print(f"{host} may be asked again", highlight=False)
