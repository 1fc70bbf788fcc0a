select
    film_id,
    genre_id
from {{ source('raw', 'film_genres') }}
