"""The published ranking of a cohort, filtered: which films, in which places, and why none.

Only the filters that were given are in a statement, so that PostgreSQL plans for them and no others.
Reads the schema almanac, and the lists of names that its arrays are made of. Writes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from datetime import datetime
from difflib import get_close_matches
from typing import Any, LiteralString, NamedTuple

import psycopg
from psycopg.rows import class_row, dict_row
from psycopg.sql import SQL, Composed, Identifier

from almanac_pipeline.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class FilmFilters:
    """Which films of a ranking are wanted; None means any. Bounds are inclusive."""

    min_year: int | None = None
    max_year: int | None = None
    decade: int | None = None
    """First year of the decade."""
    genre: str | None = None
    director: str | None = None
    country: str | None = None
    """Names as the marts spell them: see `spelled`."""
    min_raters: int | None = None
    max_raters: int | None = None
    min_watchers_percentile: float | None = None
    max_watchers_percentile: float | None = None
    min_score: float | None = None
    max_score: float | None = None
    """Of the strategy asked for, on its own scale."""
    min_liked_share: float | None = None
    max_liked_share: float | None = None
    """0..1."""
    min_divergence: float | None = None
    max_divergence: float | None = None
    """Stars by which the circle is above the crowd; below it: negative."""
    label: str | None = None
    distribution: str | None = None

    def given(self) -> dict[str, Any]:
        """The filters that say something."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: value for name, value in values.items() if value is not None}


class _Condition(NamedTuple):
    mart: str
    """Alias of the mart that knows it."""
    sql: LiteralString


_CONDITIONS = {
    "min_year": _Condition("directory", "directory.release_year >= %(min_year)s"),
    "max_year": _Condition("directory", "directory.release_year <= %(max_year)s"),
    "decade": _Condition("directory", "directory.release_decade = %(decade)s"),
    "genre": _Condition("directory", "%(genre)s = any(directory.genres)"),
    "director": _Condition("directory", "%(director)s = any(directory.directors)"),
    "country": _Condition("directory", "%(country)s = any(directory.countries)"),
    "min_raters": _Condition("ranking", "ranking.raters >= %(min_raters)s"),
    "max_raters": _Condition("ranking", "ranking.raters <= %(max_raters)s"),
    "min_watchers_percentile": _Condition(
        "insights", "insights.watcher_percentile >= %(min_watchers_percentile)s"
    ),
    "max_watchers_percentile": _Condition(
        "insights", "insights.watcher_percentile <= %(max_watchers_percentile)s"
    ),
    "min_score": _Condition("ranking", "ranking.score >= %(min_score)s"),
    "max_score": _Condition("ranking", "ranking.score <= %(max_score)s"),
    "min_liked_share": _Condition("stats", "stats.liked_share >= %(min_liked_share)s"),
    "max_liked_share": _Condition("stats", "stats.liked_share <= %(max_liked_share)s"),
    "min_divergence": _Condition("insights", "insights.delta >= %(min_divergence)s"),
    "max_divergence": _Condition("insights", "insights.delta <= %(max_divergence)s"),
    "label": _Condition("insights", "insights.bucket = %(label)s"),
    "distribution": _Condition("insights", "insights.distribution_label = %(distribution)s"),
}

_JOINS = {
    "directory": SQL("left join almanac.film_directory as directory on directory.film_id = ranking.film_id"),
    "insights": SQL(
        "left join almanac.ranking_insights as insights"
        " on insights.cohort = %(cohort)s and insights.film_id = ranking.film_id"
    ),
    "stats": SQL(
        "left join almanac.cohort_film_stats as stats"
        " on stats.cohort = %(cohort)s and stats.film_id = ranking.film_id"
    ),
}

_RANKING = SQL("""
    almanac.film_rankings as ranking
    {joins}
    where ranking.cohort = %(cohort)s and ranking.strategy = %(strategy)s and ranking.rank is not null
""")
_SLICE = SQL("""
    almanac.{slice} as slice
    left join almanac.film_rankings as ranking
        on ranking.cohort = %(cohort)s and ranking.strategy = %(strategy)s
        and ranking.film_id = slice.film_id
    {joins}
    where slice.cohort = %(cohort)s
""")

