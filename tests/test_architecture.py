"""The rules of the house: which room may import which, and that importing does nothing."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "almanac_pipeline"
ROOMS = ["sources", "tmdb", "http", "warehouse", "statistics", "quality", "sandbox", "flows", "observability"]

# What a room must not import: (room, forbidden top-level packages and rooms of ours).
FORBIDDEN = {
    **{room: {"dagster", "dagster_dbt", "dagster_postgres", "almanac_pipeline.defs"} for room in ROOMS},
}
FORBIDDEN["http"] |= {
    f"almanac_pipeline.{room}" for room in ("sources", "tmdb", "warehouse", "flows", "sandbox", "statistics")
}
FORBIDDEN["sources"] |= {"psycopg", "sqlalchemy", "almanac_pipeline.warehouse", "almanac_pipeline.flows"}
FORBIDDEN["tmdb"] |= {"psycopg", "sqlalchemy", "almanac_pipeline.warehouse", "almanac_pipeline.flows"}
FORBIDDEN["warehouse"] |= {"requests", "urllib3", "almanac_pipeline.http", "almanac_pipeline.flows"}
FORBIDDEN["flows"] |= {"sqlalchemy", "requests", "urllib3"}
FORBIDDEN["statistics"] |= {
    f"almanac_pipeline.{room}" for room in ("warehouse", "http", "sources", "flows", "sandbox")
} | {"psycopg", "pandas"}
# Every room logs and traces with the standard libraries; only what wraps their work binds what it is about.
FORBIDDEN["observability"] |= {f"almanac_pipeline.{room}" for room in ("sources", "tmdb", "http", "flows")}
for room in ("sources", "tmdb", "http", "warehouse", "statistics", "sandbox"):
    FORBIDDEN[room] |= {"almanac_pipeline.observability", "opentelemetry.sdk", "prometheus_client"}
FORBIDDEN["quality"] |= {
    f"almanac_pipeline.{room}" for room in ("warehouse", "http", "sources", "flows", "sandbox")
} | {"psycopg", "sqlalchemy"}
FORBIDDEN["sandbox"] |= {f"almanac_pipeline.{room}" for room in ("warehouse", "http", "flows", "sources")}


def imported_names(file: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in it the import stands."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def offences(room: str) -> list[str]:
    found = []
    for file in sorted((PACKAGE / room).rglob("*.py")):
        for name in imported_names(file):
            for forbidden in FORBIDDEN[room]:
                if name == forbidden or name.startswith(forbidden + "."):
                    found.append(f"{file.relative_to(PACKAGE)} imports {name}")
    return found


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_what_it_may(room: str) -> None:
    assert (PACKAGE / room).is_dir()
    assert offences(room) == []


def test_nothing_is_imported_whose_types_mypy_does_not_read() -> None:
    settings = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["tool"]["mypy"]
    unread = {
        module.removesuffix(".*")
        for override in settings["overrides"]
        if override.get("follow_imports") == "skip"
        for module in override["module"]
    }
    imported = {name.split(".")[0] for file in PACKAGE.rglob("*.py") for name in imported_names(file)}
    assert unread
    assert not unread & imported


def test_flows_hand_connections_on_but_hold_no_sql() -> None:
    found = [
        f"{file.name}:{node.lineno}"
        for file in (PACKAGE / "flows").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in ("execute", "executemany", "copy", "cursor")
    ]
    assert found == []


def test_only_definitions_imports_the_dagster_objects() -> None:
    found = [
        str(file.relative_to(PACKAGE))
        for file in PACKAGE.rglob("*.py")
        if "defs" not in file.relative_to(PACKAGE).parts
        and any(name.startswith("almanac_pipeline.defs") for name in imported_names(file))
    ]
    assert found == ["definitions.py"]


# Who touches the environment beside settings.py, and why that is not reading a setting.
ENVIRONMENT = {
    "settings.py": "the reader",
    "instance.py": "tells Dagster where its home is",
    "services.py": "hands it on with the mark by which what services start is found",
    "warehouse/client_programs.py": "hands the address to PostgreSQL's programs",
    "warehouse/dbt.py": "hands the address to dbt and puts back what was there",
}


def test_the_environment_is_read_in_settings_only() -> None:
    touched = {
        str(file.relative_to(PACKAGE))
        for file in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Attribute) and ast.unparse(node) in ("os.environ", "os.getenv", "os.environb")
    }
    assert touched <= set(ENVIRONMENT)


@pytest.mark.parametrize(
    "file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: str(file.relative_to(PACKAGE))
)
def test_a_module_says_what_belongs_in_it(file: Path) -> None:
    assert ast.get_docstring(ast.parse(file.read_text())), f"{file} has no docstring"


def test_importing_the_definitions_needs_neither_network_nor_database(tmp_path: Path) -> None:
    # A socket that raises stands for both; the import runs in a process of its own.
    code = (
        "import socket, sys\n"
        "def refuse(*arguments, **options): raise AssertionError('a connection at import')\n"
        "socket.socket.connect = refuse\n"
        "socket.create_connection = refuse\n"
        "import almanac_pipeline.definitions, almanac_pipeline.cli, almanac_pipeline.flows.quality\n"
        # Six seconds that only the quality checks themselves wait for.
        "assert 'great_expectations' not in sys.modules\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


def test_the_command_line_answers_without_heavy_imports() -> None:
    code = (
        "import sys, almanac_pipeline.cli\n"
        "heavy = {'dagster', 'dbt', 'pandas', 'great_expectations', 'scipy', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
