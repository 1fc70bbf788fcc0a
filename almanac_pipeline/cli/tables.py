"""Tables that more than one command prints."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from almanac_pipeline.warehouse.marts import RankedFilm


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
