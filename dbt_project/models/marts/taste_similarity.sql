{{ config(materialized='view', tags=['published_views']) }}

-- numpy writes pairs only for cohorts whose audits passed, all of a cohort's in one transaction.
with cohorts as (
    select * from {{ ref('stg_raw__cohorts') }}
),

pairs as (
    select * from {{ ref('stg_circle__pairs') }}
),

final as (
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
    from cohorts
    inner join pairs on cohorts.cohort_id = pairs.cohort_id
)

select * from final
