"""The circle model: what a circle thinks of each film, with every member put on one scale.

    r(u, i) = C + b_u + s_u (theta_i - C) + e,   Var e = s2 v_u,   theta_i ~ N(prior_i, tau2)

Each member has a strictness b (how far their stars lie above or below the circle's), a spread s
(how widely they use the scale) and a noise v (how much their stars scatter; the noisier count
less). A film that few have rated is pulled towards its prior: the circle's average ("own
voice"), or what the crowd outside suggests ("crowd-informed"). Arrays in, arrays out; who the
members and films are is the caller's business. Ordering films is `ranking`'s.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.integer]

# A fixed number rather than a tolerance: part of the definition, so that two implementations
# agree to the last printed digit.
ROUNDS = 25
START_TAU2 = 0.8 / 6

# Weights of the priors that keep a small circle sane, in units of ratings.
RESIDUAL_PRIOR_RATINGS, RESIDUAL_PRIOR_VARIANCE = 10, 0.8
SPREAD_PRIOR, STRICTNESS_PRIOR, NOISE_PRIOR = 10, 5, 20
CROWD_SLOPE_PRIOR = 25
CROWD_RATINGS_PRIOR = 5

SPREAD_RANGE = (0.3, 2.0)
PRIOR_WEIGHT_RANGE = (3.0, 25.0)
CROWD_PRIOR_WEIGHT_RANGE = (3.0, 60.0)


@dataclass(frozen=True, slots=True)
class CircleFit:
    """A fitted circle of M members and F films."""

    estimate: Floats
    """(F,) theta: what the circle thinks, in stars."""
    sd: Floats
    """(F,) standard deviation of the estimate, in stars."""
    information: Floats
    """(F,) W: the weight of the film's ratings; about their number."""
    prior: Floats
    """(F,) what the film is pulled towards, in stars."""
    strictness: Floats
    """(M,) b: stars above (+) or below (-) the circle for the same opinion."""
    spread: Floats
    """(M,) s: 1 is the circle's own."""
    noise: Floats
    """(M,) v: 1 is the circle's own; 1/v is consistency."""
    overall_mean: float
    """C, the mean of all ratings."""
    residual_variance: float
    """s2."""
    film_variance: float
    """tau2."""
    prior_weight: float
    """m: how many ratings the prior counts for."""
    film_mean: float
    """mu, the centre of the films."""
    crowd_slope: float
    """beta; 0 for the own voice."""


