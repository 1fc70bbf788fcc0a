{# Generic data tests. Each looks only at the cohorts of the running build: the others have not changed. #}

{% test unique_key(model, columns) %}
select {{ columns | join(', ') }}
from {{ model }}
where {{ is_requested() if 'cohort_id' in columns else is_publishable() }}
group by {{ columns | join(', ') }}
having count(*) > 1
{% endtest %}

{% test holds(model, condition) %}
select *
from {{ model }}
where {{ is_publishable() }} and ({{ condition }}) is not true
{% endtest %}

{% test accepted(model, column_name, values) %}
select {{ column_name }}
from {{ model }}
where {{ is_publishable() }} and {{ column_name }} not in ('{{ values | join("', '") }}')
{% endtest %}
