"""`almanac cohort`: circles of people, built, set, listed and shown."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer
from rich.markup import escape

from almanac_pipeline.cli.common import choose_cohort, console, database, print_notice, run_chain
from almanac_pipeline.cli.tables import plain_table
from almanac_pipeline.errors import ConfigurationError

app = typer.Typer(help="Circles of people: build, set, list, show.", no_args_is_help=True)


@app.command()
def build(
    slug: str = typer.Argument(help="Short name, for ever: lower case, digits, - and _."),
    seed: str | None = typer.Option(None, help="The member whose followings make the circle."),
    depth: int | None = typer.Option(None, help="With --seed: follow the followings on, 1 to 3 steps."),
    followers: str | None = typer.Option(None, help="The member whose followers make the circle."),
    member: list[str] | None = typer.Option(None, help="A hand-picked member; may be given many times."),
    members_file: Path | None = typer.Option(
        None, help="A file of hand-picked members: one per line or first in a CSV row; # begins a comment."
    ),
    list_: str | None = typer.Option(
        None, "--list", help="OWNER/SLUG of a list: its owner, or who shares its films (see --relation)."
    ),
    film: str | None = typer.Option(None, help="Slug of a film: its fans, or who has seen it."),
    relation: str | None = typer.Option(
        None, help="With --film: fans (default) or members. With --list: owner (default), fans or members."
    ),
    include_seed: bool = typer.Option(
        False, "--include-seed", help="Count the seed, or the owner of the list, as a member too."
    ),
    min_films: int | None = typer.Option(None, help="Only people who have seen at least so many films."),
    min_likes: int | None = typer.Option(None, help="Only people who like at least so many films."),
    max_members: int | None = typer.Option(None, help="At most so many people, the closest first."),
    exclude: list[str] | None = typer.Option(None, help="Never this person; may be given many times."),
    label: str | None = typer.Option(None, help="The name that people read; the slug until one is given."),
) -> None:
    """Create a cohort and run the whole chain: members, ratings, rankings, films, rankings again.

    Building an existing cohort again brings it up to date. docs/cohorts.md says what each kind costs.

    Example: `almanac cohort build friends --seed someone --depth 2 --min-films 100 --max-members 200`
    """
    from almanac_pipeline.warehouse.cohorts import create_cohort, list_cohorts
    from almanac_pipeline.warehouse.forgetting import forgotten
    from almanac_pipeline.warehouse.schedule import built_by_command

    names = [*(member or ()), *(read_usernames(members_file) if members_file else ())]
    definition = definition_of(
        {
            "--seed": seed,
            "--followers": followers,
            "--member": names,
            "--list": list_,
            "--film": film,
        },
        {
            "--depth": depth,
            "--include-seed": include_seed or None,
            "--relation": relation,
            "--min-films": min_films,
            "--min-likes": min_likes,
            "--max-members": max_members,
            "--exclude": exclude or None,
        },
    )
    with database() as connection, built_by_command(connection, slug):
        known = next((cohort for cohort in list_cohorts(connection) if cohort.slug == slug), None)
        if definition is None and known is None:
            raise ConfigurationError(
                f"The cohort {slug!r} is new: say who is in it with {', '.join(_KINDS)} or --members-file."
            )
        definition = definition or (known.definition if known else {})
        create_cohort(connection, slug, label or (known.label if known else slug), definition)
        left_out_count = len(forgotten(connection, [*names, *(exclude or ())]))
        connection.commit()
        if left_out_count:
            print_notice(
                f"Left out, because they asked to be forgotten: {left_out_count:,} of the names given."
            )
        run_chain(slug)


def definition_of(roots: Mapping[str, Any], details: Mapping[str, Any]) -> dict[str, Any] | None:
    """The definition that these options mean; None if they say nothing of who is in the cohort.

    Raises:
        ConfigurationError: two kinds at once, or a detail that the kind does not know.
    """
    given = {option: value for option, value in details.items() if value is not None}
    chosen = [option for option, value in roots.items() if value]
    if not chosen:
        if given:
            raise ConfigurationError(f"{next(iter(given))} needs one of {', '.join(_KINDS)}.")
        return None
    if len(chosen) > 1:
        raise ConfigurationError(f"Give either {' or '.join(chosen)}, not both.")
    [root] = chosen
    kind, known = _KINDS[root]
    if unknown := [option for option in given if option not in known]:
        raise ConfigurationError(f"{unknown[0]} does not go with {root}.")
    definition = {known[option]: value for option, value in given.items()}
    if root == "--list":
        owner, _, list_slug = roots[root].strip("/").partition("/")
        if not list_slug:
            raise ConfigurationError(f"--list is OWNER/SLUG, not {roots[root]!r}.")
        return {"kind": kind, "owner": owner, "list": list_slug.removeprefix("list/"), **definition}
    key = "seed" if kind in ("following", "followers") else kind
    return {"kind": kind, key: roots[root], **definition}


def read_usernames(path: Path) -> list[str]:
    """The names in a curated list: first of each line or CSV row, without comments and a CSV's heading.

    Raises:
        ConfigurationError: the file cannot be read, names nobody, or holds a line that is no name.
    """
    from almanac_pipeline.warehouse.cohorts import USERNAME

    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise ConfigurationError(f"{path} cannot be read: {reason}.") from None
    names = []
    for number, line in enumerate(text.splitlines(), start=1):
        name = line.partition("#")[0].split(",")[0].strip().strip('"').lower()
        is_heading = path.suffix.lower() == ".csv" and number == 1 and name in _HEADINGS
        if not name or is_heading:
            continue
        if not USERNAME.fullmatch(name):
            raise ConfigurationError(f"{path}, line {number}: {name!r} is not a user name.")
        names.append(name)
    if not names:
        raise ConfigurationError(f"{path} names nobody.")
    return names


_HEADINGS = frozenset(("username", "user", "member", "name"))
_FILTERS = {
    "--min-films": "min_films",
    "--min-likes": "min_likes",
    "--max-members": "max_members",
    "--exclude": "exclude",
}
_SEED = {"--include-seed": "include_self"}
_RELATION = {"--relation": "relation"}
_KINDS: dict[str, tuple[str, dict[str, str]]] = {
    "--seed": ("following", {"--depth": "depth"} | _SEED | _FILTERS),
    "--followers": ("followers", _SEED | _FILTERS),
    "--member": ("usernames", {}),
    "--list": ("list", _SEED | _RELATION | _FILTERS),
    "--film": ("film", _RELATION | _FILTERS),
}
"""What makes a circle: its kind, and the further options that go with it, by their names in definitions."""


@app.command("set")
def set_(
    slug: str | None = typer.Argument(None, help="The cohort; may be left out if there is one."),
    every_hours: int | None = typer.Option(
        None, min=1, max=8760, help="How often the schedule reads what is new, in hours."
    ),
    as_others: bool = typer.Option(
        False, "--as-others", help="As often as the settings say (ALMANAC_SYNC_EVERY_HOURS) from now on."
    ),
) -> None:
    """Say how often the schedule reads what is new of a cohort.

    Example: `almanac cohort set friends --every-hours 6`
    """
    from almanac_pipeline.settings import get_settings
    from almanac_pipeline.warehouse.schedule import set_cadence

    if (every_hours is None) != as_others:
        raise ConfigurationError("Give either --every-hours or --as-others.")
    slug = choose_cohort(slug)
    with database() as connection:
        set_cadence(connection, slug, every_hours)
    console.print(f"{slug} is read every {every_hours or get_settings().sync_every_hours} h", highlight=False)


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
