"""Asks the sites themselves, once per kind of page that policy permits: `almanac doctor --live`."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from almanac_pipeline.errors import AlmanacError, BlockedError, NotFoundError, PausedError
from almanac_pipeline.settings import Settings

# A film and a TMDB title that have been there for decades.
KNOWN_FILM = "mulholland-drive"
KNOWN_TITLE = 1018


def live_checks(settings: Settings) -> Iterator[tuple[str, str, bool | None]]:
    """(subject, what happened, passed) of each kind. A block ends the checks of that site at once.

    Every request goes through the polite client: its limits, robots.txt, its log.
    """
    from almanac_pipeline.http.client import PoliteClient
    from almanac_pipeline.sources.pages.source import PagesSource
    from almanac_pipeline.sources.policy import permits_pages
    from almanac_pipeline.tmdb.client import TmdbClient
    from almanac_pipeline.warehouse.connection import prepared_database_url

    with PoliteClient.open(settings, prepared_database_url(settings), run_id="doctor") as client:
        source = PagesSource(client, settings.letterboxd_url)
        if not permits_pages(settings, settings.letterboxd_url):
            yield "live pages", "not asked: fetching pages is off", None
        else:
            yield from _ask(
                {
                    "live film": lambda: source.read_film(KNOWN_FILM).title,
                    "live robots": lambda: (
                        "by/rated-date is permitted"
                        if source.permits("rated_by_date")
                        else "by/rated-date is forbidden: grids are read again on a cadence"
                    ),
                }
            )
        token = settings.tmdb_token
        if token is None:
            yield "live TMDB", "not asked: no token", None
            return

        def fetch_known_title() -> str:
            tmdb = TmdbClient(client, settings.tmdb_url, token)
            return f"status {tmdb.fetch_title('movie', KNOWN_TITLE).status}"

        yield from _ask({"live TMDB": fetch_known_title})


def _ask(questions: dict[str, Callable[[], str]]) -> Iterator[tuple[str, str, bool | None]]:
    for subject, ask in questions.items():
        try:
            yield subject, ask(), True
        except (BlockedError, PausedError) as error:
            yield subject, str(error), False
            return
        except NotFoundError as error:
            yield subject, f"answers, but {error}", None
        except AlmanacError as error:
            yield subject, str(error), False
