{{ config(indexes=[{'columns': ['cohort_id', 'film_id']}], pre_hook="{{ group_by_sorting() }}") }}

with ratings as (
    select * from {{ ref('int_cohort_ratings') }}
    where {{ is_requested() }}
),

aggregated as (
    select
        cohort_id,
        film_id,
        count(*) filter (where half_stars is not null or liked or logged) as watchers,
        count(half_stars) as raters,
        count(*) filter (where liked) as liked_count,
        count(*) filter (where favorite) as favorite_count,
        count(*) filter (where favorite and (half_stars is not null or liked or logged)) as favorite_watchers,
        min(case when half_stars is not null then rated_at end) as first_rated_at,
        max(case when half_stars is not null then rated_at end) as last_rated_at,
        -- Sums of whole half-stars and of their powers: a double holds them exactly.
        cast(count(half_stars) as {{ double_type() }}) as n,
        cast(sum(half_stars) as {{ double_type() }}) as s1,
        cast(sum(half_stars * half_stars) as {{ double_type() }}) as s2,
        cast(sum(half_stars * half_stars * half_stars) as {{ double_type() }}) as s3,
        {% for stars in half_stars() -%}
            count(*) filter (where half_stars = {{ loop.index }}) as {{ count_column(stars) }}{{ ',' if not loop.last }}
        {% endfor %}
    from ratings
    -- The film first: it tells rows apart soonest when they are sorted.
    group by film_id, cohort_id
),

moments as (
    select
        *,
        -- n^2 times the second and n^3 times the third central moment, in half-stars.
        n * s2 - s1 * s1 as second_moment,
        n * n * s3 - 3 * n * s1 * s2 + 2 * s1 * s1 * s1 as third_moment
    from aggregated
),

final as (
    select
        cohort_id,
        film_id,
        cast(watchers as integer) as watchers,
        cast(raters as integer) as raters,
        s1 / (2 * n) as average_rating,
        cast(s1 / 2 as numeric(10, 1)) as rating_sum,
        sqrt(second_moment / nullif(n * (n - 1), 0)) / 2 as rating_stddev,
        case
            when raters >= 3 and second_moment > 0
                then
                    third_moment / power(second_moment, 1.5)
                    * sqrt(n * (n - 1)) / (n - 2)
        end as rating_skewness,
        case
            when raters > 0 then cast({{ bucket_median('raters') }} as {{ double_type() }}) / 2
        end as median_rating,
        cast(count_4_0 + count_4_5 + count_5_0 as {{ double_type() }}) / nullif(raters, 0) as high_rating_share,
        cast(liked_count as integer) as liked_count,
        cast(liked_count as {{ double_type() }}) / nullif(watchers, 0) as liked_share,
        cast(favorite_count as integer) as favorite_count,
        cast(favorite_watchers as {{ double_type() }}) / nullif(watchers, 0) as favorite_share,
        first_rated_at,
        last_rated_at,
        {% for stars in half_stars() -%}
            cast({{ count_column(stars) }} as integer) as {{ count_column(stars) }}{{ ',' if not loop.last }}
        {% endfor %}
    from moments
)

select * from final
