select
    cohort_id,
    computation,
    user_a,
    user_b,
    overlap,
    pearson,
    similarity,
    pearson_low,
    pearson_high,
    star_gap,
    equal_share,
    residual_pearson,
    residual_similarity,
    residual_low,
    residual_high
from {{ source('circle', 'circle_pairs') }}
