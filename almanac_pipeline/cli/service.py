"""`almanac up`, `down`, `status`: the processes that stay, and how everything is."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

from almanac_pipeline.cli.common import console
from almanac_pipeline.cli.tables import plain_table


def up() -> None:
    """Start the database and the Dagster UI with its daemon in the background.

    Example: `almanac up`
    """
    from almanac_pipeline.instance import prepare_instance
    from almanac_pipeline.services import Services
    from almanac_pipeline.settings import get_settings
    from almanac_pipeline.warehouse import dbt
    from almanac_pipeline.warehouse.connection import describe, prepared_database_url

    settings = get_settings()
    with console.status("starting the database"):
        database_url = prepared_database_url(settings)
        dbt.prepare(settings)
        dbt.bootstrap(database_url, settings=settings)
    with console.status("starting Dagster (about 15 s)"):
        died = prepare_instance(settings)
        webserver = Services(settings).start_dagster()
        metrics = Services(settings).start_metrics()
    if died:
        console.print(
            f"runs       {len(died)} had died: marked as failed, and repeated if they were the daemon's"
        )
    console.print(f"database   {describe(database_url)}", highlight=False)
    console.print(f"Dagster UI {webserver.url}", highlight=False)
    console.print(f"metrics    {metrics.url}/metrics", highlight=False)
    console.print("`almanac down` stops them.")


def down() -> None:
    """Stop every background process of this home folder, the embedded database last.

    Example: `almanac down`
    """
    from almanac_pipeline.services import Services
    from almanac_pipeline.settings import get_settings
    from almanac_pipeline.warehouse.embedded import EmbeddedServer

    settings = get_settings()
    stopped = Services(settings).stop_all()
    if settings.home.exists() and settings.database_url is None and EmbeddedServer(settings.home).stop():
        stopped.append("database")
    console.print(f"stopped: {', '.join(stopped)}" if stopped else "nothing was running")


def status() -> None:
    """Say what runs, what comes next, and how fresh and whole each cohort is. Starts nothing.

    Example: `almanac status`
    """
    from almanac_pipeline.http.hosts import budget_words
    from almanac_pipeline.schedules import next_runs
    from almanac_pipeline.services import Services
    from almanac_pipeline.settings import get_settings
    from almanac_pipeline.warehouse.alerts import open_alerts
    from almanac_pipeline.warehouse.connection import connect_to, describe, running_database_url
    from almanac_pipeline.warehouse.heartbeats import silent_daemons
    from almanac_pipeline.warehouse.marts import cohort_overview
    from almanac_pipeline.warehouse.migrate import current_revision
    from almanac_pipeline.warehouse.schedule import switched_off
    from almanac_pipeline.warehouse.switches import fetching_enabled, requests_today

    settings = get_settings()
    now = datetime.now(UTC)
    url = running_database_url(settings)
    services = Services(settings)
    for service in services.running():
        console.print(f"{service.name:<10} {service.url or 'running'}", highlight=False)
    if url is None:
        console.print("database   not running: `almanac up` or any command that needs it starts it")
        return
    with connect_to(url) as connection:
        console.print(f"database   {describe(url)}", highlight=False)
        if current_revision(url) is None:
            console.print("           not set up yet: `almanac db migrate`")
            return
        for host, requests in requests_today(connection).items():
            console.print(f"asked      {host}: {budget_words(settings, host, requests)}", highlight=False)
        if count := len(open_alerts(connection)):
            console.print(f"alerts     {count} open: `almanac alerts` says what to do", highlight=False)
        if not fetching_enabled(connection):
            console.print("fetching   paused: nothing is asked until `almanac unpause`")
        stopped = switched_off(connection, "SCHEDULE")
        has_daemon = services.get("daemon") is not None or "SCHEDULER" not in silent_daemons(connection)
        table = plain_table(
            "cohort",
            "status",
            "members>",
            "ratings>",
            "published (UTC)",
            "last success (UTC)",
            "age>",
            "covered>",
            "failures>",
        )
        for row in cohort_overview(connection):
            table.add_row(
                row.slug,
                f"{row.status}, [red]held back[/]" if row.is_held_back else row.status,
                f"{row.members:,}",
                f"{row.ratings:,}",
                _time(row.published_at),
                _time(row.last_success_at),
                "" if row.last_success_at is None else _age(now - row.last_success_at),
                # Rounded down: 99 % is a promise.
                "" if row.coverage is None else f"{math.floor(row.coverage * 1000) / 10:g} %",
                f"{row.failures:,}",
            )
    console.print(table if table.row_count else "no cohort yet: `almanac cohort build SLUG --seed NAME`")
    if not table.row_count:
        return
    schedules = plain_table("schedule", "next (UTC)", "what")
    for run in next_runs(now, stopped):
        schedules.add_row(
            run.schedule.name, "switched off" if run.at is None else _time(run.at), run.schedule.purpose
        )
    console.print(schedules)
    if not has_daemon:
        console.print("No daemon runs, so the schedules wait: `almanac up` starts one.")


def _time(at: datetime | None) -> str:
    return "never" if at is None else f"{at:%Y-%m-%d %H:%M}"


def _age(age: timedelta) -> str:
    minutes = int(age.total_seconds() // 60)
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 2 * 24 * 60 else f"{minutes // 60 // 24} d"
