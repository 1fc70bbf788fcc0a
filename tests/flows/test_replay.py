"""Real people's ratings in the order they gave them: incremental syncs end where one full sync does."""

from __future__ import annotations

import pytest

from bench.replay import replay
from tests.conftest import new_database

# `make bench` replays 300 days of 60 people.
DAYS, PEOPLE = 12, 6


@pytest.mark.shared
def test_days_of_ratings_synced_one_by_one_end_as_one_full_sync(
    shared_dir: object, database_url: str, server_url: str, template_database: str
) -> None:
    with new_database(server_url, template_database) as full_url:
        result = replay(database_url, full_url, days=DAYS, people=PEOPLE)
    assert result["same_end_state"]
    assert result["ratings_replayed"] >= DAYS
    by_kind = result["requests_by_kind"]
    # A day's ratings of one person fit on a page here, and no page is asked for twice.
    assert by_kind["rated_by_date"] == result["requests_minimum"] == DAYS * PEOPLE
