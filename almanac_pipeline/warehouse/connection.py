"""Where the database is and how to connect to it. The only place that decides between the
embedded server and `ALMANAC_DATABASE_URL`."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import sqlalchemy
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import ConnectionPool

from almanac_pipeline.errors import DatabaseAwayError, WarehouseError
from almanac_pipeline.postgres import NETWORK_OPTIONS, PATIENCE_SECONDS, failure_words, is_away
from almanac_pipeline.settings import Settings, get_settings
from almanac_pipeline.warehouse.embedded import EmbeddedServer
from almanac_pipeline.warehouse.migrate import migrate

MINIMUM_VERSION = 150_000

_urls: dict[str, str] = {}


def database_url(settings: Settings | None = None) -> str:
    """The URL of the database, as given or of the embedded server, which is started if needed.

    Raises:
        WarehouseError: the embedded server does not start.
    """
    settings = settings or get_settings()
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    return EmbeddedServer(settings.home).start().url


def running_database_url(settings: Settings | None = None) -> str | None:
    """Like `database_url`, but starts nothing: None while the embedded server does not run."""
    settings = settings or get_settings()
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    if not settings.home.exists():
        return None
    address = EmbeddedServer(settings.home).running()
    return address.url if address else None


def prepared_database_url(settings: Settings | None = None) -> str:
    """Like `database_url`, with the schema at this release's revision. Checked once per process."""
    settings = settings or get_settings()
    url = database_url(settings)
    if url not in _urls:
        with connect_to(url) as connection:
            if connection.info.server_version < MINIMUM_VERSION:
                raise WarehouseError("PostgreSQL 15 or later is needed; this server is older.")
        _urls[url] = migrate(url)
    return url


def connect_to(url: str, *, autocommit: bool = False) -> psycopg.Connection:
    """A connection to the database at `url`.

    Raises:
        DatabaseAwayError: it cannot be reached; the message names host and port, never the password.
        WarehouseError: what was given is no address of a database.
    """
    try:
        return psycopg.connect(url, autocommit=autocommit, application_name="almanac", **NETWORK_OPTIONS)
    except psycopg.OperationalError as error:
        raise DatabaseAwayError(
            f"The database at {describe(url)} cannot be reached: {_reason(error)}"
        ) from None
    except psycopg.ProgrammingError:  # its message would repeat parts of the URL
        raise WarehouseError(f"{describe(url)} cannot be used.") from None


@contextmanager
def database_failures() -> Iterator[None]:
    """Say in one line that the database failed or went away. PostgreSQL's own words may repeat a row.

    Raises:
        WarehouseError: it did.
    """
    try:
        yield
    except psycopg.Error as error:
        raise (DatabaseAwayError if is_away(error) else WarehouseError)(failure_words(error)) from None


def connection_pool(url: str, size: int) -> ConnectionPool[psycopg.Connection]:
    """A pool of at most `size` autocommit connections for the threads of one flow; use it with `with`."""
    return ConnectionPool(
        url,
        min_size=1,
        max_size=size,
        open=True,
        # Each thread has one, so that only a database that is away makes anybody wait.
        timeout=PATIENCE_SECONDS,
        kwargs={"autocommit": True, "application_name": "almanac", **NETWORK_OPTIONS},
    )


def connect(*, autocommit: bool = False, settings: Settings | None = None) -> psycopg.Connection:
    """A connection to the migrated database of these settings."""
    return connect_to(prepared_database_url(settings), autocommit=autocommit)


def dagster_url(settings: Settings | None = None) -> str:
    """The same database with `dagster` as search path: Dagster's own tables live in that schema."""
    url = sqlalchemy.make_url(prepared_database_url(settings)).set(drivername="postgresql")
    return url.update_query_dict({"options": "-csearch_path=dagster"}).render_as_string(hide_password=False)


@functools.cache
def describe(url: str) -> str:
    """host:port/database of a URL, safe to print."""
    try:
        parts = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        return "ALMANAC_DATABASE_URL (not a valid postgresql:// URL)"
    return f"{parts.get('host', 'localhost')}:{parts.get('port', 5432)}/{parts.get('dbname', '')}"


def _reason(error: psycopg.Error) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__
