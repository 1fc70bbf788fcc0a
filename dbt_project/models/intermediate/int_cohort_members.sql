{{ config(indexes=[{'columns': ['cohort_id', 'user_id'], 'unique': true}]) }}

with members as (
    select * from {{ ref('int_current_members') }}
    where {{ is_requested() }}
),

final as (
    select
        cohort_id,
        cohort,
        user_id,
        username,
        stated_ratings_count,
        stated_likes_count
    from members
)

select * from final
