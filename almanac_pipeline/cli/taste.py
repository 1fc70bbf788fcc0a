"""`almanac taste` and `almanac compare`: who is like whom, by name, in the terminal only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import typer
from rich.markup import escape
from rich.table import Table

from almanac_pipeline.cli.common import (
    CohortOption,
    choose_cohort,
    choose_cohorts,
    console,
    database,
)
from almanac_pipeline.cli.rank import require_published
from almanac_pipeline.cli.tables import plain_table, two_decimals
from almanac_pipeline.errors import ConfigurationError, NotFoundError

if TYPE_CHECKING:
    import psycopg

    from almanac_pipeline.warehouse.tastes import ComparedFilm, Contrast, MemberTaste, PairTaste

PAIRS_SHOWN = 5
CANNOT_BE_COMPARED = "fewer than five films in common, or one of the two gave them all the same stars"


def taste(
    cohort: str | None = CohortOption,
    member: str | None = typer.Option(None, help="Compare this member with each of the others."),
    limit: int = typer.Option(20, min=1, help="How many members, those with most ratings first."),
) -> None:
    """Show how the members of a cohort use the stars, and who is most and least alike.

    Example: `almanac taste --cohort friends`
    """
    from almanac_pipeline.warehouse import tastes

    slug = choose_cohort(cohort)
    with database() as connection:
        require_published(connection, slug)
        if member is not None:
            _show_member(connection, slug, member.lower(), limit)
            return
        members = tastes.member_tastes(connection, slug, limit=limit)
        alike = tastes.pairs_by_likeness(connection, slug, most=True, limit=PAIRS_SHOWN)
        unlike = tastes.pairs_by_likeness(connection, slug, most=False, limit=PAIRS_SHOWN)
    table = plain_table(
        "member", "ratings>", "mean>", "strict>", "spread>", "steady>", "most like", "least like"
    )
    for row in members:
        table.add_row(
            row.username,
            f"{row.ratings_count:,}",
            two_decimals(row.average_rating),
            _signed(row.strictness),
            two_decimals(row.spread),
            two_decimals(row.consistency),
            _like(row.most_alike, row.most_similarity),
            _like(row.least_alike, row.least_similarity),
        )
    console.print(table)
    shown = len(members)
    _dim(
        f"{shown:,} of {members[0].members_count if members else 0:,} members"
        " · strict: stars above the circle, so that the strict are below 0"
    )
    if not alike:
        _dim(f"No two can be compared: {CANNOT_BE_COMPARED}.")
        return
    for title, pairs in (("Most alike", alike), ("Least alike", unlike)):
        console.print(f"\n[bold]{title}[/]")
        console.print(_pairs_table(pairs))


def _show_member(connection: psycopg.Connection, cohort: str, member: str, limit: int) -> None:
    from almanac_pipeline.warehouse.tastes import pairs_of

    if not (pairs := pairs_of(connection, cohort, member)):
        raise NotFoundError(
            f"Nobody of that name has rated films in {cohort}: "
            f"`almanac cohort show {cohort}` lists who is in it."
        )
    console.print(_pairs_table(pairs[:limit], beside=member))
    _dim(f"{min(limit, len(pairs)):,} of {len(pairs):,} others · empty: {CANNOT_BE_COMPARED}")


def compare(
    first: str = typer.Argument(help="A member, or a cohort."),
    second: str = typer.Argument(help="Another member, or another cohort."),
    cohort: str | None = typer.Option(
        None, "--cohort", "-c", help="The circle of both members; needed if they share several."
    ),
    limit: int = typer.Option(5, min=1, help="How many films per table."),
) -> None:
    """Compare two members of a cohort, or two cohorts: how alike they are, and film by film.

    Example: `almanac compare ann bob --cohort friends`
    """
    slugs = choose_cohorts(None)
    if first.lower() == second.lower():
        raise ConfigurationError("Give two different members, or two different cohorts.")
    if cohort is None and first in slugs and second in slugs:
        _compare_cohorts(first, second, limit)
    else:
        _compare_members(first.lower(), second.lower(), cohort and choose_cohort(cohort), limit)


def _compare_members(first: str, second: str, cohort: str | None, limit: int) -> None:
    from almanac_pipeline.warehouse import tastes

    with database() as connection:
        shared = tastes.common_cohorts(connection, first, second)
        if not shared or (cohort and cohort not in shared):
            raise NotFoundError(
                f"These are not two members of {cohort or 'one cohort'}, nor two cohorts: "
                "`almanac cohort show SLUG` and `almanac cohort list` say who and what there is."
            )
        if cohort is None and len(shared) > 1:
            raise ConfigurationError(
                f"Both are in several cohorts. Say which with --cohort: {', '.join(shared)}."
            )
        cohort = cohort or shared[0]
        require_published(connection, cohort)
        profiles = {
            row.username: row for row in tastes.member_tastes(connection, cohort, usernames=[first, second])
        }
        pair = tastes.pair(connection, cohort, first, second)
        console.print(_profiles_table(cohort, (first, second), [profiles.get(first), profiles.get(second)]))
        console.print()
        _print_pair(pair)
        _print_contrasts(
            lambda contrast, a, b: tastes.films_of_members(connection, a, b, contrast, limit=limit),
            first,
            second,
        )


def _profiles_table(cohort: str, names: Sequence[str], sides: Sequence[MemberTaste | None]) -> Table:
    table = plain_table(cohort, *(f"{name}>" for name in names))
    rows: dict[str, Callable[[MemberTaste], str]] = {
        "ratings": lambda side: f"{side.ratings_count:,}",
        "likes": lambda side: f"{side.likes_count:,}",
        "mean stars": lambda side: two_decimals(side.average_rating),
        "strictness (stars above the circle)": lambda side: _signed(side.strictness),
        "spread of stars (1 is usual)": lambda side: two_decimals(side.spread),
        "steadiness (1 is usual)": lambda side: two_decimals(side.consistency),
    }
    for name, value in rows.items():
        table.add_row(name, *(value(side) if side else "" for side in sides))
    return table


def _print_pair(pair: PairTaste | None) -> None:
    overlap = pair.overlap if pair else 0
    if pair is None or pair.similarity is None:
        console.print(f"{overlap:,} films in common: {CANNOT_BE_COMPARED}.", highlight=False)
        return
    console.print(
        f"[bold]alike {pair.similarity:+.2f}[/] over {overlap:,} films in common "
        f"(correlation {pair.pearson_low:+.2f} to {pair.pearson_high:+.2f})",
        highlight=False,
    )
    if pair.residual_similarity is not None:
        console.print(f"beyond the crowd {pair.residual_similarity:+.2f}", highlight=False)
    console.print(
        f"{two_decimals(pair.star_gap)} stars apart on average, the same stars for "
        f"{pair.equal_share or 0:.0%} of the films",
        highlight=False,
    )


def _compare_cohorts(first: str, second: str, limit: int) -> None:
    from almanac_pipeline.warehouse import tastes

    with database() as connection:
        for slug in (first, second):
            require_published(connection, slug)
        numbers = tastes.compare_cohorts(connection, first, second)
        table = plain_table("", f"{first}>", f"{second}>")
        for name, values in (
            ("members", numbers.members),
            ("films", numbers.films),
            ("ratings", numbers.ratings),
        ):
            table.add_row(name, *(f"{value:,}" for value in values))
        table.add_row("mean stars", *map(two_decimals, numbers.average_rating))
        table.add_row(
            "hearts per watcher", *("" if share is None else f"{share:.0%}" for share in numbers.liked_share)
        )
        console.print(table)
        console.print()
        console.print(
            f"{numbers.common_films_count:,} films have a place in both"
            + (f": places alike {numbers.spearman:+.2f}" if numbers.spearman is not None else "")
            + (f", stars {numbers.pearson:+.2f}" if numbers.pearson is not None else ""),
            highlight=False,
        )
        _print_contrasts(
            lambda contrast, a, b: tastes.films_of_cohorts(connection, a, b, contrast, limit=limit),
            first,
            second,
        )


def _print_contrasts(
    films: Callable[[Contrast, str, str], Sequence[ComparedFilm]], first: str, second: str
) -> None:
    """Film tables side by side: what both love, what divides them, what one knows and the other does not."""
    for title, found, swapped in (
        ("Loved by both", films("shared", first, second), False),
        ("Furthest apart", films("apart", first, second), False),
        (f"Of {first}, new to {second}", films("unseen", first, second), False),
        (f"Of {second}, new to {first}", films("unseen", second, first), True),
    ):
        if not found:
            continue
        has_places = any(film.first_rank is not None for film in found)
        table = plain_table("film", "year>", *(f"{name}>" for name in (first, second)))
        for film in found:
            cells = [_stars(film.first, film.first_rank), _stars(film.second, film.second_rank)]
            table.add_row(
                escape(film.title), str(film.release_year or ""), *(reversed(cells) if swapped else cells)
            )
        console.print(f"\n[bold]{escape(title)}[/]" + (" [dim](stars, #place)[/]" if has_places else ""))
        console.print(table)


def _stars(stars: float | None, rank: int | None) -> str:
    if stars is None:
        return ""
    return f"{stars:.1f}" if rank is None else f"{stars:.2f} #{rank}"


def _pairs_table(pairs: Sequence[PairTaste], beside: str | None = None) -> Table:
    table = plain_table(
        *([] if beside else ["member"]),
        "and",
        "alike>",
        "r, 95 % sure>",
        "films>",
        "gap>",
        "same>",
        "beyond crowd>",
    )
    for pair in pairs:
        names = [pair.first, pair.second]
        if beside is not None:
            names.remove(beside)
        table.add_row(
            *names,
            _signed(pair.similarity),
            "" if pair.pearson_low is None else f"{pair.pearson_low:+.2f} to {pair.pearson_high:+.2f}",
            f"{pair.overlap:,}",
            two_decimals(pair.star_gap),
            "" if pair.equal_share is None else f"{pair.equal_share:.0%}",
            _signed(pair.residual_similarity),
        )
    return table


def _like(name: str | None, similarity: float | None) -> str:
    return "" if name is None else f"{name} {similarity:+.2f}"


def _signed(value: float | None) -> str:
    return "" if value is None else f"{value:+.2f}"


def _dim(text: str) -> None:
    console.print(f"[dim]{escape(text)}[/]", highlight=False, soft_wrap=True)
