"""An alert is open once, says who in the operator's terminal only, and volume is judged by what is usual."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import get_args

import psycopg
import pytest

from almanac_pipeline.errors import LayoutChangedError, LayoutDriftError, NotFoundError
from almanac_pipeline.tally import count_request
from almanac_pipeline.warehouse.alert_rules import RULES
from almanac_pipeline.warehouse.alerts import (
    KINDS,
    AlertKind,
    Finding,
    check_volume,
    is_unusual,
    keep_alerts,
    open_alerts,
    raise_alert,
    resolve_alert,
    resolve_alerts,
)
from almanac_pipeline.warehouse.runs import Run, ScrapeSubject, enrichment_run, record_failure, scrape_run
from almanac_pipeline.warehouse.staging import mark_success

PROJECT = Path(__file__).resolve().parents[2]
USUAL = [210, 200, 190, 205, 195]


def cohort(connection: psycopg.Connection) -> int:
    row = connection.execute(
        "insert into raw.cohorts (slug, label, definition) values ('friends', 'Friends', '{}')"
        " returning cohort_id"
    ).fetchone()
    connection.commit()
    assert row is not None
    return int(row[0])


def run_of(database_url: str, cohort_id: int | None, requests: int, changed: int = 0) -> Run:
    """A run of ratings, or an import, which is of no cohort."""
    subject: ScrapeSubject = "ratings" if cohort_id is not None else "import"
    with scrape_run(database_url, cohort_id, subject, None) as run:
        run.requests_count, run.rows_changed = requests, changed
    return run


# -- open once -----------------------------------------------------------------------------------


def test_what_is_raised_again_counts_up_instead_of_piling_up(connection: psycopg.Connection) -> None:
    raise_alert(connection, "layout", "rated", "no slug in any item")
    raise_alert(connection, "layout", "rated", "no rating in any item")
    raise_alert(connection, "layout", "likes", "no slug in any item")
    found = {alert.subject: alert for alert in open_alerts(connection)}
    assert set(found) == {"rated", "likes"}
    assert (found["rated"].times_seen, found["rated"].message) == (2, "no rating in any item")


def test_a_resolved_alert_opens_anew_when_its_cause_comes_back(connection: psycopg.Connection) -> None:
    raise_alert(connection, "feed_gap", "member 7", "a gap")
    raise_alert(connection, "suspicious", "member 7", "empty")
    assert resolve_alerts(connection, "feed_gap", "member 7")
    assert not resolve_alerts(connection, "feed_gap", "member 7")
    assert [alert.kind for alert in open_alerts(connection)] == ["suspicious"]
    raise_alert(connection, "feed_gap", "member 7", "another gap")
    [again] = [alert for alert in open_alerts(connection) if alert.kind == "feed_gap"]
    assert again.times_seen == 1
    assert resolve_alert(connection, again.alert_id)
    assert not resolve_alert(connection, again.alert_id)


def test_the_member_s_name_is_joined_and_not_stored(connection: psycopg.Connection) -> None:
    cohort_id = cohort(connection)
    row = connection.execute("insert into raw.users (username) values ('ann') returning user_id").fetchone()
    assert row is not None
    raise_alert(connection, "suspicious", "member 1 likes", "empty", cohort_id=cohort_id, user_id=row[0])
    [alert] = open_alerts(connection)
    assert (alert.username, alert.cohort) == ("ann", "friends")
    stored = connection.execute("select string_agg(a::text, '') from ops.alerts as a").fetchone()
    assert stored is not None
    assert "ann" not in stored[0]


def test_an_alert_is_rolled_back_with_its_transaction(connection: psycopg.Connection) -> None:
    raise_alert(connection, "layout", "rated", "no slug")
    connection.rollback()
    assert open_alerts(connection) == []


def test_a_believed_reading_resolves_what_was_suspicious_about_that_member_and_subject(
    connection: psycopg.Connection,
) -> None:
    row = connection.execute("insert into raw.users (username) values ('ann') returning user_id").fetchone()
    assert row is not None
    user_id = row[0]
    for subject in ("ratings", "likes"):
        raise_alert(connection, "suspicious", f"member {user_id} {subject}", "empty", user_id=user_id)
    mark_success(connection, user_id, "ratings", complete=True)
    assert [alert.subject for alert in open_alerts(connection)] == [f"member {user_id} likes"]


def test_what_a_rule_finds_again_and_again_stays_one_alert_and_uses_up_no_numbers(
    connection: psycopg.Connection,
) -> None:
    for size in range(1, 6):
        keep_alerts(connection, "disk_space", [Finding("home", f"{size} GiB"), Finding("database", "full")])
    found = {alert.subject: alert for alert in open_alerts(connection)}
    assert (found["home"].message, found["home"].times_seen) == ("5 GiB", 1)
    keep_alerts(connection, "disk_space", [Finding("database", "full")])
    raise_alert(connection, "layout", "rated", "no slug")
    assert {alert.subject: alert.alert_id for alert in open_alerts(connection)} == {
        "database": found["database"].alert_id,
        "rated": max(alert.alert_id for alert in found.values()) + 1,
    }


# -- volume --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "earlier", "unusual"),
    [
        (700, USUAL, True),
        (600, USUAL, False),
        (700, USUAL[:4], False),
        (700, [], False),
        (1_050, [200] * 20 + [1_000], False),
        (1_400, [200] * 20 + [1_000], True),
        (99, [1] * 10, False),
        (100, [0] * 10, True),
    ],
    ids=["rise", "not enough", "few runs", "first run", "full read", "beyond it", "small", "from nothing"],
)
def test_a_rise_is_judged_against_the_median_and_the_largest(
    count: int, earlier: list[int], unusual: bool
) -> None:
    assert is_unusual(count, earlier, factor=3.0, floor=100) is unusual


def test_a_run_far_above_the_usual_raises_an_alert_until_one_is_usual_again(
    database_url: str, connection: psycopg.Connection
) -> None:
    cohort_id = cohort(connection)
    for requests in USUAL:
        check_volume(connection, run_of(database_url, cohort_id, requests), 3.0)
    assert open_alerts(connection) == []
    check_volume(connection, run_of(database_url, cohort_id, 900), 3.0)
    [alert] = open_alerts(connection)
    assert (alert.kind, alert.subject, alert.cohort) == ("volume", "friends ratings", "friends")
    assert alert.message.endswith("of ratings: 900 requests, usual are 200")
    check_volume(connection, run_of(database_url, cohort_id, 890), 3.0)
    assert len(open_alerts(connection)) == 1, "a second rise does not make itself usual"
    check_volume(connection, run_of(database_url, cohort_id, 220), 3.0)
    assert open_alerts(connection) == []


def test_the_alert_names_the_run_that_runs_show_takes_and_which_numbers_its_own_are_of(
    database_url: str, connection: psycopg.Connection
) -> None:
    cohort_id = cohort(connection)
    for requests in [*USUAL, 900]:
        with enrichment_run(database_url, cohort_id, "films", "1a2b3c4d-0000-4000-8000-000000000000") as run:
            for _ in range(requests):
                count_request()
    check_volume(connection, run, 3.0)
    [alert] = open_alerts(connection)
    assert alert.message.startswith(f"enrichment {run.run_id} of films in run 1a2b3c4d: 900 requests")


def test_a_rise_of_changes_alerts_too(database_url: str, connection: psycopg.Connection) -> None:
    cohort_id = cohort(connection)
    for _ in USUAL:
        run_of(database_url, cohort_id, 50, changed=3)
    check_volume(connection, run_of(database_url, cohort_id, 60, changed=40_000), 3.0)
    [alert] = open_alerts(connection)
    assert alert.message.endswith("of ratings: 40,000 changed rows, usual are 3")


def test_imports_which_have_no_cohort_are_compared_with_each_other(
    database_url: str, connection: psycopg.Connection
) -> None:
    for _ in range(5):
        run_of(database_url, None, 0, changed=20)
    check_volume(connection, run_of(database_url, None, 0, changed=30_000), 3.0)
    [alert] = open_alerts(connection)
    assert (alert.subject, alert.cohort) == ("import", None)
    check_volume(connection, run_of(database_url, None, 0, changed=40), 3.0)
    assert open_alerts(connection) == []


def test_failed_and_old_runs_and_other_cohorts_are_not_what_is_usual(
    database_url: str, connection: psycopg.Connection
) -> None:
    cohort_id = cohort(connection)
    for requests in [*USUAL, *USUAL]:
        run_of(database_url, cohort_id, requests)
    connection.execute("update ops.scrape_runs set status = 'failed' where scrape_run_id % 2 = 0")
    connection.execute(
        "update ops.scrape_runs set started_at = now() - interval '31 days' where scrape_run_id = 1"
    )
    connection.commit()
    check_volume(connection, run_of(database_url, cohort_id, 900), 3.0)
    assert open_alerts(connection) == []


# -- layout --------------------------------------------------------------------------------------


def test_a_changed_layout_is_an_alert_whether_a_page_or_the_whole_run_fails_by_it(
    database_url: str, connection: psycopg.Connection
) -> None:
    cohort_id = cohort(connection)
    with scrape_run(database_url, cohort_id, "ratings", None) as run:
        record_failure(connection, run, "profile", LayoutChangedError("no favourites"))
        record_failure(connection, run, "likes", NotFoundError("gone"))
    connection.commit()
    with (
        pytest.raises(LayoutDriftError),
        scrape_run(database_url, cohort_id, "ratings", None),
    ):
        raise LayoutDriftError("no years")
    found = {alert.subject: (alert.kind, alert.message) for alert in open_alerts(connection)}
    assert found == {"profile": ("layout", "no favourites"), "ratings": ("layout", "no years")}


# -- the kinds ------------------------------------------------------------------------------------


def kinds_raised() -> set[str]:
    """The kinds that the code raises, in Python, in SQL, and because a rule finds them."""
    found: set[str] = set(RULES)
    for file in (PROJECT / "almanac_pipeline").rglob("*.py"):
        text = file.read_text()
        found |= set(re.findall(r"ops\.raise_alert\('(\w+)'", text))
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("raise_alert"):
                found |= {arg.value for arg in node.args[1:2] if isinstance(arg, ast.Constant)}
    return found


def test_every_kind_is_raised_somewhere_and_no_other() -> None:
    assert set(KINDS) == set(get_args(AlertKind))
    assert kinds_raised() == set(KINDS), "a kind that nothing raises is explained in vain"
