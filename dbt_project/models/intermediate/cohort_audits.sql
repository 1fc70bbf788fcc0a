{{ config(
    tags=['before_statistics'], materialized='incremental', incremental_strategy='append',
    on_schema_change='append_new_columns', pre_hook='{{ delete_requested() }}',
    indexes=[{'columns': ['cohort_id', 'rule'], 'unique': true}]
) }}

with requests as (
    select
        requests.cohort_id,
        requests.input_version,
        cohorts.cohort
    from {{ ref('stg_ops__cohort_build_requests') }} as requests
    inner join {{ ref('stg_raw__cohorts') }} as cohorts on requests.cohort_id = cohorts.cohort_id
),

members as (
    select * from {{ ref('int_cohort_members') }}
    where {{ is_requested() }}
),

ratings as (
    select * from {{ ref('int_cohort_ratings') }}
    where {{ is_requested() }}
),

cohort_films as (
    select
        *,
        {{ bucket_sum() }} as bucket_sum
    from {{ ref('int_cohort_films') }}
    where {{ is_requested() }}
),

films as (
    select * from {{ ref('stg_raw__films') }}
),

histograms as (
    select
        film_id,
        stated_ratings,
        {{ bucket_sum() }} as bucket_sum
    from {{ ref('stg_raw__film_histograms') }}
    where source = 'letterboxd' and stated_ratings is not null
),

-- Every identity that a film has or had. Two films that share one are one film stored twice,
-- unless it is a slug, which the site may give to another film later, and other ids tell them apart.
identities as (
    select
        films.film_id,
        present.kind,
        present.value
    from films
    cross join lateral (
        values ('slug', films.slug), ('lid', films.lid), ('uid', films.uid)
    ) as present (kind, value)
    where present.value is not null
    union distinct
    select
        film_id,
        kind,
        value
    from {{ ref('stg_raw__film_aliases') }}
    where kind in ('slug', 'lid', 'uid')
),

shared_identities as (
    select
        kind,
        value,
        min(film_id) as film_id,
        max(film_id) as twin_id
    from identities
    group by kind, value
    having min(film_id) <> max(film_id)
),

twins as (
    select distinct
        shared_identities.film_id,
        shared_identities.twin_id
    from shared_identities
    inner join films on shared_identities.film_id = films.film_id
    inner join films as twin_films on shared_identities.twin_id = twin_films.film_id
    where
        shared_identities.kind <> 'slug'
        or not (
            coalesce(films.uid <> twin_films.uid, false)
            or coalesce(films.lid <> twin_films.lid, false)
        )
),

duplicates as (
    select
        ratings.cohort_id,
        ratings.film_id
    from ratings
    inner join twins on ratings.film_id = twins.film_id
    inner join ratings as twin_ratings
        on
            ratings.cohort_id = twin_ratings.cohort_id
            and ratings.user_id = twin_ratings.user_id
            and twins.twin_id = twin_ratings.film_id
    union all
    select
        cohort_id,
        film_id
    from ratings
    group by cohort_id, user_id, film_id
    having count(*) > 1
),

duplicate_counts as (
    select
        duplicates.cohort_id,
        count(*) as observed,
        min(films.title) as example
    from duplicates
    inner join films on duplicates.film_id = films.film_id
    group by duplicates.cohort_id
),

rated_counts as (
    select
        cohort_id,
        count(rating) as ratings_count
    from ratings
    group by cohort_id
),

film_counts as (
    select
        cohort_films.cohort_id,
        count(*) as films_count,
        sum(cohort_films.bucket_sum) as bucket_sum,
        count(*) filter (where cohort_films.bucket_sum <> cohort_films.raters) as films_off,
        count(films.tmdb_id) as films_with_tmdb_id,
        count(histograms.film_id) as films_with_stated_count,
        count(*) filter (
            where abs(histograms.bucket_sum - histograms.stated_ratings)
            > {{ var('histogram_tolerance_share') }} * histograms.stated_ratings
        ) as histograms_off,
        min(films.title) filter (
            where abs(histograms.bucket_sum - histograms.stated_ratings)
            > {{ var('histogram_tolerance_share') }} * histograms.stated_ratings
        ) as histogram_example
    from cohort_films
    inner join films on cohort_films.film_id = films.film_id
    left join histograms on cohort_films.film_id = histograms.film_id
    group by cohort_films.cohort_id
),

