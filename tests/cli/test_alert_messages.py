"""Each kind of alert, provoked once: one message, no second one, and a word when it is over."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from typing import get_args

import psycopg
import pytest

from almanac_pipeline.warehouse.alert_messages import sending
from almanac_pipeline.warehouse.alert_rules import is_far_above, is_growing
from almanac_pipeline.warehouse.alerts import KINDS, AlertKind, open_alerts, raise_alert, resolve_alerts, utc
from tests.cli.conftest import Almanac
from tests.conftest import new_database
from tests.sinks import Slack, mail_server, slack
from tests.test_docs import RUNBOOK, invocations

# Dagster and its libraries warn of themselves while they are imported.
pytestmark = pytest.mark.filterwarnings("ignore")

Provocation = Callable[[psycopg.Connection], None]
HOST = "letterboxd.com"


# What these tests write; a database of its own for each of them would take longer than the tests do.
WRITTEN = """
    ops.alerts ops.backlog_counts ops.http_requests ops.scrape_runs ops.publications ops.user_scrape_state
    intermediate.cohort_audits raw.cohort_members raw.cohorts raw.users dagster.runs
    dagster.asset_check_executions
"""


@pytest.fixture(scope="module")
def shared_url(server_url: str, ready_template: str) -> Iterator[str]:
    with new_database(server_url, ready_template) as url:
        yield url


@pytest.fixture
def database_url(shared_url: str) -> Iterator[str]:
    """A database with all tables and no row; it is emptied after the test."""
    yield shared_url
    with psycopg.connect(shared_url) as connection:
        for table in WRITTEN.split():
            connection.execute(f"delete from {table}")


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch, empty: str) -> Iterator[Slack]:
    """A webhook that is set up, beside an empty database; the site is this machine's: pages are allowed."""
    with slack() as server:
        monkeypatch.setenv("ALMANAC_ALERT_WEBHOOK", server.url)
        monkeypatch.setenv("ALMANAC_LETTERBOXD_URL", "http://127.0.0.1:1")
        monkeypatch.setenv("ALMANAC_DISK_ALERT_GIGABYTES", "0")
        monkeypatch.setenv("ALMANAC_BACKLOG_ALERT_FILMS", "50")
        yield server


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection]:
    """Every statement is committed at once."""
    with psycopg.connect(database_url, autocommit=True) as opened:
        yield opened


# -- what provokes each kind, and what ends it ----------------------------------------------------


def cohort(connection: psycopg.Connection, slug: str = "friends") -> int:
    row = connection.execute(
        "insert into raw.cohorts (slug, label, definition, created_at)"
        " values (%s, %s, '{}', now() - interval '3 days') returning cohort_id",
        [slug, slug],
    ).fetchone()
    assert row is not None
    return int(row[0])


def read(
    connection: psycopg.Connection, hours_ago: float, *, changed: int = 0, slug: str = "friends"
) -> None:
    """The cohort's opinions were read, so long ago."""
    connection.execute(
        """
        insert into ops.scrape_runs (cohort_id, subject, status, finished_at, rows_changed)
        select cohort_id, 'ratings', 'succeeded', now() - make_interval(secs => 3600 * %s), %s
        from raw.cohorts where slug = %s
        """,
        [hours_ago, changed, slug],
    )


def stale_cohort(connection: psycopg.Connection) -> None:
    cohort(connection)
    read(connection, 25)


def read_again(connection: psycopg.Connection) -> None:
    read(connection, 0)


def member_with_feed(connection: psycopg.Connection, username: str = "qqxann") -> None:
    connection.execute(
        """
        with member as (
            insert into raw.users (username, feed_opted_in_at) values (%s, now() - interval '3 days')
            returning user_id
        ), state as (
            insert into ops.user_scrape_state (user_id, subject, last_success_at)
            select user_id, 'feed', now() - interval '30 hours' from member
        )
        insert into raw.cohort_members (cohort_id, user_id)
        select cohort_id, user_id from raw.cohorts, member
        """,
        [username],
    )


