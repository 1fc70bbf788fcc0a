select
    film_id,
    lid,
    uid,
    slug,
    title,
    release_year,
    tmdb_media_type,
    tmdb_id,
    tmdb_vote_average,
    tmdb_vote_count
from {{ source('raw', 'films') }}
