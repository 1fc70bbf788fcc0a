"""Changes of the world, and how the pages show them."""

from __future__ import annotations

from typing import Any

import pytest

from almanac_pipeline.errors import NotFoundError
from almanac_pipeline.sandbox.truth import film_truth, member_truth
from almanac_pipeline.sandbox.world import Film, Member, World
from almanac_pipeline.sources.pages.parsers import (
    parse_film_page,
    parse_grid,
    parse_histogram,
    parse_people,
    parse_profile,
)
from tests.sandbox.conftest import Desk

RATED = "films/rated/.5-5/"
NEWEST = "films/rated/.5-5/by/rated-date/"


@pytest.fixture
def member(desk: Desk) -> Member:
    return max(desk.world.members.values(), key=lambda member: member.ratings_count)


@pytest.fixture
def unseen(desk: Desk, member: Member) -> Film:
    """A film that the member has not seen, with enough ratings for an average."""
    return next(film for n, film in desk.world.films.items() if n not in member.opinions and film.average)


def followed(desk: Desk) -> str:
    """Somebody whom the seed member follows."""
    return desk.world.following(desk.world.members[desk.world.seed_member])[0].key


def everything(world: World) -> Any:
    """The whole truth, for comparison."""
    members = [member_truth(world, member) for member in world.members.values()]
    return world.now, members, [film_truth(film) for film in world.films.values()]


def test_a_new_rating_leads_the_newest_and_raises_the_global_count(
    desk: Desk, member: Member, unseen: Film
) -> None:
    before = sum(unseen.counts)
    total = parse_grid(desk.get(f"/{member.key}/{RATED}").body).total or 0
    desk.change(rate=[{"member": member.username, "film": unseen.slug, "rating": 4.5}])
    newest = parse_grid(desk.get(f"/{member.key}/{NEWEST}").body)
    assert (newest.items[0].slug, newest.items[0].rating, newest.total) == (unseen.slug, 4.5, total + 1)
    page = parse_film_page(desk.get(f"/film/{unseen.slug}/").body)
    histogram = parse_histogram(desk.get(page.histogram_url or "").body)
    assert histogram is not None
    assert page.ratings == histogram.ratings == sum(histogram.counts) == before + 1


def test_a_re_rating_moves_to_the_front_and_keeps_the_global_count(desk: Desk, member: Member) -> None:
    oldest = desk.world.films[desk.world.order(member, "rated_by_date")[-1]]
    old, before = member.opinions[oldest.number].rating, sum(oldest.counts)
    rating = 1.0 if old != 2 else 2.0
    desk.change(rate=[{"member": member.key, "film": oldest.uid, "rating": rating}])
    first = parse_grid(desk.get(f"/{member.key}/{NEWEST}").body).items[0]
    assert (first.slug, first.rating, sum(oldest.counts)) == (oldest.slug, rating, before)


def test_a_removed_rating_is_gone_but_the_film_stays_watched(desk: Desk, member: Member) -> None:
    film = desk.world.films[desk.world.order(member, "rated_by_date")[0]]
    desk.change(unrate=[{"member": member.key, "film": film.slug}])
    truth = member_truth(desk.world, member)
    assert film.uid not in truth["ratings"]
    assert film.uid in truth["watched"]
    assert film.slug != parse_grid(desk.get(f"/{member.key}/{NEWEST}").body).items[0].slug
    desk.change(unwatch=[{"member": member.key, "film": film.slug}])
    assert film.uid not in member_truth(desk.world, member)["watched"]


def test_a_like_leads_the_likes_and_an_unlike_removes_it(desk: Desk, member: Member, unseen: Film) -> None:
    desk.change(like=[{"member": member.key, "film": unseen.slug}])
    for path in ("likes/films/", "likes/films/rated/none/"):
        item = parse_grid(desk.get(f"/{member.key}/{path}").body).items[0]
        assert (item.slug, item.liked, item.rating) == (unseen.slug, True, None)
    desk.change(unlike=[{"member": member.key, "film": unseen.slug}])
    assert unseen.uid not in member_truth(desk.world, member)["likes"]


def test_a_new_follow_comes_first_and_an_unfollow_goes(desk: Desk) -> None:
    world = desk.world
    seed = world.members[world.seed_member]
    stranger = next(m for m in world.members.values() if m.key not in seed.following and m is not seed)
    desk.change(follow=[{"member": "almanac", "target": stranger.key}])
    page = parse_people(desk.get("/almanac/following/").body)
    assert (page.people[0].username, page.total) == (stranger.key, 9)
    desk.change(unfollow=[{"member": "almanac", "target": stranger.key}])
    assert stranger.key not in desk.world.summary()["following"]


def test_favourites_change_on_the_profile(desk: Desk, member: Member, unseen: Film) -> None:
    desk.change(favorites=[{"member": member.key, "films": [unseen.slug]}])
    assert [f.slug for f in parse_profile(desk.get(f"/{member.key}/").body).favorites] == [unseen.slug]


def test_a_renamed_film_redirects_from_its_old_slug_everywhere(desk: Desk, member: Member) -> None:
    film = desk.world.films[desk.world.order(member, "rated_by_date")[0]]
    old = film.slug
    desk.change(rename_film=[{"film": old, "slug": "quite-another-name"}])
    for path in ("/film/%s/", "/film/%s/json/", "/csi/film/%s/rating-histogram/"):
        answer = desk.get(path % old)
        assert (answer.status, dict(answer.headers)["location"]) == (301, path % "quite-another-name")
    item = parse_grid(desk.get(f"/{member.key}/{NEWEST}").body).items[0]
    assert (item.slug, item.uid) == ("quite-another-name", film.uid)
    assert parse_film_page(desk.get("/film/quite-another-name/").body).uid == film.uid


