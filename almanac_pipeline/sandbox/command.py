"""The sandbox's command line, for `almanac sandbox` and `python -m almanac_pipeline.sandbox` alike."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Annotated

import typer

from almanac_pipeline.errors import ConfigurationError
from almanac_pipeline.sandbox.options import (
    GeneratedWorld,
    HistogramMarkup,
    Markup,
    MovieLensWorld,
    Robots,
    SandboxConfig,
    SandboxOptions,
)


def sandbox(
    host: Annotated[
        str, typer.Option(help="Address to listen on; everybody who reaches it may ask.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 0,
    seed: Annotated[int, typer.Option(help="Another seed, another world.")] = 7,
    members: Annotated[
        int, typer.Option(min=1, help="Followed members; with --movielens the N lowest ids.")
    ] = 25,
    films: Annotated[int, typer.Option(min=1, help="Films of an invented world.")] = 600,
    ratings: Annotated[int, typer.Option(min=1, help="Mean number of ratings per member.")] = 120,
    movielens: Annotated[
        Path | None, typer.Option(help="A folder in MovieLens format instead of an invented world.")
    ] = None,
    member_ids: Annotated[
        str | None, typer.Option(help="With --movielens: exactly these people, e.g. 3,17.")
    ] = None,
    until: Annotated[
        int | None, typer.Option(help="With --movielens: only what was rated by then (Unix seconds).")
    ] = None,
    markup: Annotated[Markup, typer.Option(help="Era of the pages' markup.")] = "2026",
    histogram: Annotated[
        HistogramMarkup | None, typer.Option(help="Markup of rating histograms; by default that of the era.")
    ] = None,
    robots: Annotated[
        Robots, typer.Option(help="Which robots.txt to show; strict forbids sorted views.")
    ] = "permissive",
    tmdb_token: Annotated[
        str | None, typer.Option(help="The only TMDB token accepted; by default any.")
    ] = None,
    tmdb_limit: Annotated[
        int | None, typer.Option(min=1, help="TMDB requests per 10 s before it answers 429.")
    ] = None,
    latency_ms: Annotated[
        int, typer.Option(min=0, help="How long every answer takes, on top of the work.")
    ] = 0,
    crlf: Annotated[bool, typer.Option("--crlf", help="End the lines of data exports with CR LF.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the addresses as JSON.")] = False,
    with_parent: Annotated[
        bool, typer.Option("--with-parent", hidden=True, help="End when standard input closes.")
    ] = False,
) -> None:
    """Serve a stand-in for Letterboxd and TMDB until Ctrl-C.

    Everything in it is invented, or comes from a MovieLens folder.

    Example: `almanac sandbox --port 8801 --markup 2025 --robots strict`
    """
    from almanac_pipeline.sandbox.server import serve

    world: GeneratedWorld | MovieLensWorld
    if movielens is not None:
        world = MovieLensWorld(str(movielens), members, _ids(member_ids), until)
    elif member_ids is not None or until is not None:
        raise ConfigurationError("--member-ids and --until need --movielens")
    else:
        world = GeneratedWorld(seed, members, films, ratings)
    options = SandboxOptions(markup, histogram, robots, tmdb_token, tmdb_limit, latency_ms, crlf)

    def announce(addresses: dict[str, str]) -> None:
        line = (
            json.dumps(addresses)
            if as_json
            else "  ".join(f"{key}={value}" for key, value in addresses.items())
        )
        print(line, flush=True)

    # uvicorn raises its signal again once it has shut down; by then that is no news.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    serve(SandboxConfig(world, options, host, port), announce, until_stdin_closes=with_parent)


def _ids(text: str | None) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in (text or "").split(",") if part.strip())
    except ValueError:
        raise ConfigurationError(
            f"--member-ids takes numbers with commas between them, not {text!r}"
        ) from None
