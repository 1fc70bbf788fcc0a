{{ config(materialized='view', tags=['published_views']) }}

-- Without `with`, like film_rankings.
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
from {{ ref('stg_raw__cohorts') }} as cohorts
inner join {{ ref('stg_ops__rank_stretches') }} as stretches on cohorts.cohort_id = stretches.cohort_id
left join {{ ref('stg_raw__films') }} as films on stretches.film_id = films.film_id
