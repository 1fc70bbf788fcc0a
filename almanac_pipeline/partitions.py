"""Partitions are cohorts and nothing else: members and films are rows."""

from dagster import DynamicPartitionsDefinition

cohorts = DynamicPartitionsDefinition(name="cohorts")
"""One partition per cohort; the key is the cohort's slug."""
