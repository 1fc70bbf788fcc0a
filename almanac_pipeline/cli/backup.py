"""`almanac backup`, `restore`: the whole database in one file, and back."""

from __future__ import annotations

from pathlib import Path

import typer

from almanac_pipeline.cli.common import console, print_notice
from almanac_pipeline.errors import ConfigurationError


def backup(
    to: Path | None = typer.Option(
        None, "--to", help="Folder; ALMANAC_BACKUPS unless given.", show_default=False
    ),
    keep: int | None = typer.Option(
        None, "--keep", min=1, help="How many to keep there; ALMANAC_BACKUP_KEEP_COUNT unless given."
    ),
) -> None:
    """Save the database into a new file, while everything goes on; the oldest beyond those to keep go.

    Example: `almanac backup --to /mnt/backups`
    """
    from almanac_pipeline.settings import get_settings
    from almanac_pipeline.warehouse.backup import write_backup

    report = write_backup(get_settings(), to and to.expanduser().absolute(), keep=keep)
    console.print(str(report.path), highlight=False, soft_wrap=True, markup=False)
    console.print(
        f"{report.tables_count} tables, {report.rows_count:,} rows, {report.bytes_count / 1e6:,.1f} MB "
        f"in {report.seconds:.1f} s"
        + (f"; {report.removed_count} older removed" * bool(report.removed_count)),
        highlight=False,
    )


def restore(
    file: Path = typer.Argument(help="A backup that `almanac backup` wrote."),
    into: str | None = typer.Option(
        None,
        "--into",
        help="postgresql:// URL of another database; leave the password to PGPASSWORD or ~/.pgpass.",
        show_default=False,
    ),
    replace: bool = typer.Option(
        False, "--replace", help="The database is not empty: save it, then replace what is in it."
    ),
) -> None:
    """Read a backup into an empty database, all or nothing, and bring it to this release.

    Example: `almanac restore /mnt/backups/almanac-20261121T023000.000Z.zip`
    """
    from almanac_pipeline.services import Services
    from almanac_pipeline.settings import get_settings
    from almanac_pipeline.warehouse import dbt
    from almanac_pipeline.warehouse.backup import read_manifest, restore_backup
    from almanac_pipeline.warehouse.connection import database_url, describe

    settings = get_settings()
    read_manifest(file)  # before a server is started for it
    if into is None and (running := Services(settings).running()):
        raise ConfigurationError(
            f"{', '.join(service.name for service in running)} would use the database meanwhile: "
            "`almanac down`, then repeat."
        )
    url = into or database_url(settings)
    with console.status("restoring"):
        report = restore_backup(file, url, settings, replace=replace)
        dbt.prepare(settings)
        dbt.bootstrap(url, settings=settings)
    if report.replaced is not None:
        console.print(f"what was there is in {report.replaced.path}", highlight=False, soft_wrap=True)
    rows = report.manifest.rows
    console.print(
        f"{describe(url)} is as it was at {report.manifest.made_at}: {len(rows)} tables, "
        f"{sum(rows.values()):,} rows, at revision {report.revision}, in {report.seconds:.1f} s",
        highlight=False,
        soft_wrap=True,
    )
    if report.forgotten_again_count:
        print_notice(
            f"{report.forgotten_again_count} who had asked to be forgotten since then are gone again; "
            "`almanac stats refresh` builds their cohorts without them."
        )
    elif not report.knew_forgotten:
        print_notice(
            "[yellow]Who asked to be forgotten since then is back:[/] `almanac member forget NAME` for each."
        )
