select
    user_id,
    film_id,
    rating,
    liked,
    favorite,
    rated_at,
    rated_at_source,
    removed_at
from {{ source('raw', 'ratings') }}
