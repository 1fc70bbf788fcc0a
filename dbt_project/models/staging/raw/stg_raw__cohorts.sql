select
    cohort_id,
    slug as cohort,
    label,
    status
from {{ source('raw', 'cohorts') }}
