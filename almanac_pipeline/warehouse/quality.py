"""Measures of published cohorts, in SQL over the marts, and the table that keeps them per publication.

What is measured rests on thousands of ratings and leaves as one row per cohort. Which values are
good is no business of this module (quality/suites.py).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from almanac_pipeline.warehouse.forgetting import WITHDRAWN

KEPT_PER_COHORT = 30
"""Measurements that are kept of a cohort; the older ones go when a new one comes."""

CROWD_MIN_RATINGS = 100
LARGE_MIN_RATINGS = 10_000
"""Ratings from which on a film's histogram is looked at, and from which on none of its buckets is empty."""

_RATINGS = """
with totals as (
    select
        cohort,
        sum(raters)::numeric as ratings_count,
        sum(rating_sum) as stars,
        sum(watchers)::numeric as watched_count,
        sum(liked_count) as likes_count,
        array[
            sum(count_0_5), sum(count_1_0), sum(count_1_5), sum(count_2_0), sum(count_2_5),
            sum(count_3_0), sum(count_3_5), sum(count_4_0), sum(count_4_5), sum(count_5_0)
        ] as counts
    from almanac.cohort_film_stats
    where cohort = any(%(cohorts)s)
    group by cohort
)
select
    cohort,
    ratings_count,
    watched_count,
    stars / nullif(ratings_count, 0) as mean_stars,
    (counts[1] + counts[3] + counts[5] + counts[7] + counts[9]) / nullif(ratings_count, 0) as half_star_share,
    (select max(count) from unnest(counts) as count) / nullif(ratings_count, 0) as top_star_share,
    (select count(*) from unnest(counts) as count where count > 0) as stars_used_count,
    likes_count / nullif(watched_count, 0) as liked_share,
    (select jsonb_object_agg(half_stars, count)
        from unnest(counts) with ordinality as bucket (count, half_stars)) as star_counts
from totals
"""

_FILMS = """
with films as (
    select stats.cohort, directory.*
    from almanac.cohort_film_stats as stats
    join almanac.film_directory as directory using (film_id)
    where stats.cohort = any(%(cohorts)s)
),
decades as (
    select cohort, jsonb_object_agg(release_decade, films_count) as decade_counts
    from (
        select cohort, release_decade, count(*) as films_count
        from films where release_decade is not null group by cohort, release_decade
    ) as counted
    group by cohort
)
select
    cohort,
    count(*) as films_count,
    count(release_year) as dated_films_count,
    count(runtime_minutes) as timed_films_count,
    count(*) filter (where release_year > extract(year from now()) + 1)::numeric
        / nullif(count(release_year), 0) as future_films_share,
    count(*) filter (where release_year < 1930)::numeric
        / nullif(count(release_year), 0) as early_films_share,
    percentile_cont(0.5) within group (order by runtime_minutes) as median_runtime_minutes,
    count(*) filter (where runtime_minutes is not null and cardinality(genres) = 0)::numeric
        / nullif(count(runtime_minutes), 0) as without_genre_share,
    count(*) filter (where runtime_minutes is not null and cardinality(countries) = 0)::numeric
        / nullif(count(runtime_minutes), 0) as without_country_share,
    min(decade_counts::text)::jsonb as decade_counts
from films left join decades using (cohort)
group by cohort
"""

