{# What PostgreSQL and Spark SQL say differently. Models use these words and nothing that only one of the two
   knows; tests/dbt/test_dialects.py compiles every model for both. .sqlfluff repeats the PostgreSQL words. #}

{% macro double_type() -%}
    {{ return(adapter.dispatch('double_type', 'cohort_almanac')()) }}
{%- endmacro %}
{% macro default__double_type() -%} double precision {%- endmacro %}
{% macro spark__double_type() -%} double {%- endmacro %}

{# Exact decimal arithmetic. #}
{% macro exact_type() -%}
    {{ return(adapter.dispatch('exact_type', 'cohort_almanac')()) }}
{%- endmacro %}
{% macro default__exact_type() -%} numeric {%- endmacro %}
{% macro spark__exact_type() -%} decimal(38, 9) {%- endmacro %}

{% macro text_type() -%}
    {{ return(adapter.dispatch('text_type', 'cohort_almanac')()) }}
{%- endmacro %}
{% macro default__text_type() -%} text {%- endmacro %}
{% macro spark__text_type() -%} string {%- endmacro %}

{# Aggregate: the values as an array, in the order of another expression. #}
{% macro array_in_order(value, order) -%}
    {{ return(adapter.dispatch('array_in_order', 'cohort_almanac')(value, order)) }}
{%- endmacro %}
{% macro default__array_in_order(value, order) -%}
    array_agg({{ value }} order by {{ order }}, {{ value }})
{%- endmacro %}
{% macro spark__array_in_order(value, order) -%}
    transform(
        array_sort(collect_list(struct({{ order }} as place, {{ value }} as item))),
        each -> each.item
    )
{%- endmacro %}

{# An array of text without elements. #}
{% macro no_values() -%}
    {{ return(adapter.dispatch('no_values', 'cohort_almanac')()) }}
{%- endmacro %}
{% macro default__no_values() -%} cast('{}' as text []) {%- endmacro %}
{% macro spark__no_values() -%} cast(array() as array<string>) {%- endmacro %}

{# An array of ids without elements. #}
{% macro no_ids() -%}
    {{ return(adapter.dispatch('no_ids', 'cohort_almanac')()) }}
{%- endmacro %}
{% macro default__no_ids() -%} cast('{}' as bigint []) {%- endmacro %}
{% macro spark__no_ids() -%} cast(array() as array<bigint>) {%- endmacro %}

{# Order by bytes, whatever the database's collation. #}
{% macro by_bytes(value) -%}
    {{ return(adapter.dispatch('by_bytes', 'cohort_almanac')(value)) }}
{%- endmacro %}
{% macro default__by_bytes(value) -%} {{ value }} collate "C" {%- endmacro %}
{% macro spark__by_bytes(value) -%} {{ value }} {%- endmacro %}

{# Tell the planner how the rows of a table that has grown spread over these columns. It sees by itself how
   large a table is, and autovacuum tells it the rest within minutes, from a larger sample. #}
{% macro refresh_statistics(relation, columns) -%}
    {{ return(adapter.dispatch('refresh_statistics', 'cohort_almanac')(relation, columns)) }}
{%- endmacro %}
{% macro default__refresh_statistics(relation, columns) -%}
    do $$
    begin
        if (
            select pg_relation_size(oid) > 1.2 * relpages * current_setting('block_size')::integer
            from pg_class where oid = '{{ relation }}'::regclass
        ) then
            set local default_statistics_target = 20;
            analyze {{ relation }} ({{ columns | join(', ') }});
        end if;
    end
    $$
{%- endmacro %}
{% macro spark__refresh_statistics(relation, columns) -%}
    analyze table {{ relation }} compute statistics for columns {{ columns | join(', ') }}
{%- endmacro %}
