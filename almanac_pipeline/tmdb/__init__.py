"""TMDB: client and parsing of its answers. No SQL, no Dagster."""
