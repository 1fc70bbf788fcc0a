with cohorts as (
    select * from {{ ref('int_publishable_cohorts') }}
),

members as (
    select * from {{ ref('int_cohort_members') }}
),

snapshot as (
    select ratings.*
    from cohorts
    inner join {{ ref('int_cohort_ratings') }} as ratings on cohorts.cohort_id = ratings.cohort_id
),

opinions as (
    select
        cohort_id,
        user_id,
        count(*) filter (where half_stars is not null or liked or logged) as watched_count,
        count(half_stars) as ratings_count,
        count(*) filter (where liked) as likes_count,
        count(*) filter (where favorite) as favorites_count,
        sum(half_stars) as half_stars,
        {% for stars in half_stars() -%}
            count(*) filter (where half_stars = {{ loop.index }}) as {{ count_column(stars) }}{{ ',' if not loop.last }}
        {% endfor %}
    from snapshot
    group by cohort_id, user_id
),

habits as (
    select * from {{ ref('stg_circle__members') }}
),

-- By cohort_id, as its key has it: through taste_similarity the planner expects one row, and joins row by row.
pairs as (
    select
        circle_pairs.cohort_id,
        circle_pairs.user_a,
        circle_pairs.user_b,
        circle_pairs.similarity
    from {{ ref('stg_circle__pairs') }} as circle_pairs
    inner join cohorts on circle_pairs.cohort_id = cohorts.cohort_id
    inner join {{ ref('stg_circle__circles') }} as circles
        on circle_pairs.cohort_id = circles.cohort_id and circle_pairs.computation = circles.computation
    where circle_pairs.similarity is not null
),

-- Each pair as either of the two sees it: added up apart, as there are many.
halves as (
    select
        cohort_id,
        user_a as user_id,
        count(*) as compared_members_count,
        max(similarity) as highest,
        min(similarity) as lowest
    from pairs
    group by cohort_id, user_a
    union all
    select
        cohort_id,
        user_b as user_id,
        count(*) as compared_members_count,
        max(similarity) as highest,
        min(similarity) as lowest
    from pairs
    group by cohort_id, user_b
),

extremes as (
    select
        cohort_id,
        user_id,
        cast(sum(compared_members_count) as integer) as compared_members_count,
        max(highest) as highest,
        min(lowest) as lowest
    from halves
    group by cohort_id, user_id
),

ends as (
    select
        pairs.cohort_id,
        pairs.user_a as user_id,
        pairs.user_b as other_id,
        pairs.similarity
    from pairs
    inner join extremes on pairs.cohort_id = extremes.cohort_id and pairs.user_a = extremes.user_id
    where pairs.similarity = extremes.highest or pairs.similarity = extremes.lowest
    union all
    select
        pairs.cohort_id,
        pairs.user_b as user_id,
        pairs.user_a as other_id,
        pairs.similarity
    from pairs
    inner join extremes on pairs.cohort_id = extremes.cohort_id and pairs.user_b = extremes.user_id
    where pairs.similarity = extremes.highest or pairs.similarity = extremes.lowest
),

partners as (
    select
        extremes.cohort_id,
        extremes.user_id,
        extremes.compared_members_count,
        extremes.highest,
        extremes.lowest,
        min(case when ends.similarity = extremes.highest then ends.other_id end) as most_alike,
        min(case when ends.similarity = extremes.lowest then ends.other_id end) as least_alike
    from extremes
    inner join ends on extremes.cohort_id = ends.cohort_id and extremes.user_id = ends.user_id
    group by
        extremes.cohort_id, extremes.user_id, extremes.compared_members_count, extremes.highest, extremes.lowest
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
        coalesce(partners.compared_members_count, 0) as compared_members_count,
        partners.most_alike as most_agreed_user_id,
        partners.highest as most_agreed_similarity,
        -- Of one other member only nothing is the least.
        case when partners.compared_members_count > 1 then partners.least_alike end as least_agreed_user_id,
        case when partners.compared_members_count > 1 then partners.lowest end as least_agreed_similarity
    from cohorts
    inner join members on cohorts.cohort_id = members.cohort_id
    left join opinions on members.cohort_id = opinions.cohort_id and members.user_id = opinions.user_id
    left join habits on members.cohort_id = habits.cohort_id and members.user_id = habits.user_id
    left join partners on members.cohort_id = partners.cohort_id and members.user_id = partners.user_id
)

select * from final
