"""Every command explains itself."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import typer

from almanac_pipeline import __version__
from almanac_pipeline.cli import app
from tests.cli.conftest import Almanac

ROOT = typer.main.get_command(app)


def nodes(node: object = ROOT, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], object]]:
    """(words, command) of the application, every group and every command."""
    yield path, node
    for name, child in sorted(getattr(node, "commands", {}).items()):
        yield from nodes(child, (*path, name))


NODES = dict(nodes())
COMMANDS = {path: node for path, node in NODES.items() if not hasattr(node, "commands")}


def test_the_walk_finds_groups_and_commands() -> None:
    assert {("demo",), ("cohort", "build"), ("export", "csv"), ("db", "psql")} <= set(COMMANDS)
    assert ("cohort",) in NODES
    assert ("cohort",) not in COMMANDS


@pytest.mark.parametrize("path", NODES, ids=" ".join)
def test_help_is_there(path: tuple[str, ...], almanac: Almanac) -> None:
    outcome = almanac(*path, "--help")
    assert (outcome.code, outcome.err) == (0, "")
    assert f"Usage: almanac {' '.join(path)}".rstrip() in outcome.out


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_a_command_says_what_it_does_and_shows_an_example_of_itself(path: tuple[str, ...]) -> None:
    text = str(getattr(COMMANDS[path], "help", ""))
    assert re.match(r"[A-Z][^\n]+\.(\n|$)", text), f"no summary line: {text!r}"
    assert re.search(rf"Example: .*\balmanac {' '.join(path)}\b", text), f"no example: {text!r}"


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_option_is_explained(path: tuple[str, ...]) -> None:
    for parameter in getattr(COMMANDS[path], "params", ()):
        if getattr(parameter, "hidden", False) or parameter.name == "help":
            continue
        assert getattr(parameter, "help", None), f"{' '.join(path)}: {parameter.name}"


@pytest.mark.parametrize(
    "path",
    # `almanac alerts` alone lists them.
    [path for path in NODES if path not in COMMANDS and path != ("alerts",)],
    ids=" ".join,
)
def test_a_group_without_a_command_shows_its_help(path: tuple[str, ...], almanac: Almanac) -> None:
    outcome = almanac(*path)
    assert outcome.code == 2
    assert "Commands" in outcome.out + outcome.err


def test_the_version_is_the_package_s(almanac: Almanac) -> None:
    assert almanac("--version").out == f"almanac {__version__}\n"


def test_an_unknown_command_is_a_usage_error(almanac: Almanac) -> None:
    outcome = almanac("ranks")
    assert (outcome.code, outcome.out) == (2, "")
    assert "No such command 'ranks'" in outcome.err
