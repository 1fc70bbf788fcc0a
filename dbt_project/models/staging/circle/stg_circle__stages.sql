select
    cohort_id,
    published_computation
from {{ source('circle', 'cohort_stages') }}
