"""`almanac stats refresh`: through Dagster from what changed to the publication."""

from __future__ import annotations

import psycopg
import pytest

from tests.cli.conftest import Almanac

# Dagster and its libraries warn of themselves while they are imported and execute.
pytestmark = pytest.mark.filterwarnings("ignore")


def test_a_parameter_reaches_its_publication_and_a_failing_test_is_a_failed_check(
    almanac: Almanac, published: str
) -> None:
    assert almanac("stats", "refresh").code == 0  # the fixture's marts are of no run of Dagster
    with psycopg.connect(published, autocommit=True) as connection:
        connection.execute("update raw.cohorts set ranking_parameters = '{\"hybrid_watchers_weight\": 7}'")
        outcome = almanac("stats", "refresh")
        assert (outcome.code, outcome.err) == (0, ""), outcome
        assert "nothing to do" in next(line for line in outcome.lines if "before statistics" in line)
        assert any("publications" in line for line in outcome.lines)
        weights = connection.execute(
            "select distinct params ->> 'watchers_weight' from almanac.film_rankings"
            " where strategy = 'hybrid'"
        ).fetchall()
        assert weights == [("7",)]
        quiet = almanac("stats", "refresh")
        assert not any("publications" in line for line in quiet.lines)

        connection.execute("update intermediate.strategy_scores set tier = null where eligible")
        connection.execute("update intermediate.cohort_stages set marts_version = 'an older one'")
        failed = almanac("stats", "refresh")
        assert failed.code == 1
        assert "✗ check rows_of_film_rankings_hold" in failed.out
        assert "places_of_the_eligible" in failed.out + failed.err
        count = connection.execute("select count(*) from ops.publications").fetchone()
        assert count == (2,)
