"""A circle is read with every kind of failure and an export is imported; then every table, log and file
is searched for the names of its people."""

from __future__ import annotations

import functools
import logging
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from almanac_pipeline.http.client import PoliteClient
from almanac_pipeline.observability import logs
from almanac_pipeline.sandbox.options import GeneratedWorld
from almanac_pipeline.sandbox.server import SandboxServer, build_world
from almanac_pipeline.sandbox.world import World
from almanac_pipeline.settings import get_settings
from almanac_pipeline.warehouse.cohorts import create_cohort
from tests.cli.conftest import Almanac, almanac  # noqa: F401
from tests.exports import pack, whole_export

# Dagster and its libraries warn of themselves while they are imported and execute.
pytestmark = pytest.mark.filterwarnings("ignore")

# Where names belong: who is who, and how a circle is found.
NAMED_COLUMNS = {
    "raw.users": ["username"],
    "raw.user_aliases": ["username"],
    "raw.cohorts": ["definition"],
    "intermediate.int_cohort_members": ["username"],
}
# Every user name and display name of the world below begins like this, and no word of any other kind does.
PREFIX = "qqx"
NEVER_STORED = "example.org|First line, with a comma|They / them"


@dataclass(frozen=True)
class Site:
    """A stand-in site whose people have unmistakable names."""

    server: SandboxServer
    seed: str
    members: list[str]


@contextmanager
def site() -> Iterator[Site]:
    world = build_world(GeneratedWorld(seed=5, members=7, films=40, ratings=12))
    members = [give_names(world, number) for number in range(len(world.members))]
    with SandboxServer(world) as server:
        yield Site(server, world.seed_member, [name for name in members if name != world.seed_member])


def give_names(world: World, number: int) -> str:
    member = next(m for m in world.members.values() if not m.key.startswith(PREFIX))
    world.rename_member(member, f"{PREFIX}{chr(97 + number)}{number}")
    member.display_name = f"{PREFIX.title()} {PREFIX.title()}son{number}"
    return member.key


def mentions(url: str, pattern: str) -> dict[str, str]:
    """{table: a row} of every table of every schema in which something outside NAMED_COLUMNS matches."""
    found = {}
    with psycopg.connect(url) as connection:
        tables = connection.execute(
            "select table_schema, table_name from information_schema.tables"
            " where table_type = 'BASE TABLE' and table_schema not in ('pg_catalog', 'information_schema')"
        ).fetchall()
        for schema, table in tables:
            row = connection.execute(
                SQL(
                    "select told from (select (to_jsonb(t) - %s::text[])::text as told from {} as t) as rows"
                    " where told ~* %s limit 1"
                ).format(Identifier(schema, table)),
                [NAMED_COLUMNS.get(f"{schema}.{table}", []), pattern],
            ).fetchone()
            if row is not None:
                found[f"{schema}.{table}"] = excerpt(row[0], pattern)
    return found


def files_that_mention(folder: Path, pattern: str) -> dict[str, str]:
    found = {}
    for path in folder.rglob("*"):
        if path.is_file():
            text = f"{path.relative_to(folder)}\n{path.read_bytes().decode(errors='replace')}"
            if re.search(pattern, text, re.IGNORECASE):
                found[path.name] = excerpt(text, pattern)
    return found


def excerpt(text: str, pattern: str) -> str:
    match = re.search(pattern, text, re.IGNORECASE)
    assert match is not None
    return text[max(match.start() - 200, 0) : match.end() + 100]