# All that fit are found before any is ordered: a label's films may all stand at the end of the ranking,
# and walking there from its top would be a lookup for every film above them.
_FILMS = SQL("""
with fitting as materialized (
    select {film_id} as film_id, {place} as place, ranking.rank, ranking.rank_low, ranking.rank_high,
        ranking.tier, ranking.score, ranking.estimate
    from {source} {conditions}
),
shown as (
    select * from fitting order by place limit %(limit)s
)
select shown.rank, shown.rank_low, shown.rank_high, shown.tier, shown.score, shown.estimate,
    stats.slug, stats.title, stats.release_year, stats.average_rating, stats.raters, stats.watchers,
    stats.liked_share, insights.bucket as label, (select count(*) from fitting) as fitting_count
from shown
join almanac.cohort_film_stats as stats on stats.cohort = %(cohort)s and stats.film_id = shown.film_id
join almanac.ranking_insights as insights on insights.cohort = %(cohort)s and insights.film_id = shown.film_id
order by shown.place
""")


@dataclass(frozen=True, slots=True)
class RankedFilm:
    """A film of a ranking, with what a person wants beside it. Ratings are stars, 0.5 to 5."""

    rank: int | None
    """Place in the whole ranking; None for a film of a slice that the ranking gives no place."""
    rank_low: int | None
    rank_high: int | None
    tier: int | None
    score: float | None
    estimate: float | None
    slug: str | None
    title: str
    release_year: int | None
    average_rating: float | None
    raters: int
    watchers: int
    liked_share: float | None
    label: str
    fitting_count: int
    """How many films fit, shown or not."""


def ranked_films(
    connection: psycopg.Connection,
    cohort: str,
    *,
    strategy: str = "almanac",
    filters: FilmFilters = FilmFilters(),
    slice_: str | None = None,
    limit: int = 20,
) -> list[RankedFilm]:
    """The first `limit` films that fit, by place; of a slice, in the slice's own order."""
    given = filters.given()
    source = _source(given, slice_)
    query = _FILMS.format(
        film_id=SQL("slice.film_id") if slice_ else SQL("ranking.film_id"),
        place=SQL("slice.place") if slice_ else SQL("ranking.rank"),
        source=source,
        conditions=SQL("").join(SQL(" and ") + SQL(_CONDITIONS[name].sql) for name in given),
    )
    parameters = {"cohort": cohort, "strategy": strategy, "limit": limit, **given}
    with connection.cursor(row_factory=class_row(RankedFilm)) as cursor:
        # Never prepared: a generic plan knows neither the cohort nor how many films fit.
        return cursor.execute(query, parameters, prepare=False).fetchall()


def _source(given: dict[str, Any], slice_: str | None) -> Composed:
    marts = {_CONDITIONS[name].mart for name in given} - {"ranking"}
    joins = SQL(" ").join(_JOINS[mart] for mart in sorted(marts))
    if slice_ is None:
        return _RANKING.format(joins=joins)
    return _SLICE.format(slice=Identifier(slice_), joins=joins)


_PAST_FILMS = SQL("""
with fitting as materialized (
    select ranking.film_id, ranking.title, ranking.release_year, ranking.rank, ranking.score, ranking.raters
    from almanac.rank_history as ranking
    {joins}
    where ranking.cohort = %(cohort)s and ranking.strategy = %(strategy)s
        and ranking.published_at < %(before)s
        and (ranking.until_at is null or ranking.until_at >= %(before)s)
        {conditions}
),
shown as (
    select * from fitting order by rank limit %(limit)s
)
select shown.*, present.rank as present_rank, (select count(*) from fitting) as fitting_count
from shown
left join almanac.rank_history as present
    on present.cohort = %(cohort)s and present.strategy = %(strategy)s and present.film_id = shown.film_id
    and present.until_at is null
order by shown.rank
""")


@dataclass(frozen=True, slots=True)
class PastFilm:
    """A film's place in a ranking as it was once published, and its place now."""

    film_id: int
    title: str
    release_year: int | None
    rank: int
    score: float
    raters: int
    present_rank: int | None
    """None: it has no place any more."""
    fitting_count: int


def films_as_of(
    connection: psycopg.Connection,
    cohort: str,
    *,
    before: datetime,
    strategy: str,
    filters: FilmFilters,
    limit: int,
) -> list[PastFilm]:
    """The first `limit` films of the ranking as the last publication before a moment left it.

    Raises:
        ConfigurationError: a filter asks for what is known of the present only.
    """
    given = filters.given()
    for name in given:
        if _CONDITIONS[name].mart in ("insights", "stats"):
            option = f"--{name.replace('_', '-')}"
            raise ConfigurationError(f"{option} is known of today only: leave it or --as-of out.")
    joins = {_CONDITIONS[name].mart for name in given} - {"ranking"}
    query = _PAST_FILMS.format(
        joins=SQL(" ").join(_JOINS[mart] for mart in joins),
        conditions=SQL("").join(SQL(" and ") + SQL(_CONDITIONS[name].sql) for name in given),
    )
    parameters = {"cohort": cohort, "strategy": strategy, "before": before, "limit": limit, **given}
    with connection.cursor(row_factory=class_row(PastFilm)) as cursor:
        return cursor.execute(query, parameters, prepare=False).fetchall()


