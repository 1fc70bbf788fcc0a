"""Chains take many seconds: each is run once and its traces are kept for all tests that look at them."""

from __future__ import annotations

import fcntl
import os
import pickle
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import new_database

Once = Callable[[Callable[[], Any]], Any]


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """Calls a function once in the whole test session, also with several workers; keeps what it returns."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent

    def call(make: Callable[[], Any]) -> Any:
        kept = folder / f"{make.__module__}.{make.__qualname__}.pickle"
        with kept.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not kept.exists():
                made = pickle.dumps(make())
                kept.with_suffix(".new").write_bytes(made)
                kept.with_suffix(".new").replace(kept)
        return pickle.loads(kept.read_bytes())

    return call


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test that makes a chain waits for all its commands."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.timeout(600))


@pytest.fixture(scope="session")
def ready_database(server_url: str, ready_template: str) -> Iterator[Callable[[], str]]:
    """Creates databases with all tables and no row. The main job begins with no database at all."""
    with ExitStack() as databases:
        yield lambda: databases.enter_context(new_database(server_url, ready_template))
