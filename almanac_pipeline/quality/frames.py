"""Turns measurements of cohorts into the frame that a suite judges: one row per cohort, one column per rule.

Pure arithmetic. How large a frame is depends on how many cohorts a run has, never on their ratings.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from almanac_pipeline.quality.suites import Rule, Suite

if TYPE_CHECKING:
    import pandas as pd

Measures = Mapping[str, Any]
"""{measure: number, slug of a film, counts by value, or None where there is nothing to measure}."""

PSI_FLOOR = 1e-3
"""Share that an empty class counts for in a stability index, which has no value for zero."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """The measures of a cohort at a publication, by suite, beside those of the publication before."""

    cohort: str
    now: Mapping[str, Measures]
    before: Mapping[str, Measures] | None
    """None: there is none to compare with."""


def frame(suite: Suite, measurements: Sequence[Measurement]) -> pd.DataFrame:
    """One row per cohort, in the order given: `cohort`, and what the suite's rules and conditions name.

    None stands where a rule has nothing to say of a cohort, and no rule fails of that.
    """
    import pandas as pd

    return pd.DataFrame([_row(suite, each) for each in measurements])


def _row(suite: Suite, measurement: Measurement) -> dict[str, Any]:
    now = measurement.now.get(suite.name, {})
    before = (measurement.before or {}).get(suite.name)
    row: dict[str, Any] = {"cohort": measurement.cohort}
    for rule in suite.rules:
        needed, _ = rule.needs
        row[needed] = now.get(needed) or 0
        row[rule.name] = now.get(rule.name) if rule.drift is None else drifted(rule, now, before)
        if rule.example is not None:
            row[rule.example] = now.get(rule.example)
    return row


def drifted(rule: Rule, now: Measures, before: Measures | None) -> float | None:
    """How far the measure of a drift rule moved; None where there was too little to compare with."""
    needed, enough = rule.needs
    if before is None or (before.get(needed) or 0) < enough:
        return None
    new, old = now.get(str(rule.of)), before.get(str(rule.of))
    if new is None or old is None:
        return None
    if rule.drift == "psi":
        return stability_index(new, old)
    if rule.drift == "shift":
        return float(new - old)
    return float(new / old - 1) if old else None


def stability_index(now: Mapping[str, float], before: Mapping[str, float]) -> float | None:
    """Population stability index of two sets of counts by class: sum of (p - q) ln(p / q).

    It is the symmetric Kullback-Leibler divergence. None if one of the sets is empty.
    """
    new_total, old_total = sum(now.values()), sum(before.values())
    if not new_total or not old_total:
        return None
    index = 0.0
    for each in {*now, *before}:
        p = max(now.get(each, 0) / new_total, PSI_FLOOR)
        q = max(before.get(each, 0) / old_total, PSI_FLOOR)
        index += (p - q) * math.log(p / q)
    return index
