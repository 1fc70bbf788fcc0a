"""`almanac backfill` and `bootstrap-full-cohort`: everything that cohorts lack, planned and done."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from almanac_pipeline.cli.common import (
    choose_cohorts,
    console,
    planning,
    print_error,
    run_chain,
)
from almanac_pipeline.errors import AlmanacError, ConfigurationError

if TYPE_CHECKING:
    from almanac_pipeline.flows.backfill import CohortPlan
    from almanac_pipeline.settings import Settings

FULL = {"almanac/mode": "full", "almanac/force": "true"}


def backfill(
    cohort: list[str] | None = typer.Option(
        None, "--cohort", "-c", help="Slug of a cohort; can be repeated. All cohorts by default."
    ),
    full: bool = typer.Option(False, "--full", help="Read every page of every member again."),
    plan: bool = typer.Option(
        False, "--plan", help="Say what would be asked for, with how many requests and how long; ask nothing."
    ),
    run: bool = typer.Option(False, "--run", help="Do it, cohort by cohort."),
) -> None:
    """Bring cohorts up to date: members, ratings, rankings, films, rankings again.

    Example: `almanac backfill --plan`
    """
    if plan == run:
        raise ConfigurationError("Say --plan to see what it takes, or --run to do it.")
    slugs = choose_cohorts(cohort)
    if plan:
        _show_plan(slugs, full)
        return
    failed = []
    for slug in slugs:
        console.rule(slug)
        try:
            run_chain(slug, FULL if full else None)
        except AlmanacError as error:
            # The others are no worse for it.
            print_error(f"{slug}: {error}")
            failed.append(slug)
    done = len(slugs) - len(failed)
    console.print(
        f"{done} of {len(slugs)} cohort{'' if len(slugs) == 1 else 's'} up to date", highlight=False
    )
    if failed:
        raise AlmanacError(
            f"Failed: {', '.join(failed)}. `almanac runs list --status failure` says where; the same command "
            "goes on from what was committed."
        )


def bootstrap_full_cohort(
    cohort: str = typer.Argument(help="Slug of the cohort."),
    yes: bool = typer.Option(False, "--yes", "-y", help="Do not ask."),
) -> None:
    """Build a cohort from the ground: read every member in full, drop what was derived, build and publish it.

    What was published stays for its readers until the new rows replace it. History is kept.

    Example: `almanac bootstrap-full-cohort friends --yes`
    """
    [slug] = choose_cohorts([cohort])
    if not yes:
        _show_plan([slug], full=True)
        typer.confirm(f"Read all of {slug} again and build it anew?", abort=True)
    run_chain(slug, FULL)


def _show_plan(slugs: list[str], full: bool) -> None:
    from almanac_pipeline.flows.backfill import plan_backfill
    from almanac_pipeline.settings import get_settings

    settings = get_settings()
    with planning() as (connection, source, feeds):
        found = plan_backfill(connection, settings, source, feeds, slugs, full=full)
        if found.reports:
            _print_plans(list(found.reports.values()), settings)
    if found.failures:
        for error in found.failures.values():
            print_error(str(error))
        raise AlmanacError(f"Without a plan: {', '.join(found.failures)}.")


def _print_plans(plans: list[CohortPlan], settings: Settings) -> None:
    from almanac_pipeline.cli.tables import duration, plain_table, words
    from almanac_pipeline.flows.backfill import seconds_of
    from almanac_pipeline.flows.routes import add_requests
    from almanac_pipeline.http.hosts import page_policy
    from almanac_pipeline.tmdb.client import tmdb_policy

    table = plain_table("cohort", "members>", "for members>", "film pages>", "histograms>", "TMDB>")
    for plan in plans:
        for_members = "not permitted" if plan.is_out_of_reach else words(plan.member_requests)
        table.add_row(
            plan.slug,
            f"{plan.members_count:,}",
            for_members,
            f"{plan.film_pages:,}",
            f"{plan.histograms:,}",
            words(plan.titles),
        )
    console.print(table)
    site = add_requests([plan.site_requests for plan in plans])
    titles = add_requests([plan.titles for plan in plans])
    for name, requests, policy, url in (
        ("Letterboxd", site, page_policy(settings), settings.letterboxd_url),
        ("TMDB", titles, tmdb_policy(settings), settings.tmdb_url),
    ):
        least, most = seconds_of(requests, policy, url)
        took = duration(least) + (" or more" if most is None else f" to {duration(most)}" * (most > least))
        console.print(f"{name}: {words(requests)} requests, {took}", highlight=False)
    budget = page_policy(settings).requests_per_day
    if budget is not None and site[0] > budget:
        console.print(
            f"That is more than the {budget:,} requests a day that pages may be asked: it takes "
            f"{-(-site[0] // budget)} days at the least.",
            highlight=False,
        )
    if any(plan.is_out_of_reach for plan in plans):
        console.print(
            "Your settings or robots.txt forbid the pages that tell who is in some cohorts; "
            "`almanac doctor` says what is off.",
            soft_wrap=True,
        )