_HISTOGRAMS = """
with films as (
    select
        stats.cohort,
        stats.slug,
        histograms.stated_average,
        array[
            histograms.count_0_5, histograms.count_1_0, histograms.count_1_5, histograms.count_2_0,
            histograms.count_2_5, histograms.count_3_0, histograms.count_3_5, histograms.count_4_0,
            histograms.count_4_5, histograms.count_5_0
        ] as counts
    from almanac.cohort_film_stats as stats
    join raw.film_histograms as histograms using (film_id)
    where stats.cohort = any(%(cohorts)s) and histograms.source = 'letterboxd'
),
shapes as (
    select cohort, slug, stated_average, total, average, half_stars / total as half_star_share,
        top / total as top_share, has_gap
    from films, lateral (
        select sum(count) as total,
            sum(count * number) / 2 / nullif(sum(count), 0) as average,
            sum(count) filter (where number %% 2 = 1) as half_stars,
            max(count) as top,
            min(count) = 0 as has_gap
        from unnest(counts) with ordinality as bucket (count, number)
    ) as shape
    where total >= %(crowd)s
),
compared as (
    select cohort, corr(average_rating, global_average) as crowd_correlation,
        count(*) as compared_films_count
    from almanac.cohort_film_stats
    where cohort = any(%(cohorts)s) and raters >= 3 and global_average is not null
    group by cohort
),
shaped as (
    select
        cohort,
        count(*) as histograms_count,
        count(*) filter (where total >= %(large)s) as large_histograms_count,
        count(stated_average) as stated_averages_count,
        avg(average) as crowd_mean_stars,
        avg(half_star_share) as crowd_half_star_share,
        avg((top_share > 0.75)::int) as lopsided_histograms_share,
        (array_agg(slug order by top_share desc) filter (where top_share > 0.75))[1] as lopsided_film,
        avg(has_gap::int) filter (where total >= %(large)s) as gapped_histograms_share,
        (array_agg(slug order by total desc) filter (where total >= %(large)s and has_gap))[1] as gapped_film,
        avg(abs(average - stated_average)) as average_gap_stars
    from shapes
    group by cohort
)
select * from shaped full join compared using (cohort)
"""

_MEMBERS = """
select
    cohort,
    count(*) as members_count,
    count(*) filter (where ratings_count >= 20) as prolific_members_count,
    avg((ratings_count = 0)::int) as without_ratings_share,
    max(ratings_count)::numeric / nullif(sum(ratings_count), 0) as largest_member_share,
    percentile_cont(0.5) within group (order by ratings_count) as median_ratings_count,
    avg((greatest(share_0_5, share_1_0, share_1_5, share_2_0, share_2_5, share_3_0, share_3_5, share_4_0,
        share_4_5, share_5_0) > 0.9)::int) filter (where ratings_count >= 20) as uniform_members_share,
    stddev_pop(strictness) as strictness_sd_stars
from almanac.member_profiles
where cohort = any(%(cohorts)s)
group by cohort
"""

_MARTS = """
with rankings as (
    select cohort, estimate, rank, tier from almanac.film_rankings
    where cohort = any(%(cohorts)s) and strategy = 'almanac'
),
labels as (
    select cohort, jsonb_object_agg(bucket, films_count) as label_counts
    from (
        select cohort, bucket, count(*) as films_count from almanac.ranking_insights
        where cohort = any(%(cohorts)s) group by cohort, bucket
    ) as counted
    group by cohort
),
persons as (
    select cohort, count(*) as persons_count from almanac.person_rankings
    where cohort = any(%(cohorts)s) group by cohort
),
-- Who stands among the first 25 now, and came to that place from outside by the last publication.
places as (
    select
        cohorts.slug as cohort,
        avg((stretch.publication_id <> last.publication_id
            or coalesce(stretch.previous_rank <= 25, false))::int) as top_places_kept_share
    from raw.cohorts as cohorts
    join lateral (
        select max(publication_id) as publication_id, min(publication_id) as first_id
        from ops.rank_stretches where rank_stretches.cohort_id = cohorts.cohort_id and strategy = 'almanac'
    ) as stretches on true
    join lateral (
        select publication_id from ops.publications
        where publications.cohort_id = cohorts.cohort_id
        order by published_at desc, publication_id desc limit 1
    ) as last on last.publication_id <> stretches.first_id
    join ops.rank_stretches as stretch
        on stretch.cohort_id = cohorts.cohort_id and stretch.strategy = 'almanac'
        and stretch.until_at is null and stretch.rank <= 25
    where cohorts.slug = any(%(cohorts)s)
    group by cohorts.slug
),
ranked as (
    select
        cohort,
        count(*) as rated_films_count,
        count(rank) as ranked_films_count,
        count(rank)::numeric / count(*) as ranked_share,
        count(*) filter (where tier = 1)::numeric / nullif(count(rank), 0) as first_tier_share,
        avg(estimate) as estimate_mean_stars
    from rankings
    group by cohort
)
select
    *,
    (label_counts ->> 'steady performer')::numeric
        / (select sum(value::numeric) from jsonb_each_text(label_counts)) as unlabelled_share
from ranked
left join labels using (cohort)
left join persons using (cohort)
left join places using (cohort)
"""

