{{ config(materialized='view', tags=['published_views']) }}

-- The published computation, without `with`, like film_rankings.
select
    cohorts.cohort,
    pairs.user_a,
    pairs.user_b,
    pairs.overlap,
    pairs.pearson,
    pairs.similarity,
    pairs.pearson_low,
    pairs.pearson_high,
    pairs.star_gap,
    pairs.equal_share,
    pairs.residual_pearson,
    pairs.residual_similarity,
    pairs.residual_low,
    pairs.residual_high
from {{ ref('stg_raw__cohorts') }} as cohorts
inner join {{ ref('stg_circle__stages') }} as cohort_stages on cohorts.cohort_id = cohort_stages.cohort_id
inner join {{ ref('stg_circle__pairs') }} as pairs
    on cohort_stages.cohort_id = pairs.cohort_id and cohort_stages.published_computation = pairs.computation
