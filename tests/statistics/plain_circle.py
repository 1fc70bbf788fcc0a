"""The circle model of the methods page once more, in dictionaries and loops, as a second opinion.

Shares no code and no technique with almanac_pipeline.statistics: slow and literal.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from math import sqrt
from statistics import fmean
from typing import Any, NamedTuple


class PlainFit(NamedTuple):
    theta: dict[Any, float]
    sd: dict[Any, float]
    b: dict[Any, float]
    s: dict[Any, float]
    v: dict[Any, float]
    C: float
    s2: float
    m: float
    mu: float


def plain_circle(
    ratings: Sequence[tuple[Hashable, Hashable, float]],
    crowd: Mapping[Any, tuple[float, float]] | None = None,
) -> PlainFit:
    """Own voice; crowd-informed with `crowd`, the average and number of ratings per film that has them."""
    by_film, by_member = defaultdict(list), defaultdict(list)
    for u, i, r in ratings:
        by_film[i].append((u, r))
        by_member[u].append((i, r))
    C = fmean(r for _, _, r in ratings)
    b, s, v = dict.fromkeys(by_member, 0.0), dict.fromkeys(by_member, 1.0), dict.fromkeys(by_member, 1.0)
    tau2, m_max, c = 0.8 / 6, 25.0, dict.fromkeys(by_film, 0.0)
    if crowd is not None:
        m_max = 60.0
        c0 = fmean(crowd[i][0] for _, i, _ in ratings if i in crowd)
        c |= {i: n / (n + 5) * (average - c0) for i, (average, n) in crowd.items() if i in by_film}
    theta, var = {}, {}
    for _ in range(25):
        W = {i: sum(s[u] ** 2 / v[u] for u, _ in rs) for i, rs in by_film.items()}
        x = {i: C + sum(s[u] / v[u] * (r - C - b[u]) for u, r in rs) / W[i] for i, rs in by_film.items()}
        scatter = sum((r - C - b[u] - s[u] * (x[i] - C)) ** 2 / v[u] for u, i, r in ratings)
        s2 = (scatter + 8) / (sum(len(rs) - 1 for rs in by_film.values()) + 10)
        g = {i: 1 / (s2 / W[i] + tau2) for i in W}
        g_sum = sum(g.values())
        c_mean, x_mean = sum(g[i] * c[i] for i in g) / g_sum, sum(g[i] * x[i] for i in g) / g_sum
        beta = 0.0
        if crowd is not None:
            beta = (sum(g[i] * (c[i] - c_mean) * (x[i] - x_mean) for i in g) + 25) / (
                sum(g[i] * (c[i] - c_mean) ** 2 for i in g) + 25
            )
        mu = sum(g[i] * (x[i] - beta * c[i]) for i in g) / g_sum
        prior = {i: mu + beta * c[i] for i in g}
        h = {i: W[i] / s2 for i in W}
        h_sum, h_squares = sum(h.values()), sum(w * w for w in h.values())
        centre = sum(h[i] * (x[i] - beta * c[i]) for i in h) / h_sum
        denominator = h_sum - h_squares / h_sum
        tau2 = 0.0
        if denominator > 0:
            tau2 = (sum(h[i] * (x[i] - beta * c[i] - centre) ** 2 for i in h) - (len(h) - 1)) / denominator
        m = m_max if tau2 <= 0 else min(m_max, max(3.0, s2 / tau2))
        tau2 = s2 / m
        theta = {i: (W[i] * x[i] + m * prior[i]) / (W[i] + m) for i in W}
        var = {i: s2 / (W[i] + m) for i in W}
        t = {i: theta[i] - C for i in theta}
        raw = {
            u: (sum(t[i] * (r - C - b[u]) / (s2 * v[u]) for i, r in rs) + 10)
            / (sum((t[i] ** 2 + var[i]) / (s2 * v[u]) for i, _ in rs) + 10)
            for u, rs in by_member.items()
        }
        raw = {u: min(2.0, max(0.3, value)) for u, value in raw.items()}
        mean = fmean(raw[u] for u, _, _ in ratings)
        s = {u: value / mean for u, value in raw.items()}
        b = {
            u: sum((r - C - s[u] * t[i]) / v[u] for i, r in rs) / (len(rs) / v[u] + 5)
            for u, rs in by_member.items()
        }
        mean = fmean(b.values())
        b = {u: value - mean for u, value in b.items()}
        v = {
            u: (sum(((r - C - b[u] - s[u] * t[i]) ** 2 + s[u] ** 2 * var[i]) / s2 for i, r in rs) + 20)
            / (len(rs) + 20)
            for u, rs in by_member.items()
        }
        mean = fmean(1 / v[u] for u, _, _ in ratings)
        v = {u: value * mean for u, value in v.items()}
    return PlainFit(theta, {i: sqrt(value) for i, value in var.items()}, b, s, v, C, s2, m, mu)
