with cohorts as (
    select * from {{ ref('int_publishable_cohorts') }}
),

film_stats as (
    select * from {{ ref('cohort_film_stats') }}
    where {{ is_publishable() }}
),

rankings as (
    select * from {{ ref('film_rankings') }}
    where strategy = 'almanac' and {{ is_publishable() }}
),

circle_films as (
    select
        cohorts.cohort,
        fits.film_id,
        fits.top_decile_probability
    from {{ ref('stg_circle__films') }} as fits
    inner join cohorts on fits.cohort_id = cohorts.cohort_id
),

thresholds as (
    select
        {{ threshold('elite acclaim', 'min_score_percentile') }} as elite_min_score,
        {{ threshold('elite acclaim', 'min_watcher_percentile') }} as elite_min_watchers,
        {{ threshold('hidden gem', 'min_top_decile_probability') }} as gem_min_probability,
        {{ threshold('hidden gem', 'max_popularity_percentile') }} as gem_max_popularity,
        {{ threshold('cult favorite', 'min_score_percentile') }} as cult_min_score,
        {{ threshold('cult favorite', 'max_watcher_percentile') }} as cult_max_watchers,
        {{ threshold('crowd pleaser', 'min_watcher_percentile') }} as pleaser_min_watchers,
        {{ threshold('crowd pleaser', 'min_score_percentile') }} as pleaser_min_score,
        {{ threshold('most liked, unrated', 'min_likes') }} as unrated_min_likes,
        {{ threshold('skip it', 'max_score_percentile') }} as skip_max_score,
        {{ threshold('skip it', 'min_raters') }} as skip_min_raters
    from {{ ref('label_thresholds') }}
),

joined as (
    select
        film_stats.cohort,
        film_stats.film_id,
        film_stats.slug,
        film_stats.title,
        film_stats.release_year,
        film_stats.watchers,
        film_stats.raters,
        film_stats.liked_count,
        film_stats.average_rating,
        film_stats.average_delta,
        rankings.estimate,
        rankings.estimate_sd,
        -- Nine decimals: scores that the ranking treats as tied are tied here.
        round(rankings.score::numeric, 9)::double precision as score,
        circle_films.top_decile_probability,
        -- How many know the film outside the cohort: the pool of all members holds its own raters too.
        case
            when film_stats.global_source = 'members' then film_stats.global_ratings - film_stats.raters
            else film_stats.global_ratings
        end as popularity
    from film_stats
    left join rankings on film_stats.cohort = rankings.cohort and film_stats.film_id = rankings.film_id
    left join circle_films
        on film_stats.cohort = circle_films.cohort and film_stats.film_id = circle_films.film_id
),

measured as (
    select
        *,
        {{ mid_rank_percentile('score') }} as score_percentile,
        {{ z_score('score') }} as score_z,
        {{ mid_rank_percentile('average_rating') }} as average_percentile,
        {{ z_score('average_rating') }} as average_z,
        {{ mid_rank_percentile('watchers') }} as watcher_percentile,
        {{ z_score('watchers') }} as watcher_z,
        {{ mid_rank_percentile('popularity') }} as popularity_percentile
    from joined
),

final as (
    select
        measured.cohort,
        measured.film_id,
        measured.slug,
        measured.title,
        measured.release_year,
        measured.watchers,
        measured.raters,
        measured.score,
        measured.estimate,
        measured.estimate_sd,
        measured.score_percentile::double precision as score_percentile,
        measured.score_z::double precision as score_z,
        measured.average_percentile::double precision as average_percentile,
        measured.average_z::double precision as average_z,
        measured.watcher_percentile::double precision as watcher_percentile,
        measured.watcher_z::double precision as watcher_z,
        measured.popularity_percentile::double precision as popularity_percentile,
        measured.average_delta,
        measured.top_decile_probability,
        case
            when
                measured.score_percentile >= thresholds.elite_min_score
                and measured.watcher_percentile >= thresholds.elite_min_watchers
                then 'elite acclaim'
            when
                measured.top_decile_probability >= thresholds.gem_min_probability
                and measured.popularity_percentile <= thresholds.gem_max_popularity
                then 'hidden gem'
            when
                measured.score_percentile >= thresholds.cult_min_score
                and measured.watcher_percentile <= thresholds.cult_max_watchers
                then 'cult favorite'
            when
                measured.watcher_percentile >= thresholds.pleaser_min_watchers
                and measured.score_percentile >= thresholds.pleaser_min_score
                then 'crowd pleaser'
            when
                measured.raters = 0 and measured.liked_count >= thresholds.unrated_min_likes
                then 'most liked, unrated'
            when
                measured.score_percentile <= thresholds.skip_max_score
                and measured.raters >= thresholds.skip_min_raters
                then 'skip it'
            else 'steady performer'
        end as bucket
    from measured
    cross join thresholds
)

select * from final
