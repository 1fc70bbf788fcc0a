{{ config(materialized='view', tags=['shared_views']) }}

with members as (
    select * from {{ ref('int_current_members') }}
),

ratings as (
    select * from {{ ref('stg_raw__ratings') }}
    where removed_at is null
),

histograms as (
    select film_id from {{ ref('stg_raw__film_histograms') }}
    where source = 'letterboxd' and {{ bucket_sum() }} > 0
),

films as (
    select * from {{ ref('stg_raw__films') }}
),

cohort_films as (
    select distinct
        members.cohort_id,
        ratings.film_id
    from members
    inner join ratings on members.user_id = ratings.user_id
),

coverage as (
    select
        cohort_films.cohort_id,
        count(*) as films_count,
        count(histograms.film_id) as letterboxd_count,
        count(*) filter (where films.tmdb_vote_count > 0) as tmdb_count
    from cohort_films
    inner join films on cohort_films.film_id = films.film_id
    left join histograms on cohort_films.film_id = histograms.film_id
    group by cohort_films.cohort_id
),

final as (
    select
        cohort_id,
        case
            when letterboxd_count >= {{ var('global_source_min_share') }} * films_count then 'letterboxd'
            when tmdb_count >= {{ var('global_source_min_share') }} * films_count then 'tmdb'
            else 'members'
        end as global_source
    from coverage
)

select * from final
