select
    film_id,
    person_id,
    role,
    credit_order,
    character_name
from {{ source('raw', 'film_people') }}
