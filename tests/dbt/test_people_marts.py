"""The marts about members and persons against plain Python over the same opinions."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt
from statistics import fmean
from typing import Any

import pytest
from scipy.stats import pearsonr

from tests.dbt.world import NewWarehouse, Warehouse
from tests.statistics.plain_circle import PlainFit, plain_circle

MEMBERS = ("ann", "bob", "cat", "dan", "eve", "fay")
FILMS = range(1, 41)
# Fay has rated nothing; dan has rated four films: too few for a correlation.
STYLES = {"ann": (0.5, 1.2), "bob": (0.0, 1.0), "cat": (-0.7, 0.8), "eve": (0.2, 1.4), "dan": (0.0, 1.0)}


@dataclass
class People:
    """The cohort `people` of six, built once for all tests that only look."""

    warehouse: Warehouse
    members: dict[str, int]
    films: dict[int, int]
    persons: dict[str, int]
    ratings: dict[tuple[str, int], float]
    liked: set[tuple[str, int]]
    credits: dict[str, dict[str, list[int]]]
    """{role: {person: film numbers}}"""

    def taste(self, name: str) -> dict[int, float]:
        return {film: stars for (who, film), stars in self.ratings.items() if who == name}


@pytest.fixture(scope="module")
def people(new_warehouse: NewWarehouse) -> Iterator[People]:
    with new_warehouse() as warehouse:
        yield build(warehouse)


def build(warehouse: Warehouse) -> People:
    dice = random.Random(5)
    members = {name: warehouse.member(name) for name in MEMBERS}
    films = {number: warehouse.film(number) for number in FILMS}
    quality = {number: dice.gauss(3.4, 0.6) + (1.2 if number % 5 == 0 else 0) for number in FILMS}
    ratings, liked = {}, set()
    for name, (strictness, spread) in STYLES.items():
        for number in FILMS if name != "dan" else range(1, 5):
            if name == "dan" or dice.random() < 0.7:
                stars = 3.4 + strictness + spread * (quality[number] - 3.4) + dice.gauss(0, 0.5)
                ratings[name, number] = min(5.0, max(0.5, round(stars * 2) / 2))
                if dice.random() < 0.2:
                    liked.add((name, number))
    liked.add(("fay", 1))
    for name, number in {*ratings, *liked}:
        warehouse.rate(
            members[name], films[number], ratings.get((name, number)), liked=(name, number) in liked
        )
    warehouse.log(members["fay"], films[2], "fay-2")
    warehouse.execute("update raw.ratings set favorite = true where user_id = %s and film_id = %s",
                      members["bob"], films[next(n for w, n in ratings if w == "bob")])  # fmt: skip
    # Film n is directed by person n mod 5; every third one has a second director; films 39 and 40 have none.
    credits: dict[str, dict[str, list[int]]] = {"director": defaultdict(list), "actor": defaultdict(list)}
    for number in range(1, 39):
        credits["director"][f"Director {number % 5}"].append(number)
        if number % 3 == 0:
            credits["director"]["Director Two"].append(number)
        for actor in dice.sample(range(12), 3):
            credits["actor"][f"Actor {actor}"].append(number)
    # Two films are too few, and are nobody's rank.
    credits["director"]["Director Twice"] = [39, 40]
    persons = {}
    for role, filmographies in credits.items():
        for name, numbers in filmographies.items():
            persons[name] = warehouse.scalar(
                "insert into raw.people (name) values (%s) returning person_id", name
            )
            for number in numbers:
                warehouse.execute(
                    "insert into raw.film_people (film_id, person_id, role, credit_order)"
                    " values (%s, %s, %s, 1)",
                    *(films[number], persons[name], role),
                )
    # Film 1: wanted by three; 2: by two, fay has logged it; 3: by one; 4: of two one wants it no more.
    for name, number, removed in (
        ("ann", 1, False), ("bob", 1, False), ("fay", 1, False), ("fay", 2, False), ("ann", 2, False),
        ("cat", 3, False), ("cat", 4, False), ("eve", 4, True),
    ):  # fmt: skip
        warehouse.execute(
            "insert into raw.watchlist_entries (user_id, film_id, source, removed_at)"
            " values (%s, %s, 'pages', case when %s then now() end)",
            *(members[name], films[number], removed),
        )
    warehouse.cohort("people", list(members.values()))
    warehouse.build("people")
    return People(warehouse, members, films, persons, ratings, liked, credits)


def fit(people: People) -> PlainFit:
    return plain_circle([(who, film, stars) for (who, film), stars in people.ratings.items()])


def rows_by(people: People, mart: str, *key: str) -> dict[Any, dict[str, Any]]:
    rows = people.warehouse.rows(f"select * from almanac.{mart} where cohort = 'people'")
    return {tuple(row[k] for k in key) if len(key) > 1 else row[key[0]]: row for row in rows}


def similarity(people: People, a: str, b: str) -> tuple[int, float | None]:
    """Overlap, and Pearson's r shrunk by it."""
    one, other = people.taste(a), people.taste(b)
    common = sorted(one.keys() & other.keys())
    if len(common) < 5:
        return len(common), None
    r = pearsonr([one[n] for n in common], [other[n] for n in common]).statistic
    return len(common), r * len(common) / (len(common) + 25)


