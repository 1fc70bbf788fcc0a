select
    cohort_id,
    input_version
from {{ source('ops', 'cohort_build_requests') }}
