"""Compares what is stored and shown with what the site knows, and looks for what was left over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import psycopg

from bench.soak.site import Opinions

# A favourite that nobody rates or likes any more is no opinion of a film's numbers.
STORED = """
select username, uid, rating::float8, liked
from raw.ratings join raw.users using (user_id) join raw.films using (film_id)
where removed_at is null and (rating is not null or liked)
"""
MEMBERS = """
select slug, array_agg(username) from raw.cohort_members
join raw.cohorts using (cohort_id) join raw.users using (user_id)
where until is null group by slug
"""
# Two rows of a member for one film of the site, also where the film itself is stored twice.
DUPLICATES = """
select count(*) from (
    select from raw.ratings join raw.films using (film_id) where removed_at is null
    group by user_id, coalesce(uid, film_id::text) having count(*) > 1
) as twice
"""
# Each event begins where the one before ended, and changes something.
BROKEN_EVENTS = """
select
    count(*) filter (where before is not null and before is distinct from old_state),
    count(*) filter (where old_state is not distinct from new_state)
from (
    select old_state, new_state,
        lag(new_state) over (partition by user_id, film_id order by rating_event_id) as before
    from (
        select user_id, film_id, rating_event_id,
            jsonb_build_array(
                kind in ('changed', 'removed'), old_rating, coalesce(old_liked, false),
                coalesce(old_favorite, false)) as old_state,
            jsonb_build_array(
                kind <> 'removed', new_rating, coalesce(new_liked, false),
                coalesce(new_favorite, false)) as new_state
        from raw.rating_events
    ) as states
) as chain
"""
# What the last event left is what is stored.
UNTOLD = """
with latest as (
    select distinct on (user_id, film_id) user_id, film_id, kind, new_rating, new_liked
    from raw.rating_events order by user_id, film_id, rating_event_id desc
)
select count(*) from raw.ratings full join latest using (user_id, film_id)
where case
    when kind is null or source is null then true
    when kind = 'removed' then removed_at is null
    else removed_at is not null or rating is distinct from new_rating or liked is distinct from new_liked
