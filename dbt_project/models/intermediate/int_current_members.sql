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
    where status in ('active', 'private', 'renamed')
),

-- Someone known under an old and a new name counts once, under the new one. Few were renamed: the question is
-- asked of them alone.
final as (
    select
        cohorts.cohort_id,
        cohorts.cohort,
        users.user_id,
        users.username,
        users.stated_ratings_count,
        users.stated_likes_count
    from memberships
    inner join cohorts on memberships.cohort_id = cohorts.cohort_id
    inner join users on memberships.user_id = users.user_id
    where not (
        users.status = 'renamed'
        and exists (
            select successors.user_id
            from {{ ref('stg_raw__cohort_members') }} as other_memberships
            inner join {{ ref('stg_raw__users') }} as successors
                on other_memberships.user_id = successors.user_id
            where
                other_memberships.cohort_id = memberships.cohort_id
                and other_memberships.until is null
                and successors.status in ('active', 'private', 'renamed')
                and successors.username = users.renamed_to
        )
    )
)

select * from final
