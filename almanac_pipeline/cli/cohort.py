"""`almanac cohort`: circles of people, built, listed and shown."""

from __future__ import annotations

import typer
from rich.markup import escape

from almanac_pipeline.cli.common import choose_cohort, console, database, run
from almanac_pipeline.cli.tables import plain_table
from almanac_pipeline.errors import ConfigurationError

app = typer.Typer(help="Circles of people: build, list, show.", no_args_is_help=True)


@app.command()
def build(
    slug: str = typer.Argument(help="Short name, for ever: lower case, digits, - and _."),
    seed: str | None = typer.Option(None, help="The member whose followings make the circle."),
    member: list[str] | None = typer.Option(None, help="A hand-picked member; may be given many times."),
    include_seed: bool = typer.Option(False, "--include-seed", help="Count the seed as a member too."),
    label: str | None = typer.Option(None, help="The name that people read; the slug until one is given."),
) -> None:
    """Create a cohort and run the whole chain: members, ratings, films, statistics, rankings.

    Building an existing cohort again brings it up to date.

    Example: `almanac cohort build friends --seed someone --label "My friends"`
    """
    from almanac_pipeline.warehouse.cohorts import create_cohort, list_cohorts

    if seed and member:
        raise ConfigurationError("Give either --seed or --member, not both.")
    if include_seed and not seed:
        raise ConfigurationError("--include-seed needs --seed.")
    with database() as connection:
        known = next((cohort for cohort in list_cohorts(connection) if cohort.slug == slug), None)
        definition: dict[str, object]
        if seed:
            definition = {"kind": "following", "seed": seed, "include_self": include_seed}
        elif member:
            definition = {"kind": "usernames", "usernames": member}
        elif known:
            definition = known.definition
        else:
            raise ConfigurationError(f"The cohort {slug!r} is new: say who is in it with --seed or --member.")
        create_cohort(connection, slug, label or (known.label if known else slug), definition)
    run("cohort_almanac", slug)


@app.command("list")
def list_() -> None:
    """List the cohorts with their size and last publication.

    Example: `almanac cohort list`
    """
    from almanac_pipeline.warehouse.marts import cohort_overview

    table = plain_table("cohort", "label", "members>", "films>", "ratings>", "published (UTC)")
    with database() as connection:
        for row in cohort_overview(connection):
            published = f"{row.published_at:%Y-%m-%d %H:%M}" if row.published_at else "never"
            table.add_row(
                row.slug,
                escape(row.label),
                f"{row.members:,}",
                f"{row.films:,}",
                f"{row.ratings:,}",
                published,
            )
    console.print(table if table.row_count else "No cohort yet: `almanac cohort build SLUG --seed NAME`.")


@app.command()
def show(
    slug: str | None = typer.Argument(None, help="The cohort; may be left out if there is one."),
) -> None:
    """Show who is in a cohort and how far each member is read.

    Example: `almanac cohort show friends`
    """
    from almanac_pipeline.warehouse.marts import member_overview

    slug = choose_cohort(slug)
    table = plain_table("member", "ratings>", "likes>", "since", "last read (UTC)", "state")
    with database() as connection:
        for row in member_overview(connection, slug):
            read = f"{row.last_read_at:%Y-%m-%d %H:%M}" if row.last_read_at else "never"
            table.add_row(
                row.username, f"{row.ratings:,}", f"{row.likes:,}", f"{row.since:%Y-%m-%d}", read, row.status
            )
    console.print(
        f"[bold]{slug}[/]: {table.row_count} member{'' if table.row_count == 1 else 's'}", highlight=False
    )
    console.print(table)