def stale_feeds(connection: psycopg.Connection) -> None:
    cohort(connection)
    read(connection, 1)
    member_with_feed(connection)


def read_feeds(connection: psycopg.Connection) -> None:
    connection.execute("update ops.user_scrape_state set last_success_at = now()")


def count_backlog(connection: psycopg.Connection, *counts: int) -> None:
    """The backlog was counted every six hours; the last count is of just now."""
    connection.execute("delete from ops.backlog_counts")
    for position, films in enumerate(reversed(counts)):
        connection.execute(
            "insert into ops.backlog_counts values (now() - make_interval(hours => %s), %s)",
            [6 * position, films],
        )


def growing_backlog(connection: psycopg.Connection) -> None:
    count_backlog(connection, 10, 60, 10, 40, 60, 70, 90, 120)


def shrunken_backlog(connection: psycopg.Connection) -> None:
    connection.execute("update ops.backlog_counts set films_count = 3")


def ask(
    connection: psycopg.Connection, requests: int, hours_ago: int, status: int = 200, host: str = HOST
) -> None:
    connection.execute(
        "insert into ops.http_requests (requested_at, host, path_class, status, milliseconds)"
        " select now() - make_interval(hours => %s), %s, 'profile', %s, 5 from generate_series(1, %s)",
        [hours_ago, host, status, requests],
    )


def rate_limits(connection: psycopg.Connection) -> None:
    ask(connection, 10, 0, status=429)


def requests_without_end(connection: psycopg.Connection) -> None:
    for day in range(1, 7):
        ask(connection, 90 + day, 24 * day + 1)
    ask(connection, 400, 2)


def requests_forgotten(connection: psycopg.Connection) -> None:
    connection.execute("delete from ops.http_requests")


def failed_runs(connection: psycopg.Connection, count: int = 3) -> None:
    for number in range(count):
        connection.execute(
            """
            insert into dagster.runs (run_id, pipeline_name, status, end_time, run_body)
            values (%s, 'scrape', 'FAILURE', extract(epoch from now()) - 60, '{}')
            """,
            [f"run-{number}"],
        )


def runs_of_long_ago(connection: psycopg.Connection) -> None:
    connection.execute("update dagster.runs set end_time = end_time - 600")


def failing_audit(connection: psycopg.Connection) -> None:
    cohort(connection)
    read(connection, 1)
    connection.execute(
        """
        insert into intermediate.cohort_audits
            (cohort_id, cohort, input_version, rule, blocking, expected, observed, passed, detail, audited_at)
        select cohort_id, slug, 'v', 'no_duplicate_member_film', true, 0, 2, false,
            'members with two rows for one film, for example Heat', now()
        from raw.cohorts
        """
    )


def passing_audit(connection: psycopg.Connection) -> None:
    connection.execute("update intermediate.cohort_audits set passed = true")


def execute_check(
    connection: psycopg.Connection, status: str, severity: str = "ERROR", asset: str = "raw.ratings"
) -> None:
    connection.execute(
        """
        insert into dagster.asset_check_executions
            (asset_key, check_name, partition, run_id, execution_status, evaluation_event,
             evaluation_event_timestamp)
        values (%s, 'drift', 'friends', gen_random_uuid()::text, %s,
            jsonb_build_object('severity', jsonb_build_object('__enum__', 'AssetCheckSeverity.' || %s::text)),
            now() at time zone 'UTC')
        """,
        [f'["{asset.partition(".")[0]}", "{asset.partition(".")[2]}"]', status, severity],
    )


def raised(kind: AlertKind, subject: str = HOST) -> tuple[Provocation, Provocation]:
    """What flows and loaders raise and resolve at the place where they meet it; tested there."""

    def begin(connection: psycopg.Connection) -> None:
        row = connection.execute(
            "insert into raw.users (username) values ('qqxbob') returning user_id"
        ).fetchone()
        assert row is not None
        raise_alert(connection, kind, subject, "as it was met", user_id=row[0])

    def end(connection: psycopg.Connection) -> None:
        resolve_alerts(connection, kind, subject)

    return begin, end


