select
    person_id,
    name,
    letterboxd_slug,
    tmdb_person_id
from {{ source('raw', 'people') }}
