"""`almanac up`, `down`, `status`: the processes that stay, and how everything is."""

from __future__ import annotations

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
        prepare_instance(settings)
        webserver = Services(settings).start_dagster()
        metrics = Services(settings).start_metrics()
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
    """Say what runs and how fresh each cohort is. Starts nothing.

    Example: `almanac status`
    """
    from almanac_pipeline.http.hosts import budget_words
    from almanac_pipeline.services import Services
    from almanac_pipeline.settings import get_settings
    from almanac_pipeline.warehouse.alerts import open_alerts
    from almanac_pipeline.warehouse.connection import connect_to, describe, running_database_url
    from almanac_pipeline.warehouse.marts import cohort_overview
    from almanac_pipeline.warehouse.migrate import current_revision
    from almanac_pipeline.warehouse.switches import requests_today

    settings = get_settings()
    url = running_database_url(settings)
    for service in Services(settings).running():
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
        table = plain_table("cohort", "status", "members>", "ratings>", "last published (UTC)")
        for row in cohort_overview(connection):
            published = f"{row.published_at:%Y-%m-%d %H:%M}" if row.published_at else "never"
            table.add_row(row.slug, row.status, f"{row.members:,}", f"{row.ratings:,}", published)
    console.print(table if table.row_count else "no cohort yet: `almanac cohort build SLUG --seed NAME`")
