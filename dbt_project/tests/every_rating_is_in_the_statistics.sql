{{ config(meta={'dagster': {'ref': {'name': 'cohort_film_stats'}}}) }}

-- The raters of all films are the ratings of all members, and so are the stars.
with ratings as (
    select
        cohorts.cohort,
        count(ratings.rating) as ratings_count,
        sum(ratings.rating) as stars
    from {{ ref('int_publishable_cohorts') }} as cohorts
    left join {{ ref('int_cohort_ratings') }} as ratings on cohorts.cohort_id = ratings.cohort_id
    group by cohorts.cohort
),

statistics as (
    select
        cohorts.cohort,
        coalesce(sum(stats.raters), 0) as ratings_count,
        sum(stats.rating_sum) as stars
    from {{ ref('int_publishable_cohorts') }} as cohorts
    left join {{ ref('cohort_film_stats') }} as stats on cohorts.cohort = stats.cohort
    group by cohorts.cohort
)

select ratings.*
from ratings
inner join statistics on ratings.cohort = statistics.cohort
where
    ratings.ratings_count <> statistics.ratings_count
    or ratings.stars is distinct from statistics.stars
