"""Backups: the whole database in one checked file, and back from it.

A backup is a ZIP of two members: `database.dump`, an archive of pg_dump that pg_restore reads by
itself, too, and `manifest.json`, written last: the schema's revision, the rows of every table, the
archive's size and hash. Schemas that are not the almanac's are neither saved nor replaced. When
backups are made is decided elsewhere.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any

import psycopg
from psycopg.sql import SQL, Identifier, Literal

from almanac_pipeline import __version__
from almanac_pipeline.errors import ConfigurationError, WarehouseError
from almanac_pipeline.settings import Settings
from almanac_pipeline.warehouse import forgetting
from almanac_pipeline.warehouse.client_programs import client_environment, client_program, newest_program
from almanac_pipeline.warehouse.connection import connect_to, database_failures, database_url, describe
from almanac_pipeline.warehouse.migrate import is_known_revision, migrate

SCHEMAS = ("raw", "ops", "staging", "intermediate", "almanac", "dagster")
"""What is saved. Computed tables as well: a restored almanac shows its rankings at once."""

FORMAT = 1
DUMP, MANIFEST = "database.dump", "manifest.json"
NAMES = "almanac-????????T??????.???Z.zip"
# Longer than anything but a migration holds a lock that a dump would wait for.
LOCK_TIMEOUT = "60s"
BLOCK_BYTES = 1 << 20

_BEGIN = """\
\\set ON_ERROR_STOP on
\\set VERBOSITY terse
set client_min_messages = warning;
begin;
set local lock_timeout = '10s';
"""
# Privileges are set here and not taken from the archive, which names the roles of another server.
_READER = """
do $role$ begin
    if not exists (select from pg_catalog.pg_roles where rolname = 'almanac_reader') then
        create role almanac_reader nologin;
    end if;
end $role$;
grant usage on schema almanac to almanac_reader;
grant select on all tables in schema almanac to almanac_reader;
alter default privileges in schema almanac grant select on tables to almanac_reader;
"""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup says of itself."""

    format: int
    made_at: str
    """ISO 8601, UTC: the moment of the snapshot."""
    release: str
    schema_revision: str
    server_version: int
    dump_bytes: int
    dump_sha256: str
    rows: Mapping[str, int]
    """Rows of every table, by schema.table."""


@dataclass(frozen=True, slots=True)
class BackupReport:
    """What was written."""

    path: Path
    bytes_count: int
    tables_count: int
    rows_count: int
    removed_count: int
    """Older backups deleted, because more than the number to keep were there."""
    seconds: float


@dataclass(frozen=True, slots=True)
class RestoreReport:
    """What was read back."""

    manifest: Manifest
    replaced: BackupReport | None
    """The backup of what was there before; None if nothing was."""
    knew_forgotten: bool
    """Whether the database that was replaced is the one saved, and so knows who was forgotten since."""
    forgotten_again_count: int
    """People in the backup who had asked to be forgotten since, and are gone again."""
    revision: str
    """The revision after the restore: this release's."""
    seconds: float


def write_backup(settings: Settings, folder: Path | None = None, *, keep: int | None = None) -> BackupReport:
    """Save the database of these settings into a new file, then delete the oldest beyond the number to keep.

    One snapshot: what is written meanwhile is not in it, and nobody waits. The file has its name only
    once it is complete and on the disk; it is readable for its owner only.

    Args:
        folder: where to; `settings.backup_folder` unless given.
        keep: how many to keep there, this one included; `settings.backup_keep_count` unless given.

    Raises:
        DatabaseAwayError: the database cannot be reached, or went away meanwhile.
        WarehouseError: it was never set up, pg_dump failed, or the file could not be written.

    Older backups are then all still there.
    """
    folder = folder or settings.backup_folder
    return _save(database_url(settings), folder, settings.backup_keep_count if keep is None else keep)


