with cohorts as (
    select * from {{ ref('int_publishable_cohorts') }}
),

cohort_films as (
    select * from {{ ref('int_cohort_films') }}
),

-- Joined to the cohorts first, here as below: otherwise each film is looked up among everybody's.
globals as (
    select film_globals.*
    from cohorts
    inner join {{ ref('int_cohort_film_globals') }} as film_globals on cohorts.cohort_id = film_globals.cohort_id
),

films as (
    select * from {{ ref('stg_raw__films') }}
),

circle_films as (
    select fits.*
    from cohorts
    inner join {{ ref('stg_circle__films') }} as fits on cohorts.cohort_id = fits.cohort_id
),

final as (
    select
        cohorts.cohort,
        cohort_films.film_id,
        films.slug,
        films.title,
        films.release_year,
        cohort_films.watchers,
        cohort_films.raters,
        cohort_films.average_rating,
        cohort_films.rating_sum,
        cohort_films.rating_stddev,
        cohort_films.rating_skewness,
        cohort_films.median_rating,
        cohort_films.high_rating_share,
        cohort_films.liked_count,
        cohort_films.liked_share,
        cohort_films.favorite_count,
        cohort_films.favorite_share,
        cohort_films.first_rated_at,
        cohort_films.last_rated_at,
        globals.global_average,
        globals.global_ratings,
        globals.global_source,
        cohort_films.average_rating - globals.global_average as average_delta,
        circle_films.agreement,
        (cohort_films.raters = 0 and cohort_films.watchers >= {{ var('shareable_min_members') }})
        or cohort_films.raters >= {{ var('shareable_min_members') }} as is_shareable,
        {% for stars in half_stars() -%}
            cohort_films.{{ count_column(stars) }}{{ ',' if not loop.last }}
        {% endfor %}
    from cohorts
    inner join cohort_films on cohorts.cohort_id = cohort_films.cohort_id
    inner join films on cohort_films.film_id = films.film_id
    left join globals
        on cohort_films.cohort_id = globals.cohort_id and cohort_films.film_id = globals.film_id
    left join circle_films
        on cohort_films.cohort_id = circle_films.cohort_id and cohort_films.film_id = circle_films.film_id
)

select * from final
