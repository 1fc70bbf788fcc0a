"""The rules behind those alerts that only a look at the whole shows: each says what is so at the moment.

A rule is SQL over what runs and requests left behind, and a threshold from the settings; `flows/alerts.py`
looks and keeps the alerts accordingly. Rules change nothing, but for the hourly count of the backlog.
What a flow itself meets (a refusal, a gap in a feed) it raises itself, see `alerts`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg

from almanac_pipeline.settings import Settings
from almanac_pipeline.warehouse.alerts import VOLUME_FLOORS, AlertKind, Finding, utc

MOST_FAILURES = 2
FAILURE_MINUTES = 10
# While runs are under way, what they have not reached yet is not called stale: yesterday's last cohort
# would be, each day, until today's run gets to it.
UNDER_WAY_HOURS = 2.0
# Days before the last 24 hours that say how often a host is usually asked; fewer say nothing.
REQUEST_DAYS = 14
MINIMUM_REQUEST_DAYS = 5
GIGABYTE = 1024**3
# Of what a check says; the rest stands in the Dagster UI.
WORDS_SHOWN = 200

# What a run has read is published by another, asked for a minute after the first has ended.
UNDER_WAY = """
select exists (
    select from dagster.runs
    where status in ('QUEUED', 'STARTING', 'STARTED') or end_time > extract(epoch from now()) - 600
)
"""

FAILED_RUNS = """
select pipeline_name, count(*)
from dagster.runs
where status = 'FAILURE' and end_time > extract(epoch from now()) - 60 * %s
group by pipeline_name order by count(*) desc, pipeline_name
"""

# A cohort none of whose members may be asked has imports only, which come when they come.
STALE_COHORTS = """
select slug, cohort_id, last_success_at, pending_since is not null
from ops.cohort_pipelines as pipelines
where status = 'active'
    and coalesce(last_success_at, created_at) < now() - make_interval(
        secs => 3600 * (greatest(%(hours)s, coalesce(sync_every_hours, %(cadence)s)) + %(more_hours)s))
    and (%(pages)s or (%(feeds)s and exists (
        select from raw.cohort_members as members join raw.users using (user_id)
        where members.cohort_id = pipelines.cohort_id and until is null and feed_opted_in_at is not null)))
order by slug
"""

# Where newest ratings may be read from pages, the feed is not needed and not read.
STALE_FEEDS = """
with feeds as (
    select greatest(
        feed_opted_in_at,
        (select max(last_success_at) from ops.user_scrape_state as state
         where state.user_id = users.user_id and subject in ('ratings', 'feed'))
    ) as read_at
    from raw.users
    where feed_opted_in_at is not null and status = 'active' and exists (
        select from raw.cohort_members as members join raw.cohorts using (cohort_id)
        where members.user_id = users.user_id and until is null and cohorts.status = 'active')
)
select count(*), count(*) filter (where is_stale), min(read_at) filter (where is_stale)
from feeds cross join lateral (
    select read_at < now() - make_interval(secs => 3600 * %(hours)s) as is_stale
) as age
"""

COUNT_BACKLOG = """
insert into ops.backlog_counts (films_count)
select count(*) from ops.films_needing_enrichment
where %(pages)s and (is_histogram_due or (is_page_due and next_attempt_at <= now()))
    or %(titles)s and is_title_due and next_attempt_at <= now()
"""

BACKLOG = """
select extract(epoch from now() - counted_at)::float8 / 3600, films_count
from ops.backlog_counts where counted_at > now() - interval '48 hours' order by counted_at
"""

RATE_LIMITED = """
select host, count(*) from ops.http_requests
where status = 429 and requested_at > now() - interval '1 hour'
group by host having count(*) >= %s order by host
"""

# Days are counted back from now, so that a day is whole at any hour.
REQUESTS = """
select host, coalesce(sum(requests) filter (where day = 0), 0)::int,
    array_agg(requests order by day) filter (where day > 0)
from (
    select
        host, floor(extract(epoch from now() - requested_at) / 86400)::int as day, count(*)::int as requests
    from ops.http_requests
    where requested_at > now() - make_interval(days => %s + 1) and path_class <> 'robots'
    group by host, day
) as days
group by host order by host
"""

HELD_BACK = """
select slug, cohort_id, string_agg(
    rule || coalesce(', ' || observed::float8 || ' ' || detail, ''), '; ' order by rule)
from intermediate.cohort_audits join raw.cohorts using (cohort_id)
where blocking and not passed and status = 'active'
group by slug, cohort_id order by slug
"""

# Of the latest execution per check and partition. The audits are the alert held_back; of the warnings only
# those about distributions and drift are meant for somebody: what is not covered stays so for months. Of a
# cohort that is not active no check is executed any more.
FAILED_CHECKS = """
select
    array_to_string(array(select jsonb_array_elements_text(asset_key::jsonb)), '/'), check_name, partition,
    evaluation_event::jsonb #>> '{dagster_event,event_specific_data,description}',
    evaluation_event_timestamp at time zone 'UTC'
