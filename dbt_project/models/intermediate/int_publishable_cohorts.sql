{{ config(materialized='view', tags=['shared_views']) }}

with requests as (
    select * from {{ ref('stg_ops__cohort_build_requests') }}
),

audits as (
    select * from {{ ref('cohort_audits') }}
),

-- The input version guards against another run that has rebuilt the cohort in between. Asked for with `exists`,
-- because the planner then knows how many cohorts are left; of groups that pass it expects next to none.
final as (
    select distinct
        audits.cohort_id,
        audits.cohort
    from audits
    where
        exists (
            select requests.cohort_id from requests
            where requests.cohort_id = audits.cohort_id and requests.input_version = audits.input_version
        )
        and not exists (
            select failures.cohort_id from audits as failures
            where
                failures.cohort_id = audits.cohort_id and failures.input_version = audits.input_version
                and failures.blocking and not failures.passed
        )
)

select * from final
