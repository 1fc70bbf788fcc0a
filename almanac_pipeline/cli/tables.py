"""Tables, and words for numbers, that more than one command prints."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from almanac_pipeline.warehouse.rankings import RankedFilm


def plain_table(*columns: str) -> Table:
    """A table without lines; a name that ends with > is a column of numbers."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in columns:
        numbers = name.endswith(">")
        table.add_column(name.rstrip(">"), justify="right" if numbers else "left", no_wrap=numbers)
    return table


def hanging(console: Console, head: str, text: str) -> None:
    """Print `text` behind `head`: in a terminal wrapped at words below itself, elsewhere as one line."""
    if not console.is_terminal:
        console.print(head + text, highlight=False, soft_wrap=True)
        return
    row = Table.grid()
    row.add_column(no_wrap=True)
    row.add_row(head, text)
    console.print(row, highlight=False)


_NOT_STARS = ("discovery", "hybrid", "engagement")


def ranking_table(films: Sequence[RankedFilm], *, strategy: str = "almanac", tiers: bool = True) -> Table:
    """Rank, the interval it lies in with 90 % certainty, film, estimate, mean, raters and label.

    Of `loved` the share of hearts itself: the estimate is the centre of its interval, pulled to one half.
    """
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("#", "90 % sure"):
        table.add_column(name, justify="right", no_wrap=True)
    # The one column that gives way in a narrow terminal.
    table.add_column("film", min_width=12, max_width=44)
    headers = {"wilson": "centre", "loved": "hearts"} | dict.fromkeys(_NOT_STARS, "score")
    estimate = headers.get(strategy, "stars")
    for name in ("year", estimate, "mean", "raters"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("label", no_wrap=True)
    tier = None
    for film in films:
        if tiers and tier is not None and film.tier != tier:
            table.add_section()
        tier = film.tier
        table.add_row(
            "–" if film.rank is None else str(film.rank),
            "" if film.rank is None else f"{film.rank_low}–{film.rank_high}",
            Text(film.title, no_wrap=True, overflow="ellipsis"),
            str(film.release_year or ""),
            two_decimals(film.liked_share if strategy == "loved" else film.estimate),
            two_decimals(film.average_rating),
            str(film.raters),
            film.label,
        )
    return table


def two_decimals(value: float | None) -> str:
    """The value, or nothing where there is none."""
    return "" if value is None else f"{value:.2f}"


def words(requests: tuple[int, int | None]) -> str:
    """So many requests, or so many to so many, or more."""
    least, most = requests
    if most is None:
        return f"{least:,} or more"
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"


def duration(seconds: float) -> str:
    """In the largest unit that says something: 45 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:,.0f} min" if seconds < 5400 else f"{seconds / 3600:,.1f} h"
