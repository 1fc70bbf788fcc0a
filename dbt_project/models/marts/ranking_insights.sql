with cohorts as (
    select * from {{ ref('int_publishable_cohorts') }}
),

film_stats as (
    select
        cohorts.cohort_id,
        stats.*
    from {{ ref('cohort_film_stats') }} as stats
    inner join cohorts on stats.cohort = cohorts.cohort
    -- A favourite that nobody rated, liked or logged has no standing among what was watched.
    where stats.watchers > 0
),

-- By cohort_id, as its key has it: through film_rankings the planner expects one row, and joins row by row.
rankings as (
    select
        cohorts.cohort_id,
        scores.film_id,
        scores.score,
        scores.estimate,
        scores.estimate_sd
    from {{ ref('stg_circle__scores') }} as scores
    inner join cohorts on scores.cohort_id = cohorts.cohort_id
    inner join {{ ref('stg_circle__circles') }} as circles
        on scores.cohort_id = circles.cohort_id and scores.computation = circles.computation
    where scores.strategy = 'almanac'
),

-- By the name: by its key the planner looks each film up.
circle_films as (
    select
        cohorts.cohort,
        fits.film_id,
        fits.top_decile_probability,
        fits.agreement_low,
        fits.agreement_high,
        fits.delta,
        fits.delta_low,
        fits.delta_high,
        fits.delta_q,
        fits.wasserstein
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
        {{ threshold('divisive vs the crowd', 'below_q') }} as divisive_below_q,
        {{ threshold('divisive vs the crowd', 'min_absolute_delta') }} as divisive_min_delta,
        {{ threshold('most liked, unrated', 'min_likes') }} as unrated_min_likes,
        {{ threshold('skip it', 'max_score_percentile') }} as skip_max_score,
        {{ threshold('skip it', 'min_raters') }} as skip_min_raters,
        {{ threshold('too few', 'below_raters') }} as few_below_raters,
        {{ threshold('two camps', 'below_agreement') }} as camps_below_agreement,
        {{ threshold('two camps', 'min_end_share') }} as camps_min_end_share,
        {{ threshold('divided', 'below_agreement_high') }} as divided_below_agreement,
        {{ threshold('tight consensus', 'above_agreement_low') }} as tight_above_agreement
    from {{ ref('label_thresholds') }}
),

-- What films are placed by, and nothing else: each place is found by sorting all rows.
scored as (
    select
        film_stats.cohort_id,
        film_stats.film_id,
        film_stats.average_rating,
        film_stats.watchers,
        rankings.estimate,
        rankings.estimate_sd,
        -- Nine decimals: scores that the ranking treats as tied are tied here.
        cast(round(cast(rankings.score as {{ exact_type() }}), 9) as {{ double_type() }}) as score,
        -- How many know the film outside the cohort: the pool of all members holds its own raters too.
        case
            when film_stats.global_source = 'members' then film_stats.global_ratings - film_stats.raters
            else film_stats.global_ratings
        end as popularity
    from film_stats
    left join rankings on film_stats.cohort_id = rankings.cohort_id and film_stats.film_id = rankings.film_id
),

measures as (
    select
        cohort_id,
        film_id,
        score,
        estimate,
        estimate_sd,
        {{ mid_rank_percentile('score') }} as score_percentile,
        {{ z_score('score') }} as score_z,
        {{ mid_rank_percentile('average_rating') }} as average_percentile,
        {{ z_score('average_rating') }} as average_z,
        {{ mid_rank_percentile('watchers') }} as watcher_percentile,
        {{ z_score('watchers') }} as watcher_z,
        {{ mid_rank_percentile('popularity') }} as popularity_percentile,
        {{ z_score('popularity') }} as popularity_z
    from scored
),

measured as (
    select
        film_stats.*,
        -- The two ends of the scale: up to two stars, and four or more.
        film_stats.count_0_5 + film_stats.count_1_0 + film_stats.count_1_5 + film_stats.count_2_0 as low_end,
        film_stats.count_4_0 + film_stats.count_4_5 + film_stats.count_5_0 as high_end,
        circle_films.top_decile_probability,
        circle_films.agreement_low,
        circle_films.agreement_high,
        circle_films.delta,
        circle_films.delta_low,
        circle_films.delta_high,
        circle_films.delta_q,
        circle_films.wasserstein,
        measures.score,
        measures.estimate,
        measures.estimate_sd,
        measures.score_percentile,
        measures.score_z,
        measures.average_percentile,
        measures.average_z,
        measures.watcher_percentile,
        measures.watcher_z,
        measures.popularity_percentile,
        measures.popularity_z
    from film_stats
    -- Each has its measures. Of an inner join the planner would expect few rows, and look each up in the next.
    left join measures on film_stats.cohort_id = measures.cohort_id and film_stats.film_id = measures.film_id
    left join circle_films
        on film_stats.cohort = circle_films.cohort and film_stats.film_id = circle_films.film_id
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
        measured.score_percentile,
        measured.score_z,
        measured.average_percentile,
        measured.average_z,
        measured.watcher_percentile,
        measured.watcher_z,
        measured.popularity_percentile,
        measured.popularity_z,
        measured.average_delta,
        measured.delta,
        measured.delta_low,
        measured.delta_high,
        measured.delta_q,
        measured.wasserstein,
        measured.agreement,
        measured.agreement_low,
        measured.agreement_high,
        measured.top_decile_probability,
        case
            when measured.raters = 0 and measured.liked_count > 0 then 'likes only'
            when measured.raters < thresholds.few_below_raters then 'too few'
            when
                measured.agreement < thresholds.camps_below_agreement
                and measured.low_end >= thresholds.camps_min_end_share * measured.raters
                and measured.high_end >= thresholds.camps_min_end_share * measured.raters
                then 'two camps'
            when measured.agreement_high < thresholds.divided_below_agreement then 'divided'
            when measured.agreement_low > thresholds.tight_above_agreement then 'tight consensus'
            else 'mixed'
        end as distribution_label,
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
                measured.delta_q < thresholds.divisive_below_q
                and abs(measured.delta) >= thresholds.divisive_min_delta
                then 'divisive vs the crowd'
            when
                measured.raters = 0 and measured.liked_count >= thresholds.unrated_min_likes
                then 'most liked, unrated'
            when
                measured.score_percentile <= thresholds.skip_max_score
                and measured.raters >= thresholds.skip_min_raters
                then 'skip it'
            else 'steady performer'
        end as bucket,
        measured.is_shareable
    from measured
    cross join thresholds
)

select * from final
