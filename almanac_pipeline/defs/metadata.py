"""Dagster metadata from the flows' reports: counts, a summary line, previews, a picture."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from almanac_pipeline.terminal import SUMMARY_KEY

PREVIEW_ROWS = 10


def report_metadata(report: Any, summary: str, **extra: Any) -> dict[str, Any]:
    """Every number of a report dataclass under its own name, beside a one-line summary.

    The summary says when some of it failed: a success that hides failures is none.
    """
    if getattr(report, "failures_count", 0):
        reason = next(iter(getattr(report, "failures", ())), "see ops.scrape_failures")
        summary = f"{summary}; {report.failures_count:,} FAILED, e.g. {reason}"
    numbers = {
        field.name: round(value, 3)
        for field in dataclasses.fields(report)
        if isinstance(value := getattr(report, field.name), (int, float)) and not isinstance(value, bool)
    }
    return {SUMMARY_KEY: summary, **extra, **numbers}


def changed_count(report: Any) -> int:
    """How many rows a sync changed in any way."""
    return sum(getattr(report, f"{kind}_count") for kind in ("added", "changed", "removed", "restored"))


def opinions_metadata(report: Any, beginning: str = "") -> dict[str, Any]:
    """The metadata of a sync of ratings or likes (`flows.opinions.OpinionsReport`)."""
    counts = f"{beginning}{changed_count(report):,} changed, {report.requests_count:,} requests"
    return report_metadata(
        report,
        "; ".join([counts, *report.notes]),
        latest_changes=changes_table(report.preview),
        failures=list(report.failures),
    )


def markdown_table(rows: Sequence[Mapping[str, Any]]) -> dg.MarkdownMetadataValue:
    """At most ten rows as a Markdown table."""
    if not rows:
        return dg.MetadataValue.md("*no rows*")
    columns = list(rows[0])
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    for row in rows[:PREVIEW_ROWS]:
        cells = ("" if row[name] is None else str(row[name]).replace("|", "\\|") for name in columns)
        lines.append("| " + " | ".join(cells) + " |")
    return dg.MetadataValue.md("\n".join(lines))


def histogram_picture(counts: Sequence[int]) -> dg.MarkdownMetadataValue:
    """Ten half-star counts, half a star first, as a bar chart inside Markdown."""
    top = max([*counts, 1])
    bars = []
    for index, count in enumerate(counts):
        left, height = 8 + index * 36, round(100 * count / top)
        bars.append(
            f'<rect x="{left}" y="{120 - height}" width="30" height="{height}" fill="#3b6fb6"/>'
            f'<g font-size="10" text-anchor="middle"><text x="{left + 15}" y="{115 - height}">{count}</text>'
            f'<text x="{left + 15}" y="134">{(index + 1) / 2}</text></g>'
        )
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" width="376" height="142" font-family="sans-serif">'
        '<rect width="376" height="142" fill="white"/>' + "".join(bars) + "</svg>"
    )
    encoded = base64.b64encode(svg.encode()).decode()
    return dg.MetadataValue.md(f"![How the stars are spread](data:image/svg+xml;base64,{encoded})")


def changes_table(changes: Sequence[Any]) -> dg.MarkdownMetadataValue:
    """The latest changes of opinions (`warehouse.opinions.LatestChange`) as a Markdown table."""

    def opinion(rating: Any, liked: Any, favorite: Any) -> str:
        marks = " ".join([*(["♥"] if liked else []), *(["favourite"] if favorite else [])])
        return f"{rating if rating is not None else '–'} {marks}".strip()

    return markdown_table(
        [
            {
                "user_id": change.user_id,
                "film": change.title,
                "year": change.release_year,
                "what": change.kind,
                "before": opinion(change.old_rating, change.old_liked, change.old_favorite),
                "after": opinion(change.new_rating, change.new_liked, change.new_favorite),
            }
            for change in changes
        ]
    )


def records_table(records: Sequence[Any]) -> dg.MarkdownMetadataValue:
    """Preview dataclasses as a Markdown table, one column per field."""
    return markdown_table(
        [
            {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}
            for record in records
        ]
    )
