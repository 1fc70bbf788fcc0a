{{ config(
    tags=['before_statistics'], materialized='incremental', incremental_strategy='append',
    on_schema_change='append_new_columns', pre_hook='{{ delete_requested() }}', post_hook='analyze {{ this }}',
    indexes=[{'columns': ['cohort_id', 'film_id']}]
) }}

with ratings as (
    select
        *,
        (rating * 2)::bigint as half_stars,
        rating is not null or liked or logged as watched
    from {{ ref('int_cohort_ratings') }}
    where {{ is_requested() }}
),

aggregated as (
    select
        cohort_id,
        film_id,
        count(*) filter (where watched) as watchers,
        count(rating) as raters,
        sum(rating) as rating_sum,
        -- Sums of whole half-stars: the moments below are exact, however many ratings there are.
        sum(half_stars)::numeric as s1,
        sum(half_stars * half_stars)::numeric as s2,
        sum(half_stars * half_stars * half_stars)::numeric as s3,
        percentile_cont(0.5) within group (order by rating) as median_rating,
        count(*) filter (where rating >= 4.0) as high_ratings,
        count(*) filter (where liked) as liked_count,
        count(*) filter (where favorite) as favorite_count,
        count(*) filter (where favorite and watched) as favorite_watchers,
        min(rated_at) filter (where rating is not null) as first_rated_at,
        max(rated_at) filter (where rating is not null) as last_rated_at,
        {% for stars in half_stars() -%}
            count(*) filter (where rating = {{ stars }}) as {{ count_column(stars) }}{{ ',' if not loop.last }}
        {% endfor %}
    from ratings
    group by cohort_id, film_id
),

moments as (
    select
        *,
        -- n^2 times the second and n^3 times the third central moment, in half-stars.
        raters * s2 - s1 * s1 as second_moment,
        raters * raters * s3 - 3 * raters * s1 * s2 + 2 * s1 * s1 * s1 as third_moment
    from aggregated
),

final as (
    select
        cohort_id,
        film_id,
        watchers::integer as watchers,
        raters::integer as raters,
        (rating_sum / nullif(raters, 0))::double precision as average_rating,
        rating_sum::numeric(10, 1) as rating_sum,
        sqrt((second_moment / nullif(raters * (raters - 1), 0))::double precision) / 2 as rating_stddev,
        case
            when raters >= 3 and second_moment > 0
                then
                    third_moment::double precision / power(second_moment::double precision, 1.5)
                    * sqrt((raters * (raters - 1))::double precision) / (raters - 2)
        end as rating_skewness,
        median_rating,
        high_ratings::double precision / nullif(raters, 0) as high_rating_share,
        liked_count::integer as liked_count,
        liked_count::double precision / nullif(watchers, 0) as liked_share,
        favorite_count::integer as favorite_count,
        favorite_watchers::double precision / nullif(watchers, 0) as favorite_share,
        first_rated_at,
        last_rated_at,
        {% for stars in half_stars() -%}
            {{ count_column(stars) }}::integer as {{ count_column(stars) }}{{ ',' if not loop.last }}
        {% endfor %}
    from moments
)

select * from final
