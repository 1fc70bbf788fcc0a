"""Keeps pages that could not be understood, for a person to look at.

Beside the rooms because it belongs to none: it knows no site, no database and no request, only a
folder. A page shows what its site shows, names included: the folder is for its owner alone, file names
say the kind of page only, and forgetting a member empties it.
"""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

MAX_PAGES = 50
_PAGES = "*-*Z-*.html"


def keep_page(folder: Path, kind: str, body: bytes) -> Path | None:
    """Write `body` into `folder` as KIND-UTCTIME-HASH.html, readable for its owner only.

    Returns where it is, or None if it could not be written: a full disk is no reason to fail in the
    middle of saying what is wrong with a page. The oldest pages beyond 50 are deleted.
    """
    now = datetime.now(UTC)
    short_hash = hashlib.sha256(body).hexdigest()[:8]
    name = f"{re.sub(r'[^a-z0-9]+', '_', kind.lower())[:40]}-{now:%Y%m%dT%H%M%S%f}Z-{short_hash}.html"
    path = folder / name
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(body)
        _delete_oldest(folder)
    except OSError:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        return None
    return path


def delete_pages(folder: Path) -> int:
    """Delete every kept page; returns how many. Nobody can tell for certain whom a page names."""
    pages = list(folder.glob(_PAGES))
    for page in pages:
        page.unlink(missing_ok=True)
    return len(pages)


def _delete_oldest(folder: Path) -> None:
    # The time in the name, not the file's: copies and restores change that.
    pages = sorted(folder.glob(_PAGES), key=lambda page: page.name.rsplit("-", 2)[1])
    for page in pages[:-MAX_PAGES]:
        page.unlink(missing_ok=True)
