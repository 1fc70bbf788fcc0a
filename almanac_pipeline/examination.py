"""What `almanac doctor` looks at, finding by finding. Changes nothing but starting the database."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass

from almanac_pipeline.errors import AlmanacError
from almanac_pipeline.settings import PROJECT_ROOT, Settings, settings_in_use

MINIMUM_FREE_GIBIBYTES = 2
# The daemon frees after one minute what a run that has ended still holds.
SLOT_PATIENCE_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. `passed` None: nothing wrong, but worth knowing."""

    subject: str
    passed: bool | None
    message: str


def examine(settings: Settings, *, live: bool) -> Iterator[Finding]:
    """Look at everything that the almanac needs, quickest first.

    With `live` the sites are asked too: robots.txt, then one request per kind that policy permits.
    """
    yield _configuration(settings)
    yield _disk(settings)
    yield from _database(settings)
    yield _manifest()
    yield _page_policy(settings)
    yield _tmdb(settings)
    yield _sinks(settings)
    if live:
        yield from _live(settings)


def _configuration(settings: Settings) -> Finding:
    used, unknown = settings_in_use()
    message = f"{', '.join(used) or 'defaults only'}; home {settings.home}"
    if unknown:
        return Finding("configuration", None, f"{message}; ignored, no such setting: {', '.join(unknown)}")
    return Finding("configuration", True, message)


def _disk(settings: Settings) -> Finding:
    folder = settings.home
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    message = f"{free / 1024**3:.1f} GiB free at {folder}"
    wanted = max(MINIMUM_FREE_GIBIBYTES, settings.disk_alert_gigabytes)
    if free < wanted * 1024**3:
        words = f"{message}; at least {wanted:g} GiB are wanted: free some or move ALMANAC_HOME"
        return Finding("disk", False, words)
    return Finding("disk", True, message)


def _database(settings: Settings) -> Iterator[Finding]:
    from almanac_pipeline.warehouse.connection import (
        connect_to,
        database_url,
        describe,
        prepared_database_url,
    )
    from almanac_pipeline.warehouse.migrate import current_revision, head_revision

    try:
        url = database_url(settings)
        with connect_to(url) as connection:
            version = connection.info.parameter_status("server_version")
        yield Finding("database", True, f"PostgreSQL {version} at {describe(url)}")
        revision = current_revision(url)
        if revision != head_revision():
            url = prepared_database_url(settings)
            yield Finding(
                "schema", True, f"brought from {revision or 'nothing'} to {head_revision()} just now"
            )
        else:
            yield Finding("schema", True, f"at revision {revision}")
        yield from _fetching(settings, url)
        yield from _service(url)
    except AlmanacError as error:
        yield Finding("database", False, str(error))


def _fetching(settings: Settings, url: str) -> Iterator[Finding]:
    from almanac_pipeline.http.hosts import budget_words
    from almanac_pipeline.warehouse.alerts import open_alerts
    from almanac_pipeline.warehouse.connection import connect_to
    from almanac_pipeline.warehouse.switches import blocked_hosts, fetching_enabled, requests_today

    with connect_to(url) as connection:
        enabled, blocked = fetching_enabled(connection), blocked_hosts(connection)
        asked, alerts = requests_today(connection), open_alerts(connection)
    if not enabled:
        yield Finding("fetching", None, "paused: nothing is asked until `almanac unpause`")
    for host in blocked:
        yield Finding(
            "fetching", False, f"{host.host} refused us ({host.reason}); `almanac unblock` when you know why"
        )
    if enabled and not blocked:
        yield Finding("fetching", True, "on, and no site has refused us")
    for name, requests in asked.items():
        yield Finding("requests", True, f"{name}: {budget_words(settings, name, requests)}")
    if alerts:
        yield Finding("alerts", None, f"{len(alerts)} open: `almanac alerts` says what to do")


def _service(url: str) -> Iterator[Finding]:
    """The daemon, the runs under way and the places in pools; nothing before Dagster's first start."""
    from almanac_pipeline.liveness import Watch
    from almanac_pipeline.warehouse.connection import connect_to
    from almanac_pipeline.warehouse.heartbeats import (
        DAEMONS,
        has_runs,
        held_slots,
        last_signs,
        silent_daemons,
    )

    with connect_to(url) as connection:
        if not has_runs(connection):
            return
        silent, signs, slots = silent_daemons(connection), last_signs(connection), held_slots(connection)
    if len(silent) == len(DAEMONS):
        yield Finding("daemon", None, "none runs, so nothing begins by itself: `almanac up` starts one")
    elif silent:
        words = ", ".join(silent)
        yield Finding("daemon", False, f"no sign of life from {words}: `almanac down`, then `almanac up`")
    else:
        yield Finding("daemon", True, "it gave signs of life within the last five minutes")
    watch = Watch()
    dead = [sign.run_id[:8] for sign in signs.values() if watch.is_dead(sign) or watch.doubts(sign.run_id)]
    stale = [slot for slot in slots if (slot.ended_seconds_ago or 0) > SLOT_PATIENCE_SECONDS]
    if dead:
        yield Finding(
            "runs",
            False,
            f"no sign of life from {', '.join(dead)}: the daemon marks them as failed within ten minutes, "
            "`almanac runs list` those of this machine at once",
        )
    for slot in stale:
        yield Finding(
            "runs",
            False,
            f"run {slot.run_id[:8]} has ended and still holds {slot.pool}: free it in the Dagster UI, "
            "Deployment, Concurrency",
        )
    if not dead and not stale:
        yield Finding("runs", True, f"{len(signs)} under way, and each gives signs of life")


def _manifest() -> Finding:
    if (PROJECT_ROOT / "dbt_project" / "target" / "manifest.json").exists():
        return Finding("dbt", True, "the manifest is there")
    return Finding("dbt", False, "the manifest is missing: run `almanac db prepare`")


def _page_policy(settings: Settings) -> Finding:
    from almanac_pipeline.sources.policy import describe_page_fetching, require_page_fetching

    message = describe_page_fetching(settings, settings.letterboxd_url).removeprefix("pages from ")
    try:
        require_page_fetching(settings, settings.letterboxd_url)
    except AlmanacError:
        return Finding("pages", None, message)
    return Finding("pages", True, message)


def _tmdb(settings: Settings) -> Finding:
    if settings.tmdb_token is None:
        return Finding(
            "TMDB", None, "no token: set ALMANAC_TMDB_TOKEN to enrich films; everything else works"
        )
    return Finding("TMDB", True, f"a token is set for {settings.tmdb_url}")


def _sinks(settings: Settings) -> Finding:
    from almanac_pipeline.messages import sinks

    try:
        names = [sink.name for sink in sinks(settings)]
    except AlmanacError as error:
        return Finding("alerts to", False, str(error))
    if not names:
        return Finding("alerts to", None, "nobody: set ALMANAC_ALERT_WEBHOOK, or e-mail (docs/runbook)")
    return Finding("alerts to", True, f"{' and '.join(names)}; `almanac alerts try` sends a word")


def _live(settings: Settings) -> Iterator[Finding]:
    from almanac_pipeline.outside import live_checks

    for subject, message, passed in live_checks(settings):
        yield Finding(subject, passed, message)
