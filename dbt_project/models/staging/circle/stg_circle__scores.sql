select
    cohort_id,
    computation,
    strategy,
    film_id,
    raters,
    score,
    estimate,
    estimate_sd,
    eligible,
    rank,
    rank_low,
    rank_high,
    tier
from {{ source('circle', 'strategy_scores') }}
