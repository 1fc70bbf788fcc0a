-- Places run 1 to E in the order of score, then raters, then title; tiers never go back.
with rankings as (
    select
        *,
        row_number() over places as expected_rank,
        lag(tier, 1, 1) over places as tier_above
    from {{ ref('film_rankings') }}
    where eligible and {{ is_publishable() }}
    window places as (
        partition by cohort, strategy
        order by round(score::numeric, 9) desc, raters desc, title collate "C" asc, rank asc
    )
)

select
    cohort,
    strategy,
    film_id
from rankings
where rank <> expected_rank or tier not in (tier_above, tier_above + 1)
