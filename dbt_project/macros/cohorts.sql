{# A condition on `cohort_id`: this build was asked for the cohort. warehouse/dbt.py hands the ids over in words,
   too, with which the planner reads no other cohort's table and knows how many rows there are. #}
{% macro is_requested() -%}
    {%- set cohort_ids = var('requested_cohorts', none) -%}
    {%- if cohort_ids -%}
        cohort_id in ({{ cohort_ids | join(', ') }})
    {%- else -%}
        cohort_id in (select cohort_id from {{ ref('stg_ops__cohort_build_requests') }})
    {%- endif -%}
{%- endmacro %}

{# A condition on `cohort`: asked for, and its blocking audits passed. #}
{% macro is_publishable() -%}
    cohort in (select cohort from {{ ref('int_publishable_cohorts') }})
{%- endmacro %}

{# A condition on `film_id`: a film of a cohort that is published now. #}
{% macro is_of_a_published_film() -%}
    film_id in (select film_id from {{ ref('cohort_film_stats') }} where {{ is_publishable() }})
{%- endmacro %}

{# Which rows of a table a build replaces, by the config `replaces`. #}
{% macro replaced_rows() -%}
    {%- set replaced = config.get('replaces', 'publishable cohorts') -%}
    {%- if replaced == 'requested cohorts' -%}
        {{ is_requested() }}
    {%- elif replaced == 'publishable cohorts' -%}
        {{ is_publishable() }}
    {%- elif replaced == 'published films' -%}
        {{ is_of_a_published_film() }}
    {%- else -%}
        {{ exceptions.raise_compiler_error('`replaces` is not known: ' ~ replaced) }}
    {%- endif -%}
{%- endmacro %}
