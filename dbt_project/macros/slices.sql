{# A ready-made slice: the films of a label, numbered within their cohort in an order that suits the slice. #}
{% macro slice_of(condition, order) -%}
with insights as (
    select * from {{ ref('ranking_insights') }}
    where {{ condition }}
),

film_stats as (
    select * from {{ ref('cohort_film_stats') }}
),

final as (
    select
        insights.cohort,
        cast(row_number() over (
            partition by insights.cohort
            order by {{ order }}, insights.raters desc, insights.title asc, insights.film_id asc
        ) as integer) as place,
        insights.film_id,
        insights.slug,
        insights.title,
        insights.release_year,
        insights.estimate,
        insights.score,
        film_stats.average_rating,
        insights.watchers,
        insights.raters,
        film_stats.liked_count,
        insights.delta,
        insights.agreement,
        insights.bucket,
        insights.distribution_label
    from insights
    inner join film_stats on insights.cohort = film_stats.cohort and insights.film_id = film_stats.film_id
)

select * from final
{%- endmacro %}

{% macro current_year() -%} cast(extract(year from current_date) as integer) {%- endmacro %}
