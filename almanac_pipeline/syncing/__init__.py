"""Carries records from a source into the warehouse, member by member. No SQL, no HTTP, no Dagster of its own."""
