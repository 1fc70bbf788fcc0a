"""Between the dbt stages: from a cohort's opinions to estimates, scores, places, divergence and taste."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import psycopg
from numpy.typing import NDArray

from almanac_pipeline.statistics import agreement, divergence, ranking, recency, strategies, taste
from almanac_pipeline.statistics.circle import CircleFit, Floats, fit_circle
from almanac_pipeline.statistics.parameters import RankingParameters
from almanac_pipeline.statistics.ranking import Integers, Ranking
from almanac_pipeline.statistics.strategies import Evidence, Scores
from almanac_pipeline.statistics.taste import Pairs
from almanac_pipeline.warehouse.statistics_tables import (
    CircleRows,
    CohortOpinions,
    Columns,
    read_opinions,
    replace_circle,
)

# numpy sorts without holding the interpreter's lock. Each thread needs the places of one strategy's
# draws: two bytes times 1,000 times the films.
THREADS = 2


@dataclass(frozen=True, slots=True)
class CircleReport:
    """What was computed for a cohort. The parameters of the circle are None without ratings."""

    cohort: str
    members: int
    films: int
    ratings: int
    eligible_films: int
    min_raters: int
    tiers: int
    overall_mean: float | None
    residual_variance: float | None
    film_variance: float | None
    prior_weight: float | None
    rows_hash: str
    """Of the rows that marts are made from."""
    seconds: float


@dataclass(frozen=True, slots=True)
class Rated:
    """The N ratings among a cohort's opinions, over the M members and R films that have one."""

    members: Integers
    """(M,) index into the cohort's members."""
    films: Integers
    """(R,) index into the cohort's films."""
    member: Integers
    """(N,) index into `members`."""
    film: Integers
    """(N,) index into `films`."""
    half_stars: Integers
    raters: Integers
    """(R,)"""
    counts: Integers
    """(R, 10) ratings per half-star."""

    @property
    def stars(self) -> Floats:
        return self.half_stars / 2


def compute_circle(connection: psycopg.Connection, cohort_slug: str) -> CircleReport:
    """Compute a cohort's statistics and replace its rows in the statistics tables.

    Reads what dbt's first stage has snapshot. Commits, unless the caller has a transaction open.

    Raises:
        NotFoundError: there is no such cohort.
        ConfigurationError: its ranking parameters are not understood.
    """
    started = time.perf_counter()
    with connection.transaction():
        opinions = read_opinions(connection, cohort_slug)
        parameters = RankingParameters.from_mapping(opinions.ranking_parameters)
        statistics = compute_statistics(opinions, parameters)
        replace_circle(connection, opinions.cohort_id, statistics.rows)
    circle, almanac = statistics.circle, statistics.rankings.get("almanac")
    return CircleReport(
        cohort=cohort_slug,
        members=opinions.members_count,
        films=statistics.rows.parameters["films_count"],
        ratings=statistics.rows.parameters["ratings_count"],
        eligible_films=0 if almanac is None else int(almanac.eligible.sum()),
        min_raters=statistics.rows.parameters["min_raters"],
        tiers=0 if almanac is None else int(almanac.tier.max()),
        overall_mean=circle.overall_mean if circle else None,
        residual_variance=circle.residual_variance if circle else None,
        film_variance=circle.film_variance if circle else None,
        prior_weight=circle.prior_weight if circle else None,
        rows_hash=_rows_hash(statistics.rows),
        seconds=time.perf_counter() - started,
    )


def _rows_hash(rows: CircleRows) -> str:
    """A hash of what marts take over: all but the scores that only the view film_rankings shows."""
    digest = hashlib.sha256(repr(sorted(rows.parameters.items())).encode())
    for table in (rows.members, rows.films, rows.pairs, rows.scores.get("almanac", {})):
        for name, values in table.items():
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(np.ma.getdata(values)).data)
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Statistics:
    """All that is computed of one cohort."""

    circle: CircleFit | None
    """None without ratings."""
    rankings: Mapping[str, Ranking]
    rows: CircleRows