def test_a_renamed_member_has_a_new_name_and_the_same_short_id(desk: Desk) -> None:
    name = followed(desk)
    lid = dict(desk.get(f"/{name}/").headers)["x-letterboxd-identifier"]
    desk.change(rename_member=[{"member": name, "username": "NewName"}])
    assert desk.get(f"/{name}/").status == 404
    answer = desk.get("/newname/")
    assert (dict(answer.headers)["x-letterboxd-identifier"], parse_profile(answer.body).owner) == (
        lid,
        "NewName",
    )
    assert "newname" in [row.username for row in parse_people(desk.get("/almanac/following/").body).people]


def test_the_old_name_of_a_renamed_member_leads_to_the_new_one_if_asked_for(desk: Desk) -> None:
    name = followed(desk)
    desk.change(rename_member=[{"member": name, "username": "NewName", "redirect": True}])
    for path in ("/%s/", "/%s/likes/films/rated/none/page/2/", "/%s/diary/films/page/2/", "/%s/list/best/"):
        answer = desk.get(path % name)
        assert (answer.status, dict(answer.headers)["location"]) == (301, path % "newname")


def test_a_deleted_member_is_404_and_followed_by_nobody(desk: Desk) -> None:
    name = followed(desk)
    desk.change(delete_member=[{"member": name}])
    answer = desk.get(f"/{name}/films/")
    assert answer.status == 404
    with pytest.raises(NotFoundError):
        parse_grid(answer.body)
    assert name not in [row.username for row in parse_people(desk.get("/almanac/following/").body).people]


def test_a_hidden_member_answers_with_the_status_asked_for_until_shown_again(
    desk: Desk, member: Member
) -> None:
    desk.change(hide_member=[{"member": member.key}])
    assert desk.get(f"/{member.key}/films/").status == 403
    desk.change(hide_member=[{"member": member.key, "status": 404}])
    assert desk.get(f"/{member.key}/").status == 404
    desk.change(hide_member=[{"member": member.key, "status": None}])
    assert desk.get(f"/{member.key}/").status == 200


def test_a_stated_total_can_lie_beside_the_sum_of_the_counts(desk: Desk, unseen: Film) -> None:
    desk.change(stated_total=[{"film": unseen.slug, "percent": 5}])
    page = parse_film_page(desk.get(f"/film/{unseen.slug}/").body)
    histogram = parse_histogram(desk.get(page.histogram_url or "").body)
    assert histogram is not None
    assert histogram.ratings == page.ratings == round(sum(histogram.counts) * 1.05)


def test_a_logged_viewing_is_in_the_diary_rates_and_leaves_the_watchlist(
    desk: Desk, member: Member, unseen: Film
) -> None:
    desk.change(watchlist=[{"member": member.key, "film": unseen.slug}])
    assert member_truth(desk.world, member)["watchlist"][0] == unseen.uid
    entry = {
        "member": member.key,
        "film": unseen.slug,
        "rating": 3,
        "liked": True,
        "watched_on": "2026-11-01",
        "review": "Fine.",
    }
    desk.change(log=[entry])
    truth = member_truth(desk.world, member)
    assert truth["diary"][0]["film"] == unseen.uid
    assert (truth["diary"][0]["rating"], truth["diary"][0]["review"]) == (3.0, True)
    assert truth["ratings"][unseen.uid] == 3.0
    assert unseen.uid in truth["likes"]
    assert unseen.uid not in truth["watchlist"]


def test_random_news_is_the_same_for_the_same_world_and_seed() -> None:
    states = []
    for _ in range(2):
        desk = Desk()
        desk.change(random=[{"ratings": 25, "seed": 5}])
        states.append(everything(desk.world))
    assert states[0] == states[1]
    assert states[0] != everything(Desk().world)


def test_every_entry_moves_the_clock_by_a_minute(desk: Desk, member: Member, unseen: Film) -> None:
    before = desk.world.now
    film = {"member": member.key, "film": unseen.slug}
    assert desk.change(like=[film], rate=[{**film, "rating": 2}]) == {"like": 1, "rate": 1}
    assert desk.world.now == before + 120


def test_an_edited_film_shows_its_new_title_in_grids_and_on_its_page(desk: Desk, member: Member) -> None:
    film = desk.world.films[desk.world.order(member, "rated_by_date")[0]]
    desk.get(f"/{member.key}/{NEWEST}")
    desk.change(edit_film=[{"film": film.slug, "title": "Another Title", "year": 1950}])
    item = parse_grid(desk.get(f"/{member.key}/{NEWEST}").body).items[0]
    assert (item.title, item.release_year, item.uid) == ("Another Title", 1950, film.uid)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"explode": []}, "no such change"),
        ({"rate": [{"member": "almanac", "film": "no-such-film", "rating": 3}]}, "no film"),
        ({"rate": [{"member": "nobody", "film": "film:900000001", "rating": 3}]}, "no member"),
        ({"rate": [{"member": "almanac", "film": "film:900000001", "rating": 3.3}]}, "no rating"),
        ({"rate": [{"member": "almanac", "film": "film:900000001"}]}, "rating is missing"),
        ({"rate": {"member": "almanac"}}, "list of objects"),
        ({"delete_member": [{"member": "almanac"}]}, "seed member"),
        ({"rename_member": [{"member": "almanac", "username": "films"}]}, "taken"),
    ],
)
def test_a_wrong_change_is_refused_and_nothing_of_it_happens(
    desk: Desk, changes: dict[str, object], words: str
) -> None:
    before = everything(desk.world)
    good = {"like": [{"member": "almanac", "film": "film:900000002"}]}
    with pytest.raises(ValueError, match=words):
        desk.change(**good, **changes)
    assert everything(desk.world) == before
