"""What several commands need: consoles, errors, the connection, the choice of a cohort, a run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.markup import escape

from almanac_pipeline.errors import AlmanacError, ConfigurationError, WarehouseError

if TYPE_CHECKING:
    import psycopg

    from almanac_pipeline.launch import RunOutcome
    from almanac_pipeline.sources.feed import FeedSource
    from almanac_pipeline.sources.pages.source import PagesSource

# Output that goes to a file or a pipe has no width of its own; rich would take 80 columns.
console = Console(width=None if sys.stdout.isatty() else 110)
_errors = Console(stderr=True)

# A site that is down fails for everybody alike; a screenful says it.
UNREAD_SHOWN = 20

# A message may quote what a stranger wrote.
ERROR_CHARACTERS_SHOWN = 2000

# Whatever ingestion and statistics do has succeeded when this one fails.
PUBLICATION_STEP = "ops__publications"
CHAINED_JOB = "cohort_almanac"

CohortOption = typer.Option(
    None, "--cohort", "-c", help="Slug of the cohort; may be left out if there is one."
)


def print_error(message: str) -> None:
    """Say on standard error what went wrong: one line, which only a terminal's edge may wrap.

    Control characters are dropped, and a very long message is cut.
    """
    line = "".join(filter(str.isprintable, " ".join(message.split())))
    if len(line) > ERROR_CHARACTERS_SHOWN:
        line = f"{line[:ERROR_CHARACTERS_SHOWN]} ..."
    print_notice(f"[bold red]Error:[/] {escape(line)}")


def print_notice(markup: str) -> None:
    """Say something on standard error that is no part of the answer."""
    _errors.print(markup, highlight=False, soft_wrap=not _errors.is_terminal)


@contextmanager
def database() -> Iterator[psycopg.Connection]:
    """A connection to the migrated database, closed at the end.

    Raises:
        WarehouseError: it cannot be reached, or failed while it was used.
    """
    import psycopg

    from almanac_pipeline.warehouse.connection import connect

    try:
        with connect() as connection:
            yield connection
    except psycopg.Error as error:
        raise WarehouseError(f"The database failed: {error}") from error


def choose_cohort(given: str | None) -> str:
    """The slug asked for, or the only cohort there is.

    Raises:
        ConfigurationError: none given and there are none or several, or the given one is unknown.
    """
    slugs = choose_cohorts([given] if given else None)
    if len(slugs) > 1:
        raise ConfigurationError(f"Say which cohort with --cohort: {', '.join(slugs)}.")
    return slugs[0]


def choose_cohorts(given: Sequence[str] | None) -> list[str]:
    """The slugs asked for, or those of all cohorts.

    Raises:
        ConfigurationError: there is no cohort, or a given one is unknown.
    """
    from almanac_pipeline.warehouse.cohorts import list_cohorts

    with database() as connection:
        slugs = [cohort.slug for cohort in list_cohorts(connection)]
    if unknown := [slug for slug in given or () if slug not in slugs]:
        raise ConfigurationError(
            f"There is no cohort {unknown[0]!r}. Known: {', '.join(slugs) or 'none yet'}. "
            "Create one with `almanac cohort build SLUG --seed NAME`."
        )
    if not slugs:
        raise ConfigurationError(
            "There is no cohort yet: `almanac cohort build SLUG --seed NAME`, or `almanac demo`."
        )
    return list(given or slugs)


def print_unread_members(dagster_run_id: str) -> None:
    """Say on standard error who could not be read in a run, and why: the run's own log names nobody."""
    from almanac_pipeline.warehouse.runs import unread_members

    with database() as connection:
        unread = unread_members(connection, dagster_run_id)
    if not unread:
        return
    members = len({username for username, _ in unread})
    print_notice(f"[yellow]{members} member{'s' * (members != 1)} could not be read:[/]")
    for username, message in unread[:UNREAD_SHOWN]:
        print_notice(f"  {username}: {escape(message)}")
    if len(unread) > UNREAD_SHOWN:
        print_notice(f"  and {len(unread) - UNREAD_SHOWN} more in ops.scrape_failures")


