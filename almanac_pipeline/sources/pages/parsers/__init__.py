"""Pure parsers of the site's pages: bytes in, frozen records out, no input or output.

One HTML parse per page, where it can be told without the site's own menus and scripts. The only
exceptions that leave a parser are those of `almanac_pipeline.errors`. Every era of the markup since
2023 is read; what can no longer be read raises instead of looking empty.
"""

from almanac_pipeline.sources.pages.parsers.checks import kind_of_page, require_page
from almanac_pipeline.sources.pages.parsers.diary import parse_diary
from almanac_pipeline.sources.pages.parsers.document import Document, PageKind, kind_of_url, open_document
from almanac_pipeline.sources.pages.parsers.films import parse_film_json, parse_film_page
from almanac_pipeline.sources.pages.parsers.grids import parse_grid
from almanac_pipeline.sources.pages.parsers.histograms import parse_histogram
from almanac_pipeline.sources.pages.parsers.people import parse_people
from almanac_pipeline.sources.pages.parsers.profile import parse_profile

__all__ = [
    "Document",
    "PageKind",
    "kind_of_page",
    "kind_of_url",
    "open_document",
    "parse_diary",
    "parse_film_json",
    "parse_film_page",
    "parse_grid",
    "parse_histogram",
    "parse_people",
    "parse_profile",
    "require_page",
]
