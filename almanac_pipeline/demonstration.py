"""The main job on the sandbox: starts what it needs, builds a cohort, shows it, cleans up."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from rich.console import Console

from almanac_pipeline.errors import ConfigurationError
from almanac_pipeline.services import Service, Services, free_port
from almanac_pipeline.settings import Settings, export_to_environment, get_settings

# The stand-in checks that a token is sent, not which one.
SANDBOX_TOKEN = "sandbox"
# Ports of stand-ins. Each home has its own, the same from run to run, so that what was learned about
# the host (robots.txt) stays known and two demos never take each other's world for their own.
SANDBOX_PORTS = range(20_000, 30_000)
TOP = 10


@dataclass(frozen=True, slots=True)
class World:
    """Which world the stand-in shows."""

    movielens: Path | None
    members: int
    member_ids: str | None
    films: int
    seed: int

    @property
    def cohort(self) -> str:
        """The slug of the cohort that the demo builds."""
        return "movielens" if self.movielens else "demo"

    @property
    def label(self) -> str:
        """The name of that cohort for people."""
        return "MovieLens circle" if self.movielens else "Demo circle"

    @property
    def seed_member(self) -> str:
        """The member whose followings are the circle."""
        return "ml-circle" if self.movielens else "almanac"

    def identity(self) -> dict[str, object]:
        """What tells this world from others whose names and ids would collide with its own."""
        if self.movielens is None:
            return {"seed": self.seed, "members": self.members, "films": self.films}
        return {name: (self.movielens / name).stat().st_size for name in ("ratings.csv", "movies.csv")}

    def arguments(self) -> list[str]:
        """The sandbox's command line for this world."""
        if self.movielens is None:
            return ["--members", str(self.members), "--films", str(self.films), "--seed", str(self.seed)]
        chosen = ["--member-ids", self.member_ids] if self.member_ids else ["--members", str(self.members)]
        return ["--movielens", str(self.movielens), *chosen]


def run_demo(world: World, *, console: Console, started: float, serve: bool) -> None:
    """Build the demo's cohort, print its top ten, and with `serve` show the UI until Ctrl-C.

    `started` is when the command began, on the monotonic clock. On the way out everything that
    was started here is stopped again, also after SIGTERM.

    Raises:
        AlmanacError: something did not start, or a step of the run failed.
    """
    from almanac_pipeline.cli.common import run_chain
    from almanac_pipeline.warehouse import dbt
    from almanac_pipeline.warehouse.cohorts import create_cohort
    from almanac_pipeline.warehouse.connection import (
        connect_to,
        describe,
        prepared_database_url,
        running_database_url,
    )
    from almanac_pipeline.warehouse.embedded import EmbeddedServer

    settings = get_settings()
    services = Services(settings)
    with contextlib.ExitStack() as cleanup, _sigterm_as_interrupt():
        if running_database_url(settings) is None:
            cleanup.callback(lambda: EmbeddedServer(settings.home).stop())
        with console.status("starting PostgreSQL and the stand-in site"):
            cleanup.callback(services.stop, "sandbox")
            sandbox = _start_sandbox(services, settings.home, world)
            database_url = prepared_database_url(settings)
            claim_world(settings.home, describe(database_url), world)
            dbt.prepare(settings)
            dbt.bootstrap(database_url, settings=settings)
        settings = export_to_environment(
            letterboxd_url=sandbox.url,
            tmdb_url=f"{sandbox.url}/3",
            tmdb_token=SANDBOX_TOKEN,
            # The stand-in's word is final: who asks for a smaller circle gets a smaller circle.
            shrink_guard_share=0,
        )
        console.print(
            f"[green]✓[/] PostgreSQL and a stand-in for Letterboxd and TMDB run "
            f"[dim]({time.monotonic() - started:.1f} s)[/]",
            highlight=False,
        )
        with connect_to(database_url) as connection:
            create_cohort(
                connection,
                world.cohort,
                world.label,
                {"kind": "following", "seed": world.seed_member, "include_self": False},
            )
        run_chain(world.cohort)
        _print_result(world, database_url, console, started)
        if serve:
            _serve(services, settings, database_url, console, cleanup)


def claim_world(home: Path, database: str, world: World) -> None:
    """Remember which world the cohort in this database is of; two of them would mix.

    `database` is where the almanac stands, as `warehouse.connection.describe` names it.

    Raises:
        ConfigurationError: the database holds the same cohort of another world.
    """
    file = home / "demo-worlds.json"
    known = json.loads(file.read_text()) if file.exists() else {}
    key = f"{database} {world.cohort}"
    if known.setdefault(key, world.identity()) != world.identity():
        held = ", ".join(f"{name} {value}" for name, value in known[key].items())
        raise ConfigurationError(
            f"The database at {database} holds the demo of another world ({held}), and names and ids of two "
            f"worlds would mix. Give this one a home of its own: ALMANAC_HOME={home}-2 almanac demo …"
        )
    file.write_text(json.dumps(known, indent=2))


def _start_sandbox(services: Services, home: Path, world: World) -> Service:
    services.stop("sandbox")
    port = free_port(SANDBOX_PORTS[zlib.crc32(str(home).encode()) % len(SANDBOX_PORTS)])
    return services.start(
        "sandbox",
        [sys.executable, "-m", "almanac_pipeline.sandbox", "--port", str(port), *world.arguments()],
        url=f"http://127.0.0.1:{port}",
        ready_path="/robots.txt",
        timeout_seconds=120,
    )


def _print_result(world: World, database_url: str, console: Console, started: float) -> None:
    from almanac_pipeline.cli.tables import ranking_table
    from almanac_pipeline.warehouse.connection import connect_to
    from almanac_pipeline.warehouse.marts import cohort_overview
    from almanac_pipeline.warehouse.rankings import ranked_films

    with connect_to(database_url) as connection:
        console.print()
        console.print(ranking_table(ranked_films(connection, world.cohort, limit=TOP)))
        console.print()
        (cohort,) = (row for row in cohort_overview(connection) if row.slug == world.cohort)
    # One unbroken line without markup: scripts read it.
    print(
        f"published cohort={cohort.slug} members={cohort.members} films={cohort.films} "
        f"ratings={cohort.ratings} seconds={time.monotonic() - started:.1f}",
        flush=True,
    )


def _serve(
    services: Services,
    settings: Settings,
    database_url: str,
    console: Console,
    cleanup: contextlib.ExitStack,
) -> None:
    from almanac_pipeline.warehouse import dbt

    with console.status("starting the Dagster UI and the dbt docs (about 20 s)"):
        for name in ("webserver", "daemon", "docs"):
            # One that `almanac up` started does not know the stand-in's address.
            services.stop(name)
            cleanup.callback(services.stop, name)
        webserver = services.start_dagster()
        page = dbt.generate_docs(database_url, settings.home / "docs", settings=settings)
        docs = services.start_docs(page.parent)
    console.print(f"\nDagster UI  {webserver.url}", highlight=False)
    console.print(f"dbt docs    {docs.url}", highlight=False)
    console.print("Ctrl-C stops everything; the database keeps what was built.")
    try:
        while True:
            time.sleep(1)
    except KeyboardInterrupt:
        console.print("stopping")


@contextlib.contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    """Let SIGTERM unwind like Ctrl-C, and Ctrl-C work even where the shell had it ignored."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    previous = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
