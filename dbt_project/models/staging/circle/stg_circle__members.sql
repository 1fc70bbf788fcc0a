select
    cohort_id,
    user_id,
    ratings_count,
    strictness,
    spread,
    noise
from {{ source('circle', 'circle_members') }}
