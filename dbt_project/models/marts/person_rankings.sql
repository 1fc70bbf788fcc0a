-- A person is to their films what a film is to its raters; docs/decisions/0008 has the formulas.
with cohorts as (
    select * from {{ ref('int_publishable_cohorts') }}
),

circles as (
    select * from {{ ref('stg_circle__circles') }}
),

circle_films as (
    select * from {{ ref('stg_circle__films') }}
),

credits as (
    select
        film_id,
        role,
        person_id
    from {{ ref('stg_raw__film_people') }}
),

people as (
    select * from {{ ref('stg_raw__people') }}
),

-- What the raters of a film say, not pulled anywhere: stars above the circle's middle, and its variance.
voices as (
    select
        cohorts.cohort_id,
        circle_films.film_id,
        circle_films.raters,
        (
            circle_films.estimate * (circle_films.information + circles.prior_weight)
            - circles.prior_weight * circle_films.prior
        ) / circle_films.information - circles.film_mean as voice,
        circles.residual_variance / circle_films.information as noise,
        1 / (circles.film_variance + circles.residual_variance / circle_films.information) as weight
    from cohorts
    inner join circles on cohorts.cohort_id = circles.cohort_id
    inner join circle_films on cohorts.cohort_id = circle_films.cohort_id
),

-- Each film's voice with everybody who is credited for it.
credited as (
    select
        voices.cohort_id,
        credits.role,
        credits.person_id,
        voices.raters,
        voices.voice,
        voices.noise,
        voices.weight
    from voices
    inner join credits on voices.film_id = credits.film_id
),

-- Over the pairs of two different films of a person.
own_pairs as (
    select
        cohort_id,
        role,
        power(sum(weight * voice), 2) - sum(power(weight * voice, 2)) as products,
        power(sum(weight), 2) - sum(power(weight, 2)) as weights
    from credited
    group by cohort_id, role, person_id
    having count(*) > 1
),

-- Films of one person vary together by as much as persons differ: each pair of films tells of it.
covariances as (
    select
        cohort_id,
        role,
        sum(products) / sum(weights) as covariance
    from own_pairs
    group by cohort_id, role
),

-- The circle's middle counts for at least one film and at most 25, as the circle model keeps it for ratings.
levels as (
    select
        cohorts.cohort_id,
        cohorts.cohort,
        covariances.role,
        circles.film_mean,
        circles.film_variance,
        least(
            greatest(covariances.covariance, circles.film_variance / 26), circles.film_variance / 2
        ) as person_variance
    from cohorts
    inner join circles on cohorts.cohort_id = circles.cohort_id
    inner join covariances on cohorts.cohort_id = covariances.cohort_id
),

-- A film's voice as evidence of a person, in each role.
weighed as (
    select
        credited.cohort_id,
        credited.role,
        credited.person_id,
        count(*) as films_count,
        max(credited.raters) as most_raters,
        sum(1 / (levels.film_variance - levels.person_variance + credited.noise)) as information,
        sum(credited.voice / (levels.film_variance - levels.person_variance + credited.noise)) as pull
    from credited
    -- Whoever has films enough has a level. Of an inner join the planner would expect one row, and sort them all.
    left join levels on credited.cohort_id = levels.cohort_id and credited.role = levels.role
    group by credited.cohort_id, credited.role, credited.person_id
    having count(*) >= {{ var('person_min_films') }}
),

scored as (
    select
        levels.cohort,
        weighed.role,
        weighed.person_id,
        weighed.films_count,
        weighed.most_raters,
        levels.film_variance / levels.person_variance - 1 as prior_films,
        levels.film_mean + weighed.pull / (weighed.information + 1 / levels.person_variance) as estimate,
        1 / sqrt(weighed.information + 1 / levels.person_variance) as estimate_sd
    from weighed
    inner join levels on weighed.cohort_id = levels.cohort_id and weighed.role = levels.role
),

named as (
    select
        scored.*,
        people.name as person,
        scored.estimate - 1.2815515655 * scored.estimate_sd as score
    from scored
    inner join people on scored.person_id = people.person_id
),

final as (
    select
        cohort,
        role,
        person_id,
        person,
        cast(films_count as integer) as films_count,
        most_raters,
        score,
        estimate,
        estimate_sd,
        cast(row_number() over (
            partition by cohort, role
            order by
                round(cast(score as {{ exact_type() }}), 9) desc,
                films_count desc,
                {{ by_bytes('person') }} asc,
                person_id asc
        ) as integer) as rank,
        prior_films,
        {{ var('person_min_films') }} as min_films,
        most_raters >= {{ var('shareable_min_members') }} as is_shareable
    from named
)

select * from final
