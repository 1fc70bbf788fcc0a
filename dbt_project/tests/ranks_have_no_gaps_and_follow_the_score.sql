{{ config(meta={'dagster': {'ref': {'name': 'film_rankings'}}}) }}
-- depends_on: {{ ref('film_rankings') }}

-- Under each strategy places run 1 to E, and under the first they follow the score, then raters, then title;
-- tiers never go back.
-- Of what is to be published as film_rankings.
with circles as (
    select
        cohorts.cohort,
        circles.cohort_id,
        circles.computation
    from {{ ref('int_publishable_cohorts') }} as cohorts
    inner join {{ ref('stg_circle__circles') }} as circles on cohorts.cohort_id = circles.cohort_id
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
        circles.cohort,
        scores.strategy
    from circles
    inner join {{ ref('stg_circle__scores') }} as scores
        on circles.cohort_id = scores.cohort_id and circles.computation = scores.computation
    where scores.eligible
    group by circles.cohort, scores.strategy
    having
        min(scores.rank) <> 1
        or max(scores.rank) <> count(*)
        or 2 * sum(scores.rank) <> count(*) * (count(*) + 1)
),

places as (
    select
        circles.cohort,
        scores.strategy,
        scores.rank,
        scores.tier,
        row_number() over (
            partition by circles.cohort
            order by
                round(cast(scores.score as {{ exact_type() }}), 9) desc,
                scores.raters desc,
                {{ by_bytes('titles.title') }} asc,
                scores.rank asc
        ) as expected_rank,
        lag(scores.tier, 1, 1) over (partition by circles.cohort order by scores.rank) as tier_above
    from circles
    inner join {{ ref('stg_circle__scores') }} as scores
        on circles.cohort_id = scores.cohort_id and circles.computation = scores.computation
    left join titles on circles.cohort = titles.cohort and scores.film_id = titles.film_id
    where scores.strategy = 'almanac' and scores.eligible
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