end
"""
SHOWN = """
select cohort, uid, watchers, raters, coalesce(rating_sum, 0)::float8, liked_count
from almanac.cohort_film_stats join raw.films using (film_id) where watchers > 0
"""
RANKED = """
select cohort, array_agg(distinct uid) from almanac.film_rankings join raw.films using (film_id)
where strategy = 'almanac' group by cohort
"""
# A cohort shows the input that its audits refused.
WRONGLY_SHOWN = """
select distinct cohort from intermediate.cohort_audits as audits
join ops.publications using (cohort_id, input_version)
where blocking and not passed
"""
FRESHNESS = """
select slug, success_age_hours, open_failures_count from ops.cohort_pipelines order by slug
"""
LEFT_OVERS = {
    "locks": "select count(*) from pg_locks where locktype = 'advisory'"
    " and database = (select oid from pg_database where datname = current_database())",
    "sessions": "select count(*) from pg_stat_activity where datname = current_database()"
    " and pid <> pg_backend_pid() and backend_type = 'client backend'",
    "slots": "select count(*) from dagster.concurrency_slots where run_id is not null",
    "pending_steps": "select count(*) from dagster.pending_steps",
    "runs": "select count(*) from dagster.runs where status not in ('SUCCESS', 'FAILURE', 'CANCELED')",
    "scrape_runs": "select count(*) from ops.scrape_runs where status = 'running'",
    "enrichment_runs": "select count(*) from ops.enrichment_runs where status = 'running'",
}

OTHER_MEMBERS = "has other members"

Marts = dict[str, tuple[int, int, float, int]]
"""{film's uid: (watchers, raters, sum of stars, likes)}"""


@dataclass(frozen=True)
class Evening:
    """How a day ended, per cohort: why it does not show the truth, or nothing."""

    wrong: Mapping[str, str]
    """{cohort: why it does not show the day's truth}"""
    unlike_raw: Collection[str]
    """Cohorts whose marts are not what their members' stored opinions give."""
    lost: int
    invented: int
    age_hours: Mapping[str, float]
    open_failures: int


def stored_opinions(connection: psycopg.Connection) -> Opinions:
    """What is stored of every member, by name."""
    found: Opinions = {}
    for name, uid, rating, liked in connection.execute(STORED):
        found.setdefault(name.lower(), {})[uid] = (rating, liked)
    return found


def evening(
    connection: psycopg.Connection,
    truth: Opinions,
    circles: Mapping[str, frozenset[str]],
    newcomers: Collection[str],
) -> Evening:
    """Judge the cohorts at the end of a day.

    `newcomers` joined a circle today, after the daily reading: they may be unread until tomorrow.
    """
    stored = stored_opinions(connection)
    members = {slug: frozenset(name.lower() for name in names) for slug, names in connection.execute(MEMBERS)}
    shown: dict[str, Marts] = {}
    for cohort, uid, *numbers in connection.execute(SHOWN):
        shown.setdefault(cohort, {})[uid] = tuple(numbers)
    ranked = {cohort: set(uids) for cohort, uids in connection.execute(RANKED)}
    refused = {cohort for (cohort,) in connection.execute(WRONGLY_SHOWN)}
    told = connection.execute(FRESHNESS).fetchall()

    known = {name: {} if name in newcomers and name not in stored else truth[name] for name in truth}
    wrong: dict[str, str] = {}
    for slug, circle in circles.items():
        expected = recount(known, circle)
        if slug in refused:
            wrong[slug] = "shows what its audits refused"
        elif members.get(slug) != circle:
            wrong[slug] = OTHER_MEMBERS
        elif unread := [name for name in sorted(circle) if stored.get(name, {}) != known[name]]:
            wrong[slug] = (
                f"holds other opinions of {len(unread)} members: {differences(stored, known, unread)}"
            )
        elif shown.get(slug) != expected:
            wrong[slug] = "shows other numbers"
        elif ranked.get(slug) != {uid for uid, numbers in expected.items() if numbers[1]}:
            wrong[slug] = "ranks other films"
    present = {name for circle in circles.values() for name in circle}
    pairs = [(known[name], stored.get(name, {})) for name in present]
    return Evening(
        wrong=wrong,
        unlike_raw={s for s in circles if shown.get(s, {}) != recount(stored, members.get(s, frozenset()))},
        lost=sum(len(true.keys() - found.keys()) for true, found in pairs),
        invented=sum(len(found.keys() - true.keys()) for true, found in pairs),
        age_hours={slug: float("inf") if age is None else age for slug, age, _ in told},
        open_failures=sum(failures for _, _, failures in told),
    )


def differences(stored: Opinions, known: Opinions, names: Collection[str]) -> str:
    """How many ratings and how many likes of these members differ, in words. Pure."""
    pairs = [
        (stored.get(name, {}).get(uid, (None, False)), known[name].get(uid, (None, False)))
        for name in names
        for uid in {*stored.get(name, {}), *known[name]}
    ]
    ratings = sum(found[0] != true[0] for found, true in pairs)
    likes = sum(found[1] != true[1] for found, true in pairs)
    return f"{ratings} ratings, {likes} likes"


def recount(opinions: Opinions, members: Collection[str]) -> Marts:
    """The numbers of each film, counted from single opinions. Pure."""
    voices: dict[str, list[tuple[float | None, bool]]] = {}
    for name in members:
        for uid, opinion in opinions.get(name, {}).items():
            voices.setdefault(uid, []).append(opinion)
    return {
        uid: (
            len(given),
            len([stars for stars, _ in given if stars is not None]),
            sum(stars for stars, _ in given if stars is not None),
            sum(liked for _, liked in given),
        )
        for uid, given in voices.items()
    }


def duplicates(connection: psycopg.Connection) -> dict[str, int]:
    """Rows and events that are there twice, and events that do not follow from the one before."""
    [[opinions]] = connection.execute(DUPLICATES).fetchall()
    [[broken, repeated]] = connection.execute(BROKEN_EVENTS).fetchall()
    [[untold]] = connection.execute(UNTOLD).fetchall()
    return {"opinions": opinions, "repeated_events": repeated, "broken_events": broken, "untold": untold}


def left_overs(connection: psycopg.Connection) -> dict[str, int]:
    """What should be gone when nothing runs, by kind, where there is any."""
    counts = {name: connection.execute(query).fetchall()[0][0] for name, query in LEFT_OVERS.items()}
    return {name: count for name, count in counts.items() if count}


def open_alerts(connection: psycopg.Connection) -> list[dict[str, Any]]:
    """Kind, number and subject of what needs attention."""
    rows = connection.execute(
        "select alert_id, kind, subject from ops.alerts where resolved_at is null order by alert_id"
    )
    return [{"alert_id": number, "kind": kind, "subject": subject} for number, kind, subject in rows]


def raised_alerts(connection: psycopg.Connection) -> dict[str, int]:
    """How often each kind of alert was raised in all."""
    return dict(Counter(kind for (kind,) in connection.execute("select kind from ops.alerts")))


def megabytes(connection: psycopg.Connection) -> dict[str, float]:
    """Size of the database, of it Dagster's own schema."""
    row = connection.execute(
        """
        select pg_database_size(current_database()), (
            select sum(pg_total_relation_size(oid)) from pg_class
            where relkind = 'r' and relnamespace = 'dagster'::regnamespace
        )
        """
    ).fetchone()
    assert row is not None
    return {"database": round(row[0] / 1e6, 1), "dagster": round(float(row[1]) / 1e6, 1)}
