"""The circle model against golden values, against a second implementation, and what must always hold."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from almanac_pipeline.statistics.circle import CircleFit, fit_circle
from almanac_pipeline.statistics.ranking import bound, rank_films, standard_draws, title_order
from tests.statistics.movielens import golden_rankings, opinions, titles
from tests.statistics.plain_circle import plain_circle

PRINTED = 5.1e-7
"""Half of the last printed digit of the golden values."""

COHORTS = ("users_1_40", "every_7th_5_to_600", "heavy_20")
EDGE_CASES = (
    "one rating",
    "one member",
    "one film two members",
    "all equal",
    "all-5 member beside two",
    "crowd with one film unknown",
)


def fit_movielens(
    shared: Path, user_ids: list[int], voice: str
) -> tuple[CircleFit, np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """The fit, the users and the films, of a cohort of MovieLens users."""
    inside, outside = set(user_ids), defaultdict(list)
    rows = []
    for opinion in opinions(shared):
        if opinion.user in inside:
            rows.append(opinion)
        else:
            outside[opinion.movie].append(opinion.stars)
    users, member = np.unique([row.user for row in rows], return_inverse=True)
    films, film = np.unique([row.movie for row in rows], return_inverse=True)
    rating = np.array([row.stars for row in rows])
    crowd = {}
    if voice == "crowd":
        crowd = {
            "crowd_average": np.array([np.mean(outside[i]) if outside[i] else np.nan for i in films]),
            "crowd_ratings": np.array([float(len(outside[i])) for i in films]),
        }
    return fit_circle(member, film, rating, **crowd), users, films


@pytest.mark.shared
@pytest.mark.parametrize("voice", ["own", "crowd"])
@pytest.mark.parametrize("name", COHORTS)
def test_movielens_circles_equal_the_golden_values_to_the_last_digit(
    shared_dir: Path, name: str, voice: str
) -> None:
    cohort = golden_rankings(shared_dir)["cohorts"][name]
    golden = cohort[voice]
    fit, users, films = fit_movielens(shared_dir, cohort["user_ids"], voice)

    scalars = {
        "C": fit.overall_mean, "s2": fit.residual_variance, "tau2": fit.film_variance,
        "m": fit.prior_weight, "mu": fit.film_mean, "beta": fit.crowd_slope,
    }  # fmt: skip
    assert scalars == {key: pytest.approx(golden[key], abs=PRINTED) for key in scalars}
    assert (users.size, films.size) == (cohort["members"], cohort["films"])
    for i, expected in enumerate(golden["first_members"]):
        assert users[i] == expected["user_id"]
        assert fit.strictness[i] == pytest.approx(expected["strictness"], abs=PRINTED)
        assert fit.spread[i] == pytest.approx(expected["spread"], abs=PRINTED)
        assert fit.noise[i] == pytest.approx(expected["noise"], abs=PRINTED)

    score = bound(fit.estimate, fit.sd)
    raters = np.bincount(
        np.searchsorted(films, [o.movie for o in opinions(shared_dir) if o.user in set(users)])
    )
    places = rank_films(
        score,
        fit.estimate,
        fit.sd,
        raters,
        title_order([titles(shared_dir)[i] for i in films]),
        raters >= 1,
        standard_draws(films.size),
        np.arange(films.size),
    ).rank
    best = np.argsort(places)[: len(golden["top20"])]
    assert films[best].tolist() == [row["movie_id"] for row in golden["top20"]]
    for column, values in {
        "raters": raters, "information": fit.information, "prior": fit.prior,
        "mean": fit.estimate, "sd": fit.sd, "score": score,
    }.items():  # fmt: skip
        assert values[best] == pytest.approx([row[column] for row in golden["top20"]], abs=PRINTED)


@pytest.mark.shared
@pytest.mark.parametrize("name", EDGE_CASES)
def test_small_circles_equal_the_golden_values(shared_dir: Path, name: str) -> None:
    golden = golden_rankings(shared_dir)["edge_cases"][name]
    crowd = {}
    if "crowd" in golden:
        crowd = {
            "crowd_average": np.array([np.nan if value is None else value for value in golden["crowd"]]),
            "crowd_ratings": np.array(golden["crowd_n"], dtype=float),
        }
    fit = fit_circle(
        np.array(golden["member"]), np.array(golden["film"]), np.array(golden["rating"], dtype=float), **crowd
    )
    found = {
        "mean": fit.estimate, "sd": fit.sd, "score": bound(fit.estimate, fit.sd),
        "strictness": fit.strictness, "spread": fit.spread, "noise": fit.noise,
        "s2": fit.residual_variance, "m": fit.prior_weight, "beta": fit.crowd_slope,
    }  # fmt: skip
    for key in found.keys() & golden.keys():
        assert found[key] == pytest.approx(golden[key], abs=PRINTED), key


@st.composite
def circles(draw: st.DrawFn) -> list[tuple[int, int, float]]:
    """Up to 8 members and 12 films, indices without gaps, at most one rating per pair."""
    pairs = draw(
        st.lists(st.tuples(st.integers(0, 7), st.integers(0, 11)), min_size=1, max_size=60, unique=True)
    )
    stars = draw(st.lists(st.integers(1, 10), min_size=len(pairs), max_size=len(pairs)))
    members = {old: new for new, old in enumerate(sorted({u for u, _ in pairs}))}
    films = {old: new for new, old in enumerate(sorted({i for _, i in pairs}))}
    return [(members[u], films[i], half / 2) for (u, i), half in zip(pairs, stars, strict=True)]


def fit_rows(rows: list[tuple[int, int, float]]) -> CircleFit:
    member, film, rating = (np.array(column) for column in zip(*rows, strict=True))
    return fit_circle(member, film, rating.astype(float))


@settings(deadline=None, max_examples=60)
@given(circles())
def test_loops_over_dictionaries_give_the_same_fit(rows: list[tuple[int, int, float]]) -> None:
    fit, plain = fit_rows(rows), plain_circle(rows)
    for i, theta in plain.theta.items():
        assert fit.estimate[i] == pytest.approx(theta, abs=1e-9)
        assert fit.sd[i] == pytest.approx(plain.sd[i], abs=1e-9)
    for u in plain.b:
        found = (fit.strictness[u], fit.spread[u], fit.noise[u])
        assert found == pytest.approx((plain.b[u], plain.s[u], plain.v[u]), abs=1e-9)


@settings(deadline=None, max_examples=60)
@given(circles())
def test_scales_stay_identified_and_limits_hold(rows: list[tuple[int, int, float]]) -> None:
    fit = fit_rows(rows)
    member = np.array([u for u, _, _ in rows])
    assert np.isfinite(fit.estimate).all()
    assert (fit.sd > 0).all()
    assert 3 <= fit.prior_weight <= 25
    assert fit.strictness.mean() == pytest.approx(0, abs=1e-9)
    assert fit.spread[member].mean() == pytest.approx(1)
    assert (1 / fit.noise)[member].mean() == pytest.approx(1)


@settings(deadline=None, max_examples=60)
@given(circles(), st.randoms(use_true_random=False))
def test_the_order_of_the_ratings_does_not_matter(rows: list[tuple[int, int, float]], random: Any) -> None:
    shuffled = rows.copy()
    random.shuffle(shuffled)
    assert fit_rows(shuffled).estimate == pytest.approx(fit_rows(rows).estimate, abs=1e-9)


@settings(deadline=None, max_examples=60)
@given(circles())
def test_half_a_star_more_from_everyone_lifts_every_estimate_by_half_a_star(
    rows: list[tuple[int, int, float]],
) -> None:
    lifted = [(u, i, r + 0.5) for u, i, r in rows]
    assert fit_rows(lifted).estimate == pytest.approx(fit_rows(rows).estimate + 0.5, abs=1e-9)


def test_one_member_alone_orders_films_as_they_rated_them() -> None:
    stars = np.array([3.0, 0.5, 5.0, 4.0, 2.5])
    fit = fit_circle(np.zeros(5, dtype=int), np.arange(5), stars)
    assert np.argsort(fit.estimate).tolist() == np.argsort(stars).tolist()


def test_one_rating_is_its_own_estimate() -> None:
    assert fit_rows([(0, 0, 3.5)]).estimate.tolist() == [3.5]


def test_a_crowd_that_knows_no_film_leaves_the_own_voice() -> None:
    rows = [(0, 0, 4.0), (0, 1, 2.0), (1, 0, 5.0), (1, 2, 1.0)]
    member, film, rating = (np.array(column) for column in zip(*rows, strict=True))
    silent = fit_circle(member, film, rating, crowd_average=np.full(3, np.nan))
    assert silent.estimate.tolist() == fit_rows(rows).estimate.tolist()


@pytest.mark.parametrize(
    ("member", "film", "rating", "words"),
    [
        ([], [], [], "nothing to fit"),
        ([0, 1], [0], [3.0], "length"),
        ([0, 0], [0, 2], [3.0, 4.0], "every film"),
        ([0, 2], [0, 1], [3.0, 4.0], "every member"),
    ],
)
def test_arrays_that_are_no_circle_are_refused(
    member: list[int], film: list[int], rating: list[float], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        fit_circle(np.array(member, dtype=int), np.array(film, dtype=int), np.array(rating))
