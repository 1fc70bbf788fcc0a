"""Brings a database to the schema that this release expects, and says whether it is there."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

# Any two migrating processes wait for each other on this key; the number is arbitrary but fixed.
MIGRATION_LOCK = 7_203_101


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


def _engine(url: str) -> sqlalchemy.Engine:
    return sqlalchemy.create_engine(
        sqlalchemy.make_url(url).set(drivername="postgresql+psycopg"), poolclass=sqlalchemy.NullPool
    )


def migrate(url: str, revision: str = "head") -> str:
    """Run the missing migrations on the database at `url` and return the revision it is at.

    Safe to call from several processes at once: the second one waits and then finds nothing to do.

    Args:
        revision: where to stop; an earlier one than this release's is for tests of upgrades.
    """
    config = _config()
    with _engine(url).connect() as connection:
        connection.execute(text("select pg_advisory_lock(:key)"), {"key": MIGRATION_LOCK})
        connection.execute(text("create schema if not exists ops"))
        connection.execute(text("create schema if not exists dagster"))
        connection.commit()
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        connection.commit()
    return head_revision() if revision == "head" else revision


def current_revision(url: str) -> str | None:
    """The revision the database is at; None when it was never migrated."""
    with _engine(url).connect() as connection:
        return MigrationContext.configure(
            connection, opts={"version_table": "schema_version", "version_table_schema": "ops"}
        ).get_current_revision()


def head_revision() -> str:
    """The revision that this release expects."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None
    return head


def is_known_revision(revision: str) -> bool:
    """Whether this release has the migration, and so can bring a database at it to its own schema."""
    return any(
        script.revision == revision for script in ScriptDirectory.from_config(_config()).walk_revisions()
    )
