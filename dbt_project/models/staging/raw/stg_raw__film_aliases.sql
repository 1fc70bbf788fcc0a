select
    kind,
    value,
    film_id
from {{ source('raw', 'film_aliases') }}
