"""The pages source against the stand-in site: right pages, lazily, and nothing taken for what it is not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from almanac_pipeline.errors import (
    BlockedError,
    ConfigurationError,
    LayoutChangedError,
    NotFoundError,
    PermanentError,
    PrivateError,
    RenamedError,
    RetriableError,
    WrongPageError,
)
from almanac_pipeline.http.client import PoliteClient
from almanac_pipeline.sandbox.generate import generate
from almanac_pipeline.sandbox.options import GeneratedWorld, SandboxOptions
from almanac_pipeline.sandbox.server import SandboxServer
from almanac_pipeline.sandbox.world import FilmList
from almanac_pipeline.settings import LETTERBOXD_URL, Settings
from almanac_pipeline.sources.pages.source import PagesSource
from almanac_pipeline.sources.policy import describe_page_fetching, require_page_fetching
from almanac_pipeline.sources.protocol import FilmRelation, Grid, PageClass, Source
from tests.http.fake_site import Answer, FakeSite

SETTINGS = Settings(_env_file=None, authorised=False, contact=None, http_timeout_seconds=5)


@pytest.fixture(scope="module")
def world_size() -> GeneratedWorld:
    return GeneratedWorld(seed=11, members=30, films=400, ratings=90)


@pytest.fixture
def sandbox(world_size: GeneratedWorld) -> Iterator[SandboxServer]:
    with SandboxServer(generate(world_size)) as server:
        yield server


@pytest.fixture
def client(database_url: str, tmp_path: Path) -> Iterator[PoliteClient]:
    settings = SETTINGS.model_copy(update={"home": tmp_path})
    with PoliteClient.open(settings, database_url, backoff_seconds=0.01) as opened:
        yield opened


@pytest.fixture
def source(client: PoliteClient, sandbox: SandboxServer) -> PagesSource:
    return PagesSource(client, sandbox.url)


@pytest.fixture
def member(sandbox: SandboxServer) -> str:
    """Who rated most: more than two pages."""
    return str(max(sandbox.members(), key=lambda one: len(one["ratings"]))["username"])


def served(sandbox: SandboxServer, kind: str) -> int:
    count = sandbox.report()["by_kind"].get(kind, 0)
    assert isinstance(count, int)
    return count


def test_it_is_a_source(source: PagesSource) -> None:
    as_source: Source = source
    assert as_source.name == "pages"


def test_every_rating_of_a_member_is_read(source: PagesSource, sandbox: SandboxServer, member: str) -> None:
    truth = sandbox.member(member)
    pages = list(source.read_grid(member.upper(), "rated"))
    assert [len(page.items) for page in pages[:-1]] == [72] * (len(pages) - 1)
    assert len(pages) > 2
    assert {item.uid: item.rating for page in pages for item in page.items} == truth["ratings"]
    assert pages[0].total == len(truth["ratings"])


def test_newest_ratings_come_first(source: PagesSource, sandbox: SandboxServer, member: str) -> None:
    truth = sandbox.member(member)
    pages = source.read_grid(member, "rated_by_date")
    assert [item.uid for page in pages for item in page.items] == list(truth["ratings"])


def test_likes_and_unrated_likes_are_read(source: PagesSource, sandbox: SandboxServer, member: str) -> None:
    truth = sandbox.member(member)
    likes = [item for page in source.read_grid(member, "likes") for item in page.items]
    unrated = [item for page in source.read_grid(member, "likes_unrated") for item in page.items]
    assert [item.uid for item in likes] == truth["likes"]
    assert {item.uid for item in unrated} == set(truth["likes"]) - set(truth["ratings"])
    assert all(item.liked for item in likes + unrated)


def test_following_is_read_over_all_its_pages(source: PagesSource, sandbox: SandboxServer) -> None:
    pages = list(source.read_following(sandbox.world.seed_member))
    names = [person.username.lower() for page in pages for person in page.people]
    assert names == sandbox.member(sandbox.world.seed_member)["following"]
    assert len(pages) > 1


def test_followers_diary_watchlist_and_lists_are_read_over_all_their_pages(
    source: PagesSource, sandbox: SandboxServer
) -> None:
    world = sandbox.world
    popular = max(world.members.values(), key=world.followers_count)
    followers = [person.username for page in source.read_followers(popular.key) for person in page.people]
    assert followers == [member.key for member in world.followers(popular)]
    diarist = max(world.members.values(), key=lambda one: len(one.diary))
    diary = list(source.read_diary(diarist.key))
    assert len(diary) > 1
    assert [row.viewing_id for page in diary for row in page.rows] == [
        viewing["viewing_id"] for viewing in sandbox.member(diarist.key)["diary"]
    ]
    assert list(source.read_diary(diarist.key, first_page=2)) == diary[1:]
    wishful = max(world.members.values(), key=lambda one: len(one.watchlist))
    wishes = list(source.read_watchlist(wishful.key))
    assert len(wishes) > 1
    assert [item.uid for page in wishes for item in page.items] == sandbox.member(wishful.key)["watchlist"]
    owner, film_list = max(
        ((one, each) for one in world.members.values() for each in one.lists),
        key=lambda pair: len(pair[1].films),
    )
    listed = [item.uid for page in source.read_list(owner.key, film_list.slug) for item in page.items]
    assert listed == [world.films[number].uid for number in film_list.films]


def test_a_films_people_json_and_director_are_read(source: PagesSource, sandbox: SandboxServer) -> None:
    world = sandbox.world
    film = max(world.films.values(), key=lambda one: len(world.film_people(one, "members")))
    for relation in get_args(FilmRelation):
        names = [
            person.username for page in source.read_film_people(film.slug, relation) for person in page.people
        ]
        assert names == [member.key for member in world.film_people(film, relation)]
    assert source.read_film_json(film.slug).uid == film.uid
    person = film.directors[0]
    films = source.read_person("director", person.slug)
    assert film.uid in [item.uid for item in films.items]
    assert films.tmdb_person_id == person.number


@pytest.mark.parametrize("kind", ["rated", "likes", "watchlist", "diary", "following", "list", "fans"])
def test_what_is_empty_is_one_empty_page(kind: str, source: PagesSource, sandbox: SandboxServer) -> None:
    world = sandbox.world
    nobody = next(iter(world.members.values()))
    film_list = FilmList(1, "Nothing", "nothing", [], False, world.now)
    nobody.opinions, nobody.watchlist, nobody.diary, nobody.following = {}, {}, [], {}
    nobody.lists = [film_list]
    nobody.touch()
    unseen = next(film for film in world.films.values() if not world.film_people(film, "fans"))
    [page] = {
        "rated": lambda: source.read_grid(nobody.key, "rated"),
        "likes": lambda: source.read_grid(nobody.key, "likes"),
        "watchlist": lambda: source.read_watchlist(nobody.key),
        "diary": lambda: source.read_diary(nobody.key),
        "following": lambda: source.read_following(nobody.key),
        "list": lambda: source.read_list(nobody.key, "nothing"),
        "fans": lambda: source.read_film_people(unseen.slug, "fans"),
    }[kind]()
    items = getattr(page, {"diary": "rows", "following": "people", "fans": "people"}.get(kind, "items"))
    assert (items, page.next_page) == ((), None)


def test_profile_film_and_histogram_are_read(
    source: PagesSource, sandbox: SandboxServer, member: str
) -> None:
    profile = source.read_profile(member)
    assert [film.uid for film in profile.favorites] == sandbox.member(member)["favorites"]
    film = source.read_film(profile.favorites[0].slug)
    assert film.uid == profile.favorites[0].uid
    assert film.histogram_url is not None
    histogram = source.read_histogram(film.histogram_url)
    assert histogram is not None
    assert sum(histogram.counts) > 0


def test_pages_are_fetched_only_as_they_are_asked_for(
    source: PagesSource, sandbox: SandboxServer, member: str
) -> None:
    pages = source.read_grid(member, "rated")
    assert served(sandbox, "rated") == 0
    next(pages)
    assert served(sandbox, "rated") == 1
    next(pages)
    assert served(sandbox, "rated") == 2


def test_reading_goes_on_at_a_given_page(source: PagesSource, sandbox: SandboxServer, member: str) -> None:
    pages = list(source.read_grid(member, "rated"))
    assert list(source.read_grid(member, "rated", first_page=2)) == pages[1:]


@pytest.mark.parametrize("grid", ["rated", "rated_by_date", "likes", "likes_unrated"])
def test_a_page_past_the_end_is_one_empty_page(source: PagesSource, member: str, grid: Grid) -> None:
    [page] = source.read_grid(member, grid, first_page=90)
    assert page.items == ()


def test_diaries_and_watchlists_have_empty_pages_past_their_end(source: PagesSource, member: str) -> None:
    [diary] = source.read_diary(member, first_page=90)
    [watchlist] = source.read_watchlist(member, first_page=90)
    assert (diary.rows, watchlist.items) == ((), ())


@pytest.mark.parametrize("read", ["profile", "rated", "following", "diary"])
def test_a_renamed_member_is_told_by_the_name_that_the_old_one_leads_to(
    read: str, source: PagesSource, sandbox: SandboxServer, member: str
) -> None:
    sandbox.change(rename_member=[{"member": member, "username": "Newname", "redirect": True}])
    with pytest.raises(RenamedError) as caught:
        {
            "profile": lambda: source.read_profile(member),
            "rated": lambda: next(source.read_grid(member, "rated", first_page=2)),
            "following": lambda: next(source.read_following(member)),
            "diary": lambda: next(source.read_diary(member, first_page=2)),
        }[read]()
    assert caught.value.username == "newname"
    assert "newname" not in str(caught.value).lower()


def test_a_private_member_is_neither_gone_nor_a_reason_to_stop(
    source: PagesSource, sandbox: SandboxServer, member: str
) -> None:
    sandbox.change(hide_member=[{"member": member}])
    with pytest.raises(PrivateError):
        source.read_profile(member)
    with pytest.raises(PrivateError):
        next(source.read_grid(member, "rated"))
    assert source.read_profile(sandbox.world.seed_member).owner.lower() == sandbox.world.seed_member


def test_a_deleted_member_is_not_found(source: PagesSource, sandbox: SandboxServer) -> None:
    gone = sandbox.member(sandbox.world.seed_member)["following"][0]
    sandbox.change(delete_member=[{"member": gone}])
    with pytest.raises(NotFoundError):
        next(source.read_grid(gone, "rated"))


def test_a_renamed_film_answers_under_its_new_slug(source: PagesSource, sandbox: SandboxServer) -> None:
    old = sandbox.films()[0]["slug"]
    sandbox.change(rename_film=[{"film": old, "slug": "another-name"}])
    assert source.read_film(old).slug == "another-name"


def test_a_member_who_is_gone_is_not_found(source: PagesSource) -> None:
    with pytest.raises(NotFoundError):
        source.read_profile("nobody-of-this-name")


@pytest.mark.parametrize("fault", ["truncate", "reset", "status"])
def test_a_page_that_came_broken_is_fetched_again(
    fault: str, source: PagesSource, sandbox: SandboxServer, member: str
) -> None:
    sandbox.fault(fault, kind="rated", times=1)
    first = next(source.read_grid(member, "rated"))
    assert len(first.items) == 72
    assert served(sandbox, "rated") == 2


def test_a_page_that_stays_truncated_fails_after_three_retries(
    source: PagesSource, sandbox: SandboxServer, member: str
) -> None:
    sandbox.fault("truncate", kind="rated", times=None)
    with pytest.raises(RetriableError):
        next(source.read_grid(member, "rated"))
    assert served(sandbox, "rated") == 4


def test_another_members_page_is_refused(source: PagesSource, sandbox: SandboxServer, member: str) -> None:
    sandbox.fault("wrong_owner", kind="rated")
    with pytest.raises(WrongPageError):
        next(source.read_grid(member, "rated"))


def test_a_challenge_stops_everything(source: PagesSource, sandbox: SandboxServer, member: str) -> None:
    sandbox.fault("challenge", kind="rated")
    with pytest.raises(BlockedError):
        next(source.read_grid(member, "rated"))
    with pytest.raises(BlockedError):
        source.read_profile(member)
    assert served(sandbox, "profile") == 0


@pytest.mark.parametrize(("robots", "by_date"), [("permissive", True), ("strict", False)])
def test_robots_decides_about_the_newest_first_page(
    robots: str, by_date: bool, client: PoliteClient, world_size: GeneratedWorld
) -> None:
    options = SandboxOptions(robots="strict" if robots == "strict" else "permissive")
    with SandboxServer(generate(world_size), options) as sandbox:
        source = PagesSource(client, sandbox.url)
        permitted = {kind for kind in get_args(PageClass) if source.permits(kind)}
        assert permitted == set(get_args(PageClass)) - (set() if by_date else {"rated_by_date"})
        if not by_date:
            with pytest.raises(BlockedError, match=r"robots\.txt"):
                next(source.read_grid("anybody", "rated_by_date"))


@pytest.mark.parametrize("name", ["", "a/b", "../x", "a b", "a%2fb", "ünal", "x" * 41, "a\n"])
def test_a_name_that_is_no_username_is_never_asked_for(name: str, source: PagesSource) -> None:
    with pytest.raises(PermanentError):
        source.read_profile(name)


@pytest.mark.parametrize("slug", ["", "a/b", "..", "a?b", "a b", "a%2fb"])
def test_a_slug_that_is_more_than_a_slug_is_never_asked_for(slug: str, source: PagesSource) -> None:
    with pytest.raises(PermanentError):
        source.read_film(slug)


@pytest.mark.parametrize("path", ["//evil.example/csi/x", "http://evil.example/", "/other/", "/csi/a b"])
def test_a_histogram_elsewhere_is_not_fetched(path: str, source: PagesSource) -> None:
    with pytest.raises(LayoutChangedError):
        source.read_histogram(path)


def test_a_page_that_cannot_be_read_is_kept_for_a_person_to_look_at(
    client: PoliteClient, site: FakeSite, tmp_path: Path
) -> None:
    body = b'<div class="rating-histogram">ten levels, drawn otherwise</div>'
    site.script("/csi/film/a-film/rating-histogram/", Answer(body=body))
    with pytest.raises(LayoutChangedError, match="the page is kept at") as caught:
        PagesSource(client, site.url).read_histogram("/csi/film/a-film/rating-histogram/")
    [kept] = (tmp_path / "inspection").iterdir()
    assert str(kept) in str(caught.value)
    assert kept.name.startswith("histogram-")
    assert kept.read_bytes() == body


def grid_page(
    number: int,
    slugs: list[str],
    next_page: int | None,
    total: int | None = None,
    last_page: int | None = None,
) -> Answer:
    """A small page of films in today's markup."""
    path = "/ann/films/rated/.5-5/" + (f"page/{number}/" if number > 1 else "")
    items = "".join(
        f'<li class="griditem"><div class="react-component" data-component-class="LazyPoster" '
        f'data-item-name="{slug} (2001)" data-item-slug="{slug}" data-item-link="/film/{slug}/" '
        f'data-postered-identifier=\'{{"lid":"L{slug}","uid":"film:{10 * number + place}"}}\'></div>'
        f'<p class="poster-viewingdata"><span class="rating -micro -darker rated-8"></span></p></li>'
        for place, slug in enumerate(slugs)
    )
    link = f'<a class="next" href="/ann/films/rated/.5-5/page/{next_page}/">Older</a>' if next_page else ""
    numbers = f'<ul><li class="paginate-page">{last_page}</li></ul>' if last_page else ""
    heading = f'<h1 class="section-heading"><span class="tooltip" title="{total} films"></span></h1>'
    body = (
        f'<!DOCTYPE html><html><head><title>Films</title><meta property="og:url" '
        f'content="https://letterboxd.com{path}"></head><body class="films-watched" data-owner="Ann">'
        f'<div id="content-nav">{heading if total is not None else ""}</div>'
        f'<div class="poster-grid"><ul class="grid">{items}</ul></div>'
        f'<div class="pagination"><div class="paginate-nextprev">{link}</div>{numbers}</div></body></html>'
    )
    return Answer(body=body.encode())