PROVOCATIONS: dict[AlertKind, tuple[Provocation, Provocation]] = {
    "stale_cohort": (stale_cohort, read_again),
    "stale_feeds": (stale_feeds, read_feeds),
    "enrichment_backlog": (growing_backlog, shrunken_backlog),
    "rate_limited": (rate_limits, requests_forgotten),
    "unusual_requests": (requests_without_end, requests_forgotten),
    "repeated_failures": (failed_runs, runs_of_long_ago),
    "held_back": (failing_audit, passing_audit),
    "failed_check": (lambda c: execute_check(c, "FAILED"), lambda c: execute_check(c, "SUCCEEDED")),
    "unusual_numbers": (
        lambda c: execute_check(c, "FAILED", "WARN", "ops.quality_measurements"),
        lambda c: execute_check(c, "SUCCEEDED", "WARN", "ops.quality_measurements"),
    ),
    **{
        kind: raised(kind)
        for kind in ("blocked", "budget", "feed_gap", "layout", "suspicious", "volume")
    },
}  # fmt: skip


# -- one message each ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", PROVOCATIONS)
def test_an_alert_is_told_once_and_once_more_when_it_is_over(
    kind: AlertKind, almanac: Almanac, webhook: Slack, connection: psycopg.Connection
) -> None:
    begin, end = PROVOCATIONS[kind]
    assert almanac("alerts", "send").lines == ["nothing new to tell"]
    begin(connection)
    assert almanac("alerts", "send").lines == ["webhook: told 1 alerts"]
    [text] = webhook.texts()
    headline, line = text.splitlines()
    assert headline == "*Cohort Almanac: alerts: 1 open*"
    assert line.startswith(f"• {KINDS[kind].severity}: ")
    assert KINDS[kind].summary in line
    assert line.endswith(f"Runbook: docs/runbook/{KINDS[kind].runbook}.md")
    assert "qqx" not in text
    assert almanac("alerts", "send").lines == ["nothing new to tell"]
    end(connection)
    assert almanac("alerts", "send").lines == ["webhook: told 1 alerts"]
    [text] = webhook.texts()
    assert text.splitlines()[0] == "*Cohort Almanac: alerts: 1 resolved*"
    assert text.splitlines()[1].startswith("• resolved: ")
    assert almanac("alerts", "send").lines == ["nothing new to tell"]
    assert webhook.texts() == []


@pytest.mark.parametrize(
    ("kind", "severity", "asset"),
    [("failed_check", "ERROR", "raw.ratings"), ("unusual_numbers", "WARN", "ops.quality_measurements")],
)
def test_what_somebody_resolved_stays_resolved_until_the_check_is_executed_again(
    kind: AlertKind,
    severity: str,
    asset: str,
    almanac: Almanac,
    webhook: Slack,
    connection: psycopg.Connection,
) -> None:
    execute_check(connection, "FAILED", severity, asset)
    almanac("alerts", "send")
    [row] = connection.execute("select alert_id from ops.alerts where kind = %s", [kind]).fetchall()
    assert almanac("alerts", "resolve", str(row[0])).code == 0
    assert almanac("alerts", "send").lines == ["webhook: told 1 alerts"]
    assert almanac("alerts", "send").lines == ["nothing new to tell"]
    execute_check(connection, "FAILED", severity, asset)
    assert almanac("alerts", "send").lines == ["webhook: told 1 alerts"]
    assert "1 open" in webhook.texts()[-1]


@pytest.mark.parametrize("status", ["paused", "archived"])
def test_failed_checks_of_a_cohort_that_is_not_active_any_more_are_over(
    status: str, almanac: Almanac, webhook: Slack, connection: psycopg.Connection
) -> None:
    connection.execute("insert into raw.cohorts (slug, label, definition) values ('friends', 'F', '{}')")
    execute_check(connection, "FAILED")
    execute_check(connection, "FAILED", "WARN", "ops.quality_measurements")
    almanac("alerts", "send")
    assert "2 open" in webhook.texts()[0]
    connection.execute("update raw.cohorts set status = %s", [status])
    almanac("alerts", "send")
    assert "2 resolved" in webhook.texts()[0]


