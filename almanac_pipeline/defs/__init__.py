"""Dagster objects and nothing else: assets, checks, jobs and resources, one folder per domain."""
