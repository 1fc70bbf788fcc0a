{{ config(indexes=[{'columns': ['cohort_id', 'film_id']}]) }}

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
        {% for stars in half_stars() -%}
            count(*) filter (where half_stars = {{ loop.index }}) as {{ count_column(stars) }}{{ ',' if not loop.last }}
        {% endfor %}
    from ratings
    group by cohort_id, film_id
),

-- Sums of whole half-stars and of their powers: the moments below are exact, however many ratings there are.
sums as (
    select
        *,
        cast(raters as {{ exact_type() }}) as n,
        cast({{ bucket_sum(1) }} as {{ exact_type() }}) as s1,
        cast({{ bucket_sum(2) }} as {{ exact_type() }}) as s2,
        cast({{ bucket_sum(3) }} as {{ exact_type() }}) as s3
    from aggregated
),

moments as (
    select
        *,
        -- n^2 times the second and n^3 times the third central moment, in half-stars.
        cast(n * s2 - s1 * s1 as {{ double_type() }}) as second_moment,
        cast(n * n * s3 - 3 * n * s1 * s2 + 2 * s1 * s1 * s1 as {{ double_type() }}) as third_moment
    from sums
),

final as (
    select
        cohort_id,
        film_id,
        cast(watchers as integer) as watchers,
        cast(raters as integer) as raters,
        cast(s1 as {{ double_type() }}) / nullif(2 * raters, 0) as average_rating,
        case when raters > 0 then cast(s1 / 2 as numeric(10, 1)) end as rating_sum,
        sqrt(second_moment / nullif(raters * (raters - 1), 0)) / 2 as rating_stddev,
        case
            when raters >= 3 and second_moment > 0
                then
                    third_moment / power(second_moment, 1.5)
                    * sqrt(cast(raters * (raters - 1) as {{ double_type() }})) / (raters - 2)
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