def test_a_profile_says_how_a_member_uses_the_stars(people: People) -> None:
    profiles, plain = rows_by(people, "member_profiles", "user_id"), fit(people)
    assert set(profiles) == set(people.members.values())
    for name, user_id in people.members.items():
        row, taste = profiles[user_id], people.taste(name)
        assert row["ratings_count"] == len(taste)
        assert row["likes_count"] == sum(who == name for who, _ in people.liked)
        assert row["favorites_count"] == (name == "bob")
        assert row["watched_count"] == (2 if name == "fay" else len(taste))
        shares = [row[f"share_{half // 2}_{half % 2 * 5}"] for half in range(1, 11)]
        if not taste:
            assert shares == [None] * 10
            assert {row[key] for key in ("average_rating", "strictness", "spread", "consistency")} == {None}
            continue
        assert row["average_rating"] == pytest.approx(fmean(taste.values()))
        counts = [list(taste.values()).count(half / 2) / len(taste) for half in range(1, 11)]
        assert shares == pytest.approx(counts)
        assert row["strictness"] == pytest.approx(plain.b[name], abs=1e-9)
        assert row["spread"] == pytest.approx(plain.s[name], abs=1e-9)
        assert row["consistency"] == pytest.approx(1 / plain.v[name], abs=1e-9)


def test_whom_a_member_agrees_with_most_and_least(people: People) -> None:
    profiles = rows_by(people, "member_profiles", "user_id")
    for name, user_id in people.members.items():
        others = {
            people.members[other]: value
            for other in MEMBERS
            if other != name and (value := similarity(people, name, other)[1]) is not None
        }
        row = profiles[user_id]
        assert row["compared_members_count"] == len(others) == (0 if name in ("dan", "fay") else 3)
        if not others:
            assert row["most_agreed_user_id"] is row["least_agreed_user_id"] is None
            continue
        most, least = max(others, key=others.__getitem__), min(others, key=others.__getitem__)
        assert (row["most_agreed_user_id"], row["least_agreed_user_id"]) == (most, least)
        assert row["most_agreed_similarity"] == pytest.approx(others[most])
        assert row["least_agreed_similarity"] == pytest.approx(others[least])


def test_every_two_members_who_rate_are_compared_once(people: People) -> None:
    pairs = rows_by(people, "taste_similarity", "user_a", "user_b")
    raters = sorted((people.members[name], name) for name in MEMBERS if name != "fay")
    assert set(pairs) == {(a, b) for a, _ in raters for b, _ in raters if a < b}
    for (a, first), (b, second) in ((x, y) for x in raters for y in raters if x < y):
        row, (overlap, shrunk) = pairs[a, b], similarity(people, first, second)
        assert row["overlap"] == overlap
        assert row["similarity"] == (None if shrunk is None else pytest.approx(shrunk))


def test_films_that_two_members_want_to_see(people: People) -> None:
    rows = rows_by(people, "watchlist_overlap", "film_id")
    id_of = people.members
    assert set(rows) == {people.films[1], people.films[2]}
    one, two = rows[people.films[1]], rows[people.films[2]]
    assert one["wisher_ids"] == sorted([id_of["ann"], id_of["bob"], id_of["fay"]])
    assert (one["wishers_count"], one["is_shareable"], one["title"]) == (3, True, "Film 1")
    seen = {id_of[who] for who, film in people.ratings if film == 1} | {id_of["fay"]}
    assert (one["watcher_ids"], one["watchers"]) == (sorted(seen), len(seen))
    assert (two["wishers_count"], two["is_shareable"]) == (2, False)
    assert id_of["fay"] in two["watcher_ids"]


