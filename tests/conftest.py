"""What every test may ask for: the shared material, and an empty migrated database of its own."""

from __future__ import annotations

import gc
import logging
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import sqlalchemy

from almanac_pipeline.observability import logs

PROJECT_ROOT = Path(__file__).resolve().parent.parent
SHARED = PROJECT_ROOT.parent / "shared"


# What is imported stays, and the usual thresholds have it looked over again and again: a quarter of the
# time of tests that run dbt.
gc.set_threshold(200_000, 50, 100)

# Over a thousand databases of 600 files each come and go, and none has to survive a crash of the machine:
# with these settings, copied as files, and in memory where there is much, each costs a fraction of the time.
MEMORY, MEMORY_NEEDED_BYTES = Path("/dev/shm"), 2 << 30
SERVER_SETTINGS = (
    "fsync = off",
    "full_page_writes = off",
    "wal_level = minimal",
    "max_wal_senders = 0",
    "file_copy_method = clone",
    # Of the password, which is random anyhow: computing the usual 4096 is most of what a connection costs.
    "scram_iterations = 1",
)

# The rooms whose files take longest: begun first, so that no worker is left with one at the end.
LONGEST = ("end_to_end", "dbt", "cli", "flows")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the rooms; tests marked `shared` need ../shared: an error in CI, a skip elsewhere."""
    rooms = [*LONGEST, *sorted({item.path.parent.name for item in items} - {*LONGEST})]
    items.sort(key=lambda item: rooms.index(item.path.parent.name))
    if SHARED.is_dir():
        return
    reason = f"needs the shared fixtures beside the project ({SHARED}), which are not there"
    for item in items:
        if item.get_closest_marker("shared"):
            if os.environ.get("REQUIRE_SHARED"):
                item.add_marker(pytest.mark.usefixtures("shared_dir"))
            else:
                # Somebody who has only the project cannot have the saved pages; CI must have them.
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of saved pages and public data, read in place and never copied."""
    if not SHARED.is_dir():
        pytest.fail(f"{SHARED} is missing")
    return SHARED


@pytest.fixture
def clean_settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No setting from outside: neither the developer's environment nor `.env` or `almanac.toml`."""
    from almanac_pipeline.settings import Settings, get_settings

    for name in (f"ALMANAC_{field.upper()}" for field in Settings.model_fields):
        # Set and removed, so that what a test exports to the environment is taken back after it.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setitem(Settings.model_config, "env_file", None)
    monkeypatch.setitem(Settings.model_config, "toml_file", None)
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


@pytest.fixture(scope="session", autouse=True)
def _no_log_lines() -> None:
    """Most tests have no home of their own that log lines could go to."""
    logs._is_configured = True


@pytest.fixture
def fresh_logging(monkeypatch: pytest.MonkeyPatch) -> Iterator[logging.Logger]:
    """The project's logger as a new process has it; what the test configures ends with it."""
    logger = logging.getLogger(logs.LOGGER)
    monkeypatch.setattr(logs, "_is_configured", False)
    monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(logger, "propagate", True)
    yield logger
    for handler in logger.handlers:
        handler.close()


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    """A real PostgreSQL for the session: TEST_DATABASE_URL, or an embedded one."""
    if given := os.environ.get("TEST_DATABASE_URL"):
        yield given
        return
    from almanac_pipeline.warehouse.embedded import SUPERUSER, EmbeddedServer

    with tempfile.TemporaryDirectory(prefix="almanac-test.", dir=_folder_for_servers()) as home:
        Path(home).chmod(0o711)  # as root the server runs as another user
        server = EmbeddedServer(Path(home))
        with psycopg.connect(server.start().url, autocommit=True) as connection:
            for setting in SERVER_SETTINGS:
                connection.execute(f"alter system set {setting}")
        server.stop()
        url = server.start().url
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f"alter role {SUPERUSER} password '{sqlalchemy.make_url(url).password}'")
        yield url
        server.stop()
        shutil.rmtree(server.root)  # which may be elsewhere


def _folder_for_servers() -> Path | None:
    """Memory, if every worker's server finds room there and may run; None: where temporary files go."""
    needed = MEMORY_NEEDED_BYTES * int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if not MEMORY.is_dir() or shutil.disk_usage(MEMORY).free <= needed:
        return None
    return None if os.statvfs(MEMORY).f_flag & os.ST_NOEXEC else MEMORY


@pytest.fixture(scope="session")
def template_database(server_url: str) -> Iterator[str]:
    """The name of a migrated database that tests are cloned from."""
    from almanac_pipeline.warehouse.migrate import migrate

    with new_database(server_url) as url:
        migrate(url)
        yield database_name(url)


@pytest.fixture(scope="session")
def ready_template(
    server_url: str, template_database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The name of a migrated database that has dbt's views and Dagster's tables, too."""
    from dagster_postgres import DagsterPostgresStorage

    from almanac_pipeline.settings import Settings
    from almanac_pipeline.warehouse import dbt
    from almanac_pipeline.warehouse.connection import dagster_url

    home = tmp_path_factory.mktemp("home")
    with new_database(server_url, template_database) as url:
        settings = Settings(_env_file=None, home=home, database_url=url)  # type: ignore[call-arg]
        assert dbt.bootstrap(url, settings=settings)
        DagsterPostgresStorage(dagster_url(settings))  # creates its tables
        yield database_name(url)


@pytest.fixture
def database_url(server_url: str, template_database: str) -> Iterator[str]:
    """The URL of an empty, migrated database that only this test uses."""
    with new_database(server_url, template_database) as url:
        yield url


@contextmanager
def new_database(server_url: str, template: str = "template0") -> Iterator[str]:
    """The URL of a copy of a database, which is dropped at the end."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"create database {name} template {template} strategy file_copy")
        yield sqlalchemy.make_url(server_url).set(database=name).render_as_string(hide_password=False)
        connection.execute(f"drop database if exists {name} with (force)")


def database_name(url: str) -> str:
    """What a copy is made of."""
    name = sqlalchemy.make_url(url).database
    assert name is not None
    return name


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection]:
    """A connection to this test's database."""
    with psycopg.connect(database_url) as opened:
        yield opened
