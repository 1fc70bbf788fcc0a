{{ config(meta={'dagster': {'ref': {'name': 'film_rankings'}}}) }}
-- depends_on: {{ ref('film_rankings') }}

-- What is to be published as film_rankings holds the rated films of cohort_film_stats, with as many raters.
with stats as (
    select * from {{ ref('cohort_film_stats') }}
    where raters > 0 and {{ is_publishable() }}
),

rankings as (
    select
        cohorts.cohort,
        scores.film_id,
        scores.raters
    from {{ ref('int_publishable_cohorts') }} as cohorts
    inner join {{ ref('stg_circle__circles') }} as circles on cohorts.cohort_id = circles.cohort_id
    inner join {{ ref('stg_circle__scores') }} as scores
        on circles.cohort_id = scores.cohort_id and circles.computation = scores.computation
    where scores.strategy = 'almanac'
)

select
    film_id,
    cohort
from stats
full outer join rankings using (cohort, film_id)
where stats.raters is distinct from rankings.raters