def compute_statistics(opinions: CohortOpinions, parameters: RankingParameters) -> Statistics:
    """Everything between the two dbt stages, in memory."""
    min_raters = parameters.min_raters or ranking.default_min_raters(opinions.members_count)
    rated = _rated(opinions)
    circle = fit_circle(rated.member, rated.film, rated.stars) if rated.film.size else None
    seen = (opinions.half_stars > 0) | opinions.liked | opinions.logged
    watchers = _count(opinions, seen)
    liked = _count(opinions, opinions.liked)
    scores: dict[str, Scores] = {}
    films: Columns = {}
    if circle is not None:
        agreements = _agreements(rated.counts)
        evidence = _evidence(opinions, rated, parameters, watchers, liked, agreements["agreement"])
        crowd_average, crowd_ratings = _crowd(opinions, rated)
        forecast = (
            None
            if np.isnan(crowd_average).all()
            else fit_circle(
                rated.member,
                rated.film,
                rated.stars,
                crowd_average=crowd_average,
                crowd_ratings=crowd_ratings,
            )
        )
        scores = strategies.score_rated_films(evidence, circle, forecast, parameters, min_raters)
        # From the rated films to all of the cohort's.
        scores = {name: replace(each, films=rated.films[each.films]) for name, each in scores.items()}
    if watchers.any():
        scores["loved"] = strategies.score_loved(liked, watchers, min_raters)
    rankings = _rank(opinions, rated, scores, parameters)
    if circle is not None:
        films = {
            "film_id": opinions.film_ids[rated.films],
            "raters": rated.raters,
            "estimate": circle.estimate,
            "estimate_sd": circle.sd,
            "information": circle.information,
            "prior": circle.prior,
            "top_decile_probability": ranking.top_decile_probability(
                circle.estimate, circle.sd, rankings["almanac"].eligible
            ),
            **agreements,
            **_divergence(opinions, rated, circle),
        }
    pairs = _pairs(opinions, rated, circle) if circle else None
    common = {
        "draws": ranking.DRAWS,
        "seed": ranking.SEED,
        "tier_probability": parameters.tier_probability,
    }
    rows = CircleRows(
        parameters={
            "members_count": opinions.members_count,
            "films_count": rated.films.size,
            "ratings_count": rated.film.size,
            "min_raters": min_raters,
        }
        | ({name: getattr(circle, name) for name in CIRCLE_COLUMNS} if circle else {}),
        members=_members(opinions, rated, circle, pairs) if circle and pairs else {},
        films=films,
        pairs=_pair_columns(opinions, rated, pairs) if pairs else {},
        scores={
            name: _score_columns(opinions, rated, scores[name], verdict) for name, verdict in rankings.items()
        },
        strategies={
            name: common | {"min_raters": each.min_votes} | each.params for name, each in scores.items()
        },
    )
    return Statistics(circle, rankings, rows)


CIRCLE_COLUMNS = (
    "overall_mean", "residual_variance", "film_variance", "prior_weight", "film_mean", "crowd_slope",
)  # fmt: skip


def _rated(opinions: CohortOpinions) -> Rated:
    has_rating = opinions.half_stars > 0
    half_stars = opinions.half_stars[has_rating]
    members, member = np.unique(opinions.member[has_rating], return_inverse=True)
    films, film = np.unique(opinions.film[has_rating], return_inverse=True)
    counts = np.bincount(film * 10 + half_stars - 1, minlength=films.size * 10).reshape(-1, 10)
    return Rated(members, films, member, film, half_stars, counts.sum(axis=1), counts)


def _count(opinions: CohortOpinions, which: NDArray[np.bool_]) -> Integers:
    """(F,) opinions of each film for which `which` holds."""
    return np.bincount(opinions.film[which], minlength=opinions.film_ids.size)


