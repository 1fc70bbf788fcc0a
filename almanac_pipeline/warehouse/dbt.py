"""Runs dbt inside this process: parse once, bootstrap a database, build a stage for some cohorts.

dbt is slow to start, not to run, so nothing here starts a process: the project is parsed once per
change into `dbt_project/target`, and the parsed manifest is pointed at whichever database is
built. Which cohorts to build is handed over in `ops.cohort_build_requests` under an advisory
lock, so two builds of one database never run at once. Knows no cohort's statistics.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import hashlib
import importlib.metadata
import json
import logging
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from almanac_pipeline.errors import DbtError
from almanac_pipeline.settings import PROJECT_ROOT, Settings, get_settings
from almanac_pipeline.warehouse.connection import connect_to

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest

PROJECT = PROJECT_ROOT / "dbt_project"
MANIFEST = PROJECT / "target" / "manifest.json"
"""What `prepare` writes, for readers of dbt's metadata."""

# Builds of one database wait for each other on this key; the number is arbitrary but fixed.
BUILD_LOCK = 7_203_102
SOURCES = ("dbt_project.yml", "profiles.yml", "models", "macros", "seeds", "tests")
# The database that profiles.yml names when nobody says otherwise, and so the one in a parsed manifest.
PARSED_DATABASE = "almanac"

# Concurrent builds would collide on views, and a view that is made again loses those that stand on it.
TABLES = "config.materialized:cohort_rows"
# Also of views: what they show was built, though they were not.
TESTS = "resource_type:test"

# dbt keeps flags, adapters and the profile's environment per process.
_dbt = threading.Lock()


@dataclass(frozen=True, slots=True)
class NodeResult:
    """What became of one model, seed or test."""

    unique_id: str
    resource_type: str
    name: str
    status: str
    """success, pass, warn, no-op; anything else stands only in the nodes of a DbtError."""
    seconds: float
    ended_at: datetime | None
    """UTC; None if it was not executed."""
    rows_affected: int | None
    message: str | None
    sql: str | None = field(repr=False)
    """As it was executed; None of a seed."""
    relation: str | None
    """schema.table; None for tests."""


def project_checksum() -> str:
    """A hash of everything that decides what dbt builds: the project's files and dbt's version."""
    digest = hashlib.sha256(importlib.metadata.version("dbt-core").encode())
    for source in SOURCES:
        path = PROJECT / source
        for file in sorted(path.rglob("*") if path.is_dir() else [path]):
            if file.is_file():
                digest.update(str(file.relative_to(PROJECT)).encode())
                digest.update(file.read_bytes())
    return digest.hexdigest()


