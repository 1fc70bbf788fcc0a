"""The inbox in Dagster: ticks of its sensor, and the asset that a run of it materializes."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from almanac_pipeline.settings import get_settings
from tests import exports

# What Dagster says about its own beta features is settled in almanac_pipeline/defs/__init__.py.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def drop(tmp_path: Path, clean_settings: None, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put a file into the inbox, written a minute ago."""
    monkeypatch.setenv("ALMANAC_INBOX", str(tmp_path))
    get_settings.cache_clear()

    def put(name: str, content: bytes, seconds_ago: float = 60) -> None:
        (tmp_path / name).write_bytes(content)
        os.utime(tmp_path / name, (0, time.time() - seconds_ago))

    return put


def test_a_tick_asks_for_one_run_by_a_key_that_stays_until_something_else_is_due(
    drop: Callable[..., None], database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import dagster as dg

    from almanac_pipeline.defs.ingestion.sensors import inbox
    from almanac_pipeline.defs.resources import Almanac

    monkeypatch.setenv("ALMANAC_DATABASE_URL", database_url)
    get_settings.cache_clear()

    def tick(cursor: str | None) -> Any:
        context = dg.build_sensor_context(cursor=cursor, resources={"almanac": Almanac()})
        return inbox(context)

    first = tick(None)
    assert first.run_requests == []
    assert first.skip_reason.skip_message == "0 ZIPs, none of them due"

    drop(exports.FILE_NAME, b"PK")
    drop("bea.zip", b"PK")
    drop("growing.zip", b"PK", seconds_ago=0)
    second = tick(first.cursor)
    [asked] = second.run_requests
    third = tick(second.cursor)
    # Dagster takes no key twice.
    assert (third.run_requests, third.cursor) == ([asked], second.cursor)
    # The three letters may be part of a hash.
    name = re.compile("(?<![0-9a-z])ada(?![0-9a-z])")
    assert name.search(exports.FILE_NAME)
    assert not name.search(f"{second} {third}")

    drop("bea.zip", b"PK2")
    [asked_next] = tick(third.cursor).run_requests
    assert asked_next.run_key != asked.run_key


def test_a_run_imports_what_is_new_and_its_events_name_nobody(
    drop: Callable[..., None], database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import dagster as dg

    from almanac_pipeline.defs.ingestion.exports import member_exports
    from almanac_pipeline.defs.resources import Almanac

    monkeypatch.setenv("ALMANAC_DATABASE_URL", database_url)
    get_settings.cache_clear()
    files = exports.whole_export() | {"profile.csv": exports.profile("Quirin")}
    drop("letterboxd-quirin-2026-05-01-12-00-utc.zip", exports.pack(files))
    drop("broken-of-quirin.zip", b"PK\x03\x04")

    with dg.DagsterInstance.ephemeral() as instance:

        def run() -> dg.ExecuteInProcessResult:
            return dg.materialize(
                [member_exports], instance=instance, resources={"almanac": Almanac()}, raise_on_error=False
            )

        result = run()
        assert result.success
        [materialization] = result.asset_materializations_for_node("raw__member_exports")
        metadata = {name: value.value for name, value in materialization.metadata.items()}
        assert (metadata["imported_count"], metadata["failures_count"]) == (1, 1)
        assert metadata["dagster/row_count"] == 27
        assert "truncated" in str(metadata["failures"])
        events = str(instance.all_logs(result.run_id))
        assert not any(private in events.lower() for private in ("quirin", "broken-of", "quellinger"))

        drop("worse.zip", b"no ZIP")
        assert not run().success
        assert run().success
    with psycopg.connect(database_url) as connection:
        assert connection.execute("select username from raw.users").fetchall() == [("quirin",)]