def _agreements(counts: Integers) -> dict[str, Floats]:
    enough = counts.sum(axis=1) >= agreement.MIN_RATERS
    value = np.full(len(counts), np.nan)
    value[enough] = agreement.agreement(counts[enough])
    low, high = agreement.agreement_intervals(counts)
    return {"agreement": value, "agreement_low": low, "agreement_high": high}


def _evidence(
    opinions: CohortOpinions,
    rated: Rated,
    parameters: RankingParameters,
    watchers: Integers,
    liked: Integers,
    agreements: Floats,
) -> Evidence:
    has_rating = opinions.half_stars > 0
    dates = recency.without_bulk_days(
        opinions.rated_at[has_rating],
        rated.member,
        opinions.recorded[has_rating],
        parameters.recency_bulk_day_ratings,
    )
    weight = recency.weights(dates, parameters.recency_tau_days)
    seen_favorite = opinions.favorite & (has_rating | opinions.liked | opinions.logged)
    favorites = _count(opinions, seen_favorite)

    def total(values: Floats) -> Floats:
        sums = np.bincount(rated.film, weights=values, minlength=rated.films.size)
        return np.asarray(sums, dtype=np.float64)

    weights = total(weight)
    first_high = int(np.ceil(parameters.wilson_min_rating * 2)) - 1
    return Evidence(
        raters=rated.raters,
        mean_rating=divergence.means(rated.counts),
        high_ratings=rated.counts[:, first_high:].sum(axis=1),
        watchers=watchers[rated.films],
        liked=liked[rated.films],
        favorites=favorites[rated.films],
        like_rate=liked.sum() / watchers.sum(),
        favorite_rate=favorites.sum() / watchers.sum(),
        agreement=agreements,
        recent_raters=weights**2 / total(weight**2),
        recent_mean=total(weight * rated.stars) / weights,
        mean_weight=weights / rated.raters,
        global_average=opinions.global_average[rated.films],
    )


def _crowd(opinions: CohortOpinions, rated: Rated) -> tuple[Floats, Floats]:
    """(R,) average of each film outside the cohort, and ratings that it rests on; NaN where unknown."""
    average, count = opinions.global_average[rated.films], opinions.global_ratings[rated.films]
    if opinions.global_source == "members":
        # The pool of all members holds the cohort's own ratings: without them it is a crowd.
        others = count - rated.raters
        total = np.round(average * count * 2) / 2 - rated.counts @ divergence.STARS
        average = np.divide(total, others, out=np.full(others.size, np.nan), where=others > 0)
        count = others
    return average, count


def _rank(
    opinions: CohortOpinions, rated: Rated, scores: Mapping[str, Scores], parameters: RankingParameters
) -> dict[str, Ranking]:
    raters, titles = _all_raters(opinions, rated), ranking.title_order(opinions.titles)
    eligible = {name: each.votes >= each.min_votes for name, each in scores.items()}
    # One column of draws for each film that has a place anywhere.
    is_drawn = np.zeros(opinions.film_ids.size, dtype=bool)
    for name, each in scores.items():
        is_drawn[each.films[eligible[name]]] = True
    columns = np.cumsum(is_drawn) - 1
    draws = ranking.standard_draws(int(is_drawn.sum()))

    def rank(name: str) -> Ranking:
        each = scores[name]
        return ranking.rank_films(
            each.score,
            each.estimate,
            each.sd,
            raters[each.films],
            titles[each.films],
            eligible[name],
            draws,
            columns[each.films],
            tier_probability=parameters.tier_probability,
        )

    with ThreadPoolExecutor(THREADS) as pool:
        return dict(zip(scores, pool.map(rank, scores), strict=True))


def _all_raters(opinions: CohortOpinions, rated: Rated) -> Integers:
    raters = np.zeros(opinions.film_ids.size, dtype=np.int64)
    raters[rated.films] = rated.raters
    return raters


