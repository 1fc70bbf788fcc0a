select
    cohort_id,
    last_success_at,
    success_age_hours,
    failed_runs_count,
    open_failures_count
from {{ source('ops', 'cohort_pipelines') }}