def read_manifest(path: Path) -> Manifest:
    """What a backup says of itself, once every byte of it has been compared with its hash.

    Raises:
        ConfigurationError: there is no such file, it is no backup, damaged, or of a later release.
    """
    if not path.is_file():
        raise ConfigurationError(f"There is no backup {path}.")
    try:
        with zipfile.ZipFile(path) as archive:
            found: dict[str, Any] = json.loads(archive.read(MANIFEST))
            if found["format"] != FORMAT:
                raise ConfigurationError(
                    f"{path} was written by a later release ({found['release']}): update the almanac first."
                )
            manifest = Manifest(**found)
            digest = hashlib.sha256()
            with archive.open(DUMP) as dump:
                while block := dump.read(BLOCK_BYTES):
                    digest.update(block)
    except (zipfile.BadZipFile, EOFError) as error:
        raise ConfigurationError(
            f"{path} is no complete backup ({error}): it was truncated or damaged, or is no backup at all. "
            "Nothing was changed; take another one."
        ) from None
    except (KeyError, TypeError, ValueError):
        raise ConfigurationError(f"{path} is a ZIP file, but no backup of the almanac.") from None
    if digest.hexdigest() != manifest.dump_sha256:
        raise ConfigurationError(f"{path} is damaged: it differs from its own hash. Nothing was changed.")
    return manifest


def restore_backup(path: Path, url: str, settings: Settings, *, replace: bool = False) -> RestoreReport:
    """Read a backup into the database at `url` and bring it to this release's schema.

    All or nothing: a single transaction drops what is replaced, creates everything, counts the rows of
    every table and commits. Who asked to be forgotten since the backup stays forgotten, if the database
    that is replaced still knows it.

    Args:
        replace: the database holds the almanac's tables and may lose them. They are saved into
            `settings.backup_folder` before, from which nothing is deleted.

    Raises:
        ConfigurationError: the file is no complete backup, or of a later release or server; or the
            database is not empty and `replace` was not given, or holds what is not the almanac's.
        WarehouseError: the database is in use or failed. It is as it was before.
    """
    started = time.monotonic()
    manifest = read_manifest(path)
    if not is_known_revision(manifest.schema_revision):
        raise ConfigurationError(
            f"{path} is of a later release ({manifest.release}, schema {manifest.schema_revision}): "
            "update the almanac first."
        )
    with connect_to(url, autocommit=True) as connection, database_failures():
        server_version = connection.info.server_version
        if manifest.server_version // 10_000 > server_version // 10_000:
            raise ConfigurationError(
                f"{path} is of PostgreSQL {manifest.server_version // 10_000}, and {describe(url)} runs "
                f"{server_version // 10_000}: restore it into the same version or a later one."
            )
        occupied = _occupied_schemas(connection)
        if occupied:
            _require_replaceable(connection, describe(url), occupied, replace=replace)
        salt, hashes = _forgotten_hashes(connection)
    replaced = _save(url, settings.backup_folder, None) if occupied else None
    script = _beginning(occupied), _ending(manifest, hashes, salt)
    _run(path, url, server_version, *script)
    revision = migrate(url)
    with connect_to(url, autocommit=True) as connection, database_failures():
        knew_forgotten = salt is not None and _forgotten_hashes(connection)[0] == salt
        again = forgetting.forgotten_users(connection)
        for username in again:
            forgetting.forget(connection, username)
        # A restored table has no statistics, and the planner guesses until autovacuum comes by.
        connection.execute("analyze")
    return RestoreReport(
        manifest=manifest,
        replaced=replaced,
        knew_forgotten=knew_forgotten,
        forgotten_again_count=len(again),
        revision=revision,
        seconds=time.monotonic() - started,
    )


# -- writing -----------------------------------------------------------------------------------


