select
    country_id,
    iso_code,
    name
from {{ source('raw', 'countries') }}
