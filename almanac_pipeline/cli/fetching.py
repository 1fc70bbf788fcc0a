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
    from almanac_pipeline.warehouse.switches import blocked_hosts
    from almanac_pipeline.warehouse.switches import unblock as allow_again

    with database() as connection:
        blocked = blocked_hosts(connection)
        if host is None:
            for entry in blocked:
                console.print(f"{entry.host}  since {entry.blocked_at:%Y-%m-%d %H:%M} UTC: {entry.reason}")
            if not blocked:
                console.print("no host is blocked")
            return
        if not allow_again(connection, host):
            console.print(f"{host} was not blocked")
            raise typer.Exit(1)
    console.print(f"{host} may be asked again", highlight=False)
