"""`almanac alerts`: who and what to do, and an end to it."""

from __future__ import annotations

import psycopg

from almanac_pipeline.warehouse.alerts import raise_alert
from tests.cli.conftest import Almanac


def test_alerts_are_listed_with_name_and_advice_until_they_are_resolved(
    almanac: Almanac, empty: str, connection: psycopg.Connection
) -> None:
    assert almanac("alerts").lines == ["no alerts"]
    assert "alerts" not in almanac("status").out
    row = connection.execute("insert into raw.users (username) values ('ann') returning user_id").fetchone()
    assert row is not None
    raise_alert(connection, "feed_gap", "member 1 feed", "entries [3] are missing", user_id=row[0])
    raise_alert(connection, "feed_gap", "member 1 feed", "entries [4] are missing", user_id=row[0])
    connection.commit()
    line, hint = almanac("alerts").lines
    assert "feed_gap    member 1 feed, ann: entries [4] are missing (last seen " in line
    assert ", 2 times). To do: import a new export" in line
    assert "`almanac alerts resolve ID`" in hint
    assert "alerts     1 open: `almanac alerts`" in almanac("status").out
    number = line.split()[0]
    assert almanac("alerts", "resolve", number).lines == [f"alert {number} is resolved"]
    assert almanac("alerts", "resolve", number).code == 1
    assert almanac("alerts").lines == ["no alerts"]
