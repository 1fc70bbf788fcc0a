"""Is a parsed page the one that was asked for? A page that is not must never be taken for an empty one."""

from __future__ import annotations

from almanac_pipeline.errors import WrongPageError
from almanac_pipeline.sources.pages.parsers.text import page_number, path_segments
from almanac_pipeline.sources.records import DiaryPage, FilmGrid, FilmPage, PeoplePage, ProfilePage

Page = FilmGrid | PeoplePage | ProfilePage | DiaryPage | FilmPage


def require_page(page: Page, *, kind: str, path: str, owner: str | None = None) -> None:
    """Check a page against the request that it answers.

    `kind` is what the page must be ("films", "likes", "following", "profile", "film" …), `path` the
    path that was asked for, `owner` the member whose page it must be. Letter case and the query do
    not matter; a page may leave `/page/N/` out of its own address, but not name another N. A film
    may answer under another slug, because slugs are renamed and aliased.

    Raises:
        WrongPageError: another kind, owner or address, or none at all.
    """
    found_kind = kind_of_page(page)
    if found_kind != kind:
        raise WrongPageError(f"a page of kind {found_kind} came where {kind} was asked for")
    if owner is not None:
        found_owner = getattr(page, "owner", None)
        if found_owner is None:
            raise WrongPageError(f"the page names no owner where a member's {kind} was asked for")
        if found_owner.lower() != owner.lower():
            raise WrongPageError(f"another member's page came where {kind} was asked for")
    if page.canonical_url is None:
        raise WrongPageError("the page does not say which address it is")
    if kind != "film" and _address(page.canonical_url) != _address(path):
        raise WrongPageError("the page says that it is another one than was asked for")
    asked, said = page_number(path) or 1, page_number(page.canonical_url)
    next_page: int | None = getattr(page, "next_page", None)
    for number in (said, next_page - 1 if next_page is not None else None):
        if number is not None and number != asked:
            raise WrongPageError(f"page {number} came where page {asked} was asked for")


def kind_of_page(page: Page) -> str:
    """The kind that a record stands for, in the words of its `page` field."""
    if isinstance(page, (FilmGrid, PeoplePage)):
        return page.page
    return {ProfilePage: "profile", DiaryPage: "diary", FilmPage: "film"}[type(page)]


def _address(url: str) -> list[str]:
    """A path without its page number, for comparison."""
    parts = [part.lower() for part in path_segments(url)]
    return parts[:-2] if len(parts) > 2 and parts[-2] == "page" and parts[-1].isdecimal() else parts
