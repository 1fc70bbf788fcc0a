"""Milliseconds of the queries behind `rank show`, per filter, as large circles would have them.

The marts are filled directly with what 10 million ratings give: 20 cohorts of 1,000 members and 40,000
films, of which about a quarter has the eight raters that a place needs, under all ten strategies. Each
question goes to every cohort in turn, so that one cohort's pages are not simply still at hand.

python -m bench.rank_filters [--cohorts 20]
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, get_args

import psycopg

from almanac_pipeline.cli.rank import Strategy
from almanac_pipeline.settings import Settings
from almanac_pipeline.warehouse import dbt
from almanac_pipeline.warehouse.rankings import FilmFilters, ranked_films
from bench.stand_in import database

COHORTS = 20
FILMS = 40_000
ROUNDS = 3
"""Times that each question goes to each cohort."""
ALL = FilmFilters(
    min_year=1990,
    max_year=2010,
    genre="Genre 3",
    country="Country 1",
    min_raters=10,
    max_raters=900,
    min_watchers_percentile=10,
    max_watchers_percentile=99,
    min_score=2,
    max_score=5,
    min_liked_share=0.05,
    max_liked_share=0.95,
    min_divergence=-0.5,
    max_divergence=2,
    distribution="mixed",
)
QUESTIONS = {
    "no filter": FilmFilters(),
    "years": FilmFilters(min_year=1990, max_year=1999),
    "decade": FilmFilters(decade=1980),
    "genre": FilmFilters(genre="Genre 3"),
    "director": FilmFilters(director="Director 7"),
    "country": FilmFilters(country="Country 0"),
    "raters": FilmFilters(min_raters=10, max_raters=50),
    "watchers percentile": FilmFilters(max_watchers_percentile=80),
    "score": FilmFilters(min_score=3, max_score=3.5),
    "liked share": FilmFilters(min_liked_share=0.4),
    "divergence": FilmFilters(min_divergence=0.5),
    "label of the best": FilmFilters(label="elite acclaim"),
    "label of the worst": FilmFilters(label="skip it"),
    "rare label": FilmFilters(label="hidden gem"),
    "distribution": FilmFilters(distribution="two camps"),
    "genre, years, raters": FilmFilters(genre="Genre 3", min_year=1980, max_year=1999, min_raters=10),
    "label, liked share, decade": FilmFilters(label="skip it", min_liked_share=0.2, decade=1990),
    "all but director and label": ALL,
    "nothing fits": FilmFilters(min_year=2500, label="hidden gem", min_liked_share=0.9),
}


def run(cohorts: int = COHORTS) -> dict[str, Any]:
    """Per question: milliseconds at the median and the 95th percentile, and how many films fit."""
    with database() as url, tempfile.TemporaryDirectory(prefix="almanac-bench") as home:
        dbt.bootstrap(url, settings=Settings(_env_file=None, home=Path(home)))  # type: ignore[call-arg]
        with psycopg.connect(url, autocommit=True) as connection:
            started = time.perf_counter()
            _fill(connection, cohorts)
            seconds = time.perf_counter() - started
            return {
                "cohorts": cohorts,
                "films": FILMS,
                "fill_seconds": round(seconds, 1),
                "milliseconds": measure(connection, cohorts),
            }


def measure(connection: psycopg.Connection, cohorts: int) -> dict[str, dict[str, float]]:
    """Ask every question of every cohort, with the strategies in turns."""
    strategies = get_args(Strategy)
    results = {}
    every: list[float] = []
    for name, filters in QUESTIONS.items():
        times, counts = [], []
        for number in range(ROUNDS * cohorts):
            cohort, strategy = f"circle-{number % cohorts}", strategies[number % len(strategies)]
            started = time.perf_counter()
            films = ranked_films(connection, cohort, strategy=strategy, filters=filters)
            times.append(1000 * (time.perf_counter() - started))
            counts.append(films[0].fitting_count if films else 0)
        every += times
        results[name] = {**_quantiles(times), "films": statistics.median(counts)}
    return results | {"all": _quantiles(every)}


def _quantiles(times: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(times, n=20)
    return {"p50": round(statistics.median(times), 1), "p95": round(cuts[-1], 1)}


def _fill(connection: psycopg.Connection, cohorts: int) -> None:
    connection.execute(DIRECTORY, {"films": FILMS})
    for number in range(cohorts):
        parameters = {"films": FILMS, "cohort": f"circle-{number}", "strategies": list(get_args(Strategy))}
        for statement in (WORLD, COHORT, STAGES, STATS, INSIGHTS, PARAMETERS, SCORES):
            connection.execute(statement, parameters)
        connection.execute("drop table world")
    # As autovacuum would have done by the time that somebody asks.
    connection.execute("vacuum analyze")


# Filled by the names of columns, so that a mart may get more of them.
DIRECTORY = """
insert into almanac.film_directory
    (film_id, slug, title, original_title, release_year, release_decade, runtime_minutes, genres, countries,
     directors, crowd_average, crowd_ratings, poster_url, lid, uid, tmdb_media_type, tmdb_id, imdb_id)