def import_by_dagster(inbox: Path, exports: Mapping[str, bytes]) -> None:
    """Put the exports into the inbox and run the job that takes what is there."""
    from dagster import DagsterInstance

    from almanac_pipeline.definitions import defs

    inbox.mkdir()
    for name, body in exports.items():
        path = inbox / f"letterboxd-{name}-2026-01-01.zip"
        path.write_bytes(body)
        os.utime(path, (0, 0))
    with DagsterInstance.get() as instance:
        run = defs.resolve_job_def("import_exports").execute_in_process(instance=instance)
    [asset] = run.asset_materializations_for_node("raw__member_exports")
    assert (asset.metadata["imported_count"].value, asset.metadata["failures_count"].value) == (1, 2)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries do not wait."""
    monkeypatch.setattr(PoliteClient, "open", functools.partial(PoliteClient.open, backoff_seconds=0.01))


def test_no_table_log_or_file_says_who_was_read(
    almanac: Almanac,  # noqa: F811
    database_url: str,
    quick: None,
    fresh_logging: logging.Logger,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    logs.configure(get_settings)
    with site() as stand_in:
        server = stand_in.server
        monkeypatch.setenv("ALMANAC_DATABASE_URL", database_url)
        monkeypatch.setenv("ALMANAC_LETTERBOXD_URL", server.url)
        monkeypatch.setenv("ALMANAC_TMDB_URL", server.tmdb_url)
        monkeypatch.setenv("ALMANAC_TMDB_TOKEN", "token")
        gone, torn, foreign, renamed, hidden, plain = stand_in.members[:6]
        with psycopg.connect(database_url) as connection:
            create_cohort(connection, "circle", "Circle", {"kind": "following", "seed": stand_in.seed})
            picked = {"kind": "usernames", "usernames": [*stand_in.members, f"{PREFIX}nobody"]}
            create_cohort(connection, "picked", "Picked", picked)
        assert almanac("member", "feed", plain, "on").code == 0
        assert almanac("scrape", "--cohort", "circle").code == 0
        # News for everybody, and something wrong with most.
        server.change(
            random=[{"ratings": 20}],
            rename_member=[{"member": renamed, "username": f"{PREFIX}new"}],
            hide_member=[{"member": hidden}],
            delete_member=[{"member": gone}],
        )
        server.fault("truncate", member=torn, times=None)
        server.fault("wrong_owner", member=foreign, times=None)
        unread = almanac("scrape", "--full", "--cohort", "picked").err
        assert all(f"  {name}: " in unread for name in (torn, foreign, hidden, gone))
        # And what everything rests on.
        server.clear_faults()
        server.fault("wrong_owner", member=stand_in.seed, times=None)
        assert almanac("scrape", "--cohort", "circle").code == 1
        assert almanac("scrape", "--viewings", "--cohort", "picked").code == 0
        export = tmp_path / f"letterboxd-{plain}-2026-01-01.zip"
        export.write_bytes(server.export(plain))
        assert almanac("import", str(export), "--cohort", "files").code == 0
        # A list's file is called like the list.
        listed = pack({**whole_export(), f"lists/for-{hidden}.csv": f"For {hidden}\n"})
        import_by_dagster(
            tmp_path / "home" / "inbox",
            {foreign: server.export(foreign), torn: b"no ZIP", hidden: listed},
        )
    with psycopg.connect(database_url) as connection:
        kinds = {kind for (kind,) in connection.execute("select error_kind from ops.scrape_failures")}
    assert {"NotFoundError", "PrivateError", "RetriableError", "WrongPageError"} <= kinds
    assert "dagster.event_logs" in mentions(database_url, "raw__ratings")
    assert mentions(database_url, PREFIX) == {}
    assert mentions(database_url, NEVER_STORED) == {}
    # The operator's own files, the exports, bear names.
    shutil.rmtree(tmp_path / "home" / "inbox")
    [lines] = (tmp_path / "home" / "logs").glob("*.jsonl")
    assert {"member failed", "asked again"} <= set(re.findall("member failed|asked again", lines.read_text()))
    assert files_that_mention(tmp_path / "home", f"{PREFIX}|{NEVER_STORED}") == {}


def test_the_search_finds_a_name_wherever_it_stands(database_url: str, tmp_path: Path) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("insert into raw.users (username) values ('qqxa')")
        assert mentions(database_url, PREFIX) == {}
        connection.execute("update raw.users set renamed_to = 'Qqxb'")
        connection.execute(
            "insert into raw.cohorts (slug, label, definition, ranking_parameters)"
            """ values ('c', 'C', '{"seed": "qqxa"}', '{"by": ["qqxa"]}')"""
        )
    assert set(mentions(database_url, PREFIX)) == {"raw.users", "raw.cohorts"}
    (tmp_path / "step.out").write_text("reading QQXa now")
    assert set(files_that_mention(tmp_path, PREFIX)) == {"step.out"}
