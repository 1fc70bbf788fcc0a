"""What an operator should know: the kinds of alerts, raising, resolving and listing them, and the rule
about a run's volume.

One row is open per kind and subject; what is raised again counts up. Alerts hold no member names,
only user_id; the name is joined when they are listed. Each kind has its page in docs/runbook. The
HTTP client raises `blocked` and `budget` itself, flows and loaders what they meet, and `alert_rules`
what only a look at the whole shows. Telling people is `alert_messages`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median
from typing import Literal

import psycopg
from psycopg.rows import class_row
from psycopg.sql import SQL, Identifier

from almanac_pipeline.warehouse.runs import Run

AlertKind = Literal[
    "blocked",
    "suspicious",
    "feed_gap",
    "volume",
    "layout",
    "budget",
    "repeated_failures",
    "stale_cohort",
    "stale_feeds",
    "enrichment_backlog",
    "rate_limited",
    "unusual_requests",
    "disk_space",
    "held_back",
    "failed_check",
    "unusual_numbers",
    "undelivered",
]
Severity = Literal["critical", "warning"]
"""critical: something stands still or is about to; warning: it goes on, somebody should look."""


@dataclass(frozen=True, slots=True)
class KindOfAlert:
    """What is true of every alert of a kind."""

    severity: Severity
    summary: str
    """What happened, in a few words."""
    to_do: str
    """The first thing to do, in one line; the page says more."""
    runbook: str
    """The page's name in docs/runbook, without `.md`; the Prometheus rules use the same names."""


KINDS: Mapping[AlertKind, KindOfAlert] = {
    "blocked": KindOfAlert(
        "critical",
        "a site has refused us",
        "find out why the site refused us; then `almanac unblock HOST`",
        "source-blocked",
    ),
    "suspicious": KindOfAlert(
        "warning",
        "an answer is too small to be believed",
        "look whether the member really removed so much; nothing was deleted",
        "suspicious-answer",
    ),
    "feed_gap": KindOfAlert(
        "warning",
        "a feed no longer reaches back to what is known",
        "import a new export of the member, or have their pages read in full",
        "feed-gap",
    ),
    "volume": KindOfAlert(
        "warning",
        "a run asked or changed far more than usual",
        "look into the run; `almanac pause` if it should not ask so much",
        "unusual-requests",
    ),
    "layout": KindOfAlert(
        "critical",
        "a page no longer holds what is looked for",
        "look at the page kept in the inspection folder; nothing of it was stored",
        "layout-changed",
    ),
    "budget": KindOfAlert(
        "warning",
        "a host's requests of the day are spent",
        "nothing: it goes on tomorrow (UTC), or raise ALMANAC_REQUESTS_PER_DAY",
        "budget-spent",
    ),
    "repeated_failures": KindOfAlert(
        "critical",
        "runs fail one after another",
        "read why in `almanac runs list`; `almanac pause` if it is the site",
        "repeated-failures",
    ),
    "stale_cohort": KindOfAlert(
        "critical",
        "a cohort was not read and published for too long",
        "see that the daemon runs and nothing is paused: `almanac status`",
        "stale-cohort",
    ),
    "stale_feeds": KindOfAlert(
        "warning",
        "feeds were not read for too long",
        "read them now, and see what fails: `almanac scrape`",
        "stale-feeds",
    ),
    "enrichment_backlog": KindOfAlert(
        "warning",
        "more films wait for enrichment every day",
        "see what they wait for: `almanac films queue`",
        "enrichment-backlog",
    ),
    "rate_limited": KindOfAlert(
        "warning",
        "a host answers that it is asked too often",
        "ask less often: lower ALMANAC_REQUESTS_PER_SECOND",
        "rate-limited",
    ),
    "unusual_requests": KindOfAlert(
        "warning",
        "a host was asked far more often than usual",
        "find the run that asks; `almanac pause` if it should not",
        "unusual-requests",
    ),
    "disk_space": KindOfAlert(
        "critical",
        "the disk is getting full",
        "free some space, or give the almanac more",
        "disk-space",
    ),
    "held_back": KindOfAlert(
        "critical",
        "a cohort contradicts itself and keeps its last publication",
        "let it be mended: `almanac enrich --cohort SLUG`, then `almanac stats refresh --cohort SLUG`",
        "held-back",
    ),
    "failed_check": KindOfAlert(
        "critical",
        "a check that must pass has failed",
        "read what it found on the asset's page in the Dagster UI",
        "failed-check",
    ),
    "unusual_numbers": KindOfAlert(
        "warning",
        "a published cohort's numbers are spread or have moved as they rarely do",
        "look at the page that the check in the Dagster UI links to",
        "unusual-numbers",
    ),
    "undelivered": KindOfAlert(
        "warning",
        "alerts could not be told",
        "mend the address, then `almanac alerts try`",
        "undelivered",
    ),
}

