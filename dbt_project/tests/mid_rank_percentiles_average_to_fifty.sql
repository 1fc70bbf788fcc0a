{{ config(meta={'dagster': {'ref': {'name': 'ranking_insights'}}}) }}

-- One row of insights per film that somebody watched; mid-rank percentiles average to 50 whatever the ties.
with stats as (
    select
        cohort,
        count(*) as films
    from {{ ref('cohort_film_stats') }}
    where watchers > 0 and {{ is_publishable() }}
    group by cohort
),

insights as (
    select
        cohort,
        count(*) as films,
        avg(score_percentile) as score_percentile,
        avg(watcher_percentile) as watcher_percentile
    from {{ ref('ranking_insights') }}
    where {{ is_publishable() }}
    group by cohort
)

select cohort
from stats
full outer join insights using (cohort)
where
    stats.films is distinct from insights.films
    or abs(insights.score_percentile - 50) > 1e-6
    or abs(insights.watcher_percentile - 50) > 1e-6