def script(site: FakeSite, *pages: Answer) -> None:
    for number, page in enumerate(pages, start=1):
        site.script("/ann/films/rated/.5-5/" + (f"page/{number}/" if number > 1 else ""), page)


def test_the_owner_is_compared_regardless_of_case(client: PoliteClient, site: FakeSite) -> None:
    script(site, grid_page(1, ["a", "b"], None))
    [page] = PagesSource(client, site.url).read_grid("aNN", "rated")
    assert [item.slug for item in page.items] == ["a", "b"]
    assert page.items[0].rating == 4.0


def test_the_same_films_under_another_page_number_are_refused(client: PoliteClient, site: FakeSite) -> None:
    script(site, grid_page(1, ["a", "b"], 2), grid_page(2, ["a", "b"], 3))
    with pytest.raises(WrongPageError, match="same as an earlier one"):
        list(PagesSource(client, site.url).read_grid("ann", "rated"))


def test_page_one_under_another_address_is_refused(client: PoliteClient, site: FakeSite) -> None:
    script(site, grid_page(1, ["a"], 2), grid_page(1, ["b"], 2))
    with pytest.raises((WrongPageError, LayoutChangedError)):
        list(PagesSource(client, site.url).read_grid("ann", "rated"))


def test_a_link_that_skips_a_page_is_refused(client: PoliteClient, site: FakeSite) -> None:
    script(site, grid_page(1, ["a"], 3))
    with pytest.raises((WrongPageError, LayoutChangedError)):
        list(PagesSource(client, site.url).read_grid("ann", "rated"))