# Fewer runs than these say nothing of what is usual.
MINIMUM_EARLIER_RUNS = 5
USUAL_DAYS = 30
# Below these a rise is a member who joined or an evening of logging, whatever the factor.
VOLUME_FLOORS = {"requests_count": 200, "rows_changed": 1_000}
_VOLUME_WORDS = {"requests_count": "requests", "rows_changed": "changed rows"}
# A full read on its cadence grows by a little each time.
LARGEST_SHARE = 1.25


@dataclass(frozen=True, slots=True)
class Alert:
    """An open alert. `username` and `cohort` are joined for the operator's own terminal."""

    alert_id: int
    kind: AlertKind
    subject: str
    message: str
    username: str | None
    cohort: str | None
    raised_at: datetime
    last_seen_at: datetime
    times_seen: int


def raise_alert(
    connection: psycopg.Connection,
    kind: AlertKind,
    subject: str,
    message: str,
    *,
    cohort_id: int | None = None,
    user_id: int | None = None,
) -> None:
    """Open an alert, or count up the one that is open for this kind and subject.

    Part of the caller's transaction: what is rolled back was not raised. `subject` says what it is
    about and is the same each time (a host, "friends ratings", "member 17 likes"); neither it nor
    `message` holds a member's name.
    """
    connection.execute(
        "select ops.raise_alert(%s, %s, %s, %s, %s)", [kind, subject, message, cohort_id, user_id]
    )


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is so at the moment, of the kind that is being looked at."""

    subject: str
    message: str
    cohort_id: int | None = None
    known_since: datetime | None = None
    """When it was last looked into. What somebody resolved after that stays resolved until the next time."""


def keep_alerts(connection: psycopg.Connection, kind: AlertKind, findings: Iterable[Finding]) -> None:
    """Let the open alerts of a kind be just these findings. In the caller's transaction.

    What is open and found again says the newest and does not count up: it has not happened again.
    """
    found = list(findings)
    connection.execute(
        "update ops.alerts set resolved_at = now()"
        " where kind = %s and resolved_at is null and subject <> all(%s)",
        [kind, [finding.subject for finding in found]],
    )
    connection.cursor().executemany(
        """
        with again as (
            update ops.alerts set message = %(message)s, last_seen_at = now()
            where kind = %(kind)s and subject = %(subject)s and resolved_at is null
            returning alert_id
        )
        insert into ops.alerts (kind, subject, message, cohort_id)
        select %(kind)s, %(subject)s, %(message)s, %(cohort)s
        -- Left to the conflict alone, each look would use up a number that people type.
        where not exists (select from again)
            and not exists (
                select from ops.alerts
                where kind = %(kind)s and subject = %(subject)s and resolved_at > %(known_since)s::timestamptz
            )
        on conflict (kind, subject) where resolved_at is null do nothing
        """,
        [
            {
                "kind": kind,
                "subject": finding.subject,
                "message": finding.message,
                "cohort": finding.cohort_id,
                "known_since": finding.known_since,
            }
            for finding in found
        ],
    )


def resolve_alerts(connection: psycopg.Connection, kind: AlertKind, subject: str) -> bool:
    """Close the alert of this kind and subject, in the caller's transaction; whether one was open."""
    return _close(connection, SQL("kind = %s and subject = %s"), [kind, subject])


