{# A condition on `cohort_id`: this build was asked for the cohort. #}
{% macro is_requested() -%}
    cohort_id in (select cohort_id from {{ ref('stg_ops__cohort_build_requests') }})
{%- endmacro %}

{# A condition on `cohort`: asked for, and its blocking audits passed. #}
{% macro is_publishable() -%}
    cohort in (select cohort from {{ ref('int_publishable_cohorts') }})
{%- endmacro %}

{# Pre-hooks of the per-cohort tables: delete, then append. A cohort that became empty leaves no rows. #}
{% macro delete_requested() -%}
    {%- if load_relation(this) is not none -%}
        delete from {{ this }} where {{ is_requested() }}
    {%- endif -%}
{%- endmacro %}

{% macro delete_publishable() -%}
    {%- if load_relation(this) is not none -%}
        delete from {{ this }} where {{ is_publishable() }}
    {%- endif -%}
{%- endmacro %}
