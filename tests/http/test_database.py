"""The client and a database that restarts, goes away or is full: it goes on, or says so in one line."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator

import psycopg
import pytest
from sqlalchemy.exc import OperationalError

from almanac_pipeline.errors import NotFoundError, WarehouseError
from almanac_pipeline.http import database
from almanac_pipeline.http.client import PoliteClient
from almanac_pipeline.postgres import is_disk_full
from almanac_pipeline.settings import Settings
from almanac_pipeline.warehouse.embedded import EmbeddedServer
from almanac_pipeline.warehouse.migrate import migrate
from tests.http.fake_site import Answer, FakeSite

SETTINGS = Settings(_env_file=None, requests_per_second=200, requests_per_day=1_000)


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A migrated server that tests may stop; each leaves it running."""
    server = EmbeddedServer(tmp_path_factory.mktemp("home", numbered=True))
    migrate(server.start().url)
    yield server
    server.stop()
    shutil.rmtree(server.root)  # as root it is outside pytest's folder, 100 MB each


def logged_paths(url: str, run_id: str) -> list[str]:
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "select path_class from ops.http_requests where run_id = %s and path_class <> 'robots'"
            " order by http_request_id",
            [run_id],
        ).fetchall()
    return [row[0] for row in rows]


def test_a_restart_in_the_middle_is_waited_for_and_loses_no_row_of_the_log(
    site: FakeSite, own_server: EmbeddedServer
) -> None:
    url = own_server.start().url
    with PoliteClient.open(SETTINGS, url, "restart", backoff_seconds=0.01) as client:
        client.get(f"{site.url}/a/", path_class="a")
        own_server.stop()
        restart = threading.Timer(0.5, own_server.start)
        restart.start()
        assert client.get(f"{site.url}/b/", path_class="b").status == 200
        restart.join()
        client.get(f"{site.url}/c/", path_class="c")
    assert own_server.start().url == url
    assert logged_paths(url, "restart") == ["a", "b", "c"]
    assert site.paths() == ["/a/", "/b/", "/c/"]


def test_a_restart_during_a_request_does_not_lose_the_answer(
    site: FakeSite, own_server: EmbeddedServer
) -> None:
    url = own_server.start().url
    site.script("/a/", Answer(body=b"whole", delay_seconds=0.5))
    with PoliteClient.open(SETTINGS, url, "during", backoff_seconds=0.01) as client:
        assert client.allows(f"{site.url}/a/")
        restart = threading.Timer(0.1, lambda: (own_server.stop(), own_server.start()))
        restart.start()
        assert client.get(f"{site.url}/a/", path_class="a").body == b"whole"
        restart.join()
    assert logged_paths(url, "during") == ["a"]


def test_a_database_that_stays_away_ends_the_run_in_one_line_and_asks_nothing(
    site: FakeSite, own_server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "PATIENCE_SECONDS", 0.5)
    monkeypatch.setattr(database, "CONNECTION_SECONDS", 0.5)
    client = PoliteClient.open(SETTINGS, own_server.start().url, backoff_seconds=0.01)
    client.get(f"{site.url}/a/", path_class="a")
    own_server.stop()
    started = time.monotonic()
    try:
        with pytest.raises(WarehouseError, match="did not come back within") as caught:
            client.get(f"{site.url}/b/", path_class="b")
        assert "\n" not in str(caught.value)
        assert time.monotonic() - started < 5
        assert site.paths() == ["/a/"]
        with pytest.raises(WarehouseError):
            client.close()
    finally:
        own_server.start()


def test_what_ended_a_run_is_not_hidden_by_the_log_that_cannot_be_written(
    site: FakeSite, own_server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "PATIENCE_SECONDS", 0.1)
    monkeypatch.setattr(database, "CONNECTION_SECONDS", 0.1)
    site.script("/a/", Answer(404, b""))

    def run() -> None:
        with PoliteClient.open(SETTINGS, own_server.start().url, backoff_seconds=0.01) as client:
            try:
                client.get(f"{site.url}/a/", path_class="a")
            finally:
                own_server.stop()

    try:
        with pytest.raises(NotFoundError):
            run()
    finally:
        own_server.start()


@pytest.mark.parametrize(
    ("code", "words"), [("53100", "disk is full"), ("42501", "The database failed: InsufficientPrivilege")]
)
def test_a_log_that_cannot_be_written_is_said_at_once_and_its_rows_are_kept(
    code: str,
    words: str,
    site: FakeSite,
    database_url: str,
    connection: psycopg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refuse = (
        "create function refuse() returns trigger language plpgsql as"
        f" $$ begin raise exception 'cannot write' using errcode = '{code}'; end $$"
    )
    connection.execute(refuse)
    connection.execute("create trigger refuse before insert on ops.http_requests execute function refuse()")
    connection.commit()
    client = PoliteClient.open(Settings(_env_file=None), database_url, "full", backoff_seconds=0.01)
    client.get(f"{site.url}/a/", path_class="a")
    monkeypatch.setattr("almanac_pipeline.http.request_log.MAX_BUFFERED_SECONDS", 0.0)
    with pytest.raises(WarehouseError, match=words):
        client.get(f"{site.url}/b/", path_class="b")
    connection.execute("drop trigger refuse on ops.http_requests")
    connection.commit()
    client.close()
    assert logged_paths(database_url, "full") == ["a", "b"]


def always(error: Exception) -> Callable[[], None]:
    def work() -> None:
        raise error

    return work


def test_only_what_passes_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(database.time, "sleep", lambda seconds: waits.append(seconds))
    with pytest.raises(WarehouseError):
        database.patiently(always(psycopg.errors.UndefinedTable("no")))
    assert waits == []
    outcomes: list[Exception] = [psycopg.OperationalError("gone"), psycopg.errors.AdminShutdown("stop")]

    def work() -> str:
        if outcomes:
            raise outcomes.pop()
        return "done"

    assert database.patiently(work) == "done"
    assert len(waits) == 2


def test_an_error_that_is_not_the_database_s_passes_through() -> None:
    with pytest.raises(ZeroDivisionError):
        database.patiently(always(ZeroDivisionError()))


def test_a_full_disk_is_told_from_a_database_that_is_away_whichever_driver_met_it() -> None:
    full = psycopg.errors.DiskFull("could not extend file")
    assert is_disk_full(full)
    assert is_disk_full(OperationalError("insert", {}, full))
    wrapped = RuntimeError("writing failed")
    wrapped.__cause__ = full
    assert is_disk_full(wrapped)
    assert not is_disk_full(psycopg.errors.AdminShutdown("going down"))
