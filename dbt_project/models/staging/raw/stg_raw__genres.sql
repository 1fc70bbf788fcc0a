select
    genre_id,
    name
from {{ source('raw', 'genres') }}
