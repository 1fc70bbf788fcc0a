"""`almanac quality`: how the numbers of published cohorts are spread, and how far they moved."""

from __future__ import annotations

import typer

from almanac_pipeline.cli.common import choose_cohorts, console, run


def quality(
    cohort: list[str] | None = typer.Option(
        None, "--cohort", "-c", help="Slug of a cohort; can be repeated. All cohorts by default."
    ),
) -> None:
    """Measure what is published, and say which numbers look odd or moved far. Changes nothing.

    The same as the job `quality`, which follows publications by itself while `almanac up` runs.

    Example: `almanac quality --cohort friends`
    """
    from almanac_pipeline.settings import get_settings

    run("quality", *choose_cohorts(cohort))
    console.print(f"Pages: {get_settings().data_docs_folder}", highlight=False, soft_wrap=True)
