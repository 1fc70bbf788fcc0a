"""Alembic migrations of the schemas `raw` and `ops`. dbt owns every other schema's tables."""
