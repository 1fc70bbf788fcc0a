"""Worlds and servers for the sandbox's tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from almanac_pipeline.sandbox.changes import apply_changes
from almanac_pipeline.sandbox.generate import generate
from almanac_pipeline.sandbox.options import GeneratedWorld, SandboxOptions
from almanac_pipeline.sandbox.pages import Page, Site
from almanac_pipeline.sandbox.routes import route
from almanac_pipeline.sandbox.server import SandboxServer
from almanac_pipeline.sandbox.world import Member, World

BASE = "http://sandbox.test"
SMALL = GeneratedWorld(seed=3, members=8, films=420, ratings=110)
MARKUPS = ("2023", "2024", "2025", "2026")

Show = Callable[[str], Page]


@pytest.fixture(scope="session")
def world() -> World:
    """A small world that no test changes."""
    return generate(SMALL)


@pytest.fixture(scope="session", params=MARKUPS)
def markup(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def site(world: World, markup: str) -> Site:
    """The small world's pages, once per era."""
    return Site(world, SandboxOptions(markup=markup))  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def show(site: Site) -> Show:
    """The page at a path, in every era."""
    return lambda path: site.show(route(path), BASE)


class Desk:
    """A world of one's own with its pages, without HTTP: to be changed at will."""

    def __init__(self) -> None:
        self.world = generate(SMALL)
        self.site = Site(self.world, SandboxOptions())

    def get(self, path: str) -> Page:
        return self.site.show(route(path), BASE)

    def change(self, **changes: object) -> dict[str, int]:
        return apply_changes(self.world, changes)


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture(scope="module")
def running() -> Iterator[SandboxServer]:
    with SandboxServer(generate(SMALL)) as server:
        yield server


@pytest.fixture
def server(running: SandboxServer) -> SandboxServer:
    """A sandbox over HTTP without faults and with a fresh report; its world is shared by the module."""
    running.clear_faults()
    running.reset_report()
    return running


@pytest.fixture(scope="session")
def heavy(world: World) -> Member:
    """The member with the most ratings: more than one page of them."""
    return max(world.members.values(), key=lambda member: member.ratings_count)


@pytest.fixture
def movielens_folder(tmp_path: Path) -> Path:
    """Four people and nine films in MovieLens format, with the oddities that the real files have."""
    (tmp_path / "movies.csv").write_text(
        "movieId,title,genres\n"
        "1,Harbour Night (1995),Drama|Sci-Fi\n"
        "2,Harbour Night (1995),Comedy\n"
        "3,Harbour Night (2004),Comedy\n"
        '5,"Usual Errand, The (1961) ",Children|War\n'
        "6,Slow Tide,(no genres listed)\n"
        "7,Nôtre Quai (2006–2007),Drama\n"
        '8,"Tide & Salt: It\'s Mr. Wolf (Loup, Le) (1999)",Drama\n'
        "9,东 (2010),Drama\n"
        "11,Unseen (2001),Drama\n",
        encoding="utf-8",
    )
    (tmp_path / "links.csv").write_text(
        "movieId,imdbId,tmdbId\n1,0114709,862\n2,0113497,8844\n3,1234567,4912\n5,0055555,4912\n"
        "6,12345678,\n7,0999999,77\n8,0000001,88\n9,0000002,99\n11,0000003,111\n"
    )
    (tmp_path / "ratings.csv").write_text(
        "userId,movieId,rating,timestamp\n"
        "1,1,4.0,964982703\n1,3,0.5,964981247\n1,6,5.0,964983815\n"
        "2,1,4.0,1445714835\n2,5,3.5,1445714840\n"
        "7,1,5.0,1445714900\n7,2,4.5,1445714900\n7,7,2.0,1445714900\n7,8,1.0,1445714901\n7,9,3.0,1445714902\n"
        "12,1,1.5,1000000000\n"
    )
    return tmp_path
