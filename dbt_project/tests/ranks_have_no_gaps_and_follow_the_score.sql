{{ config(meta={'dagster': {'ref': {'name': 'film_rankings'}}}) }}

-- Under each strategy places run 1 to E, and under the first they follow the score, then raters, then title;
-- tiers never go back.
with rankings as (
    select * from {{ ref('film_rankings') }}
    where eligible and {{ is_publishable() }}
),

gaps as (
    select
        cohort,
        strategy
    from rankings
    group by cohort, strategy
    having min(rank) <> 1 or max(rank) <> count(*) or 2 * sum(rank) <> count(*) * (count(*) + 1)
),

places as (
    select
        *,
        row_number() over (
            partition by cohort
            order by
                round(cast(score as {{ exact_type() }}), 9) desc, raters desc, {{ by_bytes('title') }} asc, rank asc
        ) as expected_rank,
        lag(tier, 1, 1) over (partition by cohort order by rank) as tier_above
    from rankings
    where strategy = 'almanac'
)

select
    cohort,
    strategy
from gaps
union all
select
    cohort,
    strategy
from places
where rank <> expected_rank or tier not in (tier_above, tier_above + 1)
