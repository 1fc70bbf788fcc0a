{{ config(materialized='view', tags=['shared_views']) }}

with requests as (
    select * from {{ ref('stg_ops__cohort_build_requests') }}
),

audits as (
    select * from {{ ref('cohort_audits') }}
),

-- The input version guards against another run that has rebuilt the cohort in between.
final as (
    select
        audits.cohort_id,
        audits.cohort
    from audits
    inner join requests
        on audits.cohort_id = requests.cohort_id and audits.input_version = requests.input_version
    group by audits.cohort_id, audits.cohort
    having bool_and(audits.passed or not audits.blocking)
)

select * from final
