with rankings as (
    select * from {{ ref('film_rankings') }}
    where strategy = 'almanac' and eligible
),

thresholds as (
    select {{ threshold('recent years', 'max_years') }} as max_years
    from {{ ref('label_thresholds') }}
),

aged as (
    select
        rankings.*,
        {{ current_year() }} - rankings.release_year as years_ago
    from rankings
),

final as (
    select
        aged.cohort,
        cast(row_number() over (partition by aged.cohort order by aged.rank) as integer) as place,
        aged.film_id,
        aged.slug,
        aged.title,
        aged.release_year,
        aged.years_ago,
        aged.estimate,
        aged.score,
        aged.raters,
        aged.rank
    from aged
    cross join thresholds
    where aged.years_ago < thresholds.max_years
)

select * from final
