with cohorts as (
    select * from {{ ref('int_publishable_cohorts') }}
),

members as (
    select * from {{ ref('int_cohort_members') }}
),

opinions as (
    select * from {{ ref('int_cohort_member_opinions') }}
),

habits as (
    select * from {{ ref('stg_circle__members') }}
),

final as (
    select
        cohorts.cohort,
        members.user_id,
        cast(coalesce(opinions.watched_count, 0) as integer) as watched_count,
        cast(coalesce(opinions.ratings_count, 0) as integer) as ratings_count,
        cast(coalesce(opinions.likes_count, 0) as integer) as likes_count,
        cast(coalesce(opinions.favorites_count, 0) as integer) as favorites_count,
        cast(opinions.half_stars as {{ double_type() }}) / nullif(2 * opinions.ratings_count, 0) as average_rating,
        habits.strictness,
        habits.spread,
        1 / habits.noise as consistency,
        {% for stars in half_stars() -%}
            cast(opinions.{{ count_column(stars) }} as {{ double_type() }})
            / nullif(opinions.ratings_count, 0) as {{ share_column(stars) }},
        {% endfor %}
        coalesce(habits.compared_members_count, 0) as compared_members_count,
        habits.most_agreed_user_id,
        habits.most_agreed_similarity,
        habits.least_agreed_user_id,
        habits.least_agreed_similarity
    from cohorts
    inner join members on cohorts.cohort_id = members.cohort_id
    left join opinions on members.cohort_id = opinions.cohort_id and members.user_id = opinions.user_id
    left join habits on members.cohort_id = habits.cohort_id and members.user_id = habits.user_id
)

select * from final
