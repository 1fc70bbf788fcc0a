"""Tables that more than one command prints."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from almanac_pipeline.warehouse.marts import RankedFilm


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


def ranking_table(rows: Sequence[RankedFilm]) -> Table:
    """Rank, the interval it lies in with 90 % certainty, film, means, raters and label."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("#", "90 % sure"):
        table.add_column(name, justify="right", no_wrap=True)
    # The one column that gives way in a narrow terminal.
    table.add_column("film", min_width=12, max_width=44)
    for name in ("year", "stars", "mean", "raters"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("label", no_wrap=True)
    tier = None
    for row in rows:
        if tier is not None and row.tier != tier:
            table.add_section()
        tier = row.tier
        table.add_row(
            str(row.rank),
            f"{row.rank_low}–{row.rank_high}",
            Text(row.title, no_wrap=True, overflow="ellipsis"),
            str(row.release_year or ""),
            f"{row.estimate:.2f}",
            f"{row.average_rating:.2f}",
            str(row.raters),
            row.label or "",
        )
    return table
