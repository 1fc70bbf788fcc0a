{{ config(meta={'dagster': {'ref': {'name': 'film_rankings'}}}) }}
-- depends_on: {{ ref('film_rankings') }}

-- Under each strategy places run 1 to E, and under the first they follow the score, then raters, then title;
-- tiers never go back.
-- Of what is to be published as film_rankings.
with rankings as (
    select
        cohorts.cohort,
        scores.strategy,
        scores.film_id,
        scores.rank,
        scores.score,
        scores.raters,
        scores.tier
    from {{ ref('int_publishable_cohorts') }} as cohorts
    inner join {{ ref('stg_circle__circles') }} as circles on cohorts.cohort_id = circles.cohort_id
    inner join {{ ref('stg_circle__scores') }} as scores
        on circles.cohort_id = scores.cohort_id and circles.computation = scores.computation
    where scores.eligible
),

titles as (
    select
        cohort,
        film_id,
        title
    from {{ ref('cohort_film_stats') }}
    where {{ is_publishable() }}
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
        cohort,
        rankings.strategy,
        rankings.rank,
        rankings.tier,
        row_number() over (
            partition by cohort
            order by
                round(cast(rankings.score as {{ exact_type() }}), 9) desc,
                rankings.raters desc,
                {{ by_bytes('titles.title') }} asc,
                rankings.rank asc
        ) as expected_rank,
        lag(rankings.tier, 1, 1) over (partition by cohort order by rankings.rank) as tier_above
    from rankings
    left join titles using (cohort, film_id)
    where rankings.strategy = 'almanac'
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
