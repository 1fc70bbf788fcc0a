"""What benchmarks against the sandbox share: a database of their own, a sync, an enrichment.

Nothing is measured here.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from pydantic import SecretStr

from almanac_pipeline.flows.films import FilmsReport, enrich_films
from almanac_pipeline.flows.histograms import HistogramsReport, refresh_histograms
from almanac_pipeline.flows.likes import sync_likes
from almanac_pipeline.flows.members import sync_members
from almanac_pipeline.flows.ratings import sync_ratings
from almanac_pipeline.http.client import BACKOFF_SECONDS, PoliteClient
from almanac_pipeline.settings import Settings
from almanac_pipeline.sources.pages.source import PagesSource
from almanac_pipeline.tmdb.client import TmdbClient
from almanac_pipeline.warehouse.embedded import EmbeddedServer
from almanac_pipeline.warehouse.migrate import migrate

ROOT = Path(__file__).resolve().parent.parent
MOVIELENS = ROOT.parent / "shared" / "data" / "ml-latest-small"

Opinions = set[tuple[str, str, float | None, bool]]
"""(member, film's uid, rating, liked) of all that is stored and not removed."""


@contextmanager
def database() -> Iterator[str]:
    """The URL of an empty, migrated database, gone at the end."""
    with tempfile.TemporaryDirectory(prefix="almanac-bench") as folder:
        Path(folder).chmod(0o711)  # open to the user that the server runs as when we are root
        server = EmbeddedServer(Path(folder))
        try:
            url = server.start().url
            migrate(url)
            yield url
        finally:
            server.stop()
            shutil.rmtree(server.root, ignore_errors=True)


def settings_for(site_url: str, **changes: object) -> Settings:
    """Settings that ask the sandbox at `site_url`, whatever the environment says."""
    return Settings(_env_file=None, letterboxd_url=site_url, tmdb_url=f"{site_url}/3", **changes)  # type: ignore[arg-type, call-arg]


def sync(database_url: str, settings: Settings, cohort: str) -> None:
    """Members, ratings and likes of a cohort, as one run does it.

    Raises:
        RuntimeError: a member could not be read.
    """
    with PoliteClient.open(settings, database_url) as client:
        source = PagesSource(client, settings.letterboxd_url)
        sync_members(database_url, settings, source, cohort)
        for report in (
            sync_ratings(database_url, settings, source, cohort),
            sync_likes(database_url, settings, source, cohort),
        ):
            if report.failures_count:
                raise RuntimeError(f"{report.failures_count} members failed: {report.failures}")


@contextmanager
def outside(
    database_url: str, settings: Settings, *, backoff_seconds: float = BACKOFF_SECONDS
) -> Iterator[tuple[PagesSource, TmdbClient]]:
    """The pages and TMDB of `settings`, through one polite client. The stand-in accepts any token."""
    with PoliteClient.open(settings, database_url, backoff_seconds=backoff_seconds) as client:
        yield (
            PagesSource(client, settings.letterboxd_url),
            TmdbClient(client, settings.tmdb_url, SecretStr("sandbox")),
        )


def enrich(database_url: str, settings: Settings, cohort: str) -> tuple[FilmsReport, HistogramsReport]:
    """Film pages, TMDB and histograms of a cohort, as one run does it."""
    with outside(database_url, settings) as (source, tmdb):
        films = enrich_films(database_url, settings, source, tmdb, cohort)
        return films, refresh_histograms(database_url, settings, source, cohort)


def stored_opinions(database_url: str) -> Opinions:
    """What the database holds now."""
    with psycopg.connect(database_url) as connection:
        return set(
            connection.execute(
                """
                select username, uid, rating::float8, liked
                from raw.ratings join raw.users using (user_id) join raw.films using (film_id)
                where removed_at is null
                """
            ).fetchall()
        )
