"""When a rating was given, and how much it weighs today: half a life of opinions is not one opinion."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Moments = NDArray[np.datetime64]

DAY = np.timedelta64(1, "D")
# exp(-250) and its square are numbers still: a film of ancient ratings keeps an average.
OLDEST = 250.0


def without_bulk_days(
    rated_at: Moments, member: Integers, recorded: NDArray[np.bool_], limit: int
) -> Moments:
    """The dates, NaT where more than `limit` ratings of a member were recorded on one day.

    Nobody rates that many films in a day out of the cinema: such a day is that of an import or of
    catching up, and says when the ratings were typed, not when they were formed.

    Args:
        rated_at: (N,) UTC, NaT if unknown.
        member: (N,) whose rating it is.
        recorded: (N,) the date is the day of logging; others are never doubted.
    """
    days = rated_at.astype("datetime64[D]")
    doubted = np.flatnonzero(recorded & ~np.isnat(rated_at))
    _, group, size = np.unique(
        np.stack([member[doubted], days[doubted].astype(np.int64)]),
        axis=1,
        return_inverse=True,
        return_counts=True,
    )
    result = rated_at.copy()
    result[doubted[size[group.ravel()] > limit]] = np.datetime64("NaT")
    return result


def weights(rated_at: Moments, tau_days: float) -> Floats:
    """(N,) exp(-age/tau); undated ratings get the mean of the dated ones, all 1 if none is dated.

    Ages count from the newest rating. What is made of the weights does not depend on from when, so
    the same ratings give the same numbers tomorrow.
    """
    dated = ~np.isnat(rated_at)
    if not dated.any():
        return np.ones(rated_at.size)
    age_days = (rated_at[dated].max() - rated_at[dated]) / DAY
    result = np.empty(rated_at.size)
    result[dated] = np.exp(-np.minimum(age_days / tau_days, OLDEST))
    result[~dated] = result[dated].mean()
    return result
