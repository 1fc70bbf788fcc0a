"""Who was read stands in no row of the request log, in no alert and in no error."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from almanac_pipeline.errors import AlmanacError
from almanac_pipeline.http.client import PoliteClient
from almanac_pipeline.sandbox.generate import generate
from almanac_pipeline.sandbox.options import GeneratedWorld
from almanac_pipeline.sandbox.server import SandboxServer
from almanac_pipeline.settings import Settings
from almanac_pipeline.sources.feed import FeedSource
from almanac_pipeline.sources.pages.source import PagesSource

FAULTS = {
    "challenge": {},
    "status 403": {"status": 403},
    "status 404": {"status": 404},
    "status 429": {"status": 429, "retry_after": "900"},
    "status 503": {"status": 503},
    "reset": {},
    "truncate": {},
    "wrong_owner": {},
}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxServer]:
    with SandboxServer(generate(GeneratedWorld(seed=3, members=4, films=60, ratings=30))) as server:
        yield server


@pytest.fixture
def client(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PoliteClient]:
    settings = Settings(_env_file=None, home=tmp_path_factory.mktemp("home"))  # type: ignore[call-arg]
    with PoliteClient.open(settings, database_url, backoff_seconds=0.01) as opened:
        yield opened


def read_everything(client: PoliteClient, sandbox: SandboxServer, name: str) -> None:
    pages, feeds = PagesSource(client, sandbox.url), FeedSource(client, sandbox.url)
    pages.read_profile(name)
    for grid in ("rated", "rated_by_date", "likes", "likes_unrated"):
        list(pages.read_grid(name, grid))
    for walk in (pages.read_following, pages.read_followers, pages.read_diary, pages.read_watchlist):
        list(walk(name))
    feeds.read_feed(name)


def usernames(sandbox: SandboxServer) -> list[str]:
    """But for the seed's, which is a word of our own messages."""
    return [name for member in sandbox.members() if (name := member["username"].lower()) != "almanac"]


def written(connection: psycopg.Connection) -> str:
    """All that the client has left in the database."""
    tables = ("http_requests", "http_hosts", "alerts")
    rows = [connection.execute(f"select t::text from ops.{table} as t").fetchall() for table in tables]
    return "\n".join(row[0] for found in rows for row in found).lower()


def test_the_log_of_a_whole_sync_holds_kinds_of_pages_and_no_names(
    client: PoliteClient, sandbox: SandboxServer, connection: psycopg.Connection
) -> None:
    names = usernames(sandbox)
    for name in names:
        read_everything(client, sandbox, name)
    client.close()
    kinds = connection.execute("select distinct path_class from ops.http_requests").fetchall()
    assert {"profile", "rated", "likes", "following", "diary", "rss"} <= {row[0] for row in kinds}
    text = written(connection)
    assert [name for name in names if name in text] == []
    assert "films" not in text


@pytest.mark.parametrize("fault", FAULTS)
def test_no_error_and_no_alert_names_the_member_or_the_address(
    fault: str, client: PoliteClient, sandbox: SandboxServer, connection: psycopg.Connection
) -> None:
    names = usernames(sandbox)
    client.allows(f"{sandbox.url}/a/")
    said = []
    for kind in ("profile", "rated", "following", "diary", "rss"):
        sandbox.fault(fault.split()[0], kind=kind, times=None, **FAULTS[fault])
        try:
            read_everything(client, sandbox, names[0])
        except AlmanacError as error:
            said.append(f"{error} {error.__cause__} {error.__context__}".lower())
        finally:
            sandbox.clear_faults()
        connection.execute("update ops.http_hosts set blocked_at = null, retry_not_before = null")
        connection.commit()
    assert said
    client.close()
    text = "\n".join([*said, written(connection)])
    assert [name for name in names if name in text] == []
    assert "http://" not in "\n".join(said)
