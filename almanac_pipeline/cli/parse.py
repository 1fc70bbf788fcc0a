"""`almanac parse`: print what a saved page or feed holds. Reads one document, asks nobody."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from almanac_pipeline.errors import AlmanacError
from almanac_pipeline.sources.parse_any import parse_any

MAX_BYTES = 20_000_000


def parse(
    file: Annotated[
        Path,
        typer.Argument(
            help="A saved page, feed, film JSON, robots.txt or data export; - reads standard input.",
            allow_dash=True,
        ),
    ],
) -> None:
    """Print what a saved page or feed holds, as JSON.

    Knows film grids, likes, watchlists, lists, people, profiles, diaries, film pages and their JSON,
    histograms, directors' and actors' pages, RSS feeds, robots.txt and data exports
    (without their private columns). Any other document ends with
    exit code 1 and the reason.

    Example: almanac parse saved/films-page-1.html
    """
    try:
        body = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
        if len(body) > MAX_BYTES and not body.startswith(b"PK"):
            _refuse(file, f"it has {len(body):,} bytes; the largest page known has 0.4 million")
        result = parse_any(body, file.name)
    except OSError as error:
        _refuse(file, error.strerror or "it cannot be read")
    except AlmanacError as error:
        _refuse(file, str(error))
    typer.echo(json.dumps(result, ensure_ascii=False, indent=2).encode("utf-8"))


def _refuse(file: Path, reason: str) -> None:
    name = "standard input" if str(file) == "-" else " ".join(str(file).split())
    typer.echo(f"almanac parse: {name}: {reason}".encode("utf-8", errors="replace"), err=True)
    raise typer.Exit(1)
