{{ config(materialized='view', tags=['published_views']) }}

-- The published computation: numpy writes the next one beside it, and the publication switches. To copy up to
-- ten rows per film instead would write them twice.
-- Without `with`: PostgreSQL plans a view that has one apart from the query that reads it.
select
    cohorts.cohort,
    scores.strategy,
    scores.film_id,
    -- As published, so that a film keeps its name while its cohort is held back.
    coalesce(film_stats.slug, films.slug) as slug,
    coalesce(film_stats.title, films.title) as title,
    coalesce(film_stats.release_year, films.release_year) as release_year,
    scores.score,
    scores.estimate,
    scores.estimate_sd,
    scores.raters,
    scores.eligible,
    scores.rank,
    scores.rank_low,
    scores.rank_high,
    scores.tier,
    used_parameters.params,
    used_parameters.computed_at,
    -- Statistics change a moment before the scores of the same publication do.
    coalesce(film_stats.is_shareable, false)
    and (scores.raters = 0 or scores.raters >= {{ var('shareable_min_members') }}) as is_shareable
from {{ ref('stg_raw__cohorts') }} as cohorts
inner join {{ ref('stg_circle__stages') }} as cohort_stages on cohorts.cohort_id = cohort_stages.cohort_id
inner join {{ ref('stg_circle__scores') }} as scores
    on cohort_stages.cohort_id = scores.cohort_id and cohort_stages.published_computation = scores.computation
inner join {{ ref('stg_circle__parameters') }} as used_parameters
    on
        scores.cohort_id = used_parameters.cohort_id
        and scores.computation = used_parameters.computation
        and scores.strategy = used_parameters.strategy
left join {{ ref('cohort_film_stats') }} as film_stats
    on cohorts.cohort = film_stats.cohort and scores.film_id = film_stats.film_id
left join {{ ref('stg_raw__films') }} as films on scores.film_id = films.film_id
