"""Worlds: the same every time, as large as asked for, and shaped like real ones."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from almanac_pipeline.errors import ConfigurationError
from almanac_pipeline.sandbox import movielens
from almanac_pipeline.sandbox.generate import FILM_NUMBERS, SEED_MEMBER, TMDB_NUMBERS, generate
from almanac_pipeline.sandbox.options import GeneratedWorld, MovieLensWorld
from almanac_pipeline.sandbox.world import World, claim_slug, short_id, slugify
from tests.sandbox.conftest import SMALL


def test_the_same_seed_gives_the_same_world_and_another_seed_another(world: World) -> None:
    again = generate(SMALL)
    assert again.films == world.films
    assert list(again.members) == list(world.members)
    for name, member in again.members.items():
        assert member.opinions == world.members[name].opinions
        assert member.diary == world.members[name].diary
        assert member.following == world.members[name].following
    other = generate(GeneratedWorld(seed=4, members=8, films=420, ratings=110))
    assert [film.title for film in other.films.values()] != [film.title for film in world.films.values()]


def test_the_seed_member_follows_exactly_the_number_asked_for(world: World) -> None:
    assert len(world.following(world.members[SEED_MEMBER])) == 8
    assert len(world.members) > 9, "somebody must stay outside the circle"


def test_names_and_ids_are_unique_and_lie_outside_the_real_ranges(world: World) -> None:
    films = list(world.films.values())
    for key in ("slug", "lid", "uid", "full_name"):
        assert len({getattr(film, key) for film in films}) == len(films), key
    assert all(film.number > FILM_NUMBERS for film in films)
    tmdb_ids = [film.tmdb_id for film in films if film.tmdb_id is not None]
    assert len(set(tmdb_ids)) == len(tmdb_ids)
    assert min(tmdb_ids) > TMDB_NUMBERS
    assert len({member.key for member in world.members.values()}) == len(world.members)


def test_tastes_have_heavy_and_light_raters_likes_without_ratings_and_shared_favourites() -> None:
    world = generate(GeneratedWorld())
    circle = world.following(world.members[SEED_MEMBER])
    ratings = [member.ratings_count for member in circle]
    assert min(ratings) < 15
    assert max(ratings) > 150
    raters = Counter(n for member in circle for n, o in member.opinions.items() if o.rating is not None)
    assert sum(count >= 8 for count in raters.values()) > 80
    assert sum(count == 1 for count in raters.values()) > 50
    assert all(world.order(member, "likes_unrated") for member in circle)
    assert Counter(n for member in circle for n in member.favorites).most_common(1)[0][1] >= 4
    assert all(set(member.favorites) <= set(member.opinions) for member in circle)
    assert {len(member.favorites) for member in circle} >= {0, 2, 4}


def test_global_counts_contain_the_members_own_ratings(world: World) -> None:
    own = {number: [0] * 10 for number in world.films}
    for member in world.members.values():
        for number, opinion in member.opinions.items():
            if opinion.rating is not None:
                own[number][opinion.rating - 1] += 1
    for number, film in world.films.items():
        assert all(mine <= all_ for mine, all_ in zip(own[number], film.counts, strict=True))
        assert film.stated_ratings == sum(film.counts)


def test_nobody_rates_an_unreleased_film_or_rates_in_the_future(world: World) -> None:
    assert any(not film.released for film in world.films.values())
    for member in world.members.values():
        times = [o.rated_at for o in member.opinions.values() if o.rated_at is not None]
        assert len(set(times)) == len(times)
        assert max(times) < world.now
        assert all(world.films[number].released for number in member.opinions)


def test_a_large_world_has_as_many_films_and_ratings_as_asked_for() -> None:
    world = generate(GeneratedWorld(members=30, films=8000, ratings=600))
    assert len(world.films) == 8000
    circle = world.following(world.members[SEED_MEMBER])
    assert 400 < sum(member.ratings_count for member in circle) / 30 < 800


@pytest.mark.parametrize(
    ("title", "slug"),
    [
        ("The Grave of St. Oran", "the-grave-of-st-oran"),
        ("A Soldier's Prayer", "a-soldiers-prayer"),
        ("21 & Over", "21-over"),
        ("Sirāt", "sirat"),
        ("東", ""),
    ],
)
def test_a_title_becomes_a_slug_of_plain_letters(title: str, slug: str) -> None:
    assert slugify(title) == slug


def test_a_taken_slug_gets_the_year_and_then_a_number() -> None:
    taken: set[str] = set()
    claimed = [claim_slug(taken, "Emma", 1996) for _ in range(3)] + [claim_slug(taken, "Emma", None)]
    assert claimed == ["emma", "emma-1996", "emma-1996-1", "emma-1"]


def test_short_ids_never_collide() -> None:
    numbers = [*range(1, 20_000), *range(900_000_001, 900_020_000), *range(3_000_000_000, 3_000_020_000)]
    ids = [short_id(number) for number in numbers]
    assert len(set(ids)) == len(numbers)
    assert max(map(len, ids)) <= 6


def test_movielens_people_become_members_whom_the_circle_follows(movielens_folder: Path) -> None:
    world = movielens.load(MovieLensWorld(str(movielens_folder), members=2))
    assert [member.key for member in world.following(world.members["ml-circle"])] == ["ml-1", "ml-2"]
    assert set(world.members) == {"ml-circle", "ml-1", "ml-2"}
    exact = movielens.load(MovieLensWorld(str(movielens_folder), member_ids=(12, 7)))
    assert set(exact.members) == {"ml-circle", "ml-7", "ml-12"}


def test_movielens_titles_years_and_ids_are_the_real_ones(movielens_folder: Path) -> None:
    films = movielens.load(MovieLensWorld(str(movielens_folder))).films
    assert {n: (film.title, film.year, film.slug) for n, film in films.items()} == {
        1: ("Harbour Night", 1995, "harbour-night"),
        2: ("Harbour Night", 1995, "harbour-night-1995"),
        3: ("Harbour Night", 2004, "harbour-night-2004"),
        5: ("Usual Errand, The", 1961, "usual-errand-the"),
        6: ("Slow Tide", None, "slow-tide"),
        7: ("Nôtre Quai (2006–2007)", None, "notre-quai-2006-2007"),
        8: ("Tide & Salt: It's Mr. Wolf (Loup, Le)", 1999, "tide-salt-its-mr-wolf-loup-le"),
        9: ("东", 2010, "untitled"),
        11: ("Unseen", 2001, "unseen"),
    }
    assert (films[1].uid, films[1].tmdb_id, films[1].imdb_id) == ("film:1", 862, "tt0114709")
    assert (films[6].tmdb_id, films[6].imdb_id) == (None, "tt12345678")
    assert films[1].genres == ("Drama", "Sci-Fi")
    assert films[6].genres == ()


def test_movielens_global_counts_are_those_of_all_people(movielens_folder: Path) -> None:
    world = movielens.load(MovieLensWorld(str(movielens_folder), members=1))
    assert world.films[1].counts == [0, 0, 1, 0, 0, 0, 0, 2, 0, 1]
    assert world.films[11].ratings == 0
    opinions = world.members["ml-1"].opinions
    assert {n: o.rating for n, o in opinions.items()} == {1: 8, 3: 1, 6: 10}
    assert world.order(world.members["ml-1"], "rated_by_date") == (6, 1, 3)
    assert world.order(world.members["ml-1"], "likes") == ()


def test_two_movielens_films_may_share_a_tmdb_id(movielens_folder: Path) -> None:
    world = movielens.load(MovieLensWorld(str(movielens_folder)))
    assert world.films_by_tmdb[("movie", 4912)].number == 3


def test_a_folder_that_is_no_movielens_is_named_with_what_is_missing(
    tmp_path: Path, movielens_folder: Path
) -> None:
    with pytest.raises(ConfigurationError, match=r"ratings\.csv is missing"):
        movielens.load(MovieLensWorld(str(tmp_path / "nowhere")))
    with pytest.raises(ConfigurationError, match="person 3, 4"):
        movielens.load(MovieLensWorld(str(movielens_folder), member_ids=(1, 3, 4)))


@pytest.mark.shared
def test_the_public_movielens_folder_becomes_a_world(shared_dir: Path) -> None:
    world = movielens.load(MovieLensWorld(str(shared_dir / "data" / "ml-latest-small"), members=100))
    films = world.films.values()
    assert len(world.following(world.members["ml-circle"])) == 100
    assert sum(film.ratings for film in films) == 100_836
    assert sum(film.tmdb_id is None for film in films) == 8
    assert sum(film.year is None for film in films) == 13
    assert sum(film.tmdb_id == 4912 for film in films) == 2
    assert {o.rating for o in world.members["ml-53"].opinions.values()} == {10}
