{{ config(indexes=[{'columns': ['cohort_id', 'film_id']}]) }}

with cohort_films as (
    select
        cohort_id,
        film_id
    from {{ ref('int_cohort_films') }}
    where {{ is_requested() }}
),

histograms as (
    select
        film_id,
        {{ bucket_sum() }} as ratings_count,
        {{ bucket_sum(1) }} as half_stars
    from {{ ref('stg_raw__film_histograms') }}
    where source = 'letterboxd'
),

films as (
    select * from {{ ref('stg_raw__films') }}
),

ratings as (
    select * from {{ ref('stg_raw__ratings') }}
    where removed_at is null and rating is not null
),

members as (
    select distinct user_id from {{ ref('int_current_members') }}
),

-- What Letterboxd and TMDB say of each film, in stars; null where they are silent.
known as (
    select
        cohort_films.cohort_id,
        cohort_films.film_id,
        case
            when histograms.ratings_count > 0
                then cast(histograms.half_stars as {{ double_type() }}) / (2 * histograms.ratings_count)
        end as letterboxd_average,
        case when histograms.ratings_count > 0 then histograms.ratings_count end as letterboxd_ratings,
        case
            when films.tmdb_vote_count > 0 then cast(films.tmdb_vote_average as {{ double_type() }}) / 2
        end as tmdb_average,
        case when films.tmdb_vote_count > 0 then films.tmdb_vote_count end as tmdb_ratings
    from cohort_films
    left join histograms on cohort_films.film_id = histograms.film_id
    left join films on cohort_films.film_id = films.film_id
),

-- One source per cohort, so that all of its films are compared with one crowd.
sources as (
    select
        cohort_id,
        case
            when count(letterboxd_average) >= {{ var('global_source_min_share') }} * count(*) then 'letterboxd'
            when count(tmdb_average) >= {{ var('global_source_min_share') }} * count(*) then 'tmdb'
            else 'members'
        end as global_source
    from known
    group by cohort_id
),

-- Everybody's ratings are many: they are added up for those films only that are compared with them.
pool_films as (
    select distinct cohort_films.film_id
    from cohort_films
    inner join sources on cohort_films.cohort_id = sources.cohort_id
    where sources.global_source = 'members'
),

pool as (
    select
        ratings.film_id,
        cast(avg(ratings.rating) as {{ double_type() }}) as members_average,
        count(*) as members_ratings
    from ratings
    inner join members on ratings.user_id = members.user_id
    inner join pool_films on ratings.film_id = pool_films.film_id
    -- Known before the first rating is read.
    where exists (select needed.film_id from pool_films as needed)
    group by ratings.film_id
),

compared as (
    select
        known.cohort_id,
        known.film_id,
        case sources.global_source
            when 'letterboxd' then known.letterboxd_average
            when 'tmdb' then known.tmdb_average
            else pool.members_average
        end as global_average,
        cast(case sources.global_source
            when 'letterboxd' then known.letterboxd_ratings
            when 'tmdb' then known.tmdb_ratings
            else pool.members_ratings
        end as bigint) as global_ratings,
        sources.global_source
    from known
    inner join sources on known.cohort_id = sources.cohort_id
    left join pool on known.film_id = pool.film_id
),

final as (
    select
        cohort_id,
        film_id,
        global_average,
        global_ratings,
        global_source
    from compared
    where global_average is not null
)

select * from final
