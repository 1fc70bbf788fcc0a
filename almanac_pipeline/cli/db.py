"""`almanac db`: the database itself."""

from __future__ import annotations

import os

import typer

from almanac_pipeline.cli.common import console
from almanac_pipeline.errors import WarehouseError

app = typer.Typer(help="The database: its address, its schema, a prompt.", no_args_is_help=True)


@app.command()
def url() -> None:
    """Print the connection URL, starting the embedded server if it does not run.

    Example: `psql "$(almanac db url)" -c 'select * from almanac.film_rankings limit 5'`
    """
    from almanac_pipeline.warehouse.connection import prepared_database_url

    typer.echo(prepared_database_url())


@app.command()
def migrate() -> None:
    """Bring the schema to this release, create dbt's seeds, views and empty tables, and set Dagster's pools.

    Example: `almanac db migrate`
    """
    from almanac_pipeline.instance import prepare_instance
    from almanac_pipeline.settings import get_settings
    from almanac_pipeline.warehouse import dbt
    from almanac_pipeline.warehouse.connection import describe, prepared_database_url
    from almanac_pipeline.warehouse.migrate import head_revision

    settings = get_settings()
    database_url = prepared_database_url(settings)
    dbt.prepare(settings)
    dbt.bootstrap(database_url, settings=settings)
    prepare_instance(settings)
    console.print(f"{describe(database_url)} is at revision {head_revision()}", highlight=False)


@app.command()
def prepare() -> None:
    """Parse the dbt project into its manifest, from which the Dagster assets are made.

    Example: `almanac db prepare`
    """
    from almanac_pipeline.settings import get_settings
    from almanac_pipeline.warehouse import dbt

    console.print(f"manifest: {dbt.prepare(get_settings())}", highlight=False, soft_wrap=True)


@app.command("unit-test")
def unit_test() -> None:
    """Run dbt's unit tests.

    Example: `almanac db unit-test`
    """
    from almanac_pipeline.settings import get_settings
    from almanac_pipeline.warehouse import dbt
    from almanac_pipeline.warehouse.connection import prepared_database_url

    settings = get_settings()
    database_url = prepared_database_url(settings)
    dbt.prepare(settings)
    dbt.bootstrap(database_url, settings=settings)
    results = dbt.run_unit_tests(database_url, settings=settings)
    console.print(f"{len(results)} dbt unit tests passed")
    if not results:
        raise typer.Exit(1)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def psql(context: typer.Context) -> None:
    """Open psql on the database; further arguments are psql's.

    Example: `almanac db psql -c '\\dt almanac.*'`
    """
    from almanac_pipeline.warehouse.client_programs import client_environment
    from almanac_pipeline.warehouse.connection import prepared_database_url
    from almanac_pipeline.warehouse.embedded import psql_program

    environment = client_environment(prepared_database_url())
    program = psql_program()
    try:
        os.execvpe(program, [program, *context.args], environment)
    except OSError as error:
        raise WarehouseError(
            f"psql could not be run ({error.strerror}); any client works with `almanac db url`."
        ) from None
