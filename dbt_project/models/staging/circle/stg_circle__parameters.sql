select
    cohort_id,
    strategy,
    params,
    computed_at
from {{ source('circle', 'strategy_parameters') }}
