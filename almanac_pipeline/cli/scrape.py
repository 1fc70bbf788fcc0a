"""`almanac scrape`: read what members think, by the routes that are permitted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from almanac_pipeline.cli.common import CohortOption, choose_cohort, console, planning, run
from almanac_pipeline.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from almanac_pipeline.flows.opinions import SyncPlan
    from almanac_pipeline.settings import Settings


def scrape(
    cohort: str | None = CohortOption,
    full: bool = typer.Option(False, "--full", help="Read every page of every member again."),
    plan: bool = typer.Option(
        False, "--plan", help="Show how each member would be read and with how many requests; read nothing."
    ),
    viewings: bool = typer.Option(False, "--viewings", help="Read diaries and watchlists instead."),
) -> None:
    """Sync members, ratings and likes of a cohort. A member without news costs one request.

    Example: `almanac scrape --cohort friends --plan`
    """
    if plan and viewings:
        raise ConfigurationError(
            "--plan shows how ratings and likes would be read; for diaries and watchlists there is no plan. "
            "Leave out --plan or --viewings."
        )
    slug = choose_cohort(cohort)
    tags = {"almanac/mode": "full"} if full else None
    if plan:
        _show_plan(slug, full)
    elif viewings:
        run("viewings", slug, tags=tags)
    else:
        run("scrape", slug, tags=tags)


def _show_plan(slug: str, full: bool) -> None:
    from almanac_pipeline.flows.opinions import plan_sync
    from almanac_pipeline.settings import get_settings
    from almanac_pipeline.warehouse import switches

    settings = get_settings()
    with planning() as (connection, source, feeds):
        plan = plan_sync(connection, settings, source, feeds, slug, full=full)
        _print_plan(plan, settings, switches.requests_today(connection))


def _print_plan(plan: SyncPlan, settings: Settings, spent: Mapping[str, int]) -> None:
    from almanac_pipeline.cli.tables import duration, plain_table, words
    from almanac_pipeline.flows.routes import add_requests
    from almanac_pipeline.http.hosts import budget_words, host_of, page_policy
    from almanac_pipeline.sources.policy import describe_page_fetching, permits_feeds, permits_pages

    if not permits_pages(settings, settings.letterboxd_url):
        off = describe_page_fetching(settings, settings.letterboxd_url)
        console.print(off, highlight=False, soft_wrap=True)
    if not permits_feeds(settings, settings.letterboxd_url):
        console.print("feeds, of members who agree to theirs: off until ALMANAC_CONTACT is set")
    if plan.circle_requests is None:
        console.print(
            "Your settings or robots.txt forbid the pages that tell who is in the circle: a sync ends there, "
            "with 0 requests. `almanac doctor` says what is off.",
            soft_wrap=True,
        )
        return
    table = plain_table("member", "route", "requests>", "why")
    for route in plan.routes:
        steps = ", ".join(step.reads for step in route.steps) or "nothing"
        table.add_row(route.member.username, steps, words(route.requests), "; ".join(route.reasons))
    console.print(table if plan.routes else "No member is known yet: the circle itself comes first.")
    total = add_requests([plan.circle_requests, *(route.requests for route in plan.routes)])
    console.print(
        f"requests: {words(total)}, of which {words(plan.circle_requests)} to find the circle",
        highlight=False,
    )
    host = host_of(settings.letterboxd_url)
    policy = page_policy(settings)
    seconds = sum(limit.window_milliseconds / limit.requests for limit in policy.limits_for(host)) / 1000
    if seconds:
        least, most = total
        known = " or more" if most is None else f" to {duration(most * seconds)}"
        console.print(
            f"time: {duration(least * seconds)}{known}, at a request per {seconds:g} s", highlight=False
        )
    if policy.budget_for(host) is not None:
        console.print(f"budget: {budget_words(settings, host, spent.get(host, 0))}", highlight=False)
