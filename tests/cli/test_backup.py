"""Backups: what was saved comes back; a file or database that is not as hoped costs nothing."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest
from psycopg import errors
from psycopg.sql import SQL, Identifier

from almanac_pipeline.errors import ConfigurationError, DatabaseAwayError, WarehouseError
from almanac_pipeline.settings import Settings
from almanac_pipeline.warehouse import backup, forgetting
from almanac_pipeline.warehouse.backup import SCHEMAS, read_manifest, restore_backup, write_backup
from almanac_pipeline.warehouse.embedded import EmbeddedServer
from almanac_pipeline.warehouse.migrate import head_revision
from tests.cli.conftest import Almanac
from tests.conftest import database_name, new_database


@pytest.fixture(scope="module")
def source(server_url: str, published_template: str) -> Iterator[str]:
    """A database with a published cohort. Nobody writes into it."""
    with new_database(server_url, published_template) as url:
        yield url


@pytest.fixture(scope="module")
def saved(source: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its backup."""
    return write_backup(settings_of(source, tmp_path_factory.mktemp("backups"))).path


@pytest.fixture
def empty_url(server_url: str) -> Iterator[str]:
    """A database without a table."""
    with new_database(server_url) as url:
        yield url


def settings_of(url: str, folder: Path, **others: object) -> Settings:
    return Settings(_env_file=None, home=folder, database_url=url, backups=folder, **others)  # type: ignore[arg-type]


def content(url: str) -> dict[str, tuple[int, Decimal | None]]:
    """Of every table, view and sequence of ours: how many rows, and a hash over all of them."""
    with psycopg.connect(url) as connection:
        names = connection.execute(
            """
            select nspname, relname, relkind = 'S'
            from pg_class join pg_namespace as n on n.oid = relnamespace
            where relkind in ('r', 'v', 'S') and nspname = any(%s) order by 1, 2
            """,
            [list(SCHEMAS)],
        ).fetchall()
        found = {}
        for schema, name, is_sequence in names:
            # A sequence's third column only says how much is written ahead.
            whole = "x.last_value, x.is_called" if is_sequence else "x.*"
            row = connection.execute(
                SQL(
                    f"select count(*), sum(hashtextextended(row({whole})::text, 0)::numeric) from {{}} as x"
                ).format(Identifier(schema, name))
            ).fetchone()
            assert row is not None
            found[f"{schema}.{name}"] = row
    return found


def damaged(path: Path, folder: Path, data: bytes) -> Path:
    copy = folder / path.name
    copy.write_bytes(data)
    return copy


# -- what is saved comes back ----------------------------------------------------------------------


