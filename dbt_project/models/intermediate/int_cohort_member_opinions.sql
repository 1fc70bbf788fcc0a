{{ config(indexes=[{'columns': ['cohort_id', 'user_id']}]) }}

with ratings as (
    select * from {{ ref('int_cohort_ratings') }}
    where {{ is_requested() }}
),

-- Read on its own: stored for two to read, the snapshot would be written a second time.
repeated_films as (
    select
        cohort_id,
        user_id,
        film_id
    from {{ ref('int_cohort_ratings') }}
    where {{ is_requested() }}
    group by cohort_id, user_id, film_id
    having count(*) > 1
),

repetitions as (
    select
        cohort_id,
        user_id,
        count(*) as repeated_films_count
    from repeated_films
    group by cohort_id, user_id
),

counted as (
    select
        cohort_id,
        user_id,
        count(*) filter (where half_stars is not null or liked or logged) as watched_count,
        count(half_stars) as ratings_count,
        count(*) filter (where liked) as likes_count,
        count(*) filter (where favorite) as favorites_count,
        sum(half_stars) as half_stars,
        {% for stars in half_stars() -%}
            count(*) filter (where half_stars = {{ loop.index }}) as {{ count_column(stars) }}{{ ',' if not loop.last }}
        {% endfor %}
    from ratings
    group by cohort_id, user_id
),

final as (
    select
        counted.*,
        coalesce(repetitions.repeated_films_count, 0) as repeated_films_count
    from counted
    left join repetitions
        on counted.cohort_id = repetitions.cohort_id and counted.user_id = repetitions.user_id
)

select * from final