def prepare(settings: Settings | None = None) -> Path:
    """Parse the project unless that was done since its last change; needs no database.

    Returns the path of manifest.json.

    Raises:
        DbtError: the project does not parse.
    """
    settings = settings or get_settings()
    target, checksum = MANIFEST.parent, project_checksum()
    marker = target / "checksum"
    # Before the lock: an image has been prepared when it was built, and may be read-only.
    if marker.exists() and marker.read_text() == checksum:
        return MANIFEST
    target.mkdir(parents=True, exist_ok=True)
    with (target / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if marker.exists() and marker.read_text() == checksum:
            return MANIFEST
        marker.unlink(missing_ok=True)
        with _invocation(settings, {"ALMANAC_DBT_DATABASE": PARSED_DATABASE}) as run:
            run(["parse", "--no-partial-parse"])
            for name in ("partial_parse.msgpack", MANIFEST.name):
                shutil.copyfile(run.target / name, target / f"{name}.new")
                (target / f"{name}.new").replace(target / name)
        marker.write_text(checksum)
    return MANIFEST


def bootstrap(database_url: str, *, settings: Settings | None = None) -> bool:
    """Give the database this release's seeds, views and (where missing) tables, without building any cohort.

    Returns False, at once, when it has them.

    Raises:
        DbtError: a model or seed could not be created.
    """
    settings = settings or get_settings()
    checksum = project_checksum()
    if _bootstrapped(database_url, checksum):
        return False
    with _requested(database_url, {}, None) as connection:
        if _bootstrapped(database_url, checksum):
            return False
        # With no cohort requested a plain run creates the tables empty. `--empty` would not do:
        # it writes its `limit 0` into the views.
        _run(database_url, ["build", *_without("test", "unit_test")], settings)
        connection.execute("delete from ops.dbt_bootstraps")
        connection.execute("insert into ops.dbt_bootstraps (project_checksum) values (%s)", [checksum])
    return True


def build(
    database_url: str,
    *,
    select: str,
    cohorts: Mapping[int, str],
    run_id: str | None = None,
    settings: Settings | None = None,
) -> list[NodeResult]:
    """Build the selected models for some cohorts and run their data tests.

    The database must have been bootstrapped. Waits for other builds of the same database.

    Args:
        select: dbt's selection, usually "tag:before_statistics" or "tag:after_statistics". Of it, tables are
            built and all tests run; views are as `bootstrap` left them.
        cohorts: id and input version of each cohort to build.

    Raises:
        DbtError: a model or test failed; the message names it, `nodes` holds what ran.
    """
    selection = [f"{select},{TABLES}", f"{select},{TESTS}"]
    arguments = ["build", "--select", *selection, "--indirect-selection", "buildable"]
    arguments += ["--vars", json.dumps({"requested_cohorts": sorted(cohorts)})]
    with _requested(database_url, cohorts, run_id):
        return _run(database_url, [*arguments, *_without("unit_test")], settings or get_settings())


def run_unit_tests(database_url: str, *, settings: Settings | None = None) -> list[NodeResult]:
    """Run dbt's unit tests (given rows against expected rows) on a bootstrapped database.

    Raises:
        DbtError: one failed.
    """
    return _run(database_url, ["test", "--select", "test_type:unit"], settings or get_settings())


def generate_docs(database_url: str, destination: Path, *, settings: Settings | None = None) -> Path:
    """Write the documentation of models and columns as one page, `destination`/index.html.

    Raises:
        DbtError: dbt could not read the catalogue.
    """
    settings = settings or get_settings()
    prepare(settings)
    page = destination / "index.html"
    destination.mkdir(parents=True, exist_ok=True)
    with _invocation(settings, _profile(database_url)) as run:
        run(["docs", "generate", "--static"], _manifest(database_url))
        shutil.copyfile(run.target / "static_index.html", page.with_suffix(".new"))
    page.with_suffix(".new").replace(page)
    return page


# -- inside ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Invocation:
    """dbt's command line in this process, with folders of its own."""

    target: Path
    logs: Path
    database_url: str | None = field(repr=False)
    """None if no database is looked at."""

    def __call__(self, arguments: Sequence[str], manifest: Manifest | None = None) -> list[NodeResult]:
        # dbt takes two seconds to import: not before it is needed.
        from dbt.cli.main import dbtRunner

        outcome = dbtRunner(manifest=manifest).invoke(
            [
                "--log-level", "none", "--log-level-file", "info", "--log-path", str(self.logs),
                *arguments,
                "--project-dir", str(PROJECT), "--profiles-dir", str(PROJECT),
                "--target-path", str(self.target),
            ]
        )  # fmt: skip
        if outcome.exception is not None:
            raise DbtError(f"dbt {arguments[0]}: {outcome.exception}") from outcome.exception
        nodes = [_node_result(result) for result in getattr(outcome.result, "results", ())]
        if not outcome.success:
            nodes = [self._explained(node) for node in nodes]
            failed = [node for node in nodes if node.status in ("error", "fail", "runtime error")]
            words = "; ".join(f"{node.name}: {_one_line(node.message)}" for node in failed[:3])
            raise DbtError(
                f"dbt {arguments[0]}: {words or 'failed without a message'} (see {self.logs / 'dbt.log'})",
                nodes,
            )
        return nodes

    def _explained(self, node: NodeResult) -> NodeResult:
        """With the rules that rows break, where a test that failed says them; dbt itself only counts rows."""
        if self.database_url is None or node.status != "fail" or "broken_rule" not in (node.sql or ""):
            return node
        query = f"select broken_rule, count(*) from ({node.sql}) as rows group by 1 order by 1"
        with connect_to(self.database_url) as connection:
            broken = connection.execute(query.encode()).fetchall()
        return replace(node, message=", ".join(f"{rule} ({count:,} rows)" for rule, count in broken))


@contextlib.contextmanager
def _invocation(
    settings: Settings, environment: Mapping[str, str], database_url: str | None = None
) -> Iterator[_Invocation]:
    """One use of dbt at a time in this process, its profile in the environment, its target removed after."""
    logs = settings.home / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    with _dbt, tempfile.TemporaryDirectory(prefix="dbt-") as target:
        before = {name: os.environ.get(name) for name in environment}
        os.environ.update(environment)
        # The parsed project is some 100,000 objects, and looking through them again and again took a fifth of
        # dbt's time.
        collects_garbage = gc.isenabled()
        gc.disable()
        try:
            yield _Invocation(Path(target), logs, database_url)
        finally:
            if collects_garbage:
                gc.enable()
            # dbt leaves its log file open until the next invocation drops it unclosed.
            for handler in logging.getLogger("file_log").handlers:
                handler.close()
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def _run(database_url: str, arguments: Sequence[str], settings: Settings) -> list[NodeResult]:
    prepare(settings)
    with _invocation(settings, _profile(database_url), database_url) as run:
        return run([*arguments, "--no-write-json"], _manifest(database_url))


def _manifest(database_url: str) -> Manifest:
    """The parsed project, pointed at this database: dbt writes the database's name into every node."""
    from dbt.contracts.graph.manifest import Manifest

    manifest = Manifest.from_msgpack((MANIFEST.parent / "partial_parse.msgpack").read_bytes())
    database = _profile(database_url)["ALMANAC_DBT_DATABASE"]
    for node in (*manifest.nodes.values(), *manifest.sources.values()):
        node.database = database
        if node.relation_name:
            node.relation_name = node.relation_name.replace(f'"{PARSED_DATABASE}".', f'"{database}".', 1)
    return manifest


def _profile(database_url: str) -> dict[str, str]:
    """What profiles.yml reads from the environment. dbt hides the values of DBT_ENV_SECRET_ in its logs."""
    parts = {name: str(value) for name, value in conninfo_to_dict(database_url).items()}
    user = parts.get("user", "postgres")
    return {
        "ALMANAC_DBT_HOST": parts.get("host", "localhost"),
        "ALMANAC_DBT_PORT": parts.get("port", "5432"),
        "ALMANAC_DBT_USER": user,
        "DBT_ENV_SECRET_ALMANAC_PASSWORD": parts.get("password", ""),
        "ALMANAC_DBT_DATABASE": parts.get("dbname", user),
        "ALMANAC_DBT_SSLMODE": parts.get("sslmode", "prefer"),
    }


def _without(*resource_types: str) -> list[str]:
    return [argument for name in resource_types for argument in ("--exclude-resource-type", name)]


@contextlib.contextmanager
def _requested(
    database_url: str, cohorts: Mapping[int, str], run_id: str | None
) -> Iterator[psycopg.Connection]:
    """Hold the build lock with exactly these cohorts in the control table; empty it afterwards."""
    with connect_to(database_url, autocommit=True) as connection:
        connection.execute("select pg_advisory_lock(%s)", [BUILD_LOCK])
        with connection.transaction(), connection.cursor() as cursor:
            cursor.execute("delete from ops.cohort_build_requests")
            cursor.executemany(
                "insert into ops.cohort_build_requests (cohort_id, input_version, dagster_run_id)"
                " values (%s, %s, %s)",
                [(cohort_id, version, run_id) for cohort_id, version in cohorts.items()],
            )
        # As many as the planner believes to be asked for, it reads: with the last build's number, which may
        # have been all, one cohort's build would read everybody's rows.
        connection.execute("analyze ops.cohort_build_requests")
        try:
            yield connection
        finally:
            connection.execute("delete from ops.cohort_build_requests")


def _bootstrapped(database_url: str, checksum: str) -> bool:
    with connect_to(database_url) as connection:
        row = connection.execute(
            "select from ops.dbt_bootstraps where project_checksum = %s", [checksum]
        ).fetchone()
    return row is not None


def _node_result(result: Any) -> NodeResult:
    node = result.node
    is_relation = node.resource_type in ("model", "seed")
    rows = result.adapter_response.get("rows_affected")
    return NodeResult(
        unique_id=node.unique_id,
        resource_type=str(node.resource_type),
        name=node.name,
        status=str(result.status),
        seconds=result.execution_time,
        ended_at=max((step.completed_at for step in result.timing if step.completed_at), default=None),
        rows_affected=rows if is_relation and isinstance(rows, int) and rows >= 0 else None,
        message=result.message,
        sql=getattr(node, "compiled_code", None),
        relation=f"{node.schema}.{node.alias}" if is_relation else None,
    )


def _one_line(message: str | None) -> str:
    return " ".join((message or "no message").split())
