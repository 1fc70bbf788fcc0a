select
    user_id,
    film_id,
    rating,
    liked,
    favorite,
    rated_at,
    removed_at
from {{ source('raw', 'ratings') }}