@dataclass(frozen=True, slots=True)
class Exclusion:
    """How many films a filter leaves out, whatever the others do."""

    filter: str
    """Its name among the fields of `FilmFilters`."""
    films_count: int


def exclusions(
    connection: psycopg.Connection,
    cohort: str,
    *,
    strategy: str,
    filters: FilmFilters,
    slice_: str | None = None,
) -> tuple[int, list[Exclusion]]:
    """How many films there are without filters, and what each filter leaves out, the most first."""
    given = filters.given()
    counts = [
        SQL("count(*) filter (where ({condition}) is not true) as {name}").format(
            condition=SQL(_CONDITIONS[name].sql), name=Identifier(name)
        )
        for name in given
    ]
    query = SQL("select {columns} from {source}").format(
        columns=SQL(", ").join([SQL("count(*) as all_films"), *counts]), source=_source(given, slice_)
    )
    with connection.cursor(row_factory=dict_row) as cursor:
        parameters = {"cohort": cohort, "strategy": strategy, **given}
        row = cursor.execute(query, parameters, prepare=False).fetchone() or {}
    found = [Exclusion(name, row[name]) for name in given]
    return row["all_films"], sorted(found, key=lambda each: -each.films_count)


_NAMES = {
    "genre": SQL("select name from raw.genres"),
    "country": SQL("select name from raw.countries"),
    "director": SQL(
        "select distinct name from raw.people"
        " where person_id in (select person_id from raw.film_people where role = 'director')"
    ),
}


def spelled(connection: psycopg.Connection, filters: FilmFilters) -> FilmFilters:
    """The same filters with genre, country and director written as the marts write them.

    A name that nothing is called stays as it is.
    """
    known = {}
    for name, names in _NAMES.items():
        if (value := getattr(filters, name)) is not None:
            query = SQL("{} {} lower(name) = lower(%s) limit 1").format(
                names, SQL("and") if name == "director" else SQL("where")
            )
            if row := connection.execute(query, [value]).fetchone():
                known[name] = row[0]
    return replace(filters, **known)


def similar_names(connection: psycopg.Connection, filter_: str, value: str) -> list[str]:
    """Up to three genres, countries or directors with a name like `value`; none for other filters."""
    if filter_ not in _NAMES:
        return []
    names = {name.lower(): name for (name,) in connection.execute(_NAMES[filter_])}
    if value.lower() in names:
        return []
    return [names[match] for match in get_close_matches(value.lower(), names, n=3, cutoff=0.7)]


@dataclass(frozen=True, slots=True)
class LabelledFilms:
    """How many films of a cohort have a label, by which rule, and the best of them."""

    label: str
    films_count: int
    criteria: dict[str, float]
    """Threshold by criterion, as in the seed; empty for the label that is left for the others."""
    first_title: str | None


_LABELS = SQL("""
select labelled.label, labelled.films_count, labelled.first_title,
    coalesce(thresholds.criteria, '{{}}'::json) as criteria
from (
    select {label} as label, count(*) as films_count,
        (array_agg(title order by score desc nulls last, raters desc, title))[1] as first_title
    from almanac.ranking_insights where cohort = %(cohort)s group by 1
) as labelled
left join (
    select label, json_object_agg(criterion, threshold::float8 order by criterion) as criteria
    from intermediate.label_thresholds group by label
) as thresholds using (label)
order by labelled.films_count desc, labelled.label
""")


def labelled_films(
    connection: psycopg.Connection, cohort: str, *, distribution: bool = False
) -> list[LabelledFilms]:
    """The labels that films of the cohort have; with `distribution`, the words for how stars are spread."""
    column = Identifier("distribution_label" if distribution else "bucket")
    with connection.cursor(row_factory=class_row(LabelledFilms)) as cursor:
        return cursor.execute(_LABELS.format(label=column), {"cohort": cohort}).fetchall()


def published_at(connection: psycopg.Connection, cohort: str) -> datetime | None:
    """When the cohort's marts were published last; None if never."""
    row = connection.execute(
        "select max(published_at) from ops.publications join raw.cohorts using (cohort_id) where slug = %s",
        [cohort],
    ).fetchone()
    return row[0] if row else None
