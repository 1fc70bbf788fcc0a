{{ config(materialized='view', tags=['published_views']) }}

-- numpy writes pairs only for cohorts whose audits passed, all of a cohort's in one transaction.
-- Without `with`, like film_rankings.
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
inner join {{ ref('stg_circle__pairs') }} as pairs on cohorts.cohort_id = pairs.cohort_id