def resolve_alert(connection: psycopg.Connection, alert_id: int) -> bool:
    """An operator's word that this alert is dealt with. Commits; whether it was open."""
    was_open = _close(connection, SQL("alert_id = %s"), [alert_id])
    connection.commit()
    return was_open


def open_alerts(connection: psycopg.Connection) -> list[Alert]:
    """The alerts that nobody has dealt with, newest first."""
    with connection.cursor(row_factory=class_row(Alert)) as cursor:
        return cursor.execute(
            """
            select alert_id, kind, subject, message, users.username, cohorts.slug as cohort,
                raised_at, last_seen_at, times_seen
            from ops.alerts
            left join raw.users using (user_id)
            left join raw.cohorts using (cohort_id)
            where resolved_at is null
            order by last_seen_at desc, alert_id desc
            """
        ).fetchall()


def check_volume(connection: psycopg.Connection, run: Run, factor: float) -> None:
    """Raise `volume` if a run asked or changed far more than is usual for its cohort and subject.

    Usual is what the succeeded runs of the last 30 days did; those of no cohort, such as imports, are
    compared with each other. Resolves the alert once a run is as usual again: to be called of a run
    that has got through, with its counts; whether its row is closed does not matter.
    """
    table, key = Identifier("ops", f"{run.kind}_runs"), Identifier(f"{run.kind}_run_id")
    row = connection.execute(
        SQL(
            "select cohort_id, subject, concat_ws(' ', slug, subject), left(dagster_run_id, 8)"
            " from {} left join raw.cohorts using (cohort_id) where {} = %s"
        ).format(table, key),
        [run.run_id],
    ).fetchone()
    assert row is not None
    cohort_id, subject, topic, dagster_run = row
    measures = ["requests_count"] + (["rows_changed"] if run.kind == "scrape" else [])
    earlier = connection.execute(
        SQL(
            "select {} from {} where cohort_id is not distinct from %s and subject = %s"
            " and status = 'succeeded' and {} <> %s and started_at > now() - make_interval(days => %s)"
        ).format(SQL(", ").join(map(Identifier, measures)), table, key),
        [cohort_id, subject, run.run_id, USUAL_DAYS],
    ).fetchall()
    rises, as_usual = [], True
    for position, measure in enumerate(measures):
        counts, count = [row[position] for row in earlier], getattr(run, measure)
        if is_unusual(count, counts, factor=factor, floor=VOLUME_FLOORS[measure]):
            rises.append(f"{count:,} {_VOLUME_WORDS[measure]}, usual are {median(counts):,.0f}")
        elif counts and count > factor * median(counts) and count >= VOLUME_FLOORS[measure]:
            as_usual = False
    if rises:
        # Scrapes and enrichments are numbered apart; `almanac runs show` takes the run.
        in_run = f" in run {dagster_run}" if dagster_run else ""
        message = f"{run.kind} {run.run_id} of {subject}{in_run}: {'; '.join(rises)}"
        raise_alert(connection, "volume", topic, message, cohort_id=cohort_id)
    elif as_usual:
        resolve_alerts(connection, "volume", topic)


def is_unusual(count: int, earlier: Sequence[int], *, factor: float, floor: int) -> bool:
    """Whether `count` rises above what earlier runs did: `factor` times their median and all of them.

    Their largest counts too, because a full read on a cadence is no news. Fewer than five earlier
    runs or a count below `floor` say nothing.
    """
    if len(earlier) < MINIMUM_EARLIER_RUNS or count < floor:
        return False
    return count > factor * median(earlier) and count > LARGEST_SHARE * max(earlier)


def utc(moment: datetime) -> str:
    """A moment in words; a server of one's own may give it in another zone."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _close(connection: psycopg.Connection, which: SQL, values: list[object]) -> bool:
    query = SQL("update ops.alerts set resolved_at = now() where resolved_at is null and {}").format(which)
    return connection.execute(query, values).rowcount > 0
