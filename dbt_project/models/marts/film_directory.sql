{{ config(replaces='published films') }}

with film_ids as (
    select distinct film_id from {{ ref('cohort_film_stats') }}
    where {{ is_publishable() }}
),

films as (
    select * from {{ ref('stg_raw__films') }}
),

histograms as (
    select
        film_id,
        {{ bucket_sum() }} as ratings_count,
        {{ bucket_sum(1) }} as half_stars
    from {{ ref('stg_raw__film_histograms') }}
    where source = 'letterboxd'
),

genres as (
    select
        film_genres.film_id,
        {{ array_in_order('genres.name', 'genres.name') }} as genres
    from film_ids
    inner join {{ ref('stg_raw__film_genres') }} as film_genres on film_ids.film_id = film_genres.film_id
    inner join {{ ref('stg_raw__genres') }} as genres on film_genres.genre_id = genres.genre_id
    group by film_genres.film_id
),

countries as (
    select
        film_countries.film_id,
        {{ array_in_order('countries.name', 'countries.name') }} as countries
    from film_ids
    inner join {{ ref('stg_raw__film_countries') }} as film_countries on film_ids.film_id = film_countries.film_id
    inner join {{ ref('stg_raw__countries') }} as countries on film_countries.country_id = countries.country_id
    group by film_countries.film_id
),

directors as (
    select
        film_people.film_id,
        {{ array_in_order('people.name', 'film_people.credit_order') }} as directors
    from film_ids
    inner join {{ ref('stg_raw__film_people') }} as film_people on film_ids.film_id = film_people.film_id
    inner join {{ ref('stg_raw__people') }} as people on film_people.person_id = people.person_id
    where film_people.role = 'director'
    group by film_people.film_id
),

-- The site's own histogram, otherwise TMDB's votes: whom this film is compared with in a cohort is that
-- cohort's choice, and stands in cohort_film_stats.
final as (
    select
        films.film_id,
        films.slug,
        films.title,
        films.original_title,
        films.release_year,
        cast(films.release_year - mod(films.release_year, 10) as smallint) as release_decade,
        films.runtime_minutes,
        coalesce(genres.genres, {{ no_values() }}) as genres,
        coalesce(countries.countries, {{ no_values() }}) as countries,
        coalesce(directors.directors, {{ no_values() }}) as directors,
        case
            when histograms.ratings_count > 0
                then cast(histograms.half_stars as {{ double_type() }}) / (2 * histograms.ratings_count)
            when films.tmdb_vote_count > 0 then cast(films.tmdb_vote_average as {{ double_type() }}) / 2
        end as crowd_average,
        cast(case
            when histograms.ratings_count > 0 then histograms.ratings_count
            when films.tmdb_vote_count > 0 then films.tmdb_vote_count
        end as bigint) as crowd_ratings,
        films.poster_url,
        films.lid,
        films.uid,
        films.tmdb_media_type,
        films.tmdb_id,
        films.imdb_id
    from film_ids
    inner join films on film_ids.film_id = films.film_id
    left join histograms on films.film_id = histograms.film_id
    left join genres on films.film_id = genres.film_id
    left join countries on films.film_id = countries.film_id
    left join directors on films.film_id = directors.film_id
)

select * from final