def _save(url: str, folder: Path, keep: int | None) -> BackupReport:
    started = time.monotonic()
    with _only_writer(folder):
        path, manifest = _write(url, folder)
        removed_count = 0 if keep is None else _remove_oldest(folder, keep)
    return BackupReport(
        path=path,
        bytes_count=path.stat().st_size,
        tables_count=len(manifest.rows),
        rows_count=sum(manifest.rows.values()),
        removed_count=removed_count,
        seconds=time.monotonic() - started,
    )


@contextmanager
def _only_writer(folder: Path) -> Iterator[None]:
    """The folder to ourselves, without what a killed backup left in it."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for leftover in folder.glob(".almanac-*.partial"):
            leftover.unlink()
        yield


def _write(url: str, folder: Path) -> tuple[Path, Manifest]:
    partial = folder / ".almanac-backup.partial"
    with connect_to(url) as connection, database_failures():
        built = connection.execute(
            "select where to_regclass('intermediate.int_cohort_ratings') is not null"
        ).rowcount
        connection.rollback()
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        # Builds empty what nobody reads. Before the first look: an older one would then show no rows.
        if built:
            connection.execute("lock table intermediate.int_cohort_ratings in access share mode")
        snapshot, moment, revision, rows = _snapshot(connection, describe(url))
        command = [
            client_program("pg_dump", connection.info.server_version),
            "--no-password", "--format=custom", "--compress=3", f"--lock-wait-timeout={LOCK_TIMEOUT}",
            f"--snapshot={snapshot}", *(f"--schema={schema}" for schema in SCHEMAS),
        ]  # fmt: skip
        try:
            with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                with zipfile.ZipFile(file, "w") as archive:
                    size, digest = _dump(command, url, archive, moment)
                    manifest = Manifest(
                        format=FORMAT,
                        made_at=moment.isoformat(timespec="seconds"),
                        release=__version__,
                        schema_revision=revision,
                        server_version=connection.info.server_version,
                        dump_bytes=size,
                        dump_sha256=digest,
                        rows=rows,
                    )
                    archive.writestr(MANIFEST, json.dumps(asdict(manifest), indent=1))
                file.flush()
                os.fsync(file.fileno())
            path = _name(folder, moment)
            partial.rename(path)
            _sync_folder(folder)
        except WarehouseError:
            # pg_dump does not tell a database that went away, which may pass: our own connection does.
            connection.execute("select")
            raise
        except OSError as error:
            raise WarehouseError(
                f"No backup was written to {folder}: {error.strerror or error}. Older ones are still there."
            ) from None
        finally:
            partial.unlink(missing_ok=True)
    return path, manifest


def _snapshot(connection: psycopg.Connection, address: str) -> tuple[str, datetime, str, dict[str, int]]:
    """Its name for other sessions, its moment, the schema's revision and the rows of every table in it.

    It lasts as long as the connection's transaction.
    """
    connection.execute("set local idle_in_transaction_session_timeout = 0")
    found = connection.execute(
        "select pg_export_snapshot(), now(), to_regclass('ops.schema_version')"
    ).fetchone()
    assert found is not None
    snapshot, moment, versions = found
    version = versions and connection.execute("select version_num from ops.schema_version").fetchone()
    if not version:
        raise WarehouseError(f"There is nothing to save: {address} was never set up (`almanac db migrate`).")
    tables = connection.execute(
        """
        select nspname, relname from pg_class join pg_namespace as n on n.oid = relnamespace
        where relkind = 'r' and nspname = any(%s) order by 1, 2
        """,
        [list(SCHEMAS)],
    ).fetchall()
    rows = {}
    for schema, table in tables:
        counted = connection.execute(
            SQL("select count(*) from {}").format(Identifier(schema, table))
        ).fetchone()
        assert counted is not None
        rows[f"{schema}.{table}"] = counted[0]
    return snapshot, moment.astimezone(UTC), version[0], rows


def _dump(command: list[str], url: str, archive: zipfile.ZipFile, moment: datetime) -> tuple[int, str]:
    """Write pg_dump's output into the archive; its size and SHA-256."""
    member = zipfile.ZipInfo(DUMP, moment.timetuple()[:6])
    member.external_attr = 0o600 << 16
    digest, size = hashlib.sha256(), 0
    with (
        tempfile.TemporaryFile("w+") as words,
        subprocess.Popen(
            command, env=_environment(url), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=words
        ) as process,
    ):
        assert process.stdout is not None
        try:
            # The size is not known before, and may be beyond 4 GB.
            with archive.open(member, "w", force_zip64=True) as sink:
                while block := process.stdout.read(BLOCK_BYTES):
                    sink.write(block)
                    digest.update(block)
                    size += len(block)
        except BaseException:
            process.kill()
            raise
        if process.wait() != 0:
            raise WarehouseError(f"No backup was written: pg_dump said: {_complaint(words)}")
    return size, digest.hexdigest()


