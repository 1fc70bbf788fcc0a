select
    cohort_id,
    user_id,
    depth,
    since,
    until
from {{ source('raw', 'cohort_members') }}
