{{ config(indexes=[{'columns': ['cohort_id', 'user_id']}]) }}

with ratings as (
    select * from {{ ref('int_cohort_ratings') }}
    where {{ is_requested() }}
),

final as (
    select
        cohort_id,
        user_id,
        count(*) filter (where half_stars is not null or liked or logged) as watched_count,
        count(half_stars) as ratings_count,
        count(*) filter (where liked) as likes_count,
        count(*) filter (where favorite) as favorites_count,
        sum(half_stars) as half_stars,
        count(*) - count(distinct film_id) as repeated_rows_count,
        {% for stars in half_stars() -%}
            count(*) filter (where half_stars = {{ loop.index }}) as {{ count_column(stars) }}{{ ',' if not loop.last }}
        {% endfor %}
    from ratings
    group by cohort_id, user_id
)

select * from final
