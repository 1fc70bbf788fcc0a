"""Whatever members do between two syncs, and wherever a sync is killed: what is stored is what they show."""

from __future__ import annotations

import os
import random

import pytest

from almanac_pipeline.flows.likes import sync_likes
from almanac_pipeline.flows.ratings import sync_ratings
from almanac_pipeline.settings import Settings
from tests.flows.conftest import Query
from tests.flows.world import World, film

WORLDS = int(os.environ.get("TEST_WORLDS", "2"))
STORED = """
    select username, slug, rating::float8 as rating, liked, favorite
    from raw.ratings join raw.users using (user_id) join raw.films using (film_id) where removed_at is null
"""
HISTORY = """
    select count(*) as n
    from raw.ratings
    join lateral (
        select new_rating, new_liked, new_favorite from raw.rating_events as event
        where event.user_id = ratings.user_id and event.film_id = ratings.film_id
        order by rating_event_id desc limit 1
    ) as last on true
    where (rating, liked, favorite) is distinct from (new_rating, new_liked, new_favorite)
"""


def shown(world: World) -> set[tuple[str, str, float | None, bool, bool]]:
    """All that the members' pages say."""
    found = set()
    for name in ("ada", "bea"):
        person = world.person(name)
        rated = {item.slug: item.rating for item in person.rated}
        likes, favorites = {f.slug for f in person.likes}, {f.slug for f in person.favorites}
        for slug in rated.keys() | likes | favorites:
            found.add((name, slug, rated.get(slug), slug in likes, slug in favorites))
    return found


def live(world: World, chance: random.Random) -> None:
    """A few things that members do."""
    person = world.person(chance.choice(["ada", "bea"]))
    for _ in range(chance.randint(0, 5)):
        item = film(chance.randrange(60))
        deed = chance.randrange(6)
        if deed < 2:
            person.rate(item, chance.randint(1, 10) / 2)
        elif deed == 2 and len(person.rated) > 6:
            person.unrate(chance.choice(person.rated))
        elif deed == 3 and item.slug not in {f.slug for f in person.likes}:
            person.like(item)
        elif deed == 4 and len(person.likes) > 6:
            person.unlike(chance.choice(person.likes))
        elif deed == 5:
            person.favorites = [*person.favorites[1:4], item] if item not in person.favorites else []
            person.favorites = person.favorites or [item, film(70)]


@pytest.mark.parametrize("seed", range(WORLDS))
def test_what_is_stored_is_what_is_shown(
    database_url: str, world: World, cohort: str, query: Query, seed: int
) -> None:
    chance = random.Random(seed)
    # Everything is read each time; a few members' lists may shrink by more than half.
    settings = Settings(
        _env_file=None,
        http_workers=2,
        fresh_minutes=0,
        likes_max_age_hours=0,
        profile_max_age_hours=0,
        shrink_guard_share=0.0,  # type: ignore[call-arg]
    )
    world.person("bea").likes = [film(number) for number in range(10, 18)]

    def fail_sometimes(kind: str, key: str, page: int) -> None:
        if chance.random() < 0.1:
            raise KeyboardInterrupt

    for _ in range(12):
        live(world, chance)
        world.on_call = fail_sometimes
        for flow in (sync_ratings, sync_likes):
            try:
                flow(database_url, settings, world, cohort)
            except KeyboardInterrupt:
                live(world, chance)
        world.on_call = lambda kind, key, page: None
        if chance.random() < 0.5:
            sync_ratings(database_url, settings, world, cohort)
            sync_likes(database_url, settings, world, cohort)
            stored = {tuple(row.values()) for row in query(STORED)}
            assert stored == shown(world)
            assert query(HISTORY) == [{"n": 0}]
