{# Generic data tests. Each looks only at the cohorts of the running build: the others have not changed. #}

{% test unique_key(model, columns) %}
select {{ columns | join(', ') }}
from {{ model }}
where {{ is_requested() if 'cohort_id' in columns else is_publishable() }}
group by {{ columns | join(', ') }}
having count(*) > 1
{% endtest %}

{# `computed`: the rows to look at instead, which have a column `cohort_id`. #}
{% test holds(model, condition, computed=none) %}
select *
from {{ computed or model }}
where {{ is_requested() if computed else is_publishable() }} and ({{ condition }}) is not true
{% endtest %}

{% test accepted(model, column_name, values, computed=none) %}
select {{ column_name }}
from {{ computed or model }}
where {{ is_requested() if computed else is_publishable() }} and {{ column_name }} not in ('{{ values | join("', '") }}')
{% endtest %}
