{{ config(meta={'dagster': {'ref': {'name': 'cohort_film_stats'}}}) }}

-- The raters of all films are the ratings of all members, and so are the stars.
with members as (
    select
        cohorts.cohort,
        coalesce(sum(opinions.ratings_count), 0) as ratings_count,
        sum(opinions.half_stars) as half_stars
    from {{ ref('int_publishable_cohorts') }} as cohorts
    left join {{ ref('int_cohort_member_opinions') }} as opinions on cohorts.cohort_id = opinions.cohort_id
    group by cohorts.cohort
),

films as (
    select
        cohorts.cohort,
        coalesce(sum(stats.raters), 0) as ratings_count,
        sum(2 * stats.rating_sum) as half_stars
    from {{ ref('int_publishable_cohorts') }} as cohorts
    left join {{ ref('cohort_film_stats') }} as stats on cohorts.cohort = stats.cohort
    group by cohorts.cohort
)

select members.*
from members
inner join films on members.cohort = films.cohort
where
    members.ratings_count <> films.ratings_count
    or members.half_stars is distinct from films.half_stars
