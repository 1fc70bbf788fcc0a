select
    film_id,
    country_id
from {{ source('raw', 'film_countries') }}