def fit_circle(
    member: Indices,
    film: Indices,
    rating: Floats,
    *,
    crowd_average: Floats | None = None,
    crowd_ratings: Floats | None = None,
) -> CircleFit:
    """Fit the circle model to N ratings, the own voice or (with `crowd_average`) crowd-informed.

    Sums run in the order given: hand the ratings over in a stable order to get bit-equal results.

    Args:
        member, film: (N,) indices from 0 without gaps.
        rating: (N,) stars.
        crowd_average: (F,) stars, NaN where the crowd is silent.
        crowd_ratings: (F,) how many ratings the crowd average rests on, NaN where unknown.

    Raises:
        ValueError: there is no rating, the lengths differ, or a member or film has no rating.
    """
    if rating.size == 0:
        raise ValueError("a circle without ratings has nothing to fit")
    if not member.shape == film.shape == rating.shape:
        raise ValueError("member, film and rating differ in length")
    members, films = int(member.max()) + 1, int(film.max()) + 1
    raters = np.bincount(film, minlength=films)
    rated = np.bincount(member, minlength=members).astype(np.float64)
    if not (raters.all() and rated.all()):
        raise ValueError("every member and every film needs at least one rating")

    def by_film(values: Floats) -> Floats:
        return _sums(film, values, films)

    def by_member(values: Floats) -> Floats:
        return _sums(member, values, members)

    mean = float(rating.mean())
    centred = rating - mean
    crowd = _crowd_offset(crowd_average, crowd_ratings, raters)
    weight_range = PRIOR_WEIGHT_RANGE if crowd is None else CROWD_PRIOR_WEIGHT_RANGE
    beta = 0.0
    shift = np.zeros(films)

    b, s, v = np.zeros(members), np.ones(members), np.ones(members)
    tau2 = START_TAU2
    for _ in range(ROUNDS):
        # 1. Each film's own average on the common scale.
        b_r, s_r, v_r = b[member], s[member], v[member]
        information = by_film(s_r**2 / v_r)
        x = mean + by_film(s_r / v_r * (centred - b_r)) / information

        # 2. How far ratings scatter around it.
        residual = centred - b_r - s_r * (x[film] - mean)
        s2 = (float((residual**2 / v_r).sum()) + RESIDUAL_PRIOR_RATINGS * RESIDUAL_PRIOR_VARIANCE) / (
            rating.size - films + RESIDUAL_PRIOR_RATINGS
        )

        # 3. Where films lie before anyone has rated them.
        g = 1 / (s2 / information + tau2)
        g_sum = float(g.sum())
        if crowd is not None:
            off_centre = crowd - float((g * crowd).sum()) / g_sum
            x_centre = float((g * x).sum()) / g_sum
            beta = (float((g * off_centre * (x - x_centre)).sum()) + CROWD_SLOPE_PRIOR) / (
                float((g * off_centre**2).sum()) + CROWD_SLOPE_PRIOR
            )
            shift = beta * crowd
        mu = float((g * (x - shift)).sum()) / g_sum
        prior = mu + shift

        # 4. How much films differ, and so how many ratings the prior is worth.
        m = _prior_weight(x - shift, information / s2, s2, weight_range)
        tau2 = s2 / m

        # 5. The estimate: the film's average, pulled towards the prior.
        theta = (information * x + m * prior) / (information + m)
        variance = s2 / (information + m)

        # 6. How each member uses the scale.
        t, variance_r = (theta - mean)[film], variance[film]
        precision = 1 / (s2 * v_r)
        s = (by_member(t * (centred - b_r) * precision) + SPREAD_PRIOR) / (
            by_member((t**2 + variance_r) * precision) + SPREAD_PRIOR
        )
        s = s.clip(*SPREAD_RANGE)
        s /= s[member].mean()
        s_r = s[member]
        b = by_member((centred - s_r * t) / v_r) / (rated / v + STRICTNESS_PRIOR)
        b -= b.mean()
        error = centred - b[member] - s_r * t
        v = (by_member(error**2 + s_r**2 * variance_r) / s2 + NOISE_PRIOR) / (rated + NOISE_PRIOR)
        v *= (1 / v)[member].mean()

    return CircleFit(
        estimate=theta,
        sd=np.sqrt(variance),
        information=information,
        prior=prior,
        strictness=b,
        spread=s,
        noise=v,
        overall_mean=mean,
        residual_variance=s2,
        film_variance=tau2,
        prior_weight=m,
        film_mean=mu,
        crowd_slope=beta,
    )


def _sums(index: Indices, values: Floats, size: int) -> Floats:
    """(size,) sum of `values` per index."""
    return np.asarray(np.bincount(index, weights=values, minlength=size), dtype=np.float64)


def _crowd_offset(average: Floats | None, ratings: Floats | None, raters: NDArray[np.intp]) -> Floats | None:
    """(F,) how far the crowd puts each film from its centre, shrunk for thin crowds; 0 where silent."""
    if average is None or np.isnan(average).all():
        return None
    known = ~np.isnan(average)
    centre = float((average[known] * raters[known]).sum()) / float(raters[known].sum())
    if ratings is None:
        trust = np.ones_like(average)
    else:
        trust = np.where(np.isnan(ratings), 1.0, ratings / (ratings + CROWD_RATINGS_PRIOR))
    offset: Floats = np.where(known, trust * (np.where(known, average, 0.0) - centre), 0.0)
    return offset


def _prior_weight(x: Floats, h: Floats, s2: float, limits: tuple[float, float]) -> float:
    """m = s2/tau2 from the spread of film averages `x` with precisions `h` (DerSimonian-Laird)."""
    low, high = limits
    h_sum = float(h.sum())
    deviation = x - float((h * x).sum()) / h_sum
    denominator = h_sum - float((h**2).sum()) / h_sum
    if denominator <= 0:
        return high
    tau2 = (float((h * deviation**2).sum()) - (x.size - 1)) / denominator
    return high if tau2 <= 0 else min(max(s2 / tau2, low), high)
