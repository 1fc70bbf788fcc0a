{{ config(meta={'dagster': {'ref': {'name': 'film_rankings'}}}) }}

-- film_rankings holds the rated films of cohort_film_stats, with the same number of raters.
with stats as (
    select * from {{ ref('cohort_film_stats') }}
    where raters > 0 and {{ is_publishable() }}
),

rankings as (
    select * from {{ ref('film_rankings') }}
    where strategy = 'almanac' and {{ is_publishable() }}
)

select
    film_id,
    cohort
from stats
full outer join rankings using (cohort, film_id)
where stats.raters is distinct from rankings.raters
