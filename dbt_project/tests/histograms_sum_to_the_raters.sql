-- Ten buckets per film, and together exactly its raters.
select
    stats.cohort,
    stats.film_id
from {{ ref('cohort_film_stats') }} as stats
left join {{ ref('film_histograms') }} as histograms
    on stats.cohort = histograms.cohort and stats.film_id = histograms.film_id
where stats.{{ is_publishable() }}
group by stats.cohort, stats.film_id, stats.raters
having count(histograms.rating) <> 10 or sum(histograms.ratings_count) is distinct from stats.raters
