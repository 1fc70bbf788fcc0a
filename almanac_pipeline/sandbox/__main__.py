"""`python -m almanac_pipeline.sandbox`: `almanac sandbox` without loading the rest of the house."""

from __future__ import annotations

import sys

import typer

from almanac_pipeline.errors import AlmanacError
from almanac_pipeline.sandbox.command import sandbox


def main() -> None:
    """Serve what the command line asks for; an error is one line and exit code 1."""
    try:
        typer.run(sandbox)
    except (AlmanacError, OSError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