def plain_persons(people: People, role: str) -> dict[str, tuple[int, float, float]]:
    """Person -> films, estimate, sd: decision 8, written out."""
    plain = fit(people)
    films = {}
    for number, theta in plain.theta.items():
        information = plain.s2 / plain.sd[number] ** 2 - plain.m
        voice = (theta * (information + plain.m) - plain.m * plain.mu) / information - plain.mu
        films[number] = (voice, plain.s2 / information)
    tau2 = plain.s2 / plain.m
    credits = {
        who: [films[n] for n in numbers if n in films] for who, numbers in people.credits[role].items()
    }
    products = weights = 0.0
    for own in credits.values():
        for first in range(len(own)):
            for second in range(len(own)):
                if first != second:
                    (y, e), (z, f) = own[first], own[second]
                    weight = 1 / (tau2 + e) / (tau2 + f)
                    products, weights = products + weight * y * z, weights + weight
    between = min(tau2 / 2, max(tau2 / 26, products / weights))
    within = tau2 - between
    found = {}
    for who, own in credits.items():
        precision = sum(1 / (within + noise) for _, noise in own) + 1 / between
        pull = sum(voice / (within + noise) for voice, noise in own)
        if len(own) >= 3:
            found[who] = (len(own), plain.mu + pull / precision, 1 / sqrt(precision))
    return found


@pytest.mark.parametrize("role", ["director", "actor"])
def test_persons_are_shrunk_like_films(people: People, role: str) -> None:
    rows = {key[1]: row for key, row in rows_by(people, "person_rankings", "role", "person").items()
            if key[0] == role}  # fmt: skip
    expected = plain_persons(people, role)
    assert set(rows) == set(expected)
    assert "Director Twice" not in rows
    for who, (films_count, estimate, sd) in expected.items():
        row = rows[who]
        assert (row["films_count"], row["person_id"], row["min_films"]) == (
            films_count,
            people.persons[who],
            3,
        )
        assert (row["estimate"], row["estimate_sd"]) == pytest.approx((estimate, sd), abs=1e-9)
        assert row["score"] == pytest.approx(estimate - 1.2815515655 * sd, abs=1e-9)
        assert row["is_shareable"] == (row["most_raters"] >= 3)
    order = sorted(expected, key=lambda who: -round(rows[who]["score"], 9))
    assert [rows[who]["rank"] for who in order] == list(range(1, len(order) + 1))
    if role == "director":
        # Every fifth film was made to be better, all of them by one director.
        assert order[0] == "Director 0"


def test_a_forgotten_member_leaves_no_mart(people: People, new_warehouse: NewWarehouse) -> None:
    from almanac_pipeline.warehouse.forgetting import forget
    from almanac_pipeline.warehouse.publications import record_publication

    people.warehouse.connection.close()
    with new_warehouse(people.warehouse.name) as copy:
        cohort_id, ann = copy.cohort_id("people"), people.members["ann"]
        record_publication(copy.connection, cohort_id)
        marts = (
            "member_profiles",
            "taste_similarity",
            "watchlist_overlap",
            "person_rankings",
            "rank_history",
        )
        assert all(copy.scalar(f"select count(*) from almanac.{mart}") for mart in marts)
        forget(copy.connection, "ann")
        assert [copy.scalar(f"select count(*) from almanac.{mart}") for mart in marts] == [0] * 5
        assert copy.scalar("select publication_state from almanac.cohort_freshness") == "withdrawn"
        copy.build("people")
        record_publication(copy.connection, cohort_id)
        assert all(copy.scalar(f"select count(*) from almanac.{mart}") for mart in marts)
        ids = copy.rows(
            "select user_id as id from almanac.member_profiles"
            " union select most_agreed_user_id from almanac.member_profiles"
            " union select least_agreed_user_id from almanac.member_profiles"
            " union select unnest(array[user_a, user_b]) from almanac.taste_similarity"
            " union select unnest(wisher_ids || watcher_ids) from almanac.watchlist_overlap"
        )
        assert ann not in {row["id"] for row in ids}
