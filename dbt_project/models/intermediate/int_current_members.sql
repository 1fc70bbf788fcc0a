{{ config(materialized='view', tags=['shared_views']) }}

with cohorts as (
    select * from {{ ref('stg_raw__cohorts') }}
),

memberships as (
    select * from {{ ref('stg_raw__cohort_members') }}
    where until is null
),

users as (
    select * from {{ ref('stg_raw__users') }}
),

candidates as (
    select
        cohorts.cohort_id,
        cohorts.cohort,
        users.user_id,
        users.username,
        users.status,
        users.renamed_to,
        users.stated_ratings_count,
        users.stated_likes_count
    from memberships
    inner join cohorts on memberships.cohort_id = cohorts.cohort_id
    inner join users on memberships.user_id = users.user_id
    where users.status in ('active', 'private', 'renamed')
),

-- Someone known under an old and a new name counts once, under the new one.
final as (
    select
        candidates.cohort_id,
        candidates.cohort,
        candidates.user_id,
        candidates.username,
        candidates.stated_ratings_count,
        candidates.stated_likes_count
    from candidates
    left join candidates as successors
        on
            candidates.status = 'renamed'
            and candidates.cohort_id = successors.cohort_id
            and candidates.renamed_to = successors.username
    where successors.user_id is null
)

select * from final
