select
    cohort_id,
    computation,
    overall_mean,
    residual_variance,
    film_variance,
    prior_weight,
    film_mean
from {{ source('circle', 'circle_parameters') }}
