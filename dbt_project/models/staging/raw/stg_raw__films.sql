select
    film_id,
    lid,
    uid,
    slug,
    title,
    original_title,
    release_year,
    release_date,
    runtime_minutes,
    poster_url,
    tmdb_media_type,
    tmdb_id,
    imdb_id,
    tmdb_vote_average,
    tmdb_vote_count
from {{ source('raw', 'films') }}