def test_a_backup_read_into_an_empty_server_is_the_database_it_was_made_of(
    almanac: Almanac, source: str, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = Path(tempfile.mkdtemp(prefix="almanac-"))
    parent.chmod(0o711)
    monkeypatch.setenv("ALMANAC_HOME", str(parent / "home"))
    try:
        outcome = almanac("restore", str(saved))
        assert outcome.code == 0, outcome
        assert f"at revision {head_revision()}" in outcome.out
        restored = EmbeddedServer(parent / "home").start().url
        before, after = content(source), content(restored)
        assert after == before
        # All of it was compared: base tables, bookkeeping, marts, views, Dagster's own.
        assert {"raw.ratings", "ops.publications", "almanac.film_rankings", "dagster.event_logs"} <= set(
            after
        )
        assert sum(rows for rows, _ in after.values()) > 300
        assert almanac("rank", "show", "--cohort", "friends").code == 0
        with psycopg.connect(restored) as connection:
            connection.execute("set role almanac_reader")
            connection.execute("select from almanac.film_rankings")
            with pytest.raises(errors.InsufficientPrivilege):
                connection.execute("select from raw.ratings")
    finally:
        EmbeddedServer(parent / "home").stop()
        shutil.rmtree(EmbeddedServer(parent / "home").root)
        shutil.rmtree(parent)


def test_a_backup_is_one_private_file_that_says_what_is_in_it(source: str, saved: Path) -> None:
    manifest = read_manifest(saved)
    assert manifest.schema_revision == head_revision()
    counts = {name: rows for name, (rows, _) in content(source).items() if name in manifest.rows}
    assert counts == manifest.rows
    assert saved.stat().st_mode & 0o777 == 0o600
    assert not [path for path in saved.parent.iterdir() if path.name.endswith(".partial")]


def test_no_more_backups_are_kept_than_asked_for_and_nothing_else_goes(source: str, tmp_path: Path) -> None:
    (tmp_path / "almanac-notes.zip").write_text("the operator's own")
    (tmp_path / ".almanac-backup.partial").write_text("what a backup that was killed leaves")
    settings = settings_of(source, tmp_path, backup_keep_count=2)
    written = [write_backup(settings) for _ in range(3)]
    assert [report.removed_count for report in written] == [0, 0, 1]
    assert not list(tmp_path.glob("*.partial"))
    assert sorted(path.name for path in tmp_path.glob("*.zip")) == [
        *sorted(report.path.name for report in written[1:]),
        "almanac-notes.zip",
    ]


# -- what is no backup -------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
def test_a_truncated_backup_is_refused_before_anything_is_touched(
    share: float, saved: Path, empty_url: str, tmp_path: Path
) -> None:
    data = saved.read_bytes()
    short = damaged(saved, tmp_path, data[: int(len(data) * share)])
    with pytest.raises(ConfigurationError, match="no complete backup"):
        restore_backup(short, empty_url, settings_of(empty_url, tmp_path))
    assert content(empty_url) == {}


def test_a_changed_byte_is_found(saved: Path, tmp_path: Path) -> None:
    data = bytearray(saved.read_bytes())
    data[len(data) // 2] ^= 1
    with pytest.raises(ConfigurationError, match="damaged"):
        read_manifest(damaged(saved, tmp_path, bytes(data)))


def test_another_zip_and_no_file_are_refused_in_one_line(
    almanac: Almanac, empty: str, tmp_path: Path
) -> None:
    other = tmp_path / "export.zip"
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("ratings.csv", "Date,Name\n")
    assert almanac("restore", str(other)).error.endswith("no backup of the almanac.")
    assert almanac("restore", str(tmp_path / "none.zip")).error.startswith("There is no backup ")


def test_a_backup_of_a_later_release_is_refused(saved: Path, empty_url: str, tmp_path: Path) -> None:
    later = tmp_path / "later.zip"
    with zipfile.ZipFile(saved) as old, zipfile.ZipFile(later, "w") as new:
        manifest = json.loads(old.read(backup.MANIFEST))
        new.writestr(backup.DUMP, old.read(backup.DUMP))
        new.writestr(backup.MANIFEST, json.dumps(manifest | {"schema_revision": "9999"}))
    with pytest.raises(ConfigurationError, match="later release"):
        restore_backup(later, empty_url, settings_of(empty_url, tmp_path))
    assert content(empty_url) == {}


def test_a_restore_that_fails_half_way_leaves_the_database_as_it_was(
    saved: Path, server_url: str, published_template: str, tmp_path: Path
) -> None:
    """The manifest promises one row more than the dump holds: the last thing that is looked at."""
    wrong = tmp_path / "wrong.zip"
    with zipfile.ZipFile(saved) as old, zipfile.ZipFile(wrong, "w") as new:
        manifest = json.loads(old.read(backup.MANIFEST))
        manifest["rows"]["raw.users"] += 1
        new.writestr(backup.DUMP, old.read(backup.DUMP))
        new.writestr(backup.MANIFEST, json.dumps(manifest))
    with new_database(server_url, published_template) as url:
        before = content(url)
        with pytest.raises(WarehouseError, match=r"was not changed: .* raw\.users has not the rows"):
            restore_backup(wrong, url, settings_of(url, tmp_path), replace=True)
        assert content(url) == before


# -- databases that are not empty --------------------------------------------------------------------


def test_what_is_there_is_replaced_only_if_told_and_saved_before(
    almanac: Almanac,
    empty: str,
    saved: Path,
    source: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ALMANAC_BACKUPS", str(tmp_path))
    before = content(empty)
    assert "is not empty" in almanac("restore", str(saved)).error
    assert content(empty) == before

    with psycopg.connect(empty):
        assert "1 other sessions use" in almanac("restore", str(saved), "--replace").error
    outcome = almanac("restore", str(saved), "--replace")
    assert outcome.code == 0, outcome
    assert content(empty) == content(source)

    kept = Path(outcome.lines[0].removeprefix("what was there is in "))
    restore_backup(kept, empty, settings_of(empty, tmp_path), replace=True)
    assert content(empty) == before


def test_views_of_others_are_not_dropped(
    saved: Path, server_url: str, published_template: str, tmp_path: Path
) -> None:
    with new_database(server_url, published_template) as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("create schema mine create view best as select * from almanac.film_rankings")
        with pytest.raises(ConfigurationError, match=r"mine\.best"):
            restore_backup(saved, url, settings_of(url, tmp_path), replace=True)
        assert list(tmp_path.iterdir()) == []


def test_a_schema_of_somebody_elses_is_not_replaced(saved: Path, empty_url: str, tmp_path: Path) -> None:
    with psycopg.connect(empty_url, autocommit=True) as connection:
        connection.execute("create schema raw create table orders (id int)")
    with pytest.raises(ConfigurationError, match="not the almanac's"):
        restore_backup(saved, empty_url, settings_of(empty_url, tmp_path), replace=True)
    assert list(content(empty_url)) == ["raw.orders"]


def test_an_older_backup_does_not_bring_back_who_was_forgotten(
    saved: Path, source: str, server_url: str, tmp_path: Path
) -> None:
    with new_database(server_url, database_name(source)) as url:
        with psycopg.connect(url, autocommit=True) as connection:
            assert forgetting.forget(connection, "cat").rows_by_table
        report = restore_backup(saved, url, settings_of(url, tmp_path), replace=True)
        assert (report.knew_forgotten, report.forgotten_again_count) == (True, 1)
        with psycopg.connect(url) as connection:
            assert connection.execute("select count(*) from raw.users where username = 'cat'").fetchone() == (
                0,
            )
            assert forgetting.forgotten(connection, ["cat"]) == {"cat"}


# -- what stands in the way of writing ---------------------------------------------------------------


def test_a_database_without_tables_is_not_saved(empty_url: str, tmp_path: Path) -> None:
    with pytest.raises(WarehouseError, match="never set up"):
        write_backup(settings_of(empty_url, tmp_path))
    assert list(tmp_path.glob("*.zip")) == []


# Another way to a full disk would need a file system of our own, and root.
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
def test_a_full_disk_costs_no_older_backup(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(source, tmp_path, backup_keep_count=1)
    first = write_backup(settings).path
    opened = os.open
    monkeypatch.setattr(
        backup.os,
        "open",
        lambda path, flags, mode=0o777: opened(
            path if flags & os.O_EXCL == 0 else "/dev/full", flags & ~os.O_EXCL, mode
        ),
    )
    with pytest.raises(WarehouseError, match="No space left on device\\. Older ones are still there"):
        write_backup(settings)
    assert read_manifest(first)


@pytest.fixture
def in_place_of_pg_dump(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put a Python program, which calls itself pg_dump, before the one that is installed."""

    def put(program: str) -> None:
        path = tmp_path / "bin" / "pg_dump"
        path.parent.mkdir()
        path.write_text(
            f"#!{sys.executable}\nimport sys\n"
            "if '--version' in sys.argv: sys.exit(print('pg_dump (PostgreSQL) 99.1'))\n" + program
        )
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{path.parent}{os.pathsep}{os.environ['PATH']}")

    return put


def test_the_password_is_in_no_command_line(
    source: str, tmp_path: Path, in_place_of_pg_dump: Callable[[str], None]
) -> None:
    """A pg_dump that writes down how it was called and then gives up."""
    called = tmp_path / "arguments"
    in_place_of_pg_dump(f"open({str(called)!r}, 'w').write(repr(sys.argv)); sys.exit('pg_dump: error: no')")
    with pytest.raises(WarehouseError, match="pg_dump said: no"):
        write_backup(settings_of(source, tmp_path))
    password = psycopg.conninfo.conninfo_to_dict(source)["password"]
    assert "--no-password" in called.read_text()
    assert str(password) not in called.read_text()
    assert list(tmp_path.glob("*.zip")) == []


def test_a_backup_whose_database_goes_away_may_be_tried_again(
    source: str, tmp_path: Path, in_place_of_pg_dump: Callable[[str], None]
) -> None:
    """A pg_dump that meets the end of all sessions, as when the server is killed."""
    in_place_of_pg_dump(
        """
import psycopg
with psycopg.connect("") as connection:
    connection.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where pid <> pg_backend_pid() and datname = current_database()"
    )
sys.exit("pg_dump: error: server closed the connection unexpectedly")
"""
    )
    with pytest.raises(DatabaseAwayError):
        write_backup(settings_of(source, tmp_path))
    assert list(tmp_path.glob("*.zip")) == []
