{{ config(
    tags=['before_statistics'], materialized='incremental', incremental_strategy='append',
    on_schema_change='append_new_columns', pre_hook='{{ delete_requested() }}', post_hook='analyze {{ this }}',
    indexes=[{'columns': ['cohort_id', 'film_id']}]
) }}

with cohort_films as (
    select
        cohort_id,
        film_id
    from {{ ref('int_cohort_films') }}
    where {{ is_requested() }}
),

sources as (
    select * from {{ ref('int_cohort_global_sources') }}
    where {{ is_requested() }}
),

histograms as (
    select
        film_id,
        {{ bucket_sum() }} as ratings_count,
        {{ bucket_stars() }} as stars
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

from_letterboxd as (
    select
        cohort_films.cohort_id,
        cohort_films.film_id,
        (histograms.stars / histograms.ratings_count)::double precision as global_average,
        histograms.ratings_count::bigint as global_ratings,
        'letterboxd' as global_source
    from cohort_films
    inner join sources on cohort_films.cohort_id = sources.cohort_id and sources.global_source = 'letterboxd'
    inner join histograms on cohort_films.film_id = histograms.film_id and histograms.ratings_count > 0
),

from_tmdb as (
    select
        cohort_films.cohort_id,
        cohort_films.film_id,
        (films.tmdb_vote_average / 2)::double precision as global_average,
        films.tmdb_vote_count::bigint as global_ratings,
        'tmdb' as global_source
    from cohort_films
    inner join sources on cohort_films.cohort_id = sources.cohort_id and sources.global_source = 'tmdb'
    inner join films on cohort_films.film_id = films.film_id and films.tmdb_vote_count > 0
),

from_members as (
    select
        cohort_films.cohort_id,
        cohort_films.film_id,
        avg(ratings.rating)::double precision as global_average,
        count(*) as global_ratings,
        'members' as global_source
    from cohort_films
    inner join sources on cohort_films.cohort_id = sources.cohort_id and sources.global_source = 'members'
    inner join ratings on cohort_films.film_id = ratings.film_id
    inner join members on ratings.user_id = members.user_id
    group by cohort_films.cohort_id, cohort_films.film_id
),

final as (
    select * from from_letterboxd
    union all
    select * from from_tmdb
    union all
    select * from from_members
)

select * from final
