"""Pages that could not be understood are kept for their owner alone, not for ever, and at no run's cost."""

from __future__ import annotations

from pathlib import Path

import pytest

from almanac_pipeline import inspection
from almanac_pipeline.inspection import MAX_PAGES, delete_pages, keep_page


def test_a_page_is_kept_whole_and_for_its_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "home" / "inspection"
    path = keep_page(folder, "rated", b"<html>\x00\xff</html>")
    assert path is not None
    assert path.read_bytes() == b"<html>\x00\xff</html>"
    assert (path.stat().st_mode & 0o777, folder.stat().st_mode & 0o777) == (0o600, 0o700)


def test_the_name_says_kind_time_and_content_and_stays_in_the_folder(tmp_path: Path) -> None:
    path = keep_page(tmp_path, "../Rated by-Date", b"1")
    assert path is not None
    assert path.parent == tmp_path
    assert path.name.startswith("_rated_by_date-20")
    assert path.name.endswith("Z-6b86b273.html")


def test_only_the_newest_fifty_stay(tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("mine")
    # Kinds in falling order: the time decides, not the name.
    paths = [keep_page(tmp_path, "zyx"[number % 3], str(number).encode()) for number in range(MAX_PAGES + 5)]
    left = set(tmp_path.iterdir()) - {notes}
    assert left == set(paths[5:])
    assert notes.exists()


def test_forgetting_takes_all_pages_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    keep_page(tmp_path, "rated", b"1")
    keep_page(tmp_path, "likes", b"2")
    assert delete_pages(tmp_path) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    assert delete_pages(tmp_path / "missing") == 0


def test_a_folder_that_cannot_be_written_is_no_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert keep_page(tmp_path / "file", "rated", b"1") is None


def test_a_full_disk_leaves_no_half_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Writing to /dev/full fails as a full disk does; the file itself can still be made.
    real = inspection.os.open

    def full(path: Path, *flags: int) -> int:
        inspection.os.close(real(path, *flags))
        return real("/dev/full", inspection.os.O_WRONLY)

    monkeypatch.setattr(inspection.os, "open", full)
    assert keep_page(tmp_path, "rated", b"1" * 100_000) is None
    assert list(tmp_path.iterdir()) == []
