"""What the documentation names is there: commands, targets, links; and no file names this machine."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import typer
import yaml  # type: ignore[import-untyped]

from almanac_pipeline.cli import app
from almanac_pipeline.settings import PROJECT_ROOT, Settings
from almanac_pipeline.warehouse.alerts import KINDS
from almanac_pipeline.warehouse.marts import ATTRIBUTION

ROOT: Any = typer.main.get_command(app)
PAGES = [PROJECT_ROOT / "README.md", *sorted((PROJECT_ROOT / "docs").rglob("*.md"))]
NAMES = [str(page.relative_to(PROJECT_ROOT)) for page in PAGES]
ASSIGNMENTS = r"(?:\$ )?(?:[A-Z_]+=\S+ )*"


@cache
def tracked_files() -> frozenset[str]:
    """The paths that a clone has."""
    if not (PROJECT_ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True
    )
    return frozenset(path for path in listed.stdout.split("\0") if path)


def code(page: Path) -> Iterator[str]:
    """The lines of fenced blocks and the spans of inline code."""
    text = page.read_text()
    fences = re.compile(r"^```[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
    for block in fences.findall(text):
        yield from block.splitlines()
    yield from re.findall(r"`([^`\n]+)`", fences.sub("", text))


def invocations(page: Path, program: str) -> Iterator[str]:
    """What stands behind `program` wherever a line or span of code calls it."""
    call = re.compile(
        rf"(?:^{ASSIGNMENTS}|\$\(|&& |; )(?:\.venv/bin/)?{program}"
        # What stands in quotation marks ends no command.
        r"""(?: ((?:"[^"]*"|'[^']*'|[^#)|;&"'])*))?(?=$|[#)|;&])"""
    )
    for line in code(page):
        for match in call.finditer(line):
            yield (match[1] or "").strip()


def problem(arguments: str) -> str | None:
    """Why `almanac` would not accept these arguments; None if it would."""
    node = ROOT
    words = shlex.split(arguments)
    while words and hasattr(node, "commands"):
        if words[0].startswith("-") or words[0] == "…":
            break
        if words[0] not in node.commands:
            return f"no command {words[0]!r}"
        node = node.commands[words.pop(0)]
    options = {name for parameter in node.params for name in (*parameter.opts, *parameter.secondary_opts)}
    if node.context_settings.get("ignore_unknown_options"):
        return None
    unknown = [
        word
        for word in words
        if word.startswith("-") and word.partition("=")[0] not in {*options, "--help", "-h"}
    ]
    return f"no option {unknown[0]!r}" if unknown else None


def anchors(page: Path) -> set[str]:
    """The names of a page's headings, as the usual renderers make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


# -- commands ------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_almanac_command_exists_with_its_options(page: Path) -> None:
    wrong = {f"almanac {found}": why for found in invocations(page, "almanac") if (why := problem(found))}
    assert wrong == {}


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_make_target_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (PROJECT_ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        word for found in invocations(page, "make") for word in found.split() if re.fullmatch("[a-z-]+", word)
    }
    assert named <= targets


def test_the_readme_is_read_for_commands() -> None:
    assert "demo" in {found.partition(" ")[0] for found in invocations(PAGES[0], "make")}
    assert len(set(invocations(PAGES[0], "almanac"))) >= 10


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("cohort build friends --seed someone --label 'My friends'", None),
        ("db psql -c 'select 1'", None),
        ("rank show --help", None),
        ("--version", None),
        ("cohort make friends", "no command 'make'"),
        ("ranks", "no command 'ranks'"),
        ("cohort build friends --seeds someone", "no option '--seeds'"),
    ],
)
def test_a_wrong_command_would_be_found(arguments: str, expected: str | None) -> None:
    assert problem(arguments) == expected


def test_every_command_is_documented() -> None:
    """In the README or docs; those that only the project itself calls, where it calls them."""
    places = [*PAGES, PROJECT_ROOT / "Makefile", PROJECT_ROOT / "tests" / "run"]
    text = "\n".join(place.read_text() for place in places)

    def commands(node: Any, path: str) -> Iterator[str]:
        for name, child in getattr(node, "commands", {}).items():
            yield from commands(child, f"{path} {name}")
        if not hasattr(node, "commands"):
            yield path

    missing = [
        name for name in commands(ROOT, "") if not re.search(rf"almanac\"?{re.escape(name)}(?![\w-])", text)
    ]
    assert missing == []


# -- the runbook ---------------------------------------------------------------------------------


RUNBOOK = PROJECT_ROOT / "docs" / "runbook"


def prometheus_pages() -> dict[str, str]:
    """{page: severity} that the rules of Prometheus name."""
    rules = yaml.safe_load((PROJECT_ROOT / "docker" / "prometheus" / "rules.yml").read_text())
    alerts = [rule for group in rules["groups"] for rule in group["rules"] if "alert" in rule]
    return {alert["annotations"]["runbook"]: alert["labels"]["severity"] for alert in alerts}


def test_alerts_rules_and_pages_of_the_runbook_name_each_other() -> None:
    pages = {page.stem for page in RUNBOOK.glob("*.md")} - {"README"}
    ours = {kind.runbook for kind in KINDS.values()}
    theirs = {Path(page).stem for page in prometheus_pages()}
    assert all(page.startswith("docs/runbook/") and page.endswith(".md") for page in prometheus_pages())
    assert ours | theirs == pages
    # Only what the almanac cannot tell, because it is down itself, is told by Prometheus alone.
    assert theirs - ours == {"metrics-down"}
    rows = re.findall(
        r"^\| \[([\w-]+)\]\(\1\.md\) \| (\w+) \| (.+) \|$", (RUNBOOK / "README.md").read_text(), re.MULTILINE
    )
    listed = {
        (page, severity, kind) for page, severity, kinds in rows for kind in re.findall(r"`(\w+)`", kinds)
    }
    assert listed == {(kind.runbook, kind.severity, name) for name, kind in KINDS.items()}
    assert {page for page, _, _ in rows} == pages


def test_both_who_tell_of_an_alert_call_it_as_urgent() -> None:
    severities = {kind.runbook: kind.severity for kind in KINDS.values()}
    theirs = {Path(page).stem: severity for page, severity in prometheus_pages().items()}
    assert {page: told for page, told in theirs.items() if severities.get(page, told) != told} == {}


@pytest.mark.parametrize("page", sorted(RUNBOOK.glob("[!R]*.md")), ids=lambda page: str(page.stem))
def test_a_page_of_the_runbook_says_what_it_means_how_to_see_it_what_to_do_and_when_it_is_over(
    page: Path,
) -> None:
    text = page.read_text()
    assert text.startswith(f"# {page.stem}: ")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE)[:2] == ["Look", "Do"]
    look, _, do = text.partition("## Look")[2].partition("## Do")
    assert "\nalmanac " in look
    assert len(do) > 100
    assert re.search(r"alert is over|is over when|alert ends|does not end by itself", text)


def test_settings_that_the_runbook_names_exist() -> None:
    known = {f"ALMANAC_{name.upper()}" for name in Settings.model_fields}
    named = {
        name
        for page in RUNBOOK.glob("*.md")
        for name in re.findall(r"`(ALMANAC_[A-Z0-9_]+)`", page.read_text())
    }
    assert named - known == set()


# -- links ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_relative_link_leads_to_something_that_a_clone_has(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        path, _, anchor = target.partition("#")
        if urlsplit(target).scheme:
            continue
        linked = (page.parent / path).resolve() if path else page
        name = os.path.relpath(linked, PROJECT_ROOT)
        exists = name in tracked_files() or any(file.startswith(f"{name}/") for file in tracked_files())
        if not exists or (anchor and anchor not in anchors(linked)):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_no_page_waits_to_be_filled_in(page: Path) -> None:
    # The markers below are what is looked for, not work left open here.
    assert re.findall(r"\b(?:TODO|TBD|FIXME|XXX)\b|: [A-Z]{4,}$", page.read_text(), re.MULTILINE) == []


# -- attribution ---------------------------------------------------------------------------------


def test_the_readme_carries_tmdbs_sentence_to_the_letter() -> None:
    sentence = (
        "This product uses TMDB and the TMDB APIs "
        "but is not endorsed, certified, or otherwise approved by TMDB."
    )
    assert sentence in PAGES[0].read_text()
    assert sentence == ATTRIBUTION


# -- nothing of this machine ---------------------------------------------------------------------


def texts() -> Iterator[tuple[str, str]]:
    """(path, content) of every tracked text file."""
    for name in sorted(tracked_files()):
        file = PROJECT_ROOT / name
        if not file.exists():  # removed, and not yet committed
            continue
        try:
            yield name, file.read_text()
        except UnicodeDecodeError:
            continue


def package_sources() -> set[str]:
    """The hosts and folders that this machine takes its packages from, but for the public ones."""
    configured = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    ).stdout
    lines = re.findall(r"(?:index-url|find-links)='(.*)'", configured)
    lines += [value for name, value in os.environ.items() if re.search("INDEX|FIND_LINKS", name)]
    urls = [urlsplit(word) for line in lines for word in line.split() if "/" in word]
    return {url.hostname or url.path for url in urls} - {"pypi.org", "files.pythonhosted.org"}


def test_no_tracked_file_holds_a_path_of_this_machine() -> None:
    paths = [str(PROJECT_ROOT), str(PROJECT_ROOT.parent / "shared")]
    assert [name for name, text in texts() if any(path in text for path in paths)] == []


def test_no_tracked_file_names_where_this_machine_has_its_packages_from() -> None:
    sources = package_sources()
    assert [name for name, text in texts() if any(source in text for source in sources)] == []


def test_the_lock_holds_versions_and_hashes_and_no_address() -> None:
    lines = (PROJECT_ROOT / "requirements.lock").read_text().splitlines()
    assert [line for line in lines if "://" in line or line.startswith("-")] == []
    assert sum("--hash=sha256:" in line for line in lines) > 100
