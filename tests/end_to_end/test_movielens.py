"""The chain on real people's ratings: every number of the marts equals an independent computation."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import psycopg
import pytest
import scipy.stats

from almanac_pipeline.sandbox.options import MovieLensWorld
from almanac_pipeline.sandbox.server import SandboxServer, build_world
from almanac_pipeline.warehouse.cohorts import create_cohort
from almanac_pipeline.warehouse.migrate import migrate
from tests.end_to_end import oracle
from tests.end_to_end.conftest import Once
from tests.end_to_end.home import Home, Outcome, Row, new_home, site_settings

pytestmark = pytest.mark.shared

MOVIELENS = "data/ml-latest-small"
MEMBERS = range(1, 41)
# All-fives (53), a film without a TMDB id (3, 90, 528), TMDB id 4912 on two films of one title (111).
ODD_MEMBERS = (3, 17, 53, 90, 111, 528)
# The heaviest raters: 2,698 and 2,478 ratings, 38 pages each.
HEAVY_MEMBERS = (3, 17, 53, 414, 599)


@dataclass(frozen=True)
class Circle:
    """A cohort of MovieLens people in the warehouse; films by their MovieLens number."""

    outcome: Outcome
    ratings: dict[int, dict[int, float]]
    films: dict[int, Row]
    """{film: its row of raw.films}."""
    stats: dict[int, Row]
    histograms: dict[int, dict[float, int]]
    rankings: dict[str, dict[int, Row]]
    """{strategy: {film: row}}."""


def circle(home: Home, outcome: Outcome) -> Circle:
    marts = home.tables("raw", "almanac") | home.views("almanac.film_histograms", "almanac.film_rankings")
    films = {row["film_id"]: int(row["uid"].removeprefix("film:")) for row in marts["raw.films"]}
    people = {
        row["user_id"]: int(row["username"].removeprefix("ml-"))
        for row in marts["raw.users"]
        if row["username"] != "ml-circle"
    }
    ratings: dict[int, dict[int, float]] = {person: {} for person in people.values()}
    for row in marts["raw.ratings"]:
        assert row["removed_at"] is None
        ratings[people[row["user_id"]]][films[row["film_id"]]] = float(row["rating"])
    histograms: dict[int, dict[float, int]] = {}
    for row in marts["almanac.film_histograms"]:
        histograms.setdefault(films[row["film_id"]], {})[float(row["rating"])] = row["ratings_count"]
    rankings: dict[str, dict[int, Row]] = {}
    for row in marts["almanac.film_rankings"]:
        rankings.setdefault(row["strategy"], {})[films[row["film_id"]]] = row
    return Circle(
        outcome,
        ratings,
        {films[row["film_id"]]: row for row in marts["raw.films"]},
        {films[row["film_id"]]: row for row in marts["almanac.cohort_film_stats"]},
        histograms,
        rankings,
    )


def demonstrate(shared: Path, database_url: str, members: Sequence[int]) -> Circle:
    with new_home(database_url) as home:
        numbers = ",".join(map(str, members))
        outcome = home.demo("--movielens", str(shared / MOVIELENS), "--member-ids", numbers)
        assert outcome.code == 0, outcome
        return circle(home, outcome)


def without_film_pages(shared: Path, database_url: str, members: Sequence[int]) -> Circle:
    """Members and marts alone: the films have thousands of pages, of which neither of them needs one."""
    world = build_world(MovieLensWorld(str(shared / MOVIELENS), member_ids=tuple(members)))
    with SandboxServer(world) as site, new_home(database_url, **site_settings(site)) as home:
        migrate(home.address())
        with psycopg.connect(home.address()) as connection:
            create_cohort(
                connection, "movielens", "MovieLens", {"kind": "following", "seed": world.seed_member}
            )
        home.build("scrape")
        return circle(home, home.build("stats", "refresh"))


@pytest.fixture(scope="module")
def forty(once: Once, ready_database: Callable[[], str], shared_dir: Path) -> Circle:
    def make_forty() -> Circle:
        return without_film_pages(shared_dir, ready_database(), MEMBERS)

    made: Circle = once(make_forty)
    return made


@pytest.fixture(scope="module")
def odd(once: Once, ready_database: Callable[[], str], shared_dir: Path) -> Circle:
    def make_odd() -> Circle:
        return demonstrate(shared_dir, ready_database(), ODD_MEMBERS)

    made: Circle = once(make_odd)
    return made


@pytest.fixture(scope="module")
def ratings(shared_dir: Path) -> oracle.Ratings:
    """What the forty people rated, read from the file."""
    return oracle.read_ratings(shared_dir / MOVIELENS, MEMBERS)


def expected(shared: Path, ratings: oracle.Ratings, circle: Circle, strategy: str) -> list[oracle.RankedFilm]:
    titles = oracle.read_titles(shared / MOVIELENS)
    return oracle.rank(
        ratings, strategy, titles, {film: row["film_id"] for film, row in circle.films.items()}
    )


def test_no_rating_is_lost(forty: Circle, ratings: oracle.Ratings) -> None:
    assert forty.ratings == ratings


def test_the_golden_ranking_comes_out(forty: Circle, shared_dir: Path) -> None:
    golden = json.loads((shared_dir / "data/golden/rankings.json").read_text())
    cohort = golden["cohorts"]["users_1_40"]
    assert cohort["user_ids"] == list(MEMBERS)
    # The golden list has no threshold of raters, so neither has this order.
    ordered = sorted(
        forty.rankings["almanac"].items(), key=lambda item: (-round(item[1]["score"], 9), -item[1]["raters"])
    )
    for place, (film, row) in zip(cohort["own"]["top20"], ordered, strict=False):
        assert film == place["movie_id"]
        assert row["raters"] == place["raters"]
        assert row["score"] == pytest.approx(place["score"], abs=1e-6)
        assert row["estimate"] == pytest.approx(place["mean"], abs=1e-6)
        assert row["estimate_sd"] == pytest.approx(place["sd"], abs=1e-6)


@pytest.mark.parametrize("strategy", ["almanac", "bayesian"])
def test_every_film_is_scored_and_placed_by_the_book(
    forty: Circle, ratings: oracle.Ratings, shared_dir: Path, strategy: str
) -> None:
    ranking = expected(shared_dir, ratings, forty, strategy)
    assert sum(film.rank is not None for film in ranking) > 50
    require_ranked_by_the_book(forty, ranking, strategy)


def require_ranked_by_the_book(circle: Circle, ranking: list[oracle.RankedFilm], strategy: str) -> None:
    rows = circle.rankings[strategy]
    assert rows.keys() == {film.film for film in ranking}
    for film in ranking:
        row = rows[film.film]
        assert row["score"] == pytest.approx(film.score, abs=1e-6)
        assert (row["raters"], row["eligible"]) == (film.raters, film.rank is not None)
        assert row["rank"] == film.rank, film.film
    placed = [rows[film.film] for film in ranking if film.rank is not None]
    assert [row["tier"] for row in placed] == oracle.tiers(
        [row["estimate"] for row in placed], [row["estimate_sd"] for row in placed]
    )
    assert all(row["tier"] is None for row in rows.values() if not row["eligible"])


def test_estimates_are_those_of_the_circle_model(forty: Circle, ratings: oracle.Ratings) -> None:
    fitted = oracle.fit(ratings)
    for film, row in forty.rankings["almanac"].items():
        assert row["estimate"] == pytest.approx(fitted.estimate[film], abs=1e-6)
        assert row["estimate_sd"] == pytest.approx(fitted.sd[film], abs=1e-6)


def test_rank_intervals_are_those_of_drawing_again(forty: Circle) -> None:
    rows = sorted(
        (row for row in forty.rankings["almanac"].values() if row["eligible"]), key=lambda row: row["rank"]
    )
    drawn = oracle.rank_intervals(
        [row["score"] for row in rows], [row["estimate_sd"] for row in rows], seed=20_261_120
    )
    for row, (low, high) in zip(rows, drawn, strict=True):
        assert 1 <= row["rank_low"] <= row["rank_high"] <= len(rows)
        # Two times a thousand draws: the 5 % point of a place moves by a few places at most.
        assert row["rank_low"] == pytest.approx(low, abs=6)
        assert row["rank_high"] == pytest.approx(high, abs=6)
    inside = sum(row["rank_low"] <= row["rank"] <= row["rank_high"] for row in rows)
    assert inside >= 0.95 * len(rows)
    for row in forty.rankings["almanac"].values():
        assert row["eligible"] or row["rank_low"] is row["rank_high"] is None


def test_film_statistics_are_those_of_pandas_and_scipy(forty: Circle, ratings: oracle.Ratings) -> None:
    films = oracle.by_film(ratings)
    assert forty.stats.keys() == films.keys()
    for film, stars in films.items():
        row, values = forty.stats[film], pd.Series(stars)
        varied = len(stars) >= 3 and values.nunique() > 1
        assert row["watchers"] == row["raters"] == len(stars)
        assert row["average_rating"] == pytest.approx(values.mean(), abs=1e-9)
        assert float(row["rating_sum"]) == values.sum()
        assert row["median_rating"] == values.median()
        assert row["high_rating_share"] == pytest.approx((values >= 4).mean(), abs=1e-9)
        assert row["rating_stddev"] == (
            pytest.approx(values.std(ddof=1), abs=1e-9) if len(stars) >= 2 else None
        )
        skewness = scipy.stats.skew(np.array(stars), bias=False) if varied else None
        assert row["rating_skewness"] == (pytest.approx(skewness, abs=1e-9) if varied else None)


def test_histograms_count_every_rating_and_keep_their_zeros(forty: Circle, ratings: oracle.Ratings) -> None:
    films = oracle.by_film(ratings)
    assert forty.histograms.keys() == films.keys()
    for film, stars in films.items():
        counts = Counter(stars)
        assert forty.histograms[film] == {half / 2: counts[half / 2] for half in range(1, 11)}


def test_the_demonstration_says_how_many_it_published(odd: Circle, shared_dir: Path) -> None:
    assert odd.ratings == oracle.read_ratings(shared_dir / MOVIELENS, ODD_MEMBERS)
    line = odd.outcome.stdout.splitlines()[-1]
    count = sum(map(len, odd.ratings.values()))
    assert line.startswith(
        f"published cohort=movielens members={len(ODD_MEMBERS)} films={len(odd.films)} ratings={count} "
    )


def test_films_without_an_id_or_with_another_films_id_stay_themselves(odd: Circle, shared_dir: Path) -> None:
    titles = oracle.read_titles(shared_dir / MOVIELENS)
    # The site lists one of the three a second time, with its id: title and year find it.
    for film, tmdb_id in ((791, None), (2851, 19761), (40697, None)):
        assert odd.films[film]["tmdb_id"] == tmdb_id
        assert odd.stats[film]["raters"] == 1
    twins = [odd.films[film] for film in (6003, 144606)]
    assert [row["tmdb_id"] for row in twins] == [4912, 4912]
    assert len({row["film_id"] for row in twins}) == len({row["slug"] for row in twins}) == 2
    assert twins[0]["title"] == twins[1]["title"] == titles[6003][0]


def test_titles_and_years_are_those_of_the_file(odd: Circle, shared_dir: Path) -> None:
    titles = oracle.read_titles(shared_dir / MOVIELENS)
    for film, row in odd.films.items():
        assert (row["title"], row["release_year"]) == titles[film], film


def test_the_odd_circle_is_ranked_by_the_book(odd: Circle, shared_dir: Path) -> None:
    for strategy in ("almanac", "bayesian"):
        require_ranked_by_the_book(odd, expected(shared_dir, odd.ratings, odd, strategy), strategy)


@pytest.fixture(scope="module")
def heavy(once: Once, ready_database: Callable[[], str], shared_dir: Path) -> Circle:
    def make_heavy() -> Circle:
        return without_film_pages(shared_dir, ready_database(), HEAVY_MEMBERS)

    made: Circle = once(make_heavy)
    return made


@pytest.mark.soak
def test_the_heaviest_raters_are_read_to_the_last_page(heavy: Circle, shared_dir: Path) -> None:
    ratings = oracle.read_ratings(shared_dir / MOVIELENS, HEAVY_MEMBERS)
    assert heavy.ratings == ratings
    assert {film: row["raters"] for film, row in heavy.stats.items()} == {
        film: len(stars) for film, stars in oracle.by_film(ratings).items()
    }


@pytest.mark.soak
def test_marts_without_film_pages_are_ranked_by_the_book(heavy: Circle, shared_dir: Path) -> None:
    require_ranked_by_the_book(heavy, expected(shared_dir, heavy.ratings, heavy, "almanac"), "almanac")
    # Somebody who gives everything five stars has no say in the order, and breaks nothing.
    assert set(heavy.ratings[53].values()) == {5.0}
