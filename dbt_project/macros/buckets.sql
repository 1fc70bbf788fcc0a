{# The ten half-star ratings, and the column that counts each: 0.5 is count_0_5. #}
{% macro half_stars() -%}
    {{ return(['0.5', '1.0', '1.5', '2.0', '2.5', '3.0', '3.5', '4.0', '4.5', '5.0']) }}
{%- endmacro %}

{% macro count_column(stars) -%}
    count_{{ stars | replace('.', '_') }}
{%- endmacro %}

{% macro share_column(stars) -%}
    share_{{ stars | replace('.', '_') }}
{%- endmacro %}

{# The sum of the ten counts of a histogram, each times its half-stars (1 to 10) to some power. #}
{% macro bucket_sum(power=0) -%}
    (
        {%- for stars in half_stars() -%}
            {{ '' if power == 0 else loop.index ** power ~ ' * ' }}{{ count_column(stars) }}{{ ' + ' if not loop.last }}
        {%- endfor -%}
    )
{%- endmacro %}

{# The median of a histogram that is not empty, in half-stars: between the first bucket up to which there is
   half of the ratings and the first up to which there is more. Equals percentile_cont(0.5) of the ratings,
   which would have to sort them. #}
{% macro bucket_median(ratings_count) -%}
    (
        {%- for comparison in ('>=', '>') -%}
            case
            {%- for stars in half_stars() %}
                when 2 * ({% for lower in half_stars()[:loop.index] %}{{ count_column(lower) }}{{ ' + ' if not loop.last }}{% endfor %})
                    {{ comparison }} {{ ratings_count }} then {{ loop.index }}
            {%- endfor %}
            end {{ ' + ' if not loop.last }}
        {%- endfor -%}
    ) / 2.0
{%- endmacro %}