from (
    select distinct on (asset_key, check_name, partition) *
    from dagster.asset_check_executions
    where execution_status in ('SUCCEEDED', 'FAILED')
    order by asset_key, check_name, partition, id desc
) as latest
where execution_status = 'FAILED'
    and not exists (select from raw.cohorts where slug = partition and status <> 'active')
    and case asset_key
        when '["intermediate", "cohort_audits"]' then false
        when '["ops", "quality_measurements"]' then %(quality)s
        else not %(quality)s and position('AssetCheckSeverity.ERROR' in evaluation_event) > 0
    end
order by 1, 2, 3
"""


@dataclass(frozen=True, slots=True)
class Access:
    """What may be asked for at all, of the site and of TMDB: where nothing may be, nothing is late."""

    pages: bool
    feeds: bool
    titles: bool


def repeated_failures(
    connection: psycopg.Connection, settings: Settings, access: Access
) -> Iterable[Finding]:
    """More than two runs failed within ten minutes, whoever started them."""
    if not _exists(connection, "dagster.runs"):
        return
    failed: dict[str, int] = dict(connection.execute(FAILED_RUNS, [FAILURE_MINUTES]).fetchall())
    if sum(failed.values()) > MOST_FAILURES:
        jobs = ", ".join(f"{job} {count}" for job, count in failed.items())
        yield Finding("runs", f"{sum(failed.values())} runs failed within {FAILURE_MINUTES} minutes: {jobs}")


def stale_cohorts(connection: psycopg.Connection, settings: Settings, access: Access) -> Iterable[Finding]:
    """Active cohorts whose opinions were not read and shown for `stale_hours`, or for their own cadence."""
    values = {
        "hours": settings.stale_hours,
        "cadence": settings.sync_every_hours,
        "more_hours": _more_hours(connection),
        "pages": access.pages,
        "feeds": access.feeds,
    }
    for slug, cohort_id, last_success_at, is_pending in connection.execute(STALE_COHORTS, values):
        since = f"since {utc(last_success_at)}" if last_success_at else "so far"
        why = "; what was read is not published" if is_pending else ""
        yield Finding(slug, f"no complete pipeline {since}{why}", cohort_id)


def stale_feeds(connection: psycopg.Connection, settings: Settings, access: Access) -> Iterable[Finding]:
    """Feeds of people who agreed to it were not read for `stale_hours`, nor their pages."""
    if not access.feeds:
        return
    row = connection.execute(
        STALE_FEEDS, {"hours": settings.stale_hours + _more_hours(connection)}
    ).fetchone()
    assert row is not None
    feeds, stale, oldest = row
    if stale:
        yield Finding("feeds", f"{stale:,} of {feeds:,} not read, one of them since {utc(oldest)}")


def enrichment_backlog(
    connection: psycopg.Connection, settings: Settings, access: Access
) -> Iterable[Finding]:
    """More films wait for enrichment than the day before, and enough of them to matter."""
    values = {"pages": access.pages, "titles": access.titles}
    row = connection.execute(
        "select max(counted_at) > now() - interval '55 minutes' from ops.backlog_counts"
    ).fetchone()
    assert row is not None
    # The view reads every film: once an hour is enough for what grows by the day.
    if not row[0]:
        connection.execute(COUNT_BACKLOG, values)
        connection.execute("delete from ops.backlog_counts where counted_at < now() - interval '8 days'")
    counts = connection.execute(BACKLOG).fetchall()
    if is_growing(counts, floor=settings.backlog_alert_films):
        before = min(count for hours, count in counts if hours > 24)
        yield Finding(
            "films", f"{counts[-1][1]:,} films wait, {before:,} did at the best time of the day before"
        )


def rate_limited(connection: psycopg.Connection, settings: Settings, access: Access) -> Iterable[Finding]:
    """Hosts that answered 429 again and again within the hour."""
    for host, count in connection.execute(RATE_LIMITED, [settings.rate_limited_alert_count]):
        yield Finding(host, f"429 (too many requests) {count:,} times within an hour")


def unusual_requests(connection: psycopg.Connection, settings: Settings, access: Access) -> Iterable[Finding]:
    """Hosts that were asked far more often within 24 hours than on the days before."""
    for host, count, days in connection.execute(REQUESTS, [REQUEST_DAYS]):
        earlier = days or []
        if is_far_above(count, earlier, factor=settings.volume_alert_factor):
            mean = sum(earlier) / len(earlier)
            yield Finding(host, f"{count:,} requests within 24 hours; a day's mean before is {mean:,.0f}")


def disk_space(connection: psycopg.Connection, settings: Settings, access: Access) -> Iterable[Finding]:
    """Little free space beside home folder or database, or a database beyond its limit.

    The server's own disk is seen if it runs on this machine and lets us know where its files are.
    """
    places = {"home": _existing(settings.home)}
    row = connection.execute("select setting from pg_settings where name = 'data_directory'").fetchone()
    if row is not None and os.path.isdir(row[0]):
        places["database disk"] = Path(row[0])
    for place, folder in places.items():
        free = shutil.disk_usage(folder).free / GIGABYTE
        if free < settings.disk_alert_gigabytes:
            yield Finding(place, f"{free:.1f} GiB are free, {settings.disk_alert_gigabytes:g} should be")
    if settings.database_alert_gigabytes is not None:
        row = connection.execute("select pg_database_size(current_database())").fetchone()
        assert row is not None
        size = row[0] / GIGABYTE
        if size > settings.database_alert_gigabytes:
            limit = settings.database_alert_gigabytes
            yield Finding("database", f"it has {size:.1f} GiB, its limit is {limit:g}")


def held_back(connection: psycopg.Connection, settings: Settings, access: Access) -> Iterable[Finding]:
    """Active cohorts whose last build failed a blocking audit."""
    if _exists(connection, "intermediate.cohort_audits"):
        for slug, cohort_id, rules in connection.execute(HELD_BACK):
            yield Finding(slug, f"its last publication stays: {rules}", cohort_id)


def failed_checks(connection: psycopg.Connection, settings: Settings, access: Access) -> Iterable[Finding]:
    """Asset checks that must pass and did not when they were last executed, per partition."""
    yield from _checks(connection, quality=False)


def unusual_numbers(connection: psycopg.Connection, settings: Settings, access: Access) -> Iterable[Finding]:
    """Distributions and drift of published cohorts that their checks warn of."""
    yield from _checks(connection, quality=True)


def _checks(connection: psycopg.Connection, *, quality: bool) -> Iterator[Finding]:
    if not _exists(connection, "dagster.asset_check_executions"):
        return
    for asset, check, partition, words, at in connection.execute(FAILED_CHECKS, {"quality": quality}):
        subject = f"{asset} {check} {partition or ''}".rstrip()
        message = (words or "it failed when it was last executed")[:WORDS_SHOWN]
        yield Finding(subject, message, known_since=at)


Rule = Callable[[psycopg.Connection, Settings, Access], Iterable[Finding]]

RULES: Mapping[AlertKind, Rule] = {
    "repeated_failures": repeated_failures,
    "stale_cohort": stale_cohorts,
    "stale_feeds": stale_feeds,
    "enrichment_backlog": enrichment_backlog,
    "rate_limited": rate_limited,
    "unusual_requests": unusual_requests,
    "disk_space": disk_space,
    "held_back": held_back,
    "failed_check": failed_checks,
    "unusual_numbers": unusual_numbers,
}


def is_growing(counts: Sequence[tuple[float, int]], *, floor: int) -> bool:
    """Whether a backlog grows from one day to the next. `counts` are (hours ago, films), oldest first.

    At the best time of the last 24 hours more wait than at the best time of the 24 hours before, and
    now not fewer than a day ago; a wave that is worked off within the day is none, nor a heap that
    shrinks slowly.
    """
    today = [count for hours, count in counts if hours <= 24]
    yesterday = [count for hours, count in counts if hours > 24]
    if not today or not yesterday:
        return False
    return min(today) >= floor and min(today) > min(yesterday) and today[-1] >= today[0]


def is_far_above(count: int, earlier: Sequence[int], *, factor: float) -> bool:
    """Whether a day's requests are `factor` times the mean of the earlier days, and more than on any."""
    if len(earlier) < MINIMUM_REQUEST_DAYS or count < VOLUME_FLOORS["requests_count"]:
        return False
    return count > factor * sum(earlier) / len(earlier) and count > max(earlier)


def _more_hours(connection: psycopg.Connection) -> float:
    """How much later something is stale while runs are under way, or a moment ago were, that may end that."""
    if _exists(connection, "dagster.runs"):
        row = connection.execute(UNDER_WAY).fetchone()
        if row is not None and row[0]:
            return UNDER_WAY_HOURS
    return 0.0


def _exists(connection: psycopg.Connection, relation: str) -> bool:
    """Whether Dagster or dbt have created this table yet."""
    row = connection.execute("select to_regclass(%s) is not null", [relation]).fetchone()
    return row is not None and bool(row[0])


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return folder if folder.exists() else _existing(folder.parent)
