{{ config(materialized='view', tags=['published_views']) }}

with cohorts as (
    select * from {{ ref('stg_raw__cohorts') }}
),

stretches as (
    select * from {{ ref('stg_ops__rank_stretches') }}
),

films as (
    select * from {{ ref('stg_raw__films') }}
),

final as (
    select
        cohorts.cohort,
        stretches.strategy,
        stretches.film_id,
        films.slug,
        films.title,
        films.release_year,
        stretches.publication_id,
        stretches.published_at,
        stretches.until_at,
        stretches.rank,
        stretches.previous_rank,
        stretches.score,
        stretches.raters
    from cohorts
    inner join stretches on cohorts.cohort_id = stretches.cohort_id
    left join films on stretches.film_id = films.film_id
)

select * from final
