{{ config(materialized='view', tags=['published_views']) }}

with cohorts as (
    select * from {{ ref('stg_raw__cohorts') }}
),

publications as (
    select
        *,
        row_number() over (partition by cohort_id order by published_at desc, publication_id desc) as recency,
        count(*) over (partition by cohort_id) as publications_count
    from {{ ref('stg_ops__publications') }}
),

audits as (
    select * from {{ ref('cohort_audits') }}
),

audit_times as (
    select
        cohort_id,
        max(audited_at) as audited_at
    from audits
    group by cohort_id
),

failed_audits as (
    select
        cohort_id,
        {{ array_in_order('rule', 'rule') }} as rules
    from audits
    where blocking and not passed
    group by cohort_id
),

warnings as (
    select
        cohort_id,
        {{ array_in_order('rule', 'rule') }} as rules
    from audits
    where not blocking and not passed
    group by cohort_id
),

coverage as (
    select
        cohort_id,
        cast(min(observed) as {{ double_type() }}) as coverage_share
    from audits
    where rule in ('coverage_rating', 'coverage_like_flag', 'coverage_tmdb_id')
    group by cohort_id
),

pipelines as (
    select * from {{ ref('stg_ops__cohort_pipelines') }}
),

reads as (
    select
        members.cohort_id,
        count(*) as current_members_count,
        count(member_reads.read_at) as read_members_count,
        min(member_reads.read_at) as oldest_read_at,
        max(member_reads.read_at) as newest_read_at
    from {{ ref('int_current_members') }} as members
    left join {{ ref('stg_ops__member_reads') }} as member_reads on members.user_id = member_reads.user_id
    group by members.cohort_id
),

newest_ratings as (
    select
        cohort,
        max(last_rated_at) as newest_rated_at
    from {{ ref('cohort_film_stats') }}
    group by cohort
),

final as (
    select
        cohorts.cohort,
        case
            when failed_audits.rules is not null then 'held back'
            when publications.publication_id is null then 'never published'
            when publications.input_version = 'withdrawn' then 'withdrawn'
            else 'published'
        end as publication_state,
        publications.publication_id,
        publications.published_at,
        publications.dagster_run_id,
        publications.input_version,
        publications.members_count,
        publications.films_count,
        publications.ratings_count,
        publications.inputs,
        cast(coalesce(publications.publications_count, 0) as integer) as publications_count,
        audit_times.audited_at,
        coalesce(failed_audits.rules, {{ no_values() }}) as failed_audits,
        coalesce(warnings.rules, {{ no_values() }}) as warnings,
        cast(coalesce(reads.current_members_count, 0) as integer) as current_members_count,
        cast(coalesce(reads.read_members_count, 0) as integer) as read_members_count,
        reads.oldest_read_at,
        reads.newest_read_at,
        newest_ratings.newest_rated_at,
        pipelines.last_success_at,
        pipelines.success_age_hours,
        coverage.coverage_share,
        coalesce(pipelines.failed_runs_count, 0) as failed_runs_count,
        coalesce(pipelines.open_failures_count, 0) as open_failures_count
    from cohorts
    left join publications on cohorts.cohort_id = publications.cohort_id and publications.recency = 1
    left join audit_times on cohorts.cohort_id = audit_times.cohort_id
    left join failed_audits on cohorts.cohort_id = failed_audits.cohort_id
    left join warnings on cohorts.cohort_id = warnings.cohort_id
    left join reads on cohorts.cohort_id = reads.cohort_id
    left join coverage on cohorts.cohort_id = coverage.cohort_id
    left join pipelines on cohorts.cohort_id = pipelines.cohort_id
    left join newest_ratings on cohorts.cohort = newest_ratings.cohort
)

select * from final
