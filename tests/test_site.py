"""The documentation site builds without a warning, needs nobody else's server, and says what it must."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from almanac_pipeline.settings import PROJECT_ROOT
from almanac_pipeline.warehouse.marts import ATTRIBUTION

DOCS = PROJECT_ROOT / "docs"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [Path(sys.executable).parent / "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder]
    built = subprocess.run(
        command, cwd=PROJECT_ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    # Strict: a broken link or heading, or a page that is not in the navigation, ends it.
    assert built.returncode == 0, built.stderr
    return folder


def test_every_page_is_in_the_site(site: Path) -> None:
    written = {str(page.relative_to(site)) for page in site.rglob("*.html")}
    expected = {
        re.sub(r"README$", "index", str(page.relative_to(DOCS).with_suffix(""))) + ".html"
        for page in DOCS.rglob("*.md")
    }
    assert expected - written == set()
    assert {"index.html", "getting-started.html", "policy.html", "runbook/index.html"} <= written


def test_a_reader_loads_nothing_from_elsewhere(site: Path) -> None:
    loaded = {
        address
        for page in site.rglob("*.html")
        for tag in re.findall(r"<(?:script|img|link|iframe)\b[^>]*>", page.read_text())
        for address in re.findall(r'(?:src|href)="((?:https?:)?//[^"]+)"', tag)
    }
    assert loaded == set()
    styles = "".join(style.read_text() for style in site.rglob("*.css"))
    assert not re.search(r"url\([\"']?(?:https?:)?//", styles)


def test_the_policy_and_every_page_carry_tmdbs_sentence_to_the_letter(site: Path) -> None:
    assert ATTRIBUTION in (DOCS / "policy.md").read_text()
    assert [page.name for page in site.rglob("*.html") if ATTRIBUTION not in page.read_text()] == []


def test_what_the_navigation_leaves_out_is_listed_on_its_first_page() -> None:
    for folder in (DOCS / "decisions", DOCS / "runbook"):
        first = (folder / "README.md").read_text()
        unlisted = [page.name for page in folder.glob("*.md") if f"({page.name})" not in first]
        assert unlisted == ["README.md"]