def _name(folder: Path, moment: datetime) -> Path:
    """A name that nobody has; they sort by age."""
    while True:
        path = folder / f"almanac-{moment:%Y%m%dT%H%M%S}.{moment.microsecond // 1000:03}Z.zip"
        if not path.exists():
            return path
        moment += timedelta(milliseconds=1)


def _remove_oldest(folder: Path, keep: int) -> int:
    """Delete all backups but the newest `keep`, at least one; returns how many."""
    old = sorted(path for path in folder.glob(NAMES) if path.is_file())[: -max(keep, 1)]
    for path in old:
        path.unlink()
    return len(old)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# -- restoring ---------------------------------------------------------------------------------


def _occupied_schemas(connection: psycopg.Connection) -> list[str]:
    """Those of our schemas that the database has with anything in them, or without."""
    rows = connection.execute(
        "select nspname from pg_namespace where nspname = any(%s) order by array_position(%s, nspname::text)",
        [list(SCHEMAS), list(SCHEMAS)],
    )
    return [name for (name,) in rows]


def _require_replaceable(
    connection: psycopg.Connection, address: str, occupied: list[str], *, replace: bool
) -> None:
    """Refuse to drop what nobody said may go.

    Raises:
        ConfigurationError: `replace` was not given, or the tables are not the almanac's, or somebody
            else's views stand on them.
        WarehouseError: the database is in use.
    """
    known = connection.execute("select to_regclass('ops.schema_version') is not null").fetchone()
    if known != (True,):
        raise ConfigurationError(
            f"{address} has a schema {occupied[0]!r} that is not the almanac's: use another database."
        )
    if not replace:
        raise ConfigurationError(
            f"{address} is not empty. Restore into an empty database, or say `--replace`: what is there is "
            "saved first."
        )
    strangers = connection.execute(
        """
        select distinct format('%%s.%%s', n.nspname, view.relname)
        from pg_depend join pg_rewrite on pg_rewrite.oid = pg_depend.objid
        join pg_class as view on view.oid = ev_class join pg_namespace as n on n.oid = view.relnamespace
        join pg_class as read on read.oid = refobjid join pg_namespace as m on m.oid = read.relnamespace
        where m.nspname = any(%(ours)s) and n.nspname <> all(%(ours)s)
        """,
        {"ours": list(SCHEMAS)},
    ).fetchall()
    if strangers:
        names = ", ".join(name for (name,) in strangers)
        raise ConfigurationError(
            f"Views outside the almanac's schemas read its tables and would be lost: {names}. "
            "Save their definitions and drop them first."
        )
    others = connection.execute(
        """
        select count(*) from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'
        """
    ).fetchone()
    if others and others[0]:
        raise WarehouseError(
            f"{others[0]} other sessions use {address}: stop Dagster (`almanac down`) and whoever reads it, "
            "then repeat."
        )


