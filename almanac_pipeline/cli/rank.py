"""`almanac rank`: rankings, computed and shown."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from math import isfinite
from typing import TYPE_CHECKING, Literal

import typer
from rich.markup import escape

from almanac_pipeline.cli.common import CohortOption, choose_cohort, console, database, print_notice, run
from almanac_pipeline.errors import ConfigurationError, NotFoundError

if TYPE_CHECKING:
    import psycopg

    from almanac_pipeline.warehouse.rankings import FilmFilters, LabelledFilms

Strategy = Literal[
    "almanac", "forecast", "bayesian", "wilson", "discovery", "recency", "hybrid", "engagement", "consensus",
    "loved",
]  # fmt: skip
Label = Literal[
    "elite acclaim", "hidden gem", "cult favorite", "crowd pleaser", "divisive vs the crowd",
    "most liked, unrated", "skip it", "steady performer",
]  # fmt: skip
Distribution = Literal["likes only", "too few", "two camps", "divided", "tight consensus", "mixed"]
Slice = Literal[
    "elite_acclaim", "hidden_gems", "cult_favorites", "divisive_vs_the_crowd", "most_liked_unrated",
    "tightest_consensus", "two_camps", "recent_years",
]  # fmt: skip
COMPUTED_SHOWN = 10

app = typer.Typer(help="Rankings of a cohort.", no_args_is_help=True)


@app.command()
def compute(
    cohort: str | None = CohortOption,
    strategy: Strategy | None = typer.Option(None, help="Show the first films of this ranking afterwards."),
) -> None:
    """Compute the rankings anew, even if nothing changed.

    One fit of the circle serves all strategies, so that all are computed together.

    Example: `almanac rank compute --cohort friends --strategy consensus`
    """
    slug = choose_cohort(cohort)
    run("statistics", slug, tags={"almanac/force": "true"})
    if strategy is not None:
        show_ranking(slug, strategy, limit=COMPUTED_SHOWN)


@app.command()
def show(
    cohort: str | None = CohortOption,
    strategy: Strategy = typer.Option("almanac", help="How the films are ordered."),
    limit: int = typer.Option(20, min=1, help="How many films."),
    slice_: Slice | None = typer.Option(None, "--slice", help="A ready-made selection, in its own order."),
    min_year: int | None = typer.Option(None, help="Released in this year or later."),
    max_year: int | None = typer.Option(None, help="Released in this year or earlier."),
    decade: int | None = typer.Option(None, help="Released in these ten years: 1990."),
    genre: str | None = typer.Option(None, help="Of this genre."),
    director: str | None = typer.Option(None, help="By this director."),
    country: str | None = typer.Option(None, help="Made in this country."),
    min_raters: int | None = typer.Option(None, min=0, help="Rated by this many members or more."),
    max_raters: int | None = typer.Option(None, min=0, help="Rated by this many members or fewer."),
    min_watchers_percentile: float | None = typer.Option(
        None, min=0, max=100, help="Known to more members than this percentage of the films."
    ),
    max_watchers_percentile: float | None = typer.Option(
        None, min=0, max=100, help="Known to no more members than this percentage of the films."
    ),
    min_score: float | None = typer.Option(None, help="From this score of the strategy on."),
    max_score: float | None = typer.Option(None, help="Up to this score of the strategy."),
    min_liked_share: float | None = typer.Option(None, min=0, max=1, help="Hearts per watcher, at least."),
    max_liked_share: float | None = typer.Option(None, min=0, max=1, help="Hearts per watcher, at most."),
    min_divergence: float | None = typer.Option(None, help="Stars above the crowd's average, at least."),
    max_divergence: float | None = typer.Option(
        None, help="Stars above the crowd's average, at most; below it: -0.5."
    ),
    label: Label | None = typer.Option(None, case_sensitive=False, help="With this label."),
    distribution: Distribution | None = typer.Option(
        None, case_sensitive=False, help="With stars spread in this way."
    ),
    as_of: str | None = typer.Option(
        None, metavar="DATE", help="As it was published at the end of this day (UTC), or at this time."
    ),
) -> None:
    """Show the best films of a cohort, with how certain each place is.

    Filters choose among the ranked films; # is a film's place among all of them. With --as-of it is the place
    that was published then, beside the place now.

    Example: `almanac rank show --cohort friends --genre horror --min-year 1990 --limit 50`
    """
    from almanac_pipeline.warehouse.rankings import FilmFilters

    filters = FilmFilters(
        min_year=min_year,
        max_year=max_year,
        decade=decade,
        genre=genre,
        director=director,
        country=country,
        min_raters=min_raters,
        max_raters=max_raters,
        min_watchers_percentile=min_watchers_percentile,
        max_watchers_percentile=max_watchers_percentile,
        min_score=min_score,
        max_score=max_score,
        min_liked_share=min_liked_share,
        max_liked_share=max_liked_share,
        min_divergence=min_divergence,
        max_divergence=max_divergence,
        label=label,
        distribution=distribution,
    )
    for name, value in filters.given().items():
        if isinstance(value, float) and not isfinite(value):
            raise ConfigurationError(f"--{name.replace('_', '-')} is a number, not {value}.")
    if decade is not None and decade % 10:
        raise ConfigurationError(f"--decade is the first year of ten, such as {decade - decade % 10}.")
    if as_of is None:
        show_ranking(choose_cohort(cohort), strategy, filters=filters, slice_=slice_, limit=limit)
    elif slice_ is None:
        _show_past_ranking(choose_cohort(cohort), strategy, _moment(as_of), filters=filters, limit=limit)
    else:
        raise ConfigurationError("--slice is known of today only: leave it or --as-of out.")


def show_ranking(
    cohort: str,
    strategy: str,
    *,
    filters: FilmFilters | None = None,
    slice_: str | None = None,
    limit: int,
) -> None:
    """Print the films that fit, and how many there are.

    Raises:
        NotFoundError: no film fits; the message says what left them out.
    """
    from almanac_pipeline.cli.tables import ranking_table
    from almanac_pipeline.warehouse import rankings

    filters = filters or rankings.FilmFilters()
    with database() as connection:
        published_at = require_published(connection, cohort)
        find = partial(
            rankings.ranked_films, connection, cohort, strategy=strategy, slice_=slice_, limit=limit
        )
        films = find(filters=filters)
        if not films and (spelled := rankings.spelled(connection, filters)) != filters:
            filters = spelled
            films = find(filters=filters)
        if not films:
            raise NotFoundError(_why_none(connection, cohort, strategy, filters, slice_))
    console.print(ranking_table(films, strategy=strategy, tiers=slice_ is None))
    if strategy == "loved" and not any(film.liked_share for film in films):
        console.print("[dim]None of these has a heart: their places say nothing.[/]")
    what = slice_ or ("films that fit" if filters.given() else "ranked films")
    console.print(
        f"[dim]{len(films):,} of {films[0].fitting_count:,} {what} · {cohort}, {strategy}"
        f" · published {published_at} UTC[/]",
        highlight=False,
        soft_wrap=True,
    )


def _moment(as_of: str) -> datetime:
    """The end of a day, or a time; UTC unless it says otherwise.

    Raises:
        ConfigurationError: it is neither.
    """
    try:
        moment = datetime.fromisoformat(as_of)
    except ValueError:
        raise ConfigurationError(f"--as-of is a day or a time such as 2026-01-31, not {as_of!r}.") from None
    if len(as_of) == len("2026-01-31"):
        moment += timedelta(days=1)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _in_utc(moment: datetime) -> str:
    """To the minute, or as finely as it was given."""
    at = moment.astimezone(UTC).replace(tzinfo=None)
    return at.isoformat(" ", "auto" if at.second or at.microsecond else "minutes")


def _show_past_ranking(
    cohort: str, strategy: str, before: datetime, *, filters: FilmFilters, limit: int
) -> None:
    """Print the ranking as it was, with the places of today beside it.

    Raises:
        NotFoundError: nothing was published then that fits.
    """
    from almanac_pipeline.cli.tables import plain_table
    from almanac_pipeline.warehouse import rankings

    with database() as connection:
        require_published(connection, cohort)
        find = partial(
            rankings.films_as_of, connection, cohort, before=before, strategy=strategy, limit=limit
        )
        films = find(filters=filters) or find(filters=rankings.spelled(connection, filters))
    if not films:
        raise NotFoundError(
            f"Nothing that fits was published of {cohort} by {strategy} before {_in_utc(before)} UTC: "
            "take a later --as-of, or fewer filters."
        )
    table = plain_table("#>", "now>", "film", "year>", "score>", "raters>")
    for film in films:
        table.add_row(
            str(film.rank),
            "–" if film.present_rank is None else str(film.present_rank),
            escape(film.title),
            str(film.release_year or ""),
            f"{film.score:.2f}",
            str(film.raters),
        )
    console.print(table)
    console.print(
        f"[dim]{len(films):,} of {films[0].fitting_count:,} films · {cohort}, {strategy}"
        f" · as published before {_in_utc(before)} UTC[/]",
        highlight=False,
        soft_wrap=True,
    )


def require_published(connection: psycopg.Connection, cohort: str) -> str:
    """When the cohort was published last, to be printed; says if a later build is held back.

    Raises:
        NotFoundError: never yet; the message says what does it.
    """
    from almanac_pipeline.flows.publication import why_held_back
    from almanac_pipeline.warehouse.rankings import published_at

    if (at := published_at(connection, cohort)) is None:
        raise NotFoundError(f"{cohort} is not published yet: `almanac cohort build {cohort}` runs the chain.")
    if reason := why_held_back(connection, cohort):
        print_notice(
            f"[yellow]{cohort} is held back: {escape(reason)}. Shown is what was published before; "
            f"`almanac stats refresh --cohort {cohort}` says what was expected and observed.[/]"
        )
    return f"{at:%Y-%m-%d %H:%M}"


def _why_none(
    connection: psycopg.Connection, cohort: str, strategy: str, filters: FilmFilters, slice_: str | None
) -> str:
    from almanac_pipeline.warehouse.rankings import exclusions, similar_names

    all_films, left_out = exclusions(connection, cohort, strategy=strategy, filters=filters, slice_=slice_)
    if not all_films:
        if slice_:
            return f"No film of {cohort} is in {slice_}: `almanac rank buckets` shows the labels there are."
        return (
            f"The strategy {strategy} gives no film of {cohort} a place: too few have rated any film, "
            "or what it needs is not known (docs/analysts.md says what each strategy needs)."
        )
    worst = left_out[0]
    value = getattr(filters, worst.filter)
    message = (
        f"No film of {cohort} fits: --{worst.filter.replace('_', '-')} {value!r} leaves out "
        f"{worst.films_count:,} of {all_films:,} films"
    )
    if names := similar_names(connection, worst.filter, str(value)):
        return f"{message}. Did you mean {' or '.join(names)}?"
    if worst.films_count < all_films:
        return f"{message}, and the other filters the rest. Loosen one of them."
    return f"{message}. Leave it out or change it."


@app.command()
def buckets(
    cohort: str | None = CohortOption,
    distribution: bool = typer.Option(
        False, "--distribution", help="The words for how stars are spread instead of the labels."
    ),
) -> None:
    """Show the labels of a cohort's films: how many have each, by which rule, and the best of them.

    Example: `almanac rank buckets --cohort friends`
    """
    from almanac_pipeline.cli.tables import plain_table
    from almanac_pipeline.warehouse.rankings import labelled_films

    slug = choose_cohort(cohort)
    with database() as connection:
        require_published(connection, slug)
        rows = labelled_films(connection, slug, distribution=distribution)
    if not rows:
        raise NotFoundError(
            f"{slug} was published without films: `almanac cohort show {slug}` says who is in it."
        )
    table = plain_table("label", "films>", "when", "the best of them")
    for row in rows:
        table.add_row(row.label, f"{row.films_count:,}", _rule(row), escape(row.first_title or ""))
    console.print(table)


_COMPARISONS = {"min": "≥", "max": "≤", "above": ">", "below": "<"}


def _rule(row: LabelledFilms) -> str:
    """The thresholds of a label in words: `score percentile ≥ 90`."""
    words = []
    for criterion, threshold in row.criteria.items():
        comparison, _, measure = criterion.partition("_")
        words.append(f"{measure.replace('_', ' ')} {_COMPARISONS[comparison]} {threshold:g}")
    if not words:
        return "liked, and rated by nobody" if row.label == "likes only" else "none of the others fits"
    return ", ".join(words)
