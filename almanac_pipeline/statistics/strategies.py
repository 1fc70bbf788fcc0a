"""The ten ways to score the films of a cohort. Who gets which place is `ranking`'s.

Every strategy gives a score to order by, and an estimate with a standard deviation, both in units
of the score, from which rank intervals and tiers are drawn. Where the method itself says nothing
of certainty, the plainest was taken:

* damped means (bayesian, recency, consensus): the score, with its standard error sqrt(n s2)/(n + m)
  by the circle's s2: how far it would move if n others of the circle's kind had been asked;
* Wilson bounds (wilson, loved): the centre c of the Wilson interval, which is a damped mean, too:
  z^2 voices for one half; so its standard error is sqrt(n c (1 - c))/(n + z^2);
* sums of z-scores (discovery, hybrid, engagement): the score, with the damped mean's sd over the
  spread of damped means. What is added to z(bayesian) counts as known.

Spreads are population standard deviations; one that is nothing but rounding is zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from almanac_pipeline.statistics import agreement, ranking
from almanac_pipeline.statistics.circle import CircleFit
from almanac_pipeline.statistics.parameters import RankingParameters

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

WILSON_Z = 1.959963984540054
NO_SPREAD = 1e-9


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a cohort has said of R films, each rated by somebody, as far as strategies look at it."""

    raters: Integers
    mean_rating: Floats
    high_ratings: Integers
    """Ratings from `wilson_min_rating` stars."""
    watchers: Integers
    liked: Integers
    favorites: Integers
    """Watchers who made the film one of their four."""
    like_rate: float
    """Likes per watcher over all films of the cohort, those that nobody rated too."""
    favorite_rate: float
    agreement: Floats
    """NaN below eight raters."""
    recent_raters: Floats
    """(sum w)^2 / sum w^2 over the ratings' weights w by age: how many ratings of one age they are worth."""
    recent_mean: Floats
    """Mean rating, weighted by w."""
    mean_weight: Floats
    """Mean w: 1 if all ratings are from today."""
    global_average: Floats
    """Stars outside the cohort, NaN where unknown."""


@dataclass(frozen=True, slots=True)
class Scores:
    """One strategy's view of K films."""

    films: Integers
    """(K,) which of the given films they are, ascending."""
    score: Floats
    estimate: Floats
    sd: Floats
    votes: Integers
    """(K,) what has to reach `min_votes` for a place: raters, or watchers."""
    min_votes: int
    params: dict[str, Any]
    """The numbers that the strategy was computed with."""


def score_rated_films(
    evidence: Evidence,
    circle: CircleFit,
    forecast: CircleFit | None,
    parameters: RankingParameters,
    min_raters: int,
) -> dict[str, Scores]:
    """Score R rated films by every strategy that can be computed, `loved` apart.

    Args:
        circle: the own-voice fit of the same films.
        forecast: the crowd-informed one; None if the crowd is silent: no forecast then.
        min_raters: for all strategies but `forecast`, which has its own.
    """
    everything = np.arange(evidence.raters.size)
    m = parameters.bayesian_m or circle.prior_weight
    damped_params: dict[str, Any] = {"prior_weight": m, "overall_mean": circle.overall_mean}
    recency_params = {
        "tau_days": parameters.recency_tau_days,
        "bulk_day_ratings": parameters.recency_bulk_day_ratings,
    }

    def damp(raters: NDArray[Any], mean: Floats) -> tuple[Floats, Floats]:
        return (
            damped_mean(mean, raters, circle.overall_mean, m),
            damped_error(circle.residual_variance, raters, m),
        )

    def scores(
        columns: tuple[Floats, Floats, Floats], params: dict[str, Any], films: Integers = everything
    ) -> Scores:
        """`columns`: score, estimate, sd."""
        return Scores(films, *columns, evidence.raters[films], min_raters, params)

    damped, damped_sd = damp(evidence.raters, evidence.mean_rating)
    spread = _spread(damped) or 1.0
    z_damped, z_sd = _z(damped), damped_sd / spread

    def mixed(*terms: tuple[float, Floats], **params: Any) -> Scores:
        mix = z_damped + sum((weight * _z(values) for weight, values in terms), np.zeros(damped.size))
        return scores((mix, mix, z_sd), damped_params | params)

    result = {
        "almanac": scores(
            (ranking.bound(circle.estimate, circle.sd), circle.estimate, circle.sd), circle_params(circle)
        ),
        "bayesian": scores((damped, damped, damped_sd), damped_params),
        "wilson": scores(
            wilson(evidence.high_ratings, evidence.raters),
            {"min_rating": parameters.wilson_min_rating, "wilson_z": WILSON_Z},
        ),
        "hybrid": mixed(
            (parameters.hybrid_watchers_weight, np.log(evidence.watchers)),
            (parameters.hybrid_recency_weight, evidence.mean_weight),
            watchers_weight=parameters.hybrid_watchers_weight,
            recency_weight=parameters.hybrid_recency_weight,
            **recency_params,
        ),
        "engagement": mixed(
            (
                parameters.engagement_favorites_weight,
                _shrunk_rate(evidence.favorites, evidence.watchers, evidence.favorite_rate, parameters),
            ),
            (
                parameters.engagement_likes_weight,
                _shrunk_rate(evidence.liked, evidence.watchers, evidence.like_rate, parameters),
            ),
            favorites_weight=parameters.engagement_favorites_weight,
            likes_weight=parameters.engagement_likes_weight,
            shrink_watchers=parameters.engagement_shrink_watchers,
            favorite_rate=evidence.favorite_rate,
            like_rate=evidence.like_rate,
        ),
    }
    recent, recent_sd = damp(evidence.recent_raters, evidence.recent_mean)
    result["recency"] = scores((recent, recent, recent_sd), damped_params | recency_params)
    known = ~np.isnan(evidence.agreement)
    median = float(np.median(evidence.agreement[known])) if known.any() else None
    bonus = np.where(known, parameters.consensus_weight * (evidence.agreement - (median or 0.0)), 0.0)
    result["consensus"] = scores(
        (damped + bonus, damped + bonus, damped_sd),
        damped_params
        | {
            "agreement_weight": parameters.consensus_weight,
            "agreement_min_raters": agreement.MIN_RATERS,
            "median_agreement": median,
        },
    )
    if forecast is not None:
        result["forecast"] = Scores(
            everything,
            ranking.bound(forecast.estimate, forecast.sd),
            forecast.estimate,
            forecast.sd,
            evidence.raters,
            parameters.forecast_min_raters,
            circle_params(forecast) | {"crowd_slope": forecast.crowd_slope},
        )
    compared = np.flatnonzero(
        (evidence.raters >= parameters.discovery_min_raters) & ~np.isnan(evidence.global_average)
    )
    own, crowd = damped[compared], evidence.global_average[compared]
    if _spread(own) and _spread(crowd):
        found = _z(own) - _z(crowd)
        result["discovery"] = scores(
            (found, found, damped_sd[compared] / _spread(own)),
            damped_params | {"compared_min_raters": parameters.discovery_min_raters},
            compared,
        )
    return result


