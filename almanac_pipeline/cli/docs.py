"""`almanac docs`: the documentation site of the marts."""

from __future__ import annotations

from almanac_pipeline.cli.common import console


def docs() -> None:
    """Write dbt's documentation, with lineage and every column, as one static page.

    Example: `almanac docs`
    """
    from almanac_pipeline.settings import get_settings
    from almanac_pipeline.warehouse import dbt
    from almanac_pipeline.warehouse.connection import prepared_database_url

    settings = get_settings()
    database_url = prepared_database_url(settings)
    dbt.prepare(settings)
    dbt.bootstrap(database_url, settings=settings)
    page = dbt.generate_docs(database_url, settings.home / "docs", settings=settings)
    console.print(f"open {page} in a browser", highlight=False, soft_wrap=True)