_LAST_PUBLICATIONS = """
select slug, publication_id from raw.cohorts join lateral (
    select publication_id, input_version from ops.publications
    where publications.cohort_id = cohorts.cohort_id
    order by published_at desc, publication_id desc limit 1
) as last on true
"""

_SUITES = {
    "ratings": _RATINGS,
    "films": _FILMS,
    "histograms": _HISTOGRAMS,
    "members": _MEMBERS,
    "marts": _MARTS,
}


@dataclass(frozen=True, slots=True)
class StoredMeasures:
    """The measures of a cohort, by suite, at its last measured publication and at the one before."""

    cohort: str
    publication_id: int
    now: Mapping[str, Mapping[str, Any]]
    before: Mapping[str, Mapping[str, Any]] | None


def measure(connection: psycopg.Connection, cohorts: Collection[str]) -> list[str]:
    """Measure what is published of the cohorts, keep it with their last publication; the slugs of those.

    Measuring again replaces what was measured of the same publication. A cohort that was never
    published, or was withdrawn since, is left out.
    """
    published = _published(connection, cohorts)
    found: dict[str, dict[str, Any]] = {slug: {} for slug in published}
    parameters = {
        "cohorts": list(published),
        "crowd": CROWD_MIN_RATINGS,
        "large": LARGE_MIN_RATINGS,
    }
    with connection.transaction(), connection.cursor(row_factory=dict_row) as cursor:
        for suite, query in _SUITES.items():
            for row in cursor.execute(query, parameters):
                cohort = row.pop("cohort")
                found[cohort][suite] = {name: _plain(value) for name, value in row.items()}
        cursor.executemany(
            """
            insert into ops.quality_measurements (publication_id, cohort_id, measures)
            select publication_id, cohort_id, %s from ops.publications where publication_id = %s
            on conflict (publication_id) do update
            set measures = excluded.measures, measured_at = excluded.measured_at
            """,
            [(Jsonb(measures), published[slug]) for slug, measures in found.items()],
        )
        cursor.execute(
            """
            delete from ops.quality_measurements where publication_id in (
                select publication_id from (
                    select publication_id,
                        row_number() over (partition by cohort_id order by publication_id desc) as age
                    from ops.quality_measurements join raw.cohorts using (cohort_id)
                    where slug = any(%s)
                ) as kept
                where age > %s
            )
            """,
            [list(published), KEPT_PER_COHORT],
        )
    return list(published)


def measurements(connection: psycopg.Connection, cohorts: Collection[str]) -> list[StoredMeasures]:
    """What was measured last of the cohorts, and before; cohorts without a measurement are left out."""
    rows = connection.execute(
        """
        select slug, last.publication_id, last.measures, before.measures
        from raw.cohorts
        join lateral (
            select publication_id, measures from ops.quality_measurements as stored
            where stored.cohort_id = cohorts.cohort_id order by publication_id desc limit 1
        ) as last on true
        left join lateral (
            select measures from ops.quality_measurements as stored
            where stored.cohort_id = cohorts.cohort_id and stored.publication_id < last.publication_id
            order by publication_id desc limit 1
        ) as before on true
        where slug = any(%s)
        order by slug
        """,
        [list(cohorts)],
    )
    return [StoredMeasures(*row) for row in rows]


def unmeasured(connection: psycopg.Connection) -> dict[str, int]:
    """{slug: last publication} of the active cohorts whose last publication was not measured yet."""
    rows = connection.execute(
        f"""
        {_LAST_PUBLICATIONS}
        where status <> 'archived' and input_version <> %s
            and publication_id not in (select publication_id from ops.quality_measurements)
        order by slug
        """,
        [WITHDRAWN],
    ).fetchall()
    return dict(rows)


def _published(connection: psycopg.Connection, cohorts: Collection[str]) -> dict[str, int]:
    """{slug: last publication} of those cohorts that have one that is not withdrawn."""
    rows = connection.execute(
        f"{_LAST_PUBLICATIONS} where slug = any(%s) and input_version <> %s order by slug",
        [list(cohorts), WITHDRAWN],
    ).fetchall()
    return dict(rows)


def _plain(value: Any) -> Any:
    """A value as JSON knows it."""
    return float(value) if isinstance(value, Decimal) else value
