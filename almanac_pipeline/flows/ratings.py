"""Keeps the ratings of a cohort's members fresh, and the favourites that their profiles show."""

from __future__ import annotations

from almanac_pipeline.flows.opinions import OpinionsReport, sync_opinions
from almanac_pipeline.flows.routes import Feeds
from almanac_pipeline.settings import Settings
from almanac_pipeline.sources.protocol import Source


def sync_ratings(
    database_url: str,
    settings: Settings,
    source: Source,
    cohort_slug: str,
    run_id: str | None = None,
    *,
    feeds: Feeds | None = None,
    full: bool = False,
) -> OpinionsReport:
    """Read what is new of every current member's ratings, by page or feed; with `full`, everything.

    Raises as `opinions.sync_opinions` does.
    """
    return sync_opinions(
        database_url, settings, source, cohort_slug, "ratings", run_id, feeds=feeds, full=full
    )
