{# Percentile of a value by mid-rank within its cohort: (below + ties / 2) / N x 100; null for null. #}
{% macro mid_rank_percentile(value) -%}
    case when {{ value }} is not null then
        (
            rank() over (partition by cohort_id order by {{ value }} nulls last) - 1
            + count(*) over (partition by cohort_id order by {{ value }} nulls last)
        ) / cast(2 as {{ double_type() }}) * 100 / count({{ value }}) over (partition by cohort_id)
    end
{%- endmacro %}

{# Standard score of a value within its cohort; null where all values are the same. The bounds tell that:
   the deviation of equal numbers need not come out as exactly 0. #}
{% macro z_score(value) -%}
    case
        when min({{ value }}) over (partition by cohort_id) < max({{ value }}) over (partition by cohort_id) then
            (cast({{ value }} as {{ double_type() }}) - avg(cast({{ value }} as {{ double_type() }})) over (partition by cohort_id))
            / stddev_pop(cast({{ value }} as {{ double_type() }})) over (partition by cohort_id)
    end
{%- endmacro %}

{# The threshold of a label from the seed, to be used in an aggregate over label_thresholds. #}
{% macro threshold(label, criterion) -%}
    max(threshold) filter (where label = '{{ label }}' and criterion = '{{ criterion }}')
{%- endmacro %}
