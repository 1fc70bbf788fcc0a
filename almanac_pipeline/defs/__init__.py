"""Dagster objects and nothing else."""