def test_a_full_page_whose_next_link_is_gone_is_not_taken_for_the_last(
    client: PoliteClient, site: FakeSite
) -> None:
    full = [f"film-{number}" for number in range(72)]
    script(site, grid_page(1, full, None, total=100), grid_page(2, ["a"], None, total=100))
    with pytest.raises(LayoutChangedError, match="no link to the next"):
        list(PagesSource(client, site.url).read_grid("ann", "rated"))


def test_a_rated_grid_may_state_the_number_of_all_watched_films(client: PoliteClient, site: FakeSite) -> None:
    script(site, grid_page(1, ["a", "b"], None, total=925))
    [page] = PagesSource(client, site.url).read_grid("ann", "rated")
    assert len(page.items) == 2


def test_a_full_rated_grid_that_states_all_watched_films_costs_one_look_behind_it(
    client: PoliteClient, site: FakeSite
) -> None:
    full = [f"film-{number}" for number in range(72)]
    script(site, grid_page(1, full, None, total=925), grid_page(2, [], None, total=925))
    [page] = PagesSource(client, site.url).read_grid("ann", "rated")
    assert len(page.items) == 72
    assert len(site.paths()) == 2


def test_a_member_who_watched_films_and_rated_none_has_an_empty_rated_grid(
    client: PoliteClient, site: FakeSite
) -> None:
    script(site, grid_page(1, [], None, total=10))
    [page] = PagesSource(client, site.url).read_grid("ann", "rated")
    assert page.items == ()