def _score_columns(opinions: CohortOpinions, rated: Rated, scores: Scores, verdict: Ranking) -> Columns:
    columns = {
        "film_id": opinions.film_ids[scores.films],
        "raters": _all_raters(opinions, rated)[scores.films],
        "score": verdict.score,
        "estimate": verdict.estimate,
        "estimate_sd": verdict.sd,
        "eligible": verdict.eligible,
        **{
            name: np.ma.masked_equal(getattr(verdict, name), ranking.UNRANKED)
            for name in ("rank", "rank_low", "rank_high", "tier")
        },
    }
    # A ranking is read from its top: by place the pages of 10,000 films are read in 2 ms, not in 20.
    by_place = np.lexsort((verdict.rank, ~verdict.eligible))
    return {name: values[by_place] for name, values in columns.items()}


def _divergence(opinions: CohortOpinions, rated: Rated, circle: CircleFit) -> dict[str, Floats]:
    average, crowd = opinions.global_average[rated.films], opinions.global_counts[rated.films]
    compared = np.flatnonzero((rated.raters >= divergence.MIN_RATERS) & (crowd.sum(axis=1) > 0))
    counts, crowd = rated.counts[compared], crowd[compared]
    difference = divergence.welch(circle.estimate[compared], counts, average[compared], crowd)

    def of_films(values: Floats) -> Floats:
        column = np.full(rated.films.size, np.nan)
        column[compared] = values
        return column

    return {
        "delta": circle.estimate - average,
        "delta_low": of_films(difference.low),
        "delta_high": of_films(difference.high),
        "delta_p": of_films(difference.p),
        "delta_q": of_films(divergence.false_discovery_rates(difference.p)),
        "wasserstein": of_films(divergence.wasserstein(counts, crowd)),
    }


def _members(opinions: CohortOpinions, rated: Rated, circle: CircleFit, pairs: Pairs) -> Columns:
    user_ids = opinions.user_ids[rated.members]
    companions = taste.companions(pairs, user_ids)

    def users(members: Integers) -> NDArray[np.int64]:
        return np.ma.masked_array(user_ids[members], members == taste.NOBODY)

    return {
        "user_id": user_ids,
        "ratings_count": np.bincount(rated.member),
        "strictness": circle.strictness,
        "spread": circle.spread,
        "noise": circle.noise,
        "compared_members_count": companions.compared,
        "most_agreed_user_id": users(companions.most),
        "most_agreed_similarity": companions.most_similarity,
        "least_agreed_user_id": users(companions.least),
        "least_agreed_similarity": companions.least_similarity,
    }


def _pairs(opinions: CohortOpinions, rated: Rated, circle: CircleFit) -> Pairs:
    # b_i of a film is how far the crowd puts it from the middle, as the crowd-informed model counts it.
    # The circle's own estimate stands in where the crowd is silent: pulled to the average as it is, it
    # would leave a part of the film in everybody's residual.
    average, _ = _crowd(opinions, rated)
    known = ~np.isnan(average)
    film_offset = circle.estimate - circle.overall_mean
    if known.any():
        film_offset[known] = average[known] - np.average(average[known], weights=rated.raters[known])
    residual = rated.stars - circle.strictness[rated.member] - film_offset[rated.film]
    return taste.compare_members(rated.member, rated.film, rated.half_stars, residual)


def _pair_columns(opinions: CohortOpinions, rated: Rated, pairs: Pairs) -> Columns:
    user_ids = opinions.user_ids[rated.members]
    first, second = user_ids[pairs.first], user_ids[pairs.second]
    return {
        "user_a": np.minimum(first, second),
        "user_b": np.maximum(first, second),
        "overlap": pairs.overlap,
        "pearson": pairs.ratings.pearson,
        "similarity": pairs.ratings.shrunk,
        "pearson_low": pairs.ratings.low,
        "pearson_high": pairs.ratings.high,
        "star_gap": pairs.star_gap,
        "equal_share": pairs.equal_share,
        "residual_pearson": pairs.residuals.pearson,
        "residual_similarity": pairs.residuals.shrunk,
        "residual_low": pairs.residuals.low,
        "residual_high": pairs.residuals.high,
    }
