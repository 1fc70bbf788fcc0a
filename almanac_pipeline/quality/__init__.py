"""Great Expectations: how a cohort's numbers are spread, and how far they moved since the last publication.

Rules about rows are dbt tests, identities and reconciliation are audits
(dbt_project/models/intermediate/cohort_audits.sql), how many films have a field is coverage
(warehouse/upkeep.py); none of them belongs here. Knows no SQL and no Dagster. Only `judging` imports
Great Expectations, which takes six seconds: import that inside the function that needs it.
"""
