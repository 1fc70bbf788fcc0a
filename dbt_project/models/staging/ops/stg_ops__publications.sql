select
    publication_id,
    cohort_id,
    published_at,
    dagster_run_id,
    input_version,
    members_count,
    films_count,
    ratings_count,
    inputs
from {{ source('ops', 'publications') }}
