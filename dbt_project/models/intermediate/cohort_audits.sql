{{ config(indexes=[{'columns': ['cohort_id', 'rule'], 'unique': true}]) }}

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

member_opinions as (
    select * from {{ ref('int_cohort_member_opinions') }}
    where {{ is_requested() }}
),

cohort_films as (
    select
        cohort_id,
        film_id,
        raters,
        {{ bucket_sum() }} as bucket_sum
    from {{ ref('int_cohort_films') }}
    where {{ is_requested() }}
),

-- What is in other cohorts only is none of this build's business.
film_ids as (
    select distinct film_id from cohort_films
),

films as (
    select known_films.*
    from {{ ref('stg_raw__films') }} as known_films
    inner join film_ids on known_films.film_id = film_ids.film_id
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
    {% for kind in ('slug', 'lid', 'uid') -%}
        select
            film_id,
            '{{ kind }}' as kind,
            {{ kind }} as value
        from films
        where {{ kind }} is not null
        union all
    {% endfor -%}
    select
        aliases.film_id,
        aliases.kind,
        aliases.value
    from {{ ref('stg_raw__film_aliases') }} as aliases
    inner join film_ids on aliases.film_id = film_ids.film_id
    where aliases.kind in ('slug', 'lid', 'uid')
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

-- Hardly ever a film has a twin: known before the first rating is read.
twins_ratings as (
    select
        cohort_id,
        user_id,
        film_id
    from {{ ref('int_cohort_ratings') }}
    where {{ is_requested() }} and exists (select twins.film_id from twins)
),

rated_as_twins as (
    select
        first_ratings.cohort_id,
        first_ratings.film_id
    from twins_ratings as first_ratings
    inner join twins on first_ratings.film_id = twins.film_id
    inner join twins_ratings as second_ratings
        on
            first_ratings.cohort_id = second_ratings.cohort_id
            and first_ratings.user_id = second_ratings.user_id
            and twins.twin_id = second_ratings.film_id
),

twin_counts as (
    select
        rated_as_twins.cohort_id,
        count(*) as observed,
        min(films.title) as example
    from rated_as_twins
    inner join films on rated_as_twins.film_id = films.film_id
    group by rated_as_twins.cohort_id
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

opinion_counts as (
    select
        cohort_id,
        sum(ratings_count) as ratings_count,
        sum(repeated_rows_count) as repetitions
    from member_opinions
    group by cohort_id
),

-- More than stated is as good as all: the count on the profile may be older than the pages.
member_coverage as (
    select
        members.cohort_id,
        sum(members.stated_ratings_count) as stated_ratings,
        sum(least(coalesce(member_opinions.ratings_count, 0), members.stated_ratings_count))
            filter (where members.stated_ratings_count is not null) as known_ratings,
        sum(members.stated_likes_count) as stated_likes,
        sum(least(coalesce(member_opinions.likes_count, 0), members.stated_likes_count))
            filter (where members.stated_likes_count is not null) as known_likes
    from members
    left join member_opinions
        on members.cohort_id = member_opinions.cohort_id and members.user_id = member_opinions.user_id
    group by members.cohort_id
),

facts as (
    select
        requests.cohort_id,
        requests.cohort,
        requests.input_version,
        coalesce(twin_counts.observed, 0) + coalesce(opinion_counts.repetitions, 0) as duplicates,
        twin_counts.example as duplicate_example,
        coalesce(opinion_counts.ratings_count, 0) as ratings_count,
        coalesce(film_counts.bucket_sum, 0) as bucket_sum,
        coalesce(film_counts.films_off, 0) as films_off,
        coalesce(film_counts.histograms_off, 0) as histograms_off,
        coalesce(film_counts.films_with_stated_count, 0) as films_with_stated_count,
        film_counts.histogram_example,
        coalesce(film_counts.films_with_tmdb_id, 0) as films_with_tmdb_id,
        coalesce(film_counts.films_count, 0) as films_count,
        coalesce(member_coverage.known_likes, 0) as known_likes,
        coalesce(member_coverage.stated_likes, 0) as stated_likes,
        coalesce(member_coverage.known_ratings, 0) as known_ratings,
        coalesce(member_coverage.stated_ratings, 0) as stated_ratings
    from requests
    left join twin_counts on requests.cohort_id = twin_counts.cohort_id
    left join opinion_counts on requests.cohort_id = opinion_counts.cohort_id
    left join film_counts on requests.cohort_id = film_counts.cohort_id
    left join member_coverage on requests.cohort_id = member_coverage.cohort_id
),

checks as (
    select
        *,
        'no_duplicate_member_film' as rule,
        true as blocking,
        0 as expected,
        duplicates as observed,
        duplicates = 0 as passed,
        'members with two rows for one film' || coalesce(', for example ' || duplicate_example, '') as detail
    from facts
    union all
    select
        *,
        'bucket_sums_equal_ratings' as rule,
        true as blocking,
        ratings_count as expected,
        bucket_sum as observed,
        ratings_count = bucket_sum and films_off = 0 as passed,
        films_off || ' films whose buckets do not sum to their raters' as detail
    from facts
    union all
    select
        *,
        'global_histogram_total' as rule,
        true as blocking,
        0 as expected,
        histograms_off as observed,
        histograms_off = 0 as passed,
        'films off by more than the tolerance, of ' || films_with_stated_count || ' with a stated count'
        || coalesce(', for example ' || histogram_example, '') as detail
    from facts
    {% for rule, known, stated, words in (
        ('coverage_tmdb_id', 'films_with_tmdb_id', 'films_count', 'films'),
        ('coverage_like_flag', 'known_likes', 'stated_likes', 'likes that profiles state'),
        ('coverage_rating', 'known_ratings', 'stated_ratings', 'ratings that profiles state')
    ) -%}
        union all
        select
            *,
            '{{ rule }}' as rule,
            false as blocking,
            {{ var('coverage_min_share') }} as expected,
            cast({{ known }} as {{ exact_type() }}) / nullif({{ stated }}, 0) as observed,
            {{ known }} >= {{ var('coverage_min_share') }} * {{ stated }} as passed,
            {{ known }} || ' of ' || {{ stated }} || ' {{ words }}' as detail
        from facts
    {% endfor %}
),

final as (
    select
        cohort_id,
        cohort,
        input_version,
        rule,
        blocking,
        cast(expected as numeric(14, 4)) as expected,
        cast(observed as numeric(14, 4)) as observed,
        passed,
        detail,
        current_timestamp as audited_at
    from checks
)

select * from final
