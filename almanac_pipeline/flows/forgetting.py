"""Forgets a person in the database and in the files that are kept beside it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from almanac_pipeline.flows import quality
from almanac_pipeline.inspection import delete_pages
from almanac_pipeline.settings import Settings
from almanac_pipeline.warehouse import forgetting
from almanac_pipeline.warehouse.connection import connect_to
from almanac_pipeline.warehouse.forgetting import Forgotten


@dataclass(frozen=True, slots=True)
class ForgettingReport:
    """What a forgetting did, and what is left to do."""

    database: Forgotten
    kept_pages_count: int
    """Pages kept for inspection that were deleted; any of them may show anybody."""
    quality_pages_count: int
    """Pages of the quality checks that were deleted; everybody has a part in their numbers."""
    inbox_files: tuple[Path, ...]
    """Files in the inbox that bear the name: the operator's own, so they are left."""
    cohorts_to_build: tuple[str, ...]
    """Slugs of cohorts whose tables were emptied, by this forgetting or an earlier one."""


def forget_member(database_url: str, settings: Settings, username: str) -> ForgettingReport:
    """Delete everything about a person and keep them out; repeating it finishes what was left undone.

    Waits for a sync of the member and a build of statistics that are under way.
    """
    with connect_to(database_url, autocommit=True) as connection:
        removed = forgetting.forget(connection, username)
        cohorts_to_build = forgetting.withdrawn_cohorts(connection)
    return ForgettingReport(
        database=removed,
        kept_pages_count=delete_pages(settings.inspection_folder),
        quality_pages_count=quality.delete_pages(settings.data_docs_folder),
        inbox_files=_files_named(settings.inbox_folder, username),
        cohorts_to_build=tuple(cohorts_to_build),
    )


def _files_named(folder: Path, username: str) -> tuple[Path, ...]:
    """Files below the folder whose name holds the user name as a word of its own."""
    if not folder.is_dir():
        return ()
    named = re.compile(rf"(?<![a-z0-9_]){re.escape(username)}(?![a-z0-9_])", re.IGNORECASE)
    return tuple(path for path in sorted(folder.rglob("*")) if path.is_file() and named.search(path.name))
