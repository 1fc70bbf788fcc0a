"""A database with the dbt project bootstrapped, made once and cloned for each test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from almanac_pipeline.settings import Settings
from tests.conftest import new_database
from tests.dbt.world import NewWarehouse, Warehouse


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(_env_file=None, home=tmp_path_factory.mktemp("home"))  # type: ignore[call-arg]


@pytest.fixture(scope="session")
def new_warehouse(server_url: str, ready_template: str, settings: Settings) -> NewWarehouse:
    """Makes a database that lives as long as the `with` block, like `template` or just bootstrapped."""

    @contextmanager
    def make(template: str = ready_template) -> Iterator[Warehouse]:
        with (
            new_database(server_url, template) as url,
            psycopg.connect(url, autocommit=True) as connection,
        ):
            yield Warehouse(url, connection, settings)

    return make


@pytest.fixture
def warehouse(new_warehouse: NewWarehouse) -> Iterator[Warehouse]:
    """A bootstrapped database that only this test uses."""
    with new_warehouse() as opened:
        yield opened
