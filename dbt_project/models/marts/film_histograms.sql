{{ config(materialized='view', tags=['published_views']) }}

with film_stats as (
    select * from {{ ref('cohort_film_stats') }}
),

buckets as (
    {% for stars in half_stars() -%}
        select cast({{ stars }} as numeric(2, 1)) as rating{{ ' union all' if not loop.last }}
    {% endfor %}
),

final as (
    select
        film_stats.cohort,
        film_stats.film_id,
        buckets.rating,
        case buckets.rating
            {% for stars in half_stars() -%}
                when {{ stars }} then film_stats.{{ count_column(stars) }}
            {% endfor %}
        end as ratings_count
    from film_stats
    cross join buckets
)

select * from final
