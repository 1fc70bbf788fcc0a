select
    cohort_id,
    strategy,
    film_id,
    publication_id,
    published_at,
    until_at,
    rank,
    previous_rank,
    score,
    raters
from {{ source('ops', 'rank_stretches') }}
