"""The `almanac` command: thin Typer commands, one module per noun."""
