"""`almanac metrics`: how the almanac is, in numbers for Prometheus."""

from __future__ import annotations

import typer


def metrics(
    host: str = typer.Option("127.0.0.1", help="Address to listen on; 0.0.0.0 in a container."),
    port: int | None = typer.Option(None, help="Port; ALMANAC_METRICS_PORT if not given."),
    print_: bool = typer.Option(False, "--print", help="Print the numbers once and end."),
) -> None:
    """Serve /metrics until Ctrl-C. docs/observability.md says what each number means.

    Example: `almanac metrics --print`
    """
    from almanac_pipeline.flows.alerts import permitted
    from almanac_pipeline.observability.metrics import exposition, serve
    from almanac_pipeline.settings import get_settings

    settings = get_settings()
    access = permitted(settings)
    if print_:
        typer.echo(exposition(settings, access), nl=False)
        return
    serve(settings, access, host=host, port=port or settings.metrics_port)
