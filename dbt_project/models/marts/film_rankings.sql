with cohorts as (
    select * from {{ ref('int_publishable_cohorts') }}
),

scores as (
    select * from {{ ref('stg_circle__scores') }}
),

parameters as (
    select * from {{ ref('stg_circle__parameters') }}
),

films as (
    select * from {{ ref('stg_raw__films') }}
),

final as (
    select
        cohorts.cohort,
        scores.strategy,
        scores.film_id,
        films.slug,
        films.title,
        films.release_year,
        scores.score,
        scores.estimate,
        scores.estimate_sd,
        scores.raters,
        scores.eligible,
        scores.rank,
        scores.rank_low,
        scores.rank_high,
        scores.tier,
        parameters.params,
        parameters.computed_at
    from cohorts
    inner join scores on cohorts.cohort_id = scores.cohort_id
    inner join parameters
        on scores.cohort_id = parameters.cohort_id and scores.strategy = parameters.strategy
    inner join films on scores.film_id = films.film_id
)

select * from final
