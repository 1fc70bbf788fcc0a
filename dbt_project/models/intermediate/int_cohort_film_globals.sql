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

-- What each source says of a film, on the scale of stars.
said as (
    select
        film_id,
        'letterboxd' as global_source,
        (stars / ratings_count)::double precision as global_average,
        ratings_count::bigint as global_ratings
    from histograms
    where ratings_count > 0
    union all
    select
        film_id,
        'tmdb' as global_source,
        (tmdb_vote_average / 2)::double precision as global_average,
        tmdb_vote_count::bigint as global_ratings
    from films
    where tmdb_vote_count > 0 and tmdb_vote_average is not null
    union all
    select
        ratings.film_id,
        'members' as global_source,
        avg(ratings.rating)::double precision as global_average,
        count(*) as global_ratings
    from ratings
    inner join members on ratings.user_id = members.user_id
    -- The pool of everybody's ratings is large: it is added up only where somebody is compared with it.
    where 'members' in (select sources.global_source from sources)
    group by ratings.film_id
),

final as (
    select
        cohort_films.cohort_id,
        cohort_films.film_id,
        said.global_average,
        said.global_ratings,
        said.global_source
    from cohort_films
    inner join sources on cohort_films.cohort_id = sources.cohort_id
    inner join said on cohort_films.film_id = said.film_id and sources.global_source = said.global_source
)

select * from final
