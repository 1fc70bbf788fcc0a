"""The numbers of the ranking methods that a cohort may set for itself, their defaults and their limits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from almanac_pipeline.errors import ConfigurationError
from almanac_pipeline.statistics.ranking import TIER_PROBABILITY


def _limits(low: float, high: float = math.inf) -> dict[str, Any]:
    return {"limits": (low, high)}


@dataclass(frozen=True, slots=True, kw_only=True)
class RankingParameters:
    """What `raw.cohorts.ranking_parameters` may hold; None means that the cohort's own data decide."""

    min_raters: int | None = field(default=None, metadata=_limits(1))
    """Raters (`loved`: watchers) that a film needs to get a place. None: a fifth of the members, in 2..8."""
    forecast_min_raters: int = field(default=3, metadata=_limits(1))
    """The same for `forecast`."""
    tier_probability: float = field(default=TIER_PROBABILITY, metadata=_limits(0, 0.5))
    """A film shares a tier while it is at least this likely to be better than the tier's first."""
    bayesian_m: float | None = field(default=None, metadata=_limits(0.01))
    """Ratings that the cohort's mean counts for in damped means. None: as the circle model found."""
    wilson_min_rating: float = field(default=3.5, metadata=_limits(0.5, 5))
    """From how many stars a rating is a high one."""
    discovery_min_raters: int = field(default=3, metadata=_limits(1))
    """Raters that a film needs to be compared with the crowd at all."""
    recency_tau_days: float = field(default=365.0, metadata=_limits(1))
    """Age at which a rating weighs 1/e of one given today."""
    recency_bulk_day_ratings: int = field(default=50, metadata=_limits(1))
    """More ratings than this that one member logged on one day are an import's: undated."""
    hybrid_watchers_weight: float = field(default=0.25, metadata=_limits(0))
    hybrid_recency_weight: float = field(default=0.25, metadata=_limits(0))
    engagement_favorites_weight: float = field(default=0.5, metadata=_limits(0))
    engagement_likes_weight: float = field(default=0.25, metadata=_limits(0))
    engagement_shrink_watchers: float = field(default=10.0, metadata=_limits(0))
    """Watchers that the cohort's own rate of hearts and favourites counts for."""
    consensus_weight: float = field(default=0.5, metadata=_limits(0))

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> RankingParameters:
        """Read the parameters of a cohort; null is the default.

        Raises:
            ConfigurationError: a name is unknown, or a value is no number within its limits.
        """
        known = {each.name: each for each in fields(cls)}
        if unknown := set(values) - set(known):
            raise ConfigurationError(
                f"Unknown ranking parameters: {', '.join(sorted(unknown))}. Known: {', '.join(known)}."
            )
        given = {name: value for name, value in values.items() if value is not None}
        for name, value in given.items():
            whole = "int" in str(known[name].type)
            low, high = known[name].metadata["limits"]
            is_number = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
            if not (is_number and low <= value <= high and math.isfinite(value)):
                raise ConfigurationError(
                    f"The ranking parameter {name} must be a {'whole ' if whole else ''}number"
                    f" of at least {low}{f' and at most {high}' if high < math.inf else ''}, not {value!r}."
                )
        return cls(**given)
