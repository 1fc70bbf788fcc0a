select
    diary_entry_id,
    user_id,
    film_id,
    watched_on,
    removed_at
from {{ source('raw', 'diary_entries') }}