select n, 'a-film-with-a-usual-slug-' || n, 'A Film with a Usual Title ' || n, 'Un film ' || n,
    year, year / 10 * 10, 60 + mod(n, 120),
    array['Genre ' || 1 + mod(n * 7, 20), 'Genre ' || 21 + mod(n * 13, 5)],
    array['Country ' || mod(n * 11, 97) * mod(n, 97) / 97], array['Director ' || mod(n, 9000)], 3.2, 1000 + n,
    'https://image.example/t/p/w500/a-poster-path-of-usual-length-' || n || '.jpg',
    'L' || n, 'film:' || n, 'movie', n, 'tt' || 1000000 + n
from (
    select n, (1920 + 105 * sqrt(mod(n * 7919, 40009) / 40009.0))::integer as year
    from generate_series(1, %(films)s) as n
) as films
"""
# Few films are known to most members and most to a few: half a million ratings a cohort.
WORLD = """
create temporary table world as
select n as film_id, greatest(1, (1000 / (1 + n / 80.0))::integer) as raters,
    3.4 + 0.8 * (random() + random() + random() - 1.5) as estimate,
    random() as chance, random() as other
from generate_series(1, %(films)s) as n
order by random()
"""
COHORT = "insert into raw.cohorts (slug, label, definition) values (%(cohort)s, 'bench', '{}')"
STAGES = """
insert into intermediate.cohort_stages (cohort_id, published_computation)
select cohort_id, 0 from raw.cohorts where slug = %(cohort)s
"""
STATS = """
insert into almanac.cohort_film_stats
    (cohort, film_id, slug, title, release_year, watchers, raters, average_rating, rating_sum, rating_stddev,
     rating_skewness, median_rating, high_rating_share, liked_count, liked_share, favorite_count,
     favorite_share, first_rated_at, last_rated_at, global_average, global_ratings, global_source,
     average_delta, agreement, is_shareable, count_0_5, count_1_0, count_1_5, count_2_0, count_2_5, count_3_0,
     count_3_5, count_4_0, count_4_5, count_5_0)
select %(cohort)s, film_id, 'a-film-with-a-usual-slug-' || film_id,
    'A Film with a Usual Title ' || film_id, 1980,
    raters * 5 / 4, raters, estimate, raters * 3, 0.8, -0.2, 3.5, 0.4, raters / 4, chance / 2, 0, 0, now(),
    now(), 3.2, 1000, 'letterboxd', estimate - 3.2, 0.3, raters >= 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, raters
from world
"""
INSIGHTS = """
insert into almanac.ranking_insights
    (cohort, film_id, slug, title, release_year, watchers, raters, score, estimate, estimate_sd,
     score_percentile, score_z, average_percentile, average_z, watcher_percentile, watcher_z,
     popularity_percentile, popularity_z, average_delta, delta, delta_low, delta_high, delta_q, wasserstein,
     agreement, agreement_low, agreement_high, top_decile_probability, is_shareable, distribution_label,
     bucket)
select %(cohort)s, film_id, 'a-film-with-a-usual-slug-' || film_id,
    'A Film with a Usual Title ' || film_id, 1980,
    raters * 5 / 4, raters, estimate - 0.2, estimate, 0.2, 100 * score, 0.1, 100 * score, 0.1,
    100 * percent_rank() over (order by raters), 0.1, 50, 0.1, 0.1, 2 * other - 1, 0.1, 0.1, chance, 0.1, 0.3,
    0.1, 0.5, 0.1, raters >= 3,
    case when raters < 8 then 'too few' when chance < 0.02 then 'two camps' when chance < 0.1 then 'divided'
        when chance < 0.2 then 'tight consensus' else 'mixed' end,
    case when score > 0.9 and raters > 5 then 'elite acclaim' when chance < 0.005 then 'hidden gem'
        when chance < 0.05 then 'divisive vs the crowd' when score < 0.15 then 'skip it'
        else 'steady performer' end
from (select *, percent_rank() over (order by estimate) as score from world) as ranked
"""
PARAMETERS = """
insert into intermediate.strategy_parameters (cohort_id, strategy, params)
select cohort_id, strategy, '{"min_raters": 8}' from raw.cohorts, unnest(%(strategies)s::text[]) as strategy
where slug = %(cohort)s
"""
SCORES = """
insert into intermediate.strategy_scores
    (cohort_id, strategy, film_id, raters, score, estimate, estimate_sd, eligible, rank, rank_low, rank_high,
     tier)
select cohort_id, strategy, film_id, raters, estimate - 0.2, estimate, 0.2, raters >= 8,
    case when raters >= 8 then row_number() over (
        partition by strategy, raters >= 8 order by estimate desc, film_id) end as rank, 1, 100, 1
from raw.cohorts, unnest(%(strategies)s::text[]) as strategy, world
where slug = %(cohort)s
order by strategy, rank nulls last, film_id
"""


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Milliseconds of the queries behind `rank show`.")
    parser.add_argument("--cohorts", type=int, default=COHORTS)
    print(json.dumps(run(parser.parse_args().cohorts), indent=2))
