select
    cohort_id,
    film_id,
    top_decile_probability,
    agreement
from {{ source('circle', 'circle_films') }}
