"""Keeps the likes of a cohort's members fresh.

Likes of rated films come with the grid of all ratings; the first reading asks for the others only.
After that they are looked at where something is a sign of news, and else once in a while.
"""

from __future__ import annotations

from almanac_pipeline.flows.opinions import OpinionsReport, sync_opinions
from almanac_pipeline.settings import Settings
from almanac_pipeline.sources.protocol import Source


def sync_likes(
    database_url: str,
    settings: Settings,
    source: Source,
    cohort_slug: str,
    run_id: str | None = None,
    *,
    full: bool = False,
) -> OpinionsReport:
    """Read what is new of every current member's likes; with `full`, everything.

    Raises as `opinions.sync_opinions` does.
    """
    return sync_opinions(database_url, settings, source, cohort_slug, "likes", run_id, full=full)