def run(job: str, *cohorts: str, tags: dict[str, str] | None = None) -> RunOutcome:
    """Run one of the jobs for cohorts, with its progress on the terminal and a closing line per run.

    Returns the outcome of the last run.

    Raises:
        RunFailedError: it failed; the members that could not be read are said before.
    """
    from almanac_pipeline.launch import run_job
    from almanac_pipeline.settings import get_settings

    with _keeping_alerts(), _naming_the_unread():
        outcomes = run_job(job, cohorts, settings=get_settings(), console=console, tags=tags)
    for outcome in outcomes:
        _say_finished(job, outcome)
    return outcomes[-1]


def run_again(beginning: str, *, only_what_failed: bool) -> None:
    """Repeat the run whose id begins so; what would have followed it follows now.

    Raises:
        ConfigurationError: there is no such run, it still goes on, or nothing of it failed.
        RunFailedError: it failed again.
    """
    from almanac_pipeline import launch
    from almanac_pipeline.runs import find_run
    from almanac_pipeline.settings import get_settings

    earlier = find_run(beginning)

    def repeat() -> None:
        with _keeping_alerts(), _naming_the_unread():
            outcome = launch.run_again(
                earlier.run_id, only_what_failed=only_what_failed, settings=get_settings(), console=console
            )
        _say_finished(earlier.job, outcome)

    if earlier.job == CHAINED_JOB and earlier.cohort is not None:
        _carry_on(earlier.cohort, repeat)
    else:
        repeat()


def run_chain(cohort: str, tags: dict[str, str] | None = None) -> None:
    """Publish what the members think, read the films, and publish again if that changed anything.

    Under the daemon the sensor `chain` does the same (`defs/automation/chain.py`).

    Raises:
        RunFailedError: a run failed; what was published before stays. What enrichment stored before
            it failed is published all the same.
    """
    _carry_on(cohort, lambda: run(CHAINED_JOB, cohort, tags=tags))


def _carry_on(cohort: str, begin: Callable[[], object]) -> None:
    from almanac_pipeline.flows.publication import changed_cohorts
    from almanac_pipeline.launch import RunFailedError

    try:
        begin()
    except RunFailedError as error:
        if error.step != PUBLICATION_STEP:
            raise
        print_notice("[yellow]The audits hold the cohort back; what is read of the films may mend that.[/]")
    else:
        console.print(f"Rankings are published: `almanac rank show --cohort {cohort}`. The films follow.")
    failure = None
    try:
        run("enrich", cohort)
    except RunFailedError as error:
        failure = error
    with database() as connection:
        has_changed = bool(changed_cohorts(connection, [cohort]))
    if has_changed:
        run("statistics", cohort)
    if failure is not None:
        raise failure


@contextmanager
def _keeping_alerts() -> Iterator[None]:
    """Raise and resolve the alerts after runs of ours, also failed ones: no daemon may be there to look."""
    from almanac_pipeline.flows.alerts import look
    from almanac_pipeline.settings import get_settings
    from almanac_pipeline.warehouse.connection import database_failures, prepared_database_url

    try:
        yield
    finally:
        # What is wrong with the database the run itself has said.
        with suppress(AlmanacError), database_failures():
            look(prepared_database_url(), get_settings())


@contextmanager
def planning() -> Iterator[tuple[psycopg.Connection, PagesSource, FeedSource]]:
    """What a plan looks at: the database, and sources for what they permit. Says what was fetched for it."""
    from almanac_pipeline.http.client import PoliteClient
    from almanac_pipeline.settings import get_settings
    from almanac_pipeline.sources.feed import FeedSource
    from almanac_pipeline.sources.pages.source import PagesSource
    from almanac_pipeline.warehouse.connection import prepared_database_url

    settings = get_settings()
    url = settings.letterboxd_url
    with (
        PoliteClient.open(settings, prepared_database_url(settings), run_id="plan") as client,
        database() as connection,
    ):
        yield connection, PagesSource(client, url), FeedSource(client, url)
        has_asked = client.counts.requests > 0
    console.print(
        "robots.txt was asked for, of which no fresh copy was stored; nothing else was fetched"
        if has_asked
        else "nothing was fetched"
    )


@contextmanager
def _naming_the_unread() -> Iterator[None]:
    """Say who could not be read, if a run fails."""
    from almanac_pipeline.launch import RunFailedError

    try:
        yield
    except RunFailedError as error:
        print_unread_members(error.run_id)
        raise


def _say_finished(job: str, outcome: RunOutcome) -> None:
    print_unread_members(outcome.run_id)
    console.print(f"run {outcome.run_id[:8]} of {job} finished in {outcome.seconds:.1f} s", highlight=False)
