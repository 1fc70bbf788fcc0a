"""`almanac member`: one person: who is known, whose feed is read, who is forgotten."""

from __future__ import annotations

from typing import Literal

import typer
from rich.markup import escape

from almanac_pipeline.cli.common import console, database, print_error
from almanac_pipeline.cli.tables import plain_table
from almanac_pipeline.errors import AlmanacError, ConfigurationError

app = typer.Typer(help="One person: forget them, allow them again, read their feed.", no_args_is_help=True)

NameArgument = typer.Argument(help="User name on Letterboxd.")


@app.command("list")
def list_() -> None:
    """List everybody who is known, with what their taste is known from.

    Example: `almanac member list`
    """
    from almanac_pipeline.warehouse.marts import people_overview

    table = plain_table("member", "cohorts", "sources", "ratings>", "last read (UTC)", "feed", "state")
    with database() as connection:
        for row in people_overview(connection):
            table.add_row(
                row.username,
                ", ".join(row.cohorts),
                ", ".join(row.sources),
                f"{row.ratings:,}",
                f"{row.last_read_at:%Y-%m-%d %H:%M}" if row.last_read_at else "never",
                "on" if row.has_feed else "off",
                row.status,
            )
    console.print(table if table.row_count else "Nobody is known yet.")


@app.command()
def feed(
    name: str = NameArgument,
    switch: Literal["on", "off"] = typer.Argument(help="Whether the member lets us read their feed."),
) -> None:
    """Read a member's RSS feed, if they agreed to that, or stop reading it.

    Example: `almanac member feed someone on`
    """
    from almanac_pipeline.warehouse.consent import set_feed_opt_in

    name = _checked(name)
    with database() as connection:
        set_feed_opt_in(connection, name, switch == "on")
    if switch == "on":
        console.print(
            f"The feed of {name} is read from now on: the newest 50 diary entries, with ratings, likes and "
            f"dates. You state that they agreed. `almanac member feed {name} off` ends it.",
            highlight=False,
        )
    else:
        console.print(f"The feed of {name} is not read. What is stored stays.", highlight=False)


@app.command()
def forget(
    name: str = NameArgument,
    yes: bool = typer.Option(False, "--yes", "-y", help="Do not ask."),
) -> None:
    """Remove a person from every table, what was computed with them included, and keep them out.

    Example: `almanac member forget someone`
    """
    from almanac_pipeline.flows.forgetting import forget_member
    from almanac_pipeline.settings import get_settings
    from almanac_pipeline.warehouse.connection import prepared_database_url

    name = _checked(name)
    if not yes:
        typer.confirm(
            f"Everything that is stored of {name} is deleted for good. A circle made from whom they follow, "
            "or from a list of theirs, ends. Go on?",
            abort=True,
        )
    settings = get_settings()
    with console.status(f"forgetting {name}; a sync of theirs that is under way is waited for"):
        report = forget_member(prepared_database_url(settings), settings, name)
    removed = report.database
    table = plain_table("table", "rows removed>")
    for where, count in removed.rows_by_table.items():
        table.add_row(where, f"{count:,}")
    if report.kept_pages_count:
        table.add_row("pages kept for inspection", f"{report.kept_pages_count:,}")
    if report.quality_pages_count:
        table.add_row("pages of quality checks", f"{report.quality_pages_count:,}")
    console.print(table if table.row_count else f"Nothing was stored of {name}.", highlight=False)
    for slug in removed.ended_cohorts:
        console.print(f"{slug} was made from {name}: it has no members any more and is archived.")
    unbuilt = _rebuild(report.cohorts_to_build)
    console.print(
        f"{name} is forgotten. What remains: {removed.hashes_count} salted hashes, by which they are left "
        f"out of every later sync and import. `almanac member allow {name}` takes that back.",
        highlight=False,
    )
    for slug in removed.named_cohorts:
        console.print(f"[yellow]The cohort {slug} bears the name in its slug, which cannot be changed.[/]")
    for path in report.inbox_files:
        console.print(f"[yellow]A file of yours bears the name: {escape(str(path))}[/]", soft_wrap=True)
    if unbuilt:
        raise typer.Exit(1)


@app.command()
def allow(name: str = NameArgument) -> None:
    """Take back that a person is forgotten: the next sync or import may read them again.

    Example: `almanac member allow someone`
    """
    from almanac_pipeline.warehouse.forgetting import allow

    name = _checked(name)
    with database() as connection:
        was_forgotten = allow(connection, name)
    console.print(
        f"{name} may be read again." if was_forgotten else f"{name} was not forgotten.", highlight=False
    )


def _rebuild(slugs: tuple[str, ...]) -> list[str]:
    """Build the statistics of these cohorts in one run; returns those that stay empty, having said why."""
    from almanac_pipeline.launch import run_job
    from almanac_pipeline.settings import get_settings
    from almanac_pipeline.warehouse.forgetting import withdrawn_cohorts

    if not slugs:
        return []
    console.print(f"building {', '.join(slugs)} without them", highlight=False)
    try:
        run_job("statistics", slugs, settings=get_settings(), console=console)
    except AlmanacError as error:
        with database() as connection:
            unbuilt = [slug for slug in slugs if slug in withdrawn_cohorts(connection)]
        names = ", ".join(unbuilt)
        print_error(
            f"{names or 'A cohort'} could not be built: {error}. What is not built stays empty until "
            "`almanac stats refresh` succeeds."
        )
        return unbuilt or list(slugs)
    return []


def _checked(name: str) -> str:
    """The user name in lower case.

    Raises:
        ConfigurationError: it cannot be one.
    """
    from almanac_pipeline.warehouse.cohorts import USERNAME

    name = name.strip().lower()
    if not USERNAME.fullmatch(name):
        raise ConfigurationError(f"{name!r} is not a user name.")
    return name
