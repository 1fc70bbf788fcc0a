select
    cohort_id,
    user_id,
    ratings_count,
    strictness,
    spread,
    noise,
    compared_members_count,
    most_agreed_user_id,
    most_agreed_similarity,
    least_agreed_user_id,
    least_agreed_similarity
from {{ source('circle', 'circle_members') }}
