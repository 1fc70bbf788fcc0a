"""The soak's own parts: what lets a day pass, how faults are spread, and what tells right from wrong."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from random import Random

import psycopg
import pytest

from almanac_pipeline.warehouse.cohorts import create_cohort
from bench.soak import audits
from bench.soak.clock import pass_time
from bench.soak.life import FIRST_DAY, ticks
from bench.soak.site import ALL_DAY, KINDS, plan


def test_a_day_passes_for_everything_stored_and_nothing_is_noted_as_changed(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        create_cohort(connection, "circle", "Circle", {"kind": "usernames", "usernames": ["ann"]})
        connection.execute("insert into ops.http_hosts (host, budget_day) values ('a.test', current_date)")
        queues = (
            "select (select count(*) from ops.changed_cohorts), (select count(*) from ops.changed_members)"
        )
        before = connection.execute(queues).fetchone()
        pass_time(database_url, 86_400)
        ages = "select now() - created_at > interval '1 day', now() - updated_at > interval '1 day'"
        assert connection.execute(f"{ages} from raw.cohorts").fetchall() == [(True, True)]
        days = connection.execute("select current_date - budget_day from ops.http_hosts").fetchall()
        assert days == [(1,)]
        assert connection.execute(queues).fetchone() == before


@pytest.mark.parametrize("seed", range(5))
def test_every_kind_of_fault_comes_between_a_calm_first_and_a_calm_last_day(seed: int) -> None:
    planned = plan(21, Random(seed))
    assert planned[0] == planned[-1] == ()
    counts = Counter(fault for faults in planned for fault in faults)
    assert set(counts) == set(KINDS)
    assert counts[ALL_DAY] == 1
    assert all(len(set(faults)) == len(faults) for faults in planned)
    assert plan(3, Random(seed)) == plan(3, Random(seed))
    assert {fault for faults in plan(3, Random(seed)) for fault in faults} == set(KINDS) - {ALL_DAY}


def test_each_schedule_ticks_on_its_days_in_the_order_of_the_clock() -> None:
    monday, second = ticks(0), ticks(10)
    assert [name for name, _ in monday] == ["nightly_maintenance", "incremental", "follow_graph"]
    assert [name for name, _ in second] == [
        "nightly_maintenance",
        "incremental",
        "follow_graph",
        "full_enrichment",
    ]
    assert monday[1][1] == datetime.combine(FIRST_DAY, datetime.min.time(), UTC) + timedelta(
        hours=2, minutes=17
    )


def test_marts_are_counted_from_single_opinions_of_the_circle_only() -> None:
    opinions = {
        "ann": {"film:1": (4.0, True), "film:2": (None, True)},
        "bea": {"film:1": (2.5, False)},
        "zoe": {"film:1": (5.0, True)},
    }
    assert audits.recount(opinions, {"ann", "bea"}) == {"film:1": (2, 2, 6.5, 1), "film:2": (1, 0, 0, 1)}


def test_what_is_stored_twice_or_does_not_follow_is_found(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            """
            with member as (insert into raw.users (username) values ('ann') returning user_id),
            film as (insert into raw.films (slug, title) values ('a', 'A') returning film_id),
            rating as (
                insert into raw.ratings (user_id, film_id, rating, source)
                select user_id, film_id, 4, 'pages' from member, film
            )
            insert into raw.rating_events (user_id, film_id, kind, old_rating, new_rating, new_liked, source)
            select user_id, film_id, kind, old_rating, new_rating, false, 'pages'
            from member, film, (values (1, 'added', null, 3), (2, 'changed', 3, 4)) as
                events (number, kind, old_rating, new_rating)
            order by number
            """
        )
        right = {"opinions": 0, "repeated_events": 0, "broken_events": 0, "untold": 0}
        assert audits.duplicates(connection) == right
        again = """
            insert into raw.rating_events
                (user_id, film_id, kind, old_rating, new_rating, old_liked, new_liked, source)
            select user_id, film_id, 'changed', {0}, {1}, false, false, 'pages' from raw.ratings
            """
        connection.execute(again.format(3, 4))
        assert audits.duplicates(connection) == right | {"broken_events": 1}
        connection.execute(again.format(4, 4))
        assert audits.duplicates(connection) == right | {"broken_events": 1, "repeated_events": 1}
        connection.execute("update raw.ratings set rating = 1")
        assert audits.duplicates(connection)["untold"] == 1