def _forgotten_hashes(connection: psycopg.Connection) -> tuple[bytes | None, list[tuple[bytes, datetime]]]:
    """The salt of this database and whom it keeps out; None and nobody before it has the tables."""
    there = connection.execute("select to_regclass('ops.forgotten_members') is not null").fetchone()
    if there != (True,):
        return None, []
    salt = connection.execute("select salt from ops.salts where name = 'forgotten'").fetchone()
    hashes = connection.execute("select identity_hash, forgotten_at from ops.forgotten_members").fetchall()
    return (salt[0] if salt else None), hashes


def _beginning(occupied: list[str]) -> str:
    if not occupied:
        return _BEGIN
    schemas = SQL(", ").join(map(Identifier, occupied))
    return _BEGIN + SQL("drop schema {} cascade;\n").format(schemas).as_string()


def _ending(manifest: Manifest, hashes: list[tuple[bytes, datetime]], salt: bytes | None) -> str:
    """Compare the rows with the manifest, keep out whom the replaced database kept out, and commit."""
    checks = [
        SQL("if (select count(*) from {}) <> {} then raise exception {}; end if;").format(
            Identifier(*name.split(".", 1)), Literal(count), Literal(f"{name} has not the rows of the backup")
        )
        for name, count in manifest.rows.items()
    ]
    kept_out = [
        SQL(
            "if exists (select from ops.salts where name = 'forgotten' and salt = {}) then"
            " insert into ops.forgotten_members values ({}, {}) on conflict do nothing; end if;"
        ).format(Literal(salt), Literal(identity), Literal(moment))
        for identity, moment in hashes
    ]
    block = SQL("do $check$ begin {} end $check$;\n").format(SQL("\n").join([*checks, *kept_out]))
    return "\n" + block.as_string() + _READER + "commit;\n"


def _run(path: Path, url: str, server_version: int, beginning: str, ending: str) -> None:
    """Have psql execute the beginning, what pg_restore makes of the dump, and the ending.

    Without the ending nothing is committed, whatever went wrong before.
    """
    with (
        tempfile.TemporaryFile("w+") as words,
        zipfile.ZipFile(path) as archive,
        archive.open(DUMP) as dump,
        subprocess.Popen(
            [client_program("psql", server_version), "-X", "-q", "--no-password", "-f", "-"],
            env=_environment(url), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=words,
        ) as psql,
    ):  # fmt: skip
        assert psql.stdin is not None
        is_complete = False
        # A psql that ended is found out by its exit code, and its reason is in its words.
        with suppress(BrokenPipeError):
            psql.stdin.write(beginning.encode())
            psql.stdin.flush()
            if _read_dump(dump, psql.stdin, words):
                psql.stdin.write(ending.encode())
                psql.stdin.flush()
                is_complete = True
        with suppress(BrokenPipeError):
            psql.stdin.close()
        if psql.wait() != 0 or not is_complete:
            raise WarehouseError(
                f"{describe(url)} was not changed: the backup could not be read into it: {_complaint(words)}"
            )


def _read_dump(dump: IO[bytes], sink: IO[bytes], words: IO[str]) -> bool:
    """Have pg_restore write the dump as SQL into `sink`; whether it came to the end."""
    command = [newest_program("pg_restore"), "--no-owner", "--no-privileges", "--file=-"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=sink, stderr=words) as process:
        assert process.stdin is not None
        with suppress(BrokenPipeError):
            shutil.copyfileobj(dump, process.stdin, BLOCK_BYTES)
        with suppress(BrokenPipeError):
            process.stdin.close()
        return process.wait() == 0


def _environment(url: str) -> dict[str, str]:
    return client_environment(url) | {
        "LC_ALL": "C",
        "PGAPPNAME": "almanac backup",
        "PGCLIENTENCODING": "UTF8",
    }


def _complaint(words: IO[str]) -> str:
    """The first error that a program wrote, without where; its details may repeat a row and are left out."""
    words.seek(0)
    found = re.search(r"(?:ERROR|FATAL|error): +(.+)", words.read())
    return found[1] if found else "it ended without a word"
