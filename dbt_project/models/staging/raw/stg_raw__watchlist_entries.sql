select
    user_id,
    film_id,
    added_on,
    removed_at
from {{ source('raw', 'watchlist_entries') }}