def test_a_disk_that_fills_up_and_a_database_beyond_its_limit_are_told(
    almanac: Almanac, webhook: Slack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALMANAC_DISK_ALERT_GIGABYTES", "1000000")
    monkeypatch.setenv("ALMANAC_DATABASE_ALERT_GIGABYTES", "0.001")
    almanac("alerts", "send")
    [text] = webhook.texts()
    subjects = [line.split(": ")[1] for line in text.splitlines()[1:]]
    assert subjects == ["home", "database disk", "database"]
    monkeypatch.setenv("ALMANAC_DISK_ALERT_GIGABYTES", "0")
    monkeypatch.setenv("ALMANAC_DATABASE_ALERT_GIGABYTES", "1000000")
    almanac("alerts", "send")
    assert "3 resolved" in webhook.texts()[0]


def test_every_kind_is_provoked() -> None:
    assert {*PROVOCATIONS, "disk_space", "undelivered"} == set(get_args(AlertKind))


# -- how often, and to whom ------------------------------------------------------------------------


def pass_hours(connection: psycopg.Connection, hours: float) -> None:
    """Let what was told, or could not be, be that much longer ago."""
    connection.execute(
        """
        update ops.alert_messages
        set tried_at = tried_at - make_interval(secs => 3600 * %(hours)s),
            raised_sent_at = raised_sent_at - make_interval(secs => 3600 * %(hours)s)
        """,
        {"hours": hours},
    )


def test_an_alert_that_stays_open_is_told_again_after_a_day(
    almanac: Almanac, webhook: Slack, connection: psycopg.Connection
) -> None:
    raise_alert(connection, "layout", "rated", "no slug in any item")
    almanac("alerts", "send")
    pass_hours(connection, 23.9)
    raise_alert(connection, "layout", "rated", "no slug in any item")
    assert almanac("alerts", "send").lines == ["nothing new to tell"]
    pass_hours(connection, 0.2)
    almanac("alerts", "send")
    first, second = webhook.texts()
    assert "Still open" not in first
    assert "no slug in any item. Still open since 20" in second


def test_what_happened_together_is_one_message_and_over_before_it_was_told_is_none(
    almanac: Almanac, webhook: Slack, connection: psycopg.Connection
) -> None:
    for number in range(30):
        raise_alert(connection, "feed_gap", f"member {number}", "a gap")
    raise_alert(connection, "layout", "rated", "no slug")
    resolve_alerts(connection, "layout", "rated")
    assert almanac("alerts", "send").lines == ["webhook: told 30 alerts"]
    [text] = webhook.texts()
    assert text.splitlines()[0] == "*Cohort Almanac: alerts: 30 open*"
    assert text.splitlines()[-1] == "• and 10 more: `almanac alerts`"


def test_a_webhook_that_is_away_is_tried_four_times_and_what_it_missed_is_told_once_it_is_back(
    almanac: Almanac, webhook: Slack, connection: psycopg.Connection
) -> None:
    webhook.status = 503
    raise_alert(connection, "layout", "rated", "no slug")
    failed = almanac("alerts", "send")
    assert (failed.code, failed.lines) == (1, ["The webhook could not be told: it answered 503."])
    assert almanac("alerts", "send").code == 0, "not again at once"
    for minutes in (2, 6, 31, 600):
        pass_hours(connection, minutes / 60)
        almanac("alerts", "send")
    assert len(webhook.texts()) == 4
    [undelivered] = [alert for alert in open_alerts(connection) if alert.kind == "undelivered"]
    assert (undelivered.subject, undelivered.times_seen) == ("webhook", 4)
    # Something new shows that it is back; then it hears the rest, too.
    webhook.status = 200
    raise_alert(connection, "budget", "letterboxd.com", "spent")
    almanac("alerts", "send")
    almanac("alerts", "send")
    told = webhook.texts()
    assert ["budget" in text or "spent" in text for text in told] == [True, False]
    assert "no slug" in told[1]
    assert {alert.kind for alert in open_alerts(connection)} == {"layout", "budget"}


def test_after_a_trial_that_arrives_a_sink_hears_at_once_what_it_missed(
    almanac: Almanac, webhook: Slack, connection: psycopg.Connection
) -> None:
    webhook.status = 500
    raise_alert(connection, "layout", "rated", "no slug in any item")
    almanac("alerts", "send")
    assert almanac("alerts", "try").code == 1
    assert {alert.kind for alert in open_alerts(connection)} == {"layout", "undelivered"}
    webhook.status = 200
    assert almanac("alerts", "try").lines == ["webhook: told a word"]
    assert {alert.kind for alert in open_alerts(connection)} == {"layout"}
    almanac("alerts", "send")
    assert "no slug" in webhook.texts()[-1]


def test_each_sink_hears_everything_and_of_the_others_failure(
    almanac: Almanac, webhook: Slack, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    webhook.status = 500
    with mail_server() as mail:
        for name, value in {
            "ALERT_EMAIL_TO": "one@example.org",
            "ALERT_EMAIL_FROM": "almanac@example.org",
            "SMTP_HOST": "127.0.0.1",
            "SMTP_PORT": str(mail.port),
            "SMTP_SECURITY": "none",
        }.items():
            monkeypatch.setenv(f"ALMANAC_{name}", value)
        raise_alert(connection, "budget", "letterboxd.com", "spent")
        almanac("alerts", "send")
        [received] = mail.mails
        assert received["Subject"] == "Cohort Almanac: alerts: 2 open"
        body = received.get_payload(decode=True)
        assert isinstance(body, bytes)
        body = body.decode()
        assert "letterboxd.com: a host's requests of the day are spent: spent." in body
        assert "webhook: alerts could not be told: The webhook could not be told: it answered 500." in body
        assert almanac("alerts", "try").lines == [
            "The webhook could not be told: it answered 500.",
            "email: told a word",
        ]


def test_two_who_tell_at_once_do_not_tell_twice(
    almanac: Almanac, webhook: Slack, connection: psycopg.Connection
) -> None:
    raise_alert(connection, "budget", "letterboxd.com", "spent")
    with sending(connection) as is_ours:
        assert is_ours
        assert almanac("alerts", "send").lines == ["nothing new to tell"]
    assert almanac("alerts", "send").lines == ["webhook: told 1 alerts"]


def test_without_a_sink_the_command_says_what_to_set(almanac: Almanac, empty: str) -> None:
    assert almanac("alerts", "send").lines == ["nothing new to tell"]
    assert "set ALMANAC_ALERT_WEBHOOK" in almanac("alerts", "try").lines[0]


# -- when a rule finds nothing ---------------------------------------------------------------------


def kinds_found(almanac: Almanac, connection: psycopg.Connection) -> set[str]:
    almanac("alerts", "send")
    return {alert.kind for alert in open_alerts(connection)}


def test_a_cohort_is_stale_by_its_own_cadence_and_not_while_a_run_is_under_way(
    almanac: Almanac, webhook: Slack, connection: psycopg.Connection
) -> None:
    stale_cohort(connection)
    connection.execute("update raw.cohorts set sync_every_hours = 48")
    assert kinds_found(almanac, connection) == set()
    connection.execute("update raw.cohorts set sync_every_hours = 12")
    assert kinds_found(almanac, connection) == {"stale_cohort"}
    connection.execute("insert into dagster.runs (run_id, status, run_body) values ('now', 'STARTED', '{}')")
    assert kinds_found(almanac, connection) == set()
    connection.execute("update dagster.runs set status = 'SUCCESS'")
    connection.execute("update raw.cohorts set status = 'paused'")
    assert kinds_found(almanac, connection) == set()


def test_what_was_read_and_not_published_is_no_success(
    almanac: Almanac, webhook: Slack, connection: psycopg.Connection
) -> None:
    cohort(connection)
    read(connection, 26)
    read(connection, 2, changed=5)
    assert kinds_found(almanac, connection) == {"stale_cohort"}
    assert "what was read is not published" in open_alerts(connection)[0].message
    connection.execute(
        "insert into ops.publications (cohort_id, input_version, members_count, films_count, ratings_count)"
        " select cohort_id, 'v', 1, 1, 1 from raw.cohorts"
    )
    assert kinds_found(almanac, connection) == set()


def test_where_nothing_may_be_fetched_nothing_is_late(
    almanac: Almanac, webhook: Slack, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    stale_cohort(connection)
    monkeypatch.setenv("ALMANAC_LETTERBOXD_URL", "https://letterboxd.com")
    assert kinds_found(almanac, connection) == set()
    # Feeds may be read by whoever says who asks; nobody has agreed to that here.
    monkeypatch.setenv("ALMANAC_CONTACT", "operator@example.org")
    assert kinds_found(almanac, connection) == set()
    member_with_feed(connection)
    assert kinds_found(almanac, connection) == {"stale_cohort", "stale_feeds"}


def test_two_failures_and_a_warning_are_no_alert(
    almanac: Almanac, webhook: Slack, connection: psycopg.Connection
) -> None:
    failed_runs(connection, 2)
    execute_check(connection, "FAILED", "WARN")
    ask(connection, 9, 0, status=429)
    assert kinds_found(almanac, connection) == set()


@pytest.mark.parametrize(
    ("counts", "grows"),
    [
        ([(30, 10), (20, 60), (10, 80), (0, 90)], True),
        ([(30, 10), (20, 60), (10, 80), (0, 40)], False),
        ([(30, 70), (20, 60), (10, 80), (0, 90)], False),
        ([(30, 10), (20, 900), (10, 700), (0, 500)], False),
        ([(30, 10), (20, 90), (10, 0), (0, 90)], False),
        ([(20, 60), (10, 80), (0, 90)], False),
        ([], False),
    ],
    ids=["grows", "small", "as ever", "shrinks", "wave", "first day", "never counted"],
)
def test_a_backlog_grows_from_one_day_to_the_next(counts: list[tuple[float, int]], grows: bool) -> None:
    assert is_growing(counts, floor=50) is grows


@pytest.mark.parametrize(
    ("count", "earlier", "far"),
    [
        (700, [200] * 5, True),
        (600, [200] * 5, False),
        (700, [200] * 4, False),
        (700, [10] * 9 + [800], False),
        (199, [1] * 9, False),
    ],
    ids=["far", "not enough", "few days", "has been", "small"],
)
def test_requests_are_judged_by_the_mean_of_the_days_before(
    count: int, earlier: list[int], far: bool
) -> None:
    assert is_far_above(count, earlier, factor=3.0) is far


# -- the pages, followed literally -----------------------------------------------------------------


def test_every_query_of_the_runbook_runs(connection: psycopg.Connection) -> None:
    queries = {
        shlex.split(found)[-1]
        for page in RUNBOOK.glob("*.md")
        for found in invocations(page, "almanac")
        if found.startswith("db psql -c")
    }
    assert len(queries) >= 20
    cohort(connection)
    for query in queries:
        connection.execute(query)  # type: ignore[arg-type]


# Those that ask the site, need a number or file of one's own, or judge the machine.
NOT_HERE = r"doctor|alerts try|scrape|parse|runs show|db psql"


def test_every_look_of_the_runbook_answers(almanac: Almanac, published: str) -> None:
    looks = {
        line.removeprefix("almanac ")
        for page in RUNBOOK.glob("*.md")
        for line in page.read_text().partition("## Look")[2].partition("## Do")[0].splitlines()
        if line.startswith("almanac ") and not re.match(NOT_HERE, line.removeprefix("almanac "))
    }
    assert {"status", "alerts", "unblock", "runs list --status failure"} <= looks
    for look in looks:
        answer = almanac(*shlex.split(look))
        assert (answer.code, answer.err) == (0, ""), look


def test_a_moment_is_told_in_utc_whatever_zone_the_server_has() -> None:
    tokyo = timezone(timedelta(hours=9))
    assert utc(datetime(2026, 1, 2, 3, 4, tzinfo=tokyo)) == "2026-01-01 18:04 UTC"
