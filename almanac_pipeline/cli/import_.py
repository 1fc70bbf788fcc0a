"""`almanac import`: read members' data exports."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.markup import escape

from almanac_pipeline.cli.common import console, print_error, run
from almanac_pipeline.cli.tables import plain_table
from almanac_pipeline.errors import ConfigurationError

if TYPE_CHECKING:
    from almanac_pipeline.flows.imports import FileReport, ImportReport


def import_(
    files: list[Path] = typer.Argument(
        help="Export ZIPs as letterboxd.com/settings/data hands them out, or folders of them."
    ),
    cohort: str | None = typer.Option(
        None, "--cohort", "-c", help="The members join this cohort, which is created if it does not exist."
    ),
    member: str | None = typer.Option(None, help="Whose export it is, where the ZIP does not say."),
) -> None:
    """Import members' own data exports: ratings, likes, favourites, diary, watchlist, lists.

    Each ZIP is imported whole or not at all, but for a part that has shrunk to less than half; importing
    one again changes nothing. With --cohort the statistics and rankings of the cohort are built afterwards.

    Example: `almanac import letterboxd-someone-2026-05-01-12-00-utc.zip --cohort friends`
    """
    from almanac_pipeline.flows.imports import import_exports
    from almanac_pipeline.settings import get_settings
    from almanac_pipeline.warehouse.connection import database_failures, prepared_database_url

    settings = get_settings()
    paths = _zips(files)
    with console.status("opening the database") as status:

        def show(report: FileReport) -> None:
            _print_file(report)
            shown.append(report)
            if len(shown) < len(paths):
                status.update(f"importing {escape(paths[len(shown)].name)}")

        shown: list[FileReport] = []
        with database_failures():
            url = prepared_database_url(settings)
            status.update(f"importing {escape(paths[0].name)}")
            report = import_exports(url, settings, paths, cohort_slug=cohort, username=member, on_file=show)
    _print_summary(report)
    if cohort is not None and report.imported_count + report.known_count:
        run("statistics", cohort)
        console.print(f"Next: `almanac rank show --cohort {cohort}`", highlight=False)
    elif report.imported_count:
        console.print(
            "Next: `almanac stats refresh --cohort SLUG` where they are members, "
            "or import again with `--cohort SLUG`.",
            highlight=False,
        )
    if report.failures_count or report.doubted_count:
        raise typer.Exit(1)


def _zips(files: list[Path]) -> list[Path]:
    """The files given, and of folders the ZIPs in them.

    Raises:
        ConfigurationError: a folder holds none.
    """
    from almanac_pipeline.flows.imports import list_inbox

    found: list[Path] = []
    for given in files:
        inside = [given / file.name for file in list_inbox(given)] if given.is_dir() else [given]
        if not inside:
            raise ConfigurationError(f"There is no ZIP in {given}.")
        found += inside
    return list(dict.fromkeys(found))


def _print_file(report: FileReport) -> None:
    """What became of one file, in a line; of the changes those that are not zero."""
    if report.outcome == "refused":
        print_error(f"{report.file_name}: {report.error}")
        return
    name = f"[bold]{report.username}[/]"
    if report.outcome == "known":
        console.print(f"{name}: this export was imported before; nothing changed", highlight=False)
        return
    total = report.total
    notes = [f"{total.added:,} added, {total.changed + total.restored:,} changed, {total.removed:,} removed"]
    if report.is_outdated:
        notes = ["the export is older than what is known; it changed no opinion"]
    for count, what in (
        (report.ambiguous_count, "diary entries that fit several films"),
        (report.unknown_count, "diary entries that fit no film"),
        (report.watched_only_count, "watched films without rating, like or diary entry, left out"),
        (report.repeated_rows_count, "repeated rows, of which the newest counted"),
    ):
        if count:
            notes.append(f"{what}: {count:,}")
    as_of = f"{report.as_of:%Y-%m-%d %H:%M}" if report.as_of else ""
    console.print(f"{name} as of {as_of}: {'; '.join(notes)}", highlight=False)
    for doubt in report.doubts:
        print_error(f"{report.file_name}: {doubt}")


def _print_summary(report: ImportReport) -> None:
    """Rows and changes by part of the exports, over all files."""
    from almanac_pipeline.warehouse.opinions import Changes

    parts = {
        "opinions": ("ratings.csv", "likes/films.csv"),
        "diary": ("diary.csv",),
        "watchlist": ("watchlist.csv",),
        "lists": ("lists",),
    }
    table = plain_table("part", "rows>", "added>", "changed>", "restored>", "removed>")
    for part, names in parts.items():
        rows = sum(file.rows_by_file.get(name, 0) for file in report.files for name in names)
        changes = sum((file.changes.get(part, Changes()) for file in report.files), Changes())
        numbers = (rows, changes.added, changes.changed, changes.restored, changes.removed)
        table.add_row(part, *(f"{number:,}" for number in numbers))
    if report.files_count > report.failures_count:
        console.print(table)
    console.print(
        f"{report.imported_count} imported, {report.known_count} known before, "
        f"{report.failures_count} refused in {report.seconds:.1f} s"
        + (f"; parts of {report.doubted_count} left out" if report.doubted_count else ""),
        highlight=False,
    )
