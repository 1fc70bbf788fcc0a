select
    film_id,
    lid,
    uid,
    slug,
    original_title,
    release_year,
    release_date,
    runtime_minutes,
    poster_url,
    tmdb_media_type,
    tmdb_id,
    imdb_id,
    tmdb_vote_average,
    tmdb_vote_count,
    -- A favourite that no other file of an export names is known by its short link alone.
    case when title = lid then 'Unknown title' else title end as title
from {{ source('raw', 'films') }}