def test_a_last_page_before_the_stated_last_one_is_a_changed_layout(
    client: PoliteClient, site: FakeSite
) -> None:
    script(site, grid_page(1, ["a", "b"], None, last_page=3))
    with pytest.raises(LayoutChangedError, match="no link to the next"):
        list(PagesSource(client, site.url).read_grid("ann", "rated"))


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({}, ["ALMANAC_AUTHORISED=true", "ALMANAC_CONTACT"]),
        ({"authorised": True}, ["ALMANAC_CONTACT"]),
        ({"authorised": True, "contact": " "}, ["ALMANAC_CONTACT"]),
        ({"contact": "a@example.org"}, ["ALMANAC_AUTHORISED=true"]),
    ],
)
def test_the_real_site_is_off_until_the_operator_states_both(
    given: dict[str, object], named: list[str]
) -> None:
    settings = Settings(_env_file=None, **given)
    with pytest.raises(ConfigurationError) as caught:
        require_page_fetching(settings, LETTERBOXD_URL)
    for name in (*named, "ZIP", "RSS"):
        assert name in str(caught.value)
    assert "off until" in describe_page_fetching(settings, LETTERBOXD_URL)


def test_nothing_of_the_real_site_is_permitted_and_nothing_is_read(client: PoliteClient) -> None:
    source = PagesSource(client, LETTERBOXD_URL)
    assert not source.permits("film")
    for read in (
        lambda: source.read_profile("ann"),
        lambda: next(source.read_grid("ann", "rated")),
        lambda: next(source.read_following("ann")),
        lambda: source.read_film("barry-lyndon"),
        lambda: source.read_histogram("/csi/film/barry-lyndon/rating-histogram/"),
    ):
        with pytest.raises(ConfigurationError, match=r"letterboxd\.com is off"):
            read()
    assert client.counts.requests == 0


def test_the_operators_statement_opens_the_real_site() -> None:
    settings = Settings(_env_file=None, authorised=True, contact="a@example.org")
    require_page_fetching(settings, LETTERBOXD_URL)
    assert "on," in describe_page_fetching(settings, LETTERBOXD_URL)


def test_this_machine_needs_no_statement() -> None:
    require_page_fetching(SETTINGS, "http://127.0.0.1:8000")
    assert "on," in describe_page_fetching(SETTINGS, "http://localhost")
