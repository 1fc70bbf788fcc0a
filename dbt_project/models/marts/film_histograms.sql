with cohorts as (
    select * from {{ ref('int_publishable_cohorts') }}
),

cohort_films as (
    select * from {{ ref('int_cohort_films') }}
),

final as (
    select
        cohorts.cohort,
        cohort_films.film_id,
        buckets.rating,
        buckets.ratings_count
    from cohorts
    inner join cohort_films on cohorts.cohort_id = cohort_films.cohort_id
    cross join lateral (
        values
        {% for stars in half_stars() -%}
            ({{ stars }}::numeric(2, 1), cohort_films.{{ count_column(stars) }}){{ ',' if not loop.last }}
        {% endfor %}
    ) as buckets (rating, ratings_count)
)

select * from final
