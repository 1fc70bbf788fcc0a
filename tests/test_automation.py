"""What goes on by itself, tick by tick: found, built once, kept fresh, rebuilt where something changed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import psycopg
import pytest
import yaml  # type: ignore[import-untyped]

from almanac_pipeline.cohort_tags import COHORTS_TAG
from almanac_pipeline.settings import PROJECT_ROOT, get_settings
from almanac_pipeline.warehouse import changes, schedule
from almanac_pipeline.warehouse.cohorts import create_cohort
from tests.conftest import new_database

if TYPE_CHECKING:
    from dagster import DagsterInstance, SensorResult

# What Dagster says about its own beta features is settled in almanac_pipeline/defs/__init__.py.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def url(server_url: str, ready_template: str) -> Iterator[str]:
    """A database of our own, with dbt's views."""
    with new_database(server_url, ready_template) as address:
        yield address


@pytest.fixture
def warehouse(url: str) -> Iterator[psycopg.Connection]:
    """A connection to it that commits every statement."""
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def local_site(url: str, clean_settings: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """That database, and a site on this machine, which may always be asked."""
    monkeypatch.setenv("ALMANAC_DATABASE_URL", url)
    monkeypatch.setenv("ALMANAC_LETTERBOXD_URL", "http://localhost:1")
    get_settings.cache_clear()


@pytest.fixture
def instance(local_site: None) -> Iterator[DagsterInstance]:
    """An instance in memory."""
    from dagster import DagsterInstance

    with DagsterInstance.ephemeral() as opened:
        yield opened


@pytest.fixture
def stored_instance(local_site: None, tmp_path: Path) -> Iterator[DagsterInstance]:
    """An instance with an address, by which a schedule opens it."""
    from dagster import DagsterInstance

    with DagsterInstance.local_temp(str(tmp_path)) as opened:
        yield opened


def add_run(instance: DagsterInstance, job: str, status: str, *slugs: str) -> str:
    """A run of these cohorts; returns its id."""
    from dagster import DagsterRunStatus
    from dagster._core.test_utils import create_run_for_test

    tags = {"dagster/partition": slugs[0], COHORTS_TAG: ",".join(slugs)}
    run = create_run_for_test(instance, job_name=job, status=DagsterRunStatus[status], tags=tags)
    return str(run.run_id)


def add_circle(connection: psycopg.Connection, slug: str, members: int = 1) -> int:
    """A cohort whose members each rated a film of their own."""
    names = [f"{slug}-{number}" for number in range(members)] or ["nobody"]
    cohort = create_cohort(connection, slug, slug, {"kind": "usernames", "usernames": names})
    for name in names[:members]:
        connection.execute(
            """
            with member as (insert into raw.users (username) values (%(name)s) returning user_id),
            film as (insert into raw.films (slug, title) values (%(name)s, %(name)s) returning film_id),
            joined as (insert into raw.cohort_members (cohort_id, user_id) select %(id)s, user_id from member)
            insert into raw.ratings (user_id, film_id, rating, source)
            select user_id, film_id, 4, 'pages' from member, film
            """,
            {"name": name, "id": cohort.cohort_id},
        )
    return cohort.cohort_id


def tick(sensor: Any, instance: DagsterInstance, cursor: str | None = None) -> SensorResult:
    """What a sensor answers."""
    from almanac_pipeline.defs.resources import Almanac

    context = dg.build_sensor_context(instance=instance, cursor=cursor, resources={"almanac": Almanac()})
    result: SensorResult = sensor(context)
    return result


def due(timed: Any, instance: DagsterInstance, weekday: int = 0) -> list[list[str]] | str:
    """The cohorts that a schedule asks for, by run; or why it asks for none."""
    from almanac_pipeline.defs.resources import Almanac

    now = datetime.now(UTC)
    # Closed, because the instance that it opens stands in globals of Dagster's.
    with dg.build_schedule_context(
        instance=instance,
        scheduled_execution_time=now + timedelta(days=weekday - now.weekday()),
        resources={"almanac": Almanac()},
    ) as context:
        asked = list(timed(context))
    if isinstance(asked[0], dg.SkipReason):
        return str(asked[0].skip_message)
    return [each.tags.get(COHORTS_TAG, each.partition_key).split(",") for each in asked]


def register(instance: DagsterInstance, *slugs: str) -> None:
    instance.add_dynamic_partitions("cohorts", list(slugs))


# -- cohorts that are new --------------------------------------------------------------------------


def test_a_cohort_is_found_however_it_was_created_and_only_registered(
    instance: DagsterInstance, warehouse: psycopg.Connection
) -> None:
    from almanac_pipeline.defs.automation.discovery import discovery

    add_circle(warehouse, "built")
    warehouse.execute("""insert into raw.cohorts (slug, label, definition) values ('row', 'Row', '{}')""")
    result = tick(discovery, instance)
    [request] = result.dynamic_partitions_requests or []
    assert sorted(request.partition_keys) == ["built", "row"]
    assert not result.run_requests
    register(instance, "built", "row")
    assert not tick(discovery, instance).dynamic_partitions_requests


def test_a_cohort_that_nobody_has_read_is_built_once_even_if_that_fails(
    instance: DagsterInstance, warehouse: psycopg.Connection
) -> None:
    from almanac_pipeline.defs.automation.discovery import first_builds

    def asked() -> list[str | None]:
        return [request.partition_key for request in tick(first_builds, instance).run_requests or []]

    for slug in ("circle", "ended", "read"):
        add_circle(warehouse, slug)
    warehouse.execute("update raw.cohorts set status = 'archived' where slug = 'ended'")
    warehouse.execute(
        "insert into ops.scrape_runs (cohort_id, subject)"
        " select cohort_id, 'members' from raw.cohorts where slug = 'read'"
    )
    assert asked() == []  # its partition is not there yet
    register(instance, "circle", "ended", "read")
    assert asked() == ["circle"]
    add_run(instance, "cohort_almanac", "FAILURE", "circle")
    assert asked() == []


@pytest.mark.parametrize(("error", "is_repeated"), [("RetriableError", True), ("NotFoundError", False)])
def test_a_cohort_whose_members_could_not_be_found_is_tried_again_a_day_later_unless_that_failed_for_good(
    instance: DagsterInstance,
    warehouse: psycopg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    error: str,
    is_repeated: bool,
) -> None:
    from dagster import DagsterEvent
    from dagster._core.execution.plan.objects import StepFailureData
    from dagster._utils.error import SerializableErrorInfo

    from almanac_pipeline.defs.automation import discovery

    cohort_id = add_circle(warehouse, "circle", members=0)
    register(instance, "circle")
    run_id = add_run(instance, "cohort_almanac", "FAILURE", "circle")
    cause = SerializableErrorInfo("It did not work.", [], error)
    failure = StepFailureData(SerializableErrorInfo("A step failed.", [], "Failure", cause=cause), None)
    event = DagsterEvent(
        "STEP_FAILURE", "cohort_almanac", step_key="raw__cohort_members", event_specific_data=failure
    )
    instance.report_dagster_event(event, run_id)
    warehouse.execute(
        "insert into ops.scrape_runs (cohort_id, subject, status) values (%s, 'members', 'failed')",
        [cohort_id],
    )
    assert not tick(discovery.first_builds, instance).run_requests
    monkeypatch.setattr(discovery, "AGAIN_AFTER", timedelta(0))
    keys = [request.run_key for request in tick(discovery.first_builds, instance).run_requests or []]
    assert keys == ([f"again-{run_id}"] if is_repeated else [])
    warehouse.execute("update ops.scrape_runs set status = 'succeeded'")
    assert not tick(discovery.first_builds, instance).run_requests


def test_a_cohort_that_a_command_is_building_is_left_to_it_for_as_long_as_it_lives(
    instance: DagsterInstance, warehouse: psycopg.Connection, url: str
) -> None:
    from almanac_pipeline.defs.automation.discovery import first_builds

    register(instance, "circle")
    with psycopg.connect(url) as command, schedule.built_by_command(command, "circle"):
        add_circle(warehouse, "circle")
        assert not tick(first_builds, instance).run_requests
        command.close()  # as kill -9 does
    [request] = tick(first_builds, instance).run_requests or []
    assert (request.partition_key, request.run_key) == ("circle", "first-circle")


def test_a_circle_that_takes_pages_to_find_waits_until_they_may_be_fetched(
    instance: DagsterInstance, warehouse: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    from almanac_pipeline.defs.automation.discovery import first_builds

    monkeypatch.setenv("ALMANAC_LETTERBOXD_URL", "https://letterboxd.com")
    get_settings.cache_clear()
    add_circle(warehouse, "named")
    create_cohort(warehouse, "found", "Found", {"kind": "following", "seed": "ann"})
    register(instance, "named", "found")
    requests = tick(first_builds, instance).run_requests or []
    assert [request.partition_key for request in requests] == ["named"]
    warehouse.execute("update raw.cohorts set status = 'paused' where slug = 'named'")
    reason = tick(first_builds, instance).skip_reason
    assert reason is not None
    assert "ALMANAC_AUTHORISED=true" in str(reason)


# -- what has changed ------------------------------------------------------------------------------


def noticed(connection: psycopg.Connection) -> list[str]:
    """Slugs of the cohorts that changed since the last call."""
    before = connection.execute("select coalesce(max(change_number), 0) from ops.cohort_changes").fetchone()
    changes.empty_queues(connection)
    assert before is not None
    return [cohort.slug for cohort in changes.changed_since(connection, before[0])]


FILM = "select film_id from raw.films where slug = 'circle-0'"
MEMBER = "select user_id from raw.users where username = 'circle-0'"
CHANGES = {
    "ratings": "update raw.ratings set rating = 1 where user_id in ({member})",
    "diary_entries": "insert into raw.diary_entries (user_id, film_id, source, source_key, film_title)"
    " select ({member}), ({film}), 'pages', 'k', 'T'",
    "watchlist_entries": "insert into raw.watchlist_entries (user_id, film_id, source)"
    " select ({member}), film_id, 'pages' from raw.films limit 1",
    "users": "update raw.users set stated_ratings_count = 7 where username = 'circle-0'",
    "cohort_members": "update raw.cohort_members set until = now() where user_id in ({member})",
    "cohorts": """update raw.cohorts set ranking_parameters = '{{"a": 1}}' where slug = 'circle'""",
    "films": "update raw.films set runtime_minutes = 90 where slug = 'circle-0'",
    "film_aliases": "insert into raw.film_aliases (kind, value, film_id) select 'slug', 'x', ({film})",
    "film_histograms": "insert into raw.film_histograms (film_id, source) select ({film}), 'letterboxd'",
    "people": "update raw.people set name = 'B' where name = 'A'",
    "film_people": "delete from raw.film_people",
    "genres": "update raw.genres set name = 'B' where name = 'A'",
    "film_genres": "delete from raw.film_genres",
    "countries": "update raw.countries set name = 'B' where name = 'A'",
    "film_countries": "delete from raw.film_countries",
}


def test_every_table_that_a_build_reads_is_watched(warehouse: psycopg.Connection) -> None:
    sources = yaml.safe_load(
        (PROJECT_ROOT / "dbt_project" / "models" / "staging" / "raw" / "_raw__sources.yml").read_text()
    )["sources"]
    watched = warehouse.execute(
        "select distinct tgrelid::regclass::text from pg_trigger where tgname ~ '^note_'"
    )
    assert {f"raw.{table['name']}" for source in sources for table in source["tables"]} == {
        name for (name,) in watched
    }
    assert set(CHANGES) == {table["name"] for source in sources for table in source["tables"]}


def test_a_change_of_anything_that_is_read_is_noticed_in_its_cohort_and_in_no_other(
    warehouse: psycopg.Connection,
) -> None:
    for slug in ("circle", "other"):
        add_circle(warehouse, slug)
    for thing, key in (("people", "person_id"), ("genres", "genre_id"), ("countries", "country_id")):
        columns, values = ("", "") if thing != "people" else (", role, credit_order", ", 'actor', 1")
        warehouse.execute(
            f"with new as (insert into raw.{thing} (name) values ('A') returning {key})"
            f" insert into raw.film_{thing} (film_id, {key}{columns})"
            f" select ({FILM}), {key}{values} from new"
        )
    assert noticed(warehouse) == ["circle", "other"]
    for table, statement in CHANGES.items():
        before = warehouse.execute(f"select * from raw.{table} order by 1, 2").fetchall()
        warehouse.execute("begin")
        changed = statement.format(film=FILM, member=MEMBER)
        assert warehouse.execute(changed).rowcount > 0, table
        warehouse.execute("commit")
        assert noticed(warehouse) == ["circle"], table
        assert warehouse.execute(f"select * from raw.{table} order by 1, 2").fetchall() != before, table
        if table == "cohort_members":
            warehouse.execute("update raw.cohort_members set until = null")
            noticed(warehouse)
    warehouse.execute("update raw.users set listed_films_count = 7, updated_at = now()")
    warehouse.execute("update raw.film_histograms set fetched_at = now()")
    assert noticed(warehouse) == [], "nothing of that is read by a build"


def test_what_is_committed_late_is_noticed_late_and_not_missed(
    warehouse: psycopg.Connection, url: str
) -> None:
    add_circle(warehouse, "circle")
    noticed(warehouse)
    with psycopg.connect(url) as slow:
        slow.execute("update raw.ratings set rating = 1")
        assert noticed(warehouse) == []
    assert noticed(warehouse) == ["circle"]


def test_a_rating_elsewhere_concerns_those_who_are_compared_with_all_members(
    warehouse: psycopg.Connection,
) -> None:
    for slug in ("circle", "other"):
        cohort_id = add_circle(warehouse, slug)
        source = "members" if slug == "other" else "letterboxd"
        warehouse.execute(
            "insert into ops.publications (cohort_id, input_version, members_count, films_count,"
            " ratings_count, inputs) values (%s, 'v', 1, 1, 1, %s)",
            [cohort_id, json.dumps({"global_averages": {source: 1}})],
        )
    add_circle(warehouse, "third")
    noticed(warehouse)
    warehouse.execute("update raw.ratings set rating = 1 where film_id in (%s)" % FILM)  # noqa: UP031
    assert noticed(warehouse) == ["circle", "other"]


def test_ten_changed_cohorts_that_are_no_neighbours_are_asked_for_in_one_run_and_once(
    instance: DagsterInstance, warehouse: psycopg.Connection
) -> None:
    from almanac_pipeline.defs.automation.changes import changes as sensor

    slugs = [f"c{number:02}" for number in range(30)]
    for slug in slugs:
        add_circle(warehouse, slug)
    register(instance, *slugs)
    first = tick(sensor, instance)
    assert [request.tags[COHORTS_TAG].split(",") for request in first.run_requests or []] == [slugs]
    assert not tick(sensor, instance, first.cursor).run_requests, "nothing changed since"

    chosen = slugs[::3]
    warehouse.execute(
        "update raw.ratings set rating = 1 from raw.films"
        " where films.film_id = ratings.film_id and slug = any(%s)",
        [[f"{slug}-0" for slug in chosen]],
    )
    second = tick(sensor, instance, first.cursor)
    [request] = second.run_requests or []
    assert (request.partition_key, request.tags[COHORTS_TAG].split(",")) == (chosen[0], chosen)
    add_run(instance, "statistics", "FAILURE", *chosen)
    assert not tick(sensor, instance, second.cursor).run_requests, "what failed is not asked for again"
    # The daemon died before it noted what was asked: the same once more, and the run key makes it one run.
    again = tick(sensor, instance, first.cursor)
    assert [each.run_key for each in again.run_requests or []] == [request.run_key]


def test_a_cohort_in_the_hands_of_a_run_is_asked_for_when_that_has_ended_or_goes_on_for_hours(
    instance: DagsterInstance, warehouse: psycopg.Connection
) -> None:
    from dagster import DagsterEvent, DagsterEventType

    from almanac_pipeline.defs.automation.changes import changes as sensor

    add_circle(warehouse, "circle")
    register(instance, "circle")
    run_id = add_run(instance, "enrich", "STARTED", "other", "circle")
    waiting = tick(sensor, instance)
    assert not waiting.run_requests
    warehouse.execute("update ops.cohort_changes set waiting_since = now() - interval '7 hours'")
    assert len(tick(sensor, instance, waiting.cursor).run_requests or []) == 1
    assert not tick(sensor, instance, waiting.cursor).run_requests
    instance.report_dagster_event(DagsterEvent(DagsterEventType.RUN_SUCCESS.value, "enrich"), run_id)
    waiting = tick(sensor, instance, waiting.cursor)
    assert len(waiting.run_requests or []) == 1
    assert not tick(sensor, instance, waiting.cursor).run_requests


def test_another_release_has_every_cohort_looked_at_that_is_active(
    instance: DagsterInstance, warehouse: psycopg.Connection
) -> None:
    from almanac_pipeline.defs.automation.changes import changes as sensor

    for slug in ("circle", "ended"):
        add_circle(warehouse, slug)
    warehouse.execute("update raw.cohorts set status = 'archived' where slug = 'ended'")
    add_circle(warehouse, "without-anybody-yet", 0)
    register(instance, "circle", "ended", "without-anybody-yet")
    cursor = json.loads(str(tick(sensor, instance).cursor))
    assert not tick(sensor, instance, json.dumps(cursor)).run_requests
    requests = tick(sensor, instance, json.dumps(cursor | {"code": "of the release before"})).run_requests
    assert [request.partition_key for request in requests or []] == ["circle"]


# -- the schedules ---------------------------------------------------------------------------------


def test_due_cohorts_share_runs_by_their_members_and_others_are_left_alone(
    stored_instance: DagsterInstance,
    warehouse: psycopg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from almanac_pipeline.defs.automation.timetable import full_enrichment, incremental

    monkeypatch.setenv("ALMANAC_BATCH_MEMBERS", "4")
    get_settings.cache_clear()
    sizes = {"a": 2, "b": 2, "fresh": 1, "often": 1, "paused": 1, "busy": 1, "large": 5, "new": 0}
    for slug, size in sizes.items():
        add_circle(warehouse, slug, size)
    add_circle(warehouse, "unregistered")
    register(stored_instance, *sizes)
    warehouse.execute("update raw.cohorts set status = 'paused' where slug = 'paused'")
    schedule.set_cadence(warehouse, "often", 6)
    for slug, hours in {"a": 30, "fresh": 7, "often": 7}.items():
        warehouse.execute(
            "insert into ops.scrape_runs (cohort_id, subject, status, started_at)"
            " select cohort_id, 'ratings', 'failed', now() - make_interval(hours => %s)"
            " from raw.cohorts where slug = %s",
            [hours, slug],
        )
    add_run(stored_instance, "incremental", "STARTING", "a-cohort-that-is-gone", "busy")
    assert due(incremental, stored_instance) == [["a", "b"], ["often"], ["large"]]
    assert due(full_enrichment, stored_instance) == [["a", "b"], ["fresh", "often", "busy"], ["large"]]


def test_where_nothing_may_be_asked_a_schedule_skips_and_says_what_to_do(
    stored_instance: DagsterInstance, warehouse: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    from almanac_pipeline.defs.automation.timetable import follow_graph, full_enrichment, incremental

    add_circle(warehouse, "circle")
    register(stored_instance, "circle")
    assert due(follow_graph, stored_instance) == [["circle"]]
    monkeypatch.setenv("ALMANAC_LETTERBOXD_URL", "https://letterboxd.com")
    monkeypatch.setenv("ALMANAC_CONTACT", "https://example.org/almanac")
    get_settings.cache_clear()
    for timed in (incremental, follow_graph, full_enrichment):
        assert "ALMANAC_AUTHORISED=true" in due(timed, stored_instance)
    # A member's feed needs no authorisation, TMDB needs no pages.
    warehouse.execute("update raw.users set feed_opted_in_at = now()")
    assert due(incremental, stored_instance) == [["circle"]]
    monkeypatch.setenv("ALMANAC_TMDB_TOKEN", "token")
    get_settings.cache_clear()
    assert due(full_enrichment, stored_instance) == [["circle"]]
    for statement, words in {
        "update ops.switches set enabled = false": "almanac unpause",
        "insert into ops.http_hosts (host, blocked_at) values ('letterboxd.com', now())": "almanac unblock",
        "insert into ops.http_hosts (host, budget_day, requests_of_day) values"
        " ('letterboxd.com', (now() at time zone 'UTC')::date, 10000)": "after midnight UTC",
    }.items():
        warehouse.execute("update ops.switches set enabled = true")
        warehouse.execute("delete from ops.http_hosts")
        warehouse.execute(statement)
        for timed in (incremental, full_enrichment):
            assert words in due(timed, stored_instance)


def test_a_cohort_is_due_just_before_it_would_be_too_old_and_after_a_failure_no_sooner() -> None:
    from almanac_pipeline.flows.automation import is_due

    now = datetime(2026, 3, 1, 2, 17, tzinfo=UTC)

    def cohort(hours: float | None, every: int | None = None) -> schedule.ScheduledCohort:
        last = None if hours is None else now - timedelta(hours=hours)
        return schedule.ScheduledCohort("circle", 1, every, last, None)

    assert is_due(cohort(None), 24, now)
    # Left until the schedule looks again in an hour, it would not be through in time.
    assert is_due(cohort(22.1), 24, now)
    assert not is_due(cohort(21.9), 24, now)
    assert is_due(cohort(4.5, every=6), 24, now)
    assert not is_due(cohort(30, every=48), 24, now)


def test_likes_and_favourites_are_looked_at_by_each_daily_reading_however_soon_it_comes() -> None:
    from almanac_pipeline.flows.automation import LOOK_AHEAD
    from almanac_pipeline.settings import Settings

    defaults = {name: field.default for name, field in Settings.model_fields.items()}
    soonest_hours = defaults["sync_every_hours"] - LOOK_AHEAD / timedelta(hours=1)
    assert defaults["likes_max_age_hours"] < soonest_hours
    assert defaults["profile_max_age_hours"] < soonest_hours


def test_who_belongs_to_a_circle_is_asked_on_mondays_and_the_next_day_again_if_it_was_not_found(
    stored_instance: DagsterInstance, warehouse: psycopg.Connection
) -> None:
    from almanac_pipeline.defs.automation.timetable import follow_graph

    read = {"new": (), "yesterday": (("succeeded", 1.0),), "tonight": (("failed", 1), ("succeeded", 0.2))}
    read |= {"failed": (("succeeded", 8), ("failed", 1))}
    for slug, runs in read.items():
        add_circle(warehouse, slug)
        for status, days in runs:
            warehouse.execute(
                "insert into ops.scrape_runs (cohort_id, subject, status, started_at)"
                " select cohort_id, 'members', %s, now() - %s * interval '1 day'"
                " from raw.cohorts where slug = %s",
                [status, days, slug],
            )
    register(stored_instance, *read)
    assert due(follow_graph, stored_instance, weekday=0) == [["new", "yesterday", "failed"]]
    assert due(follow_graph, stored_instance, weekday=1) == [["new", "failed"]]


# -- after a failed check ---------------------------------------------------------------------------


def test_after_a_failed_check_of_completeness_those_who_lack_ratings_are_read_in_full_and_once_a_week(
    warehouse: psycopg.Connection,
) -> None:
    from almanac_pipeline.flows.routes import Permissions, plan_route
    from almanac_pipeline.settings import Settings
    from almanac_pipeline.warehouse.member_state import read_member_states
    from almanac_pipeline.warehouse.staging import doubt_incomplete_ratings

    cohort_id = add_circle(warehouse, "circle", 4)
    members = [user for (user,) in warehouse.execute("select user_id from raw.users order by user_id")]
    # The second is complete, the third was read in full a day ago, the fourth is always counted one too many.
    for user_id, stated, days, surplus in zip(members, (9, 1, 9, 2), (8, 8, 1, 8), (0, 0, 0, 1), strict=True):
        warehouse.execute(
            "update raw.users set stated_ratings_count = %s where user_id = %s", [stated, user_id]
        )
        warehouse.execute(
            "insert into ops.user_scrape_state"
            " (user_id, subject, last_success_at, last_full_at, stated_surplus)"
            " values (%s, 'ratings', now() - interval '1 day', now() - make_interval(days => %s), %s)",
            [user_id, days, surplus],
        )
    audit = (
        "insert into intermediate.cohort_audits (cohort_id, cohort, input_version, rule, blocking, passed)"
        " values (%s, 'circle', 'v', 'coverage_rating', false, %s)"
    )
    warehouse.execute(audit, [cohort_id, True])
    assert doubt_incomplete_ratings(warehouse, cohort_id) == 0
    warehouse.execute("delete from intermediate.cohort_audits")
    warehouse.execute(audit, [cohort_id, False])
    assert doubt_incomplete_ratings(warehouse, cohort_id) == 1
    may = Permissions(frozenset({"rated", "rated_by_date"}))
    settings = Settings(fresh_minutes=0, full_read_max_age_hours=1_000)
    modes = {
        state.user_id: [step.mode for step in plan_route(state, may, settings).steps]
        for state in read_member_states(warehouse, members)
    }
    assert modes == {user_id: ["full" if user_id == members[0] else "incremental"] for user_id in members}


# -- the night -------------------------------------------------------------------------------------


def test_the_night_saves_first_and_deletes_only_what_is_old_and_superseded(
    stored_instance: DagsterInstance,
    warehouse: psycopg.Connection,
    url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from almanac_pipeline.flows.housekeeping import keep_house

    monkeypatch.setenv("ALMANAC_HOME", str(tmp_path / "home"))
    get_settings.cache_clear()
    warehouse.execute("insert into dagster.runs (run_id, status, run_body) values ('r', 'SUCCESS', '{}')")
    for kind, partition, days in (
        ("STEP_START", None, 40),
        (None, None, 40),
        ("ASSET_MATERIALIZATION", "a", 40),
        ("ASSET_MATERIALIZATION", "a", 35),
        ("ASSET_MATERIALIZATION", "b", 90),
        ("STEP_START", None, 3),
    ):
        warehouse.execute(
            "insert into dagster.event_logs"
            " (run_id, event, dagster_event_type, asset_key, partition, timestamp)"
            " values ('r', '{}', %s, '[\"raw\"]', %s, now() at time zone 'UTC' - make_interval(days => %s))",
            [kind, partition, days],
        )
    for days in (100, 1):
        warehouse.execute(
            "insert into ops.http_requests (requested_at, host, path_class, milliseconds)"
            " values (now() - make_interval(days => %s), 'localhost', 'profile', 1)",
            [days],
        )
    for subject, days in (("a", 200), ("a", 100), ("b", 200), ("c", 100), ("c", 1), ("d", None)):
        warehouse.execute(
            "insert into ops.alerts (kind, subject, message, resolved_at)"
            " values ('failed_check', %s, 'm', now() - make_interval(days => %s))",
            [subject, days],
        )
    report = keep_house(url, get_settings())
    assert (report.events_deleted_count, report.requests_deleted_count) == (3, 1)
    assert report.alerts_deleted_count == 2
    alerts = warehouse.execute(
        "select subject, (now() - resolved_at)::text from ops.alerts order by alert_id"
    )
    assert [(subject, age and age.split()[0]) for subject, age in alerts] == [
        ("a", "100"), ("b", "200"), ("c", "1"), ("d", None)
    ]  # fmt: skip
    left = warehouse.execute("select dagster_event_type, partition from dagster.event_logs order by id")
    assert left.fetchall() == [
        ("ASSET_MATERIALIZATION", "a"),
        ("ASSET_MATERIALIZATION", "b"),
        ("STEP_START", None),
    ]
    assert (get_settings().backup_folder / report.backup).stat().st_size == report.backup_bytes
    assert keep_house(url, get_settings()).events_deleted_count == 0


# -- runs of several cohorts -----------------------------------------------------------------------


def test_a_run_of_cohorts_that_are_no_neighbours_builds_each_and_tells_of_each(
    instance: DagsterInstance, warehouse: psycopg.Connection
) -> None:
    from almanac_pipeline.definitions import defs

    for slug in ("a", "b", "c"):
        add_circle(warehouse, slug, 2)
    register(instance, "a", "b", "c")
    job = defs.resolve_job_def("statistics")
    assert job.execute_in_process(instance=instance, partition_key="a", tags={COHORTS_TAG: "a,c"}).success
    published = warehouse.execute("select slug from ops.publications join raw.cohorts using (cohort_id)")
    assert sorted(slug for (slug,) in published) == ["a", "c"]
    for key in (["almanac", "film_rankings"], ["intermediate", "circle_model"], ["ops", "publications"]):
        assert instance.get_materialized_partitions(dg.AssetKey(key)) == {"a", "c"}, key


def test_a_batch_tells_of_those_that_succeeded_and_fails_only_if_all_did(instance: DagsterInstance) -> None:
    from almanac_pipeline.defs.batches import materialize_each
    from almanac_pipeline.errors import BlockedError, NotFoundError, RetriableError
    from almanac_pipeline.partitions import cohorts

    failing: dict[str, Exception] = {}
    tried = []

    @dg.asset(partitions_def=cohorts)
    # Dagster does not understand annotations that are strings, as they are here.
    def synced(context):  # type: ignore[no-untyped-def]
        def sync(slug: str) -> str:
            tried.append(slug)
            if slug in failing:
                raise failing[slug]
            return slug.upper()

        return materialize_each(context, sync, lambda slug, report: {"said": f"{slug} is {report}"})

    def run() -> dict[str, str]:
        """What is told of each cohort."""
        tried.clear()
        result = dg.materialize(
            [synced], instance=instance, partition_key="a", tags={COHORTS_TAG: "a,c,d"}, raise_on_error=False
        )
        if not result.success:
            return {}
        told = (event.step_materialization_data.materialization for event in result.all_events
                if event.is_step_materialization)  # fmt: skip
        return {str(each.partition): " ".join(str(v.value) for v in each.metadata.values()) for each in told}

    register(instance, "a", "b", "c", "d")
    assert run() == {"a": "a is A", "c": "c is C", "d": "d is D"}
    failing["c"] = NotFoundError("nobody")
    assert run() == {"a": "c a is A", "d": "d is D"}
    failing["a"] = RetriableError("a time-out")
    assert run() == {"a": "a, c FAILED: a time-out", "d": "d is D"}
    failing["d"] = NotFoundError("nobody")
    assert run() == {}
    assert tried == ["a", "c", "d"]
    failing["a"] = BlockedError("403")
    assert run() == {}
    assert tried == ["a"], "what concerns them all ends it at once"


def test_a_schedule_that_somebody_switched_off_is_known_without_dagster(
    warehouse: psycopg.Connection,
) -> None:
    from dagster._core.definitions.run_request import InstigatorType
    from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteRepositoryOrigin
    from dagster._core.scheduler.instigation import (
        InstigatorState,
        InstigatorStatus,
        ScheduleInstigatorData,
    )
    from dagster._serdes import serialize_value

    warehouse.execute("create schema if not exists dagster")
    warehouse.execute(
        "create table if not exists dagster.instigators"
        " (selector_id text, status text, instigator_type text, instigator_body text)"
    )
    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("almanac"), "__repository__")
    for name, status in (("incremental", "STOPPED"), ("nightly_maintenance", "RUNNING")):
        state = InstigatorState(
            repository.get_instigator_origin(name),
            InstigatorType.SCHEDULE,
            InstigatorStatus(status),
            ScheduleInstigatorData("0 1 * * *"),
        )
        warehouse.execute(
            "insert into dagster.instigators (selector_id, status, instigator_type, instigator_body)"
            " values (%s, %s, 'SCHEDULE', %s)",
            [name, status, serialize_value(state)],
        )
    assert schedule.switched_off(warehouse, "SCHEDULE") == ["incremental"]
    assert schedule.switched_off(warehouse, "SENSOR") == []
