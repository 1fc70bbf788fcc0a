{# Generic data tests. Each looks only at the cohorts of the running build: the others have not changed. #}

{% test unique_key(model, columns) %}
select {{ columns | join(', ') }}
from {{ model }}
where {{ is_requested() if 'cohort_id' in columns else is_publishable() }}
group by {{ columns | join(', ') }}
having count(*) > 1
{% endtest %}

{# All rules of a mart in one reading. `broken_rule` names the first that a row breaks. `computed`: the rows to
   look at instead of the mart's, which have a column `cohort_id`. #}
{% test holds(model, rules, computed=none) %}
select *
from (
    select
        *,
        case
            {% for name, condition in rules.items() -%}
                when ({{ condition }}) is not true then '{{ name }}'
            {% endfor %}
        end as broken_rule
    from {{ computed or model }}
    where {{ is_requested() if computed else is_publishable() }}
) as examined
where broken_rule is not null
{% endtest %}
