select
    cohort_id,
    computation,
    strategy,
    params,
    computed_at
from {{ source('circle', 'strategy_parameters') }}
