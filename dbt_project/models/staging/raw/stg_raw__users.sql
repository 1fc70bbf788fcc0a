select
    user_id,
    username,
    status,
    renamed_to,
    stated_ratings_count,
    stated_likes_count
from {{ source('raw', 'users') }}
