{# The materialization of every table that a build changes in part: the rows of the cohorts that are built give
   way to new ones in one transaction, each written once (dbt's `incremental` writes them to a temporary table
   first). A cohort that became empty leaves no rows; nobody else's are touched. Delete and insert are all it
   asks of an engine; on Spark the tables need a format with deletes, such as Delta or Iceberg.
   `table_per_cohort` is for a large snapshot: its rows come and go by the table, without an index. #}
{% materialization cohort_rows, default -%}
    {%- set existing = load_cached_relation(this) -%}
    {%- set target_relation = this.incorporate(type='table') -%}
    {%- set has_contract = config.get('contract').enforced -%}
    {%- set table_per_cohort = config.get('table_per_cohort', false) -%}
    {# By which models and readers find rows. #}
    {%- set keys = ['cohort_id', 'cohort', 'film_id', 'user_id', 'person_id'] -%}

    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}

    {%- set columns = model.columns.keys() | list if has_contract else get_columns_in_query(sql) -%}
    {%- if existing is not none and existing.is_view -%}
        {%- do adapter.drop_relation(existing) -%}
        {%- set existing = none -%}
    {%- endif -%}
    {%- if existing is not none -%}
        {%- set present = adapter.get_columns_in_relation(existing) | map(attribute='name') | list -%}
        {%- set missing = columns | reject('in', present) | list -%}
        {%- if missing and has_contract -%}
            {# Last good rows stay: a release that brings a column fills it at the cohort's next build. #}
            {%- for name in missing -%}
                {%- call statement('add_column') -%}
                    alter table {{ existing }} add column {{ name }} {{ model.columns[name].data_type }}
                {%- endcall -%}
            {%- endfor -%}
        {%- elif missing or present | reject('in', columns) | list -%}
            {# Snapshots are made again whenever their SQL has changed. #}
            {%- do adapter.drop_relation(existing) -%}
            {%- set existing = none -%}
        {%- endif -%}
    {%- endif -%}

    {%- if existing is none and not table_per_cohort -%}
        {%- call statement('main') -%}
            {{ get_create_table_as_sql(False, target_relation, sql) }}
        {%- endcall -%}
        {%- do create_indexes(target_relation) -%}
    {%- else -%}
        {%- if existing is none -%}
            {%- call statement('create') -%}
                {{ create_table_per_cohort(target_relation, sql) }}
            {%- endcall -%}
        {%- endif -%}
        {%- call statement('leave') -%}
            {%- if table_per_cohort -%}
                {{ empty_tables_of_requested_cohorts(target_relation) }}
            {%- else -%}
                delete from {{ target_relation }} where {{ replaced_rows() }}
            {%- endif -%}
        {%- endcall -%}
        {%- call statement('main') -%}
            insert into {{ target_relation }} ({{ columns | join(', ') }})
            select {{ columns | join(', ') }} from ({{ sql }}) as built
        {%- endcall -%}
    {%- endif -%}

    {%- call statement('statistics') -%}
        {{ refresh_statistics(target_relation, columns | select('in', keys) | list) }}
    {%- endcall -%}
    {# Of a table that stood before, only a release changes these, and each is followed by a build of everything:
       they took longer than a small cohort's rows. #}
    {%- if existing is none or not invocation_args_dict.select -%}
        {%- do apply_grants(target_relation, config.get('grants'), should_revoke=False) -%}
        {%- do persist_docs(target_relation, model) -%}
    {%- endif -%}
    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {%- do adapter.commit() -%}
    {{ run_hooks(post_hooks, inside_transaction=False) }}
    {{ return({'relations': [target_relation]}) }}
{%- endmaterialization %}
