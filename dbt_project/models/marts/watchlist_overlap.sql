with cohorts as (
    select * from {{ ref('int_publishable_cohorts') }}
),

members as (
    select * from {{ ref('int_cohort_members') }}
),

watchlist_entries as (
    select * from {{ ref('stg_raw__watchlist_entries') }}
    where removed_at is null
),

opinions as (
    select * from {{ ref('int_cohort_ratings') }}
    where {{ is_requested() }} and (half_stars is not null or liked or logged)
),

wishes as (
    select
        cohorts.cohort,
        cohorts.cohort_id,
        watchlist_entries.film_id,
        count(*) as wishers_count,
        {{ array_in_order('members.user_id', 'members.user_id') }} as wisher_ids
    from cohorts
    inner join members on cohorts.cohort_id = members.cohort_id
    inner join watchlist_entries on members.user_id = watchlist_entries.user_id
    group by cohorts.cohort, cohorts.cohort_id, watchlist_entries.film_id
    having count(*) >= 2
),

watched as (
    select
        wishes.cohort_id,
        wishes.film_id,
        count(*) as watchers,
        {{ array_in_order('opinions.user_id', 'opinions.user_id') }} as watcher_ids
    from wishes
    inner join opinions on wishes.cohort_id = opinions.cohort_id and wishes.film_id = opinions.film_id
    group by wishes.cohort_id, wishes.film_id
),

films as (
    select * from {{ ref('stg_raw__films') }}
),

final as (
    select
        wishes.cohort,
        wishes.film_id,
        films.slug,
        films.title,
        films.release_year,
        cast(wishes.wishers_count as integer) as wishers_count,
        wishes.wisher_ids,
        cast(coalesce(watched.watchers, 0) as integer) as watchers,
        coalesce(watched.watcher_ids, {{ no_ids() }}) as watcher_ids,
        wishes.wishers_count >= {{ var('shareable_min_members') }} as is_shareable
    from wishes
    inner join films on wishes.film_id = films.film_id
    left join watched on wishes.cohort_id = watched.cohort_id and wishes.film_id = watched.film_id
)

select * from final
