"""Great Expectations suites and their adapter to asset checks, the first of which are still to come.

Rules about rows are dbt tests, rules about a cohort are audits
(dbt_project/models/intermediate/cohort_audits.sql); neither belongs here.
"""
