"""A home folder in which the real `almanac` command runs, and ways to look at what it left behind.

Only the command line, the database and the sandbox's control endpoint are used: what a person has.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from almanac_pipeline.sandbox.client import ControlClient
from almanac_pipeline.warehouse.embedded import EmbeddedServer
from tests.end_to_end.command import Command

ALMANAC = Path(sys.executable).with_name("almanac")
PATIENCE_SECONDS = 400

Row = dict[str, Any]
Tables = dict[str, list[Row]]
"""{schema.table: rows}, each row with its `xmin`: the transaction that wrote it."""


@dataclass(frozen=True)
class Outcome:
    """What a command printed and how it ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def error_lines(self) -> list[str]:
        """What was said on standard error, without empty lines."""
        return [line for line in self.stderr.splitlines() if line.strip()]


@dataclass(frozen=True)
class DagsterRun:
    """A run as Dagster's storage has it."""

    status: str
    planned: frozenset[str]
    """The assets that the run was to materialize, as `schema/name`."""
    materialized: dict[str, dict[str, Any]]
    """{asset: metadata} of those it did."""
    failures: list[str]


@dataclass(frozen=True)
class Home:
    """One installation: its folder, its settings, and its database if that is not the embedded one."""

    folder: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    database_url: str | None = field(default=None, repr=False)

    def run(self, *arguments: str, **settings: str) -> Outcome:
        """Run a command to its end; `settings` are for this command only."""
        return finish(self.start(*arguments, **settings))

    def build(self, *arguments: str, **settings: str) -> Outcome:
        """Run a command that must succeed."""
        outcome = self.run(*arguments, **settings)
        assert outcome.code == 0, f"almanac {' '.join(arguments)}:\n{outcome.stdout}\n{outcome.stderr}"
        return outcome

    def start(self, *arguments: str, **settings: str) -> Command:
        """Begin a command."""
        return Command(arguments, self._environment(settings))

    def _environment(self, settings: Mapping[str, str]) -> dict[str, str]:
        own = {name: value for name, value in os.environ.items() if not name.startswith("ALMANAC_")}
        for unwanted in ("DAGSTER_HOME", "PYTHONDONTWRITEBYTECODE"):  # the latter: see the Makefile
            own.pop(unwanted, None)
        # How full the disk of this machine is shall raise no alert.
        defaults = {"home": str(self.folder), "disk_alert_gigabytes": "0"}
        chosen = {**defaults, **self.settings, **settings}
        if self.database_url is not None:
            chosen["database_url"] = self.database_url
        return own | {f"ALMANAC_{name.upper()}": value for name, value in chosen.items()}

    def demo(self, *arguments: str) -> Outcome:
        """Run the installed `almanac demo --exit`. All prefer one port: they start one after the other."""
        with (Path(tempfile.gettempdir()) / f"almanac-e2e-{os.getuid()}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            process = subprocess.Popen(
                [str(ALMANAC), "demo", "--exit", *arguments],
                env=self._environment({}),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            assert process.stdout is not None
            first_line = process.stdout.readline()
        outcome = finish(process)
        return replace(outcome, stdout=first_line + outcome.stdout)

    @property
    def server(self) -> EmbeddedServer:
        """The embedded server of this home."""
        return EmbeddedServer(self.folder)

    def address(self) -> str:
        """The URL of the database, which is started if it is the embedded one."""
        return self.database_url or self.server.start().url

    def rows(self, query: str, *parameters: object) -> list[Row]:
        """What a query gives, in a session of its own."""
        with psycopg.connect(self.address(), row_factory=dict_row) as connection:
            return connection.execute(query, parameters).fetchall()

    def tables(self, *schemas: str) -> Tables:
        """Every row of every table of some schemas."""
        found: Tables = {}
        with psycopg.connect(self.address(), row_factory=dict_row) as connection:
            names = connection.execute(
                "select schemaname, tablename from pg_tables where schemaname = any(%s)", [list(schemas)]
            ).fetchall()
            for name in names:
                table = sql.Identifier(name["schemaname"], name["tablename"])
                query = sql.SQL("select xmin::text, t.* from {} as t").format(table)
                rows = connection.execute(query).fetchall()
                found[f"{name['schemaname']}.{name['tablename']}"] = sorted(rows, key=repr)
        return found

    def views(self, *names: str) -> Tables:
        """Every row of some views, which no transaction wrote."""
        return {name: sorted(self.rows(f"select * from {name}"), key=repr) for name in names}

    def dagster_runs(self) -> list[DagsterRun]:
        """The runs that Dagster knows of, oldest first."""
        runs = self.rows("select run_id, status from dagster.runs order by id")
        events = self.rows("select run_id, event from dagster.event_logs order by id")
        return [
            _run(
                run["status"], [json.loads(row["event"]) for row in events if row["run_id"] == run["run_id"]]
            )
            for run in runs
        ]

    def remove(self) -> None:
        """Stop everything that runs here and delete the folder."""
        self.run("down")
        roots = {self.folder} if self.database_url is not None else {self.folder, self.server.root}
        for root in roots:
            shutil.rmtree(root, ignore_errors=True)


@contextmanager
def new_home(database_url: str | None = None, **settings: str) -> Iterator[Home]:
    """An empty home, which is cleaned up at the end, also after a failure.

    It lies where the embedded server's own user may go, which pytest's folders do not allow.
    """
    folder = Path(tempfile.mkdtemp(prefix="almanac-e2e."))
    folder.chmod(0o711)
    home = Home(folder, settings, database_url)
    try:
        yield home
    finally:
        home.remove()


def site_settings(site: ControlClient) -> dict[str, str]:
    """The settings that point a home at a sandbox."""
    return {"letterboxd_url": site.url, "tmdb_url": site.tmdb_url, "tmdb_token": "any"}


def finish(process: Command | subprocess.Popen[str]) -> Outcome:
    """Wait for a command that was started."""
    try:
        stdout, stderr = process.communicate(timeout=PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        stdout, stderr = process.communicate()
        raise AssertionError(f"still running after {PATIENCE_SECONDS} s:\n{stdout}\n{stderr}") from None
    assert process.returncode is not None
    return Outcome(process.returncode, stdout, stderr)


def wait_until(happened: Callable[[], bool], process: Command, what: str) -> None:
    """Return as soon as something has happened while a command runs."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not happened():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            stdout, stderr = process.communicate()
            raise AssertionError(f"ended without {what}:\n{stdout}\n{stderr}")
        time.sleep(0.05)


def without(rows: list[Row], *columns: str) -> Counter[str]:
    """Rows in no order, without some columns: what two databases with other ids have in common.

    SQL adds floats in the order of the ids, so their last digits are the database's own.
    """
    return Counter(
        repr({key: _rounded(value) for key, value in row.items() if key not in columns}) for row in rows
    )


def _rounded(value: object) -> object:
    return round(value, 9) if isinstance(value, float) else value


def _run(status: str, events: list[dict[str, Any]]) -> DagsterRun:
    planned, materialized, failures = set(), {}, []
    for entry in events:
        event = entry.get("dagster_event") or {}
        kind, data = event.get("event_type_value"), event.get("event_specific_data") or {}
        if kind == "ASSET_MATERIALIZATION_PLANNED":
            planned.add("/".join(data["asset_key"]["path"]))
        elif kind == "ASSET_MATERIALIZATION":
            stored = data["materialization"]
            materialized["/".join(stored["asset_key"]["path"])] = {
                item["label"]: next(
                    (value for key, value in item["entry_data"].items() if key != "__class__"), None
                )
                for item in stored["metadata_entries"]
            }
        elif kind == "PIPELINE_FAILURE":
            failures.append(event["message"])
    return DagsterRun(status, frozenset(planned), materialized, failures)
