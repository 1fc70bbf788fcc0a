with rankings as (
    select * from {{ ref('film_rankings') }}
    where strategy = 'almanac' and eligible
),

credits as (
    select * from {{ ref('stg_raw__film_people') }}
    where role = 'director'
),

people as (
    select * from {{ ref('stg_raw__people') }}
),

final as (
    select
        rankings.cohort,
        people.name as director,
        people.person_id,
        cast(row_number() over (
            partition by rankings.cohort, people.person_id
            order by rankings.rank
        ) as integer) as place,
        rankings.film_id,
        rankings.slug,
        rankings.title,
        rankings.release_year,
        rankings.estimate,
        rankings.score,
        rankings.raters,
        rankings.rank
    from rankings
    inner join credits on rankings.film_id = credits.film_id
    inner join people on credits.person_id = people.person_id
)

select * from final
