{{ config(materialized='view', tags=['shared_views']) }}

with requests as (
    select * from {{ ref('stg_ops__cohort_build_requests') }}
),

cohorts as (
    select * from {{ ref('stg_raw__cohorts') }}
),

audits as (
    select * from {{ ref('cohort_audits') }}
),

-- The input version guards against another run that has rebuilt the cohort in between. Audits are asked for,
-- not joined and counted: of such a condition the planner knows how many cohorts it leaves.
final as (
    select
        cohorts.cohort_id,
        cohorts.cohort
    from requests
    inner join cohorts on requests.cohort_id = cohorts.cohort_id
    where
        exists (
            select audits.cohort_id from audits
            where audits.cohort_id = requests.cohort_id and audits.input_version = requests.input_version
        )
        and not exists (
            select failures.cohort_id from audits as failures
            where
                failures.cohort_id = requests.cohort_id and failures.input_version = requests.input_version
                and failures.blocking and not failures.passed
        )
)

select * from final