member_ratings as (
    select
        cohort_id,
        user_id,
        count(rating) as ratings_count,
        count(*) filter (where liked) as likes_count
    from ratings
    group by cohort_id, user_id
),

-- More than stated is as good as all: the count on the profile may be older than the pages.
member_coverage as (
    select
        members.cohort_id,
        sum(members.stated_ratings_count) as stated_ratings,
        sum(least(coalesce(member_ratings.ratings_count, 0), members.stated_ratings_count))
            filter (where members.stated_ratings_count is not null) as known_ratings,
        sum(members.stated_likes_count) as stated_likes,
        sum(least(coalesce(member_ratings.likes_count, 0), members.stated_likes_count))
            filter (where members.stated_likes_count is not null) as known_likes
    from members
    left join member_ratings
        on members.cohort_id = member_ratings.cohort_id and members.user_id = member_ratings.user_id
    group by members.cohort_id
),

checks as (
    select
        requests.cohort_id,
        rules.rule,
        rules.blocking,
        rules.expected,
        rules.observed,
        rules.passed,
        rules.detail
    from requests
    left join duplicate_counts on requests.cohort_id = duplicate_counts.cohort_id
    left join rated_counts on requests.cohort_id = rated_counts.cohort_id
    left join film_counts on requests.cohort_id = film_counts.cohort_id
    left join member_coverage on requests.cohort_id = member_coverage.cohort_id
    cross join lateral (
        values
        (
            'no_duplicate_member_film',
            true,
            0::numeric,
            coalesce(duplicate_counts.observed, 0)::numeric,
            duplicate_counts.observed is null,
            'members with two rows for one film' || coalesce(', for example ' || duplicate_counts.example, '')
        ),
        (
            'bucket_sums_equal_ratings',
            true,
            coalesce(rated_counts.ratings_count, 0)::numeric,
            coalesce(film_counts.bucket_sum, 0)::numeric,
            coalesce(rated_counts.ratings_count, 0) = coalesce(film_counts.bucket_sum, 0)
            and coalesce(film_counts.films_off, 0) = 0,
            coalesce(film_counts.films_off, 0) || ' films whose buckets do not sum to their raters'
        ),
        (
            'global_histogram_total',
            true,
            0::numeric,
            coalesce(film_counts.histograms_off, 0)::numeric,
            coalesce(film_counts.histograms_off, 0) = 0,
            'films off by more than the tolerance, of '
            || coalesce(film_counts.films_with_stated_count, 0) || ' with a stated count'
            || coalesce(', for example ' || film_counts.histogram_example, '')
        ),
        (
            'coverage_tmdb_id',
            false,
            {{ var('coverage_min_share') }}::numeric,
            film_counts.films_with_tmdb_id::numeric / nullif(film_counts.films_count, 0),
            coalesce(
                film_counts.films_with_tmdb_id >= {{ var('coverage_min_share') }} * film_counts.films_count, true
            ),
            coalesce(film_counts.films_with_tmdb_id, 0) || ' of ' || coalesce(film_counts.films_count, 0) || ' films'
        ),
        (
            'coverage_like_flag',
            false,
            {{ var('coverage_min_share') }}::numeric,
            member_coverage.known_likes::numeric / nullif(member_coverage.stated_likes, 0),
            coalesce(
                member_coverage.known_likes >= {{ var('coverage_min_share') }} * member_coverage.stated_likes, true
            ),
            coalesce(member_coverage.known_likes, 0) || ' of '
            || coalesce(member_coverage.stated_likes, 0) || ' likes that profiles state'
        ),
        (
            'coverage_rating',
            false,
            {{ var('coverage_min_share') }}::numeric,
            member_coverage.known_ratings::numeric / nullif(member_coverage.stated_ratings, 0),
            coalesce(
                member_coverage.known_ratings >= {{ var('coverage_min_share') }} * member_coverage.stated_ratings,
                true
            ),
            coalesce(member_coverage.known_ratings, 0) || ' of '
            || coalesce(member_coverage.stated_ratings, 0) || ' ratings that profiles state'
        )
    ) as rules (rule, blocking, expected, observed, passed, detail)
),

final as (
    select
        requests.cohort_id,
        requests.cohort,
        requests.input_version,
        checks.rule,
        checks.blocking,
        checks.expected::numeric(14, 4) as expected,
        checks.observed::numeric(14, 4) as observed,
        checks.passed,
        checks.detail,
        now() as audited_at
    from checks
    inner join requests on checks.cohort_id = requests.cohort_id
)

select * from final