def score_loved(liked: Integers, watchers: Integers, min_watchers: int) -> Scores:
    """Score F films by the share of their watchers who like them, rated or not; eligible by watchers."""
    seen = np.flatnonzero(watchers)
    return Scores(
        seen,
        *wilson(liked[seen], watchers[seen]),
        watchers[seen],
        min_watchers,
        {"wilson_z": WILSON_Z, "eligible_by": "watchers"},
    )


def circle_params(circle: CircleFit) -> dict[str, Any]:
    """What a bound of the circle model was computed with."""
    return {
        "bound_z": ranking.BOUND_Z,
        "overall_mean": circle.overall_mean,
        "residual_variance": circle.residual_variance,
        "film_variance": circle.film_variance,
        "prior_weight": circle.prior_weight,
        "film_mean": circle.film_mean,
    }


def damped_mean(mean: Floats, raters: NDArray[Any], overall_mean: float, prior_weight: float) -> Floats:
    """(n R + m C)/(n + m): the mean rating, pulled to the cohort's by `prior_weight` ratings."""
    result: Floats = (raters * mean + prior_weight * overall_mean) / (raters + prior_weight)
    return result


def damped_error(variance: float | Floats, raters: NDArray[Any], prior_weight: float) -> Floats:
    """Standard error of a damped mean of ratings with this variance."""
    result: Floats = np.sqrt(raters * variance) / (raters + prior_weight)
    return result


def wilson(successes: Integers, trials: Integers) -> tuple[Floats, Floats, Floats]:
    """Lower bound and centre of the 95 % Wilson score interval (1927), and the centre's standard error."""
    z = WILSON_Z
    centre = (successes + z**2 / 2) / (trials + z**2)
    reach = z * np.sqrt(successes * (trials - successes) / trials + z**2 / 4) / (trials + z**2)
    return np.maximum(centre - reach, 0.0), centre, damped_error(centre * (1 - centre), trials, z**2)


def _shrunk_rate(count: Integers, watchers: Integers, rate: float, parameters: RankingParameters) -> Floats:
    weight = parameters.engagement_shrink_watchers
    result: Floats = (count + weight * rate) / (watchers + weight)
    return result


def _spread(values: Floats) -> float:
    """Population standard deviation; 0 for none at all and for mere rounding."""
    spread = float(values.std()) if values.size else 0.0
    return spread if spread > NO_SPREAD else 0.0


def _z(values: Floats) -> Floats:
    """z-scores; all 0 without spread."""
    spread = _spread(values)
    return (values - values.mean()) / spread if spread else np.zeros(values.size)
