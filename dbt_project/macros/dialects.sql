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
    declare
        grown regclass;
    begin
        set local default_statistics_target = 20;
        for grown in
            select oid from pg_class
            where
                relkind = 'r'
                and (
                    oid = '{{ relation }}'::regclass
                    or oid in (select inhrelid from pg_inherits where inhparent = '{{ relation }}'::regclass)
                )
                and pg_relation_size(oid) > 1.2 * relpages * current_setting('block_size')::integer
        loop
            execute format('analyze %s ({{ columns | join(', ') }})', grown);
        end loop;
    end
    $$
{%- endmacro %}
{% macro spark__refresh_statistics(relation, columns) -%}
    analyze table {{ relation }} compute statistics for columns {{ columns | join(', ') }}
{%- endmacro %}

{# An empty table like a query's result, which keeps the rows of each cohort in a table of their own. #}
{% macro create_table_per_cohort(relation, sql) -%}
    {{ return(adapter.dispatch('create_table_per_cohort', 'cohort_almanac')(relation, sql)) }}
{%- endmacro %}
{% macro default__create_table_per_cohort(relation, sql) -%}
    create temporary table query_result on commit drop as select * from ({{ sql }}) as built limit 0;
    create table {{ relation }} (like query_result) partition by list (cohort_id)
{%- endmacro %}
{% macro spark__create_table_per_cohort(relation, sql) -%}
    create table {{ relation }} partitioned by (cohort_id) as select * from ({{ sql }}) as built limit 0
{%- endmacro %}

{# Empty the tables of the requested cohorts, and make those that are missing. Emptying leaves nothing behind to
   be skipped and vacuumed, but an older view of the table would show nothing: while somebody reads it, its rows
   are deleted instead. #}
{% macro empty_tables_of_requested_cohorts(relation) -%}
    {{ return(adapter.dispatch('empty_tables_of_requested_cohorts', 'cohort_almanac')(relation)) }}
{%- endmacro %}
{% macro default__empty_tables_of_requested_cohorts(relation) -%}
    do $$
    declare
        cohort bigint;
        cohort_table text;
    begin
        for cohort in select cohort_id from {{ ref('stg_ops__cohort_build_requests') }} loop
            cohort_table := format('%I.%I', '{{ relation.schema }}', '{{ relation.identifier }}_' || cohort);
            if to_regclass(cohort_table) is null then
                execute format('create unlogged table %s (like {{ relation }})', cohort_table);
                execute format(
                    'alter table {{ relation }} attach partition %s for values in (%s)', cohort_table, cohort
                );
            else
                begin
                    execute format('lock table %s in access exclusive mode nowait', cohort_table);
                    execute format('truncate %s', cohort_table);
                exception when lock_not_available then
                    execute format('delete from %s', cohort_table);
                end;
            end if;
        end loop;
    end
    $$
{%- endmacro %}
{% macro spark__empty_tables_of_requested_cohorts(relation) -%}
    delete from {{ relation }} where {{ is_requested() }}
{%- endmacro %}

{# Group by sorting in this model. The planner takes hashing of many groups for cheaper than it is once they do
   not fit into memory: measured with 10 million rows, sorting took two thirds of the time. #}
{% macro group_by_sorting() -%}
    {{ return(adapter.dispatch('group_by_sorting', 'cohort_almanac')()) }}
{%- endmacro %}
{% macro default__group_by_sorting() -%} set local enable_hashagg = off {%- endmacro %}
{% macro spark__group_by_sorting() -%} {%- endmacro %}

{# Look rows up by an index in this model where those of some members are wanted out of everybody's. By its own
   reckoning for turning disks the planner reads the whole table: 2.5 s, not 0.3, for one large cohort of twenty. #}
{% macro look_up_by_index() -%}
    {{ return(adapter.dispatch('look_up_by_index', 'cohort_almanac')()) }}
{%- endmacro %}
{% macro default__look_up_by_index() -%} set local random_page_cost = 1.1 {%- endmacro %}
{% macro spark__look_up_by_index() -%} {%- endmacro %}
