{# Percentile of a value by mid-rank within its cohort: (below + ties / 2) / N x 100; null for null. #}
{% macro mid_rank_percentile(value) -%}
    case when {{ value }} is not null then
        (
            rank() over (partition by cohort order by {{ value }}) - 1
            + count(*) over (partition by cohort, {{ value }}) / 2.0
        ) * 100.0 / count({{ value }}) over (partition by cohort)
    end
{%- endmacro %}

{# Standard score of a value within its cohort; null where all values are the same, which only
   exact arithmetic recognises. #}
{% macro z_score(value) -%}
    ({{ value }}::numeric - avg({{ value }}::numeric) over (partition by cohort))
    / nullif(stddev_pop({{ value }}::numeric) over (partition by cohort), 0)
{%- endmacro %}

{# The threshold of a label from the seed, to be used in an aggregate over label_thresholds. #}
{% macro threshold(label, criterion) -%}
    max(threshold) filter (where label = '{{ label }}' and criterion = '{{ criterion }}')
{%- endmacro %}
