{{ config(table_per_cohort=true, pre_hook="{{ look_up_by_index() }}") }}

with members as (
    select * from {{ ref('int_cohort_members') }}
    where {{ is_requested() }}
),

ratings as (
    select * from {{ ref('stg_raw__ratings') }}
    where removed_at is null
),

diary_entries as (
    select * from {{ ref('stg_raw__diary_entries') }}
    where removed_at is null and film_id is not null
),

opinions as (
    select
        members.cohort_id,
        members.user_id,
        ratings.film_id,
        ratings.rating,
        ratings.liked,
        ratings.favorite,
        ratings.rated_at,
        ratings.rated_at_source
    from members
    inner join ratings on members.user_id = ratings.user_id
),

viewings as (
    select distinct
        members.cohort_id,
        members.user_id,
        diary_entries.film_id
    from members
    inner join diary_entries on members.user_id = diary_entries.user_id
),

final as (
    select
        cohort_id,
        user_id,
        film_id,
        opinions.rating,
        cast(opinions.rating * 2 as integer) as half_stars,
        opinions.rated_at,
        opinions.rated_at_source,
        coalesce(opinions.liked, false) as liked,
        coalesce(opinions.favorite, false) as favorite,
        viewings.film_id is not null as logged
    from opinions
    full outer join viewings using (cohort_id, user_id, film_id)
)

select * from final
