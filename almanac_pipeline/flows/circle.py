"""Between the dbt stages: from a cohort's ratings to estimates, scores, places and tiers."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import psycopg

from almanac_pipeline.errors import ConfigurationError
from almanac_pipeline.statistics import agreement, ranking
from almanac_pipeline.statistics.circle import CircleFit, Floats, fit_circle
from almanac_pipeline.statistics.ranking import Ranking
from almanac_pipeline.warehouse.statistics_tables import (
    CircleRows,
    CohortOpinions,
    read_opinions,
    replace_circle,
)


@dataclass(frozen=True, slots=True)
class RankingParameters:
    """What a cohort may set for itself in `raw.cohorts.ranking_parameters`; None means the default."""

    min_raters: int | None = None
    """Raters that a film needs to get a place."""
    bayesian_m: float | None = None
    """Ratings that the prior of the strategy `bayesian` counts for."""

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> RankingParameters:
        """Read the parameters of a cohort.

        Raises:
            ConfigurationError: a name is unknown, or a value is not a positive number.
        """
        if unknown := set(values) - {"min_raters", "bayesian_m"}:
            raise ConfigurationError(f"Unknown ranking parameters: {', '.join(sorted(unknown))}.")
        for name, value in values.items():
            kinds = int if name == "min_raters" else (int, float)
            if value is not None and (not isinstance(value, kinds) or isinstance(value, bool) or value <= 0):
                raise ConfigurationError(
                    f"The ranking parameter {name} must be a positive number, not {value!r}."
                )
        return cls(**values)


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
    seconds: float


def compute_circle(connection: psycopg.Connection, cohort_slug: str) -> CircleReport:
    """Fit the circle of a cohort, rank its films, and replace the cohort's rows in the statistics tables.

    Reads what dbt's first stage has snapshot. Commits, unless the caller has a transaction open.

    Raises:
        NotFoundError: there is no such cohort.
        ConfigurationError: its ranking parameters are not understood.
    """
    started = time.perf_counter()
    with connection.transaction():
        opinions = read_opinions(connection, cohort_slug)
        chosen = RankingParameters.from_mapping(opinions.ranking_parameters)
        min_raters = chosen.min_raters or ranking.default_min_raters(opinions.members_count)
        fit = fit_circle(opinions.member, opinions.film, opinions.rating) if opinions.rating.size else None
        rankings = {} if fit is None else _rank(opinions, fit, min_raters, chosen.bayesian_m)
        replace_circle(connection, opinions.cohort_id, _rows(opinions, fit, rankings, min_raters))
    almanac = rankings["almanac"][0] if rankings else None
    return CircleReport(
        cohort=cohort_slug,
        members=opinions.members_count,
        films=opinions.film_ids.size,
        ratings=opinions.rating.size,
        eligible_films=0 if almanac is None else int(almanac.eligible.sum()),
        min_raters=min_raters,
        tiers=0 if almanac is None else int(almanac.tier.max()),
        overall_mean=fit.overall_mean if fit else None,
        residual_variance=fit.residual_variance if fit else None,
        film_variance=fit.film_variance if fit else None,
        prior_weight=fit.prior_weight if fit else None,
        seconds=time.perf_counter() - started,
    )


def _rank(
    opinions: CohortOpinions, fit: CircleFit, min_raters: int, bayesian_m: float | None
) -> dict[str, tuple[Ranking, dict[str, Any]]]:
    """Each strategy's ranking of the films, with the parameters it was computed with."""
    raters = np.bincount(opinions.film)
    common = {
        "min_raters": min_raters,
        "draws": ranking.DRAWS,
        "seed": ranking.SEED,
        "tier_probability": ranking.TIER_PROBABILITY,
        "overall_mean": fit.overall_mean,
        "residual_variance": fit.residual_variance,
    }

    def ranked(score: Floats, estimate: Floats, sd: Floats) -> Ranking:
        return ranking.rank_films(score, estimate, sd, raters, opinions.titles, min_raters=min_raters)

    m = bayesian_m or fit.prior_weight
    raw_mean = np.bincount(opinions.film, weights=opinions.rating) / raters
    damped = ranking.bayesian(raw_mean, raters, fit.overall_mean, m)
    damped_sd = np.sqrt(fit.residual_variance / (raters + m))
    return {
        "almanac": (
            ranked(ranking.bound(fit.estimate, fit.sd), fit.estimate, fit.sd),
            common
            | {
                "bound_z": ranking.BOUND_Z,
                "film_variance": fit.film_variance,
                "prior_weight": fit.prior_weight,
                "film_mean": fit.film_mean,
            },
        ),
        "bayesian": (ranked(damped, damped, damped_sd), common | {"prior_weight": m}),
    }


def _rows(
    opinions: CohortOpinions,
    fit: CircleFit | None,
    rankings: Mapping[str, tuple[Ranking, Mapping[str, Any]]],
    min_raters: int,
) -> CircleRows:
    counts: dict[str, Any] = {
        "members_count": opinions.members_count,
        "films_count": opinions.film_ids.size,
        "ratings_count": opinions.rating.size,
        "min_raters": min_raters,
    }
    if fit is None:
        return CircleRows(counts, (), (), (), {})
    parameters = {
        name: getattr(fit, name)
        for name in (
            "overall_mean", "residual_variance", "film_variance", "prior_weight", "film_mean", "crowd_slope",
        )
    }  # fmt: skip
    raters = np.bincount(opinions.film).tolist()
    film_ids = opinions.film_ids.tolist()
    top_decile = ranking.top_decile_probability(fit.estimate, fit.sd, rankings["almanac"][0].eligible)
    return CircleRows(
        parameters=counts | parameters,
        members=list(
            zip(
                opinions.user_ids.tolist(),
                np.bincount(opinions.member).tolist(),
                fit.strictness.tolist(),
                fit.spread.tolist(),
                fit.noise.tolist(),
                strict=True,
            )
        ),
        films=list(
            zip(
                film_ids,
                raters,
                fit.estimate.tolist(),
                fit.sd.tolist(),
                fit.information.tolist(),
                fit.prior.tolist(),
                _nullable(top_decile),
                _nullable(_agreements(opinions)),
                strict=True,
            )
        ),
        scores=[
            (strategy, film_id, n, score, estimate, sd, eligible, *(place or None for place in places))
            for strategy, (verdict, _) in rankings.items()
            for film_id, n, score, estimate, sd, eligible, *places in zip(
                film_ids,
                raters,
                verdict.score.tolist(),
                verdict.estimate.tolist(),
                verdict.sd.tolist(),
                verdict.eligible.tolist(),
                verdict.rank.tolist(),
                verdict.rank_low.tolist(),
                verdict.rank_high.tolist(),
                verdict.tier.tolist(),
                strict=True,
            )
        ],
        strategies={strategy: params for strategy, (_, params) in rankings.items()},
    )


def _agreements(opinions: CohortOpinions) -> Floats:
    """(F,) agreement of the half-star buckets; NaN for films with too few raters."""
    buckets = (opinions.rating * 2).astype(np.int64) - 1
    counts = np.bincount(opinions.film * 10 + buckets, minlength=opinions.film_ids.size * 10).reshape(-1, 10)
    return np.array(
        [agreement.agreement(row) if row.sum() >= agreement.MIN_RATERS else np.nan for row in counts]
    )


def _nullable(values: Floats) -> list[float | None]:
    """NaN is a number to PostgreSQL; what we do not know is null."""
    return [None if value != value else value for value in values.tolist()]
