{# The ten half-star ratings, and the column that counts each: 0.5 is count_0_5. #}
{% macro half_stars() -%}
    {{ return(['0.5', '1.0', '1.5', '2.0', '2.5', '3.0', '3.5', '4.0', '4.5', '5.0']) }}
{%- endmacro %}

{% macro count_column(stars) -%}
    count_{{ stars | replace('.', '_') }}
{%- endmacro %}

{# The sum of the ten counts of a histogram. #}
{% macro bucket_sum() -%}
    ({% for stars in half_stars() %}{{ count_column(stars) }}{{ ' + ' if not loop.last }}{% endfor %})
{%- endmacro %}

{# The sum of counts times stars of a histogram. #}
{% macro bucket_stars() -%}
    ({% for stars in half_stars() %}{{ stars }} * {{ count_column(stars) }}{{ ' + ' if not loop.last }}{% endfor %})
{%- endmacro %}
