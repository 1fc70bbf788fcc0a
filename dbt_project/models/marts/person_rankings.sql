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
    select * from {{ ref('stg_raw__film_people') }}
),

people as (
    select * from {{ ref('stg_raw__people') }}
),

-- What the raters of a film say, not pulled anywhere: stars above the circle's middle, and its variance.
voices as (
    select
        cohorts.cohort,
        circles.film_mean,
        circles.film_variance,
        circle_films.film_id,
        circle_films.raters,
        (
            circle_films.estimate * (circle_films.information + circles.prior_weight)
            - circles.prior_weight * circle_films.prior
        ) / circle_films.information - circles.film_mean as voice,
        circles.residual_variance / circle_films.information as noise
    from cohorts
    inner join circles on cohorts.cohort_id = circles.cohort_id
    inner join circle_films on cohorts.cohort_id = circle_films.cohort_id
),

credited as (
    select
        voices.*,
        credits.role,
        credits.person_id,
        1 / (voices.film_variance + voices.noise) as weight
    from voices
    inner join credits on voices.film_id = credits.film_id
),

-- Films of one person vary together by as much as persons differ: each pair of films tells of it.
own_pairs as (
    select
        cohort,
        role,
        power(sum(weight * voice), 2) - sum(power(weight * voice, 2)) as products,
        power(sum(weight), 2) - sum(power(weight, 2)) as weights
    from credited
    group by cohort, role, person_id
    having count(*) > 1
),

covariances as (
    select
        cohort,
        role,
        sum(products) / sum(weights) as covariance
    from own_pairs
    group by cohort, role
),

-- The circle's middle counts for at least one film and at most 25, as the circle model keeps it for ratings.
divided as (
    select
        credited.*,
        least(
            greatest(coalesce(covariances.covariance, 0), credited.film_variance / 26), credited.film_variance / 2
        ) as person_variance
    from credited
    left join covariances on credited.cohort = covariances.cohort and credited.role = covariances.role
),

weighed as (
    select
        cohort,
        role,
        person_id,
        film_mean,
        film_variance,
        person_variance,
        count(*) as films_count,
        max(raters) as most_raters,
        sum(voice / (film_variance - person_variance + noise)) as pull,
        sum(1 / (film_variance - person_variance + noise)) + 1 / person_variance as precise
    from divided
    group by cohort, role, person_id, film_mean, film_variance, person_variance
    having count(*) >= {{ var('person_min_films') }}
),

scored as (
    select
        *,
        film_mean + pull / precise as estimate,
        1 / sqrt(precise) as estimate_sd,
        film_mean + pull / precise - 1.2815515655 / sqrt(precise) as score
    from weighed
),

final as (
    select
        scored.cohort,
        scored.role,
        scored.person_id,
        people.name as person,
        cast(scored.films_count as integer) as films_count,
        scored.most_raters,
        scored.score,
        scored.estimate,
        scored.estimate_sd,
        cast(row_number() over (
            partition by scored.cohort, scored.role
            order by
                round(cast(scored.score as {{ exact_type() }}), 9) desc,
                scored.films_count desc,
                {{ by_bytes('people.name') }} asc,
                scored.person_id asc
        ) as integer) as rank,
        scored.film_variance / scored.person_variance - 1 as prior_films,
        {{ var('person_min_films') }} as min_films,
        scored.most_raters >= {{ var('shareable_min_members') }} as is_shareable
    from scored
    inner join people on scored.person_id = people.person_id
)

select * from final
