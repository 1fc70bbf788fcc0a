"""Traps of people's tables, profiles and diaries."""

# ruff: noqa: E501 - markup is easier to read unbroken

from __future__ import annotations

from datetime import date

import pytest

from almanac_pipeline.errors import LayoutChangedError, WrongPageError
from almanac_pipeline.sources.pages.parsers import parse_diary, parse_people, parse_profile, require_page
from almanac_pipeline.sources.records import PersonSummary
from tests.sources.parser_pages import griditem, heading, page, pagination, poster


def person_row(username: str, watched: str = "1,204", liked: str = "57") -> str:
    return (
        f'<tr><td class="col-member table-person"><div class="person-summary"><a class="avatar -a40" href="/{username}/">'
        f'<img alt="A Name"></a><h3><a class="name" href="/{username}/"> A Name </a></h3><small class="metadata">'
        f'<a href="/{username}/followers/">50,479&nbsp;followers</a></small></div></td>'
        f'<td class="col-watched"><a class="has-icon icon-watched" href="/{username}/films/">{watched}</a></td>'
        f'<td class="col-likes"><a class="has-icon icon-liked" title="{liked} films liked"></a></td></tr>'
    )


def people_page(
    rows: str, *, total: str = "43 people", section: str = "following", table: str = "member-table"
) -> bytes:
    tabs = f'<ul class="sub-nav"><li class="selected"><a class="tooltip" title="{total}">x</a></li></ul>'
    return page(
        f"{tabs}<table class='table-base {table}'><tbody>{rows}</tbody></table>{pagination('/ada_l/following/', 1)}",
        path=f"/ada_l/{section}/",
        classes=section,
    )


@pytest.mark.parametrize("table", ["member-table", "person-table"])
def test_people_are_read_by_user_name_with_their_counts(table: str) -> None:
    people = parse_people(people_page(person_row("bob") + person_row("c_d", "0", "0"), table=table))
    assert (people.page, people.owner, people.total, people.next_page) == ("following", "Ada_L", 43, 2)
    assert people.people == (PersonSummary("bob", 1204, 57), PersonSummary("c_d", 0, 0))
    require_page(people, kind="following", owner="ada_l", path="/ada_l/following/")


def test_no_display_name_leaves_a_page_of_people() -> None:
    assert "A Name" not in repr(parse_people(people_page(person_row("bob"))))


def test_featured_members_outside_the_table_are_not_followed_people() -> None:
    featured = '<div class="person-summary"><a class="name" href="/star/">Star</a></div>'
    body = people_page(person_row("bob")).replace(b"<table", f"{featured}<table".encode())
    assert [person.username for person in parse_people(body).people] == ["bob"]


def test_a_member_named_twice_counts_once() -> None:
    assert len(parse_people(people_page(person_row("bob") * 2)).people) == 1


def test_followers_and_the_members_of_a_film_are_people_too() -> None:
    assert parse_people(people_page(person_row("bob"), section="followers")).page == "followers"
    body = page(
        '<ul class="sub-nav"><li class="selected"><a title="1,615,704 people">Members</a></li></ul>'
        f"<table class='reactions-table'>{person_row('bob')}</table>",
        path="/film/salt/members/",
        classes="film",
        owner=None,
    )
    members = parse_people(body)
    assert (members.page, members.owner, members.total) == ("members", None, 1615704)


def test_a_row_without_a_member_is_a_changed_layout() -> None:
    with pytest.raises(LayoutChangedError):
        parse_people(people_page('<tr><td class="table-person"><b>someone</b></td></tr>'))


def test_rows_that_show_nobody_whom_we_know_how_to_find_are_counted() -> None:
    changed = person_row("eve").replace("person-summary", "person-x").replace("table-person", "x")
    changed = changed.replace('class="name"', "").replace('class="avatar -a40"', "")
    calendar = "<table class='datepicker'><tr><td>1</td></tr></table>"
    found = parse_people(
        people_page(person_row("bob") + changed).replace(b"<table", f"{calendar}<table".encode(), 1)
    )
    assert ([person.username for person in found.people], found.unread_count) == (["bob"], 1)


def test_announced_people_that_cannot_be_read_are_a_changed_layout() -> None:
    with pytest.raises(LayoutChangedError):
        parse_people(people_page(""))


def test_a_member_who_follows_nobody_has_an_empty_page() -> None:
    body = page("<p>Not following anyone yet</p>", path="/ada_l/following/", classes="following")
    assert parse_people(body).people == ()


def profile_page(favorites: str, *, description: str = "12 films watched.", histogram: str = "") -> bytes:
    stats = "".join(
        f'<h4 class="profile-statistic statistic"><a href="/ada_l/{section}/"><span class="value">{count}</span>'
        f"<span>x</span></a></h4>"
        for section, count in (("films", "1,367"), ("following", 44), ("followers", "50,479"))
    )
    recent = f"<section id='recent-activity'><ul>{griditem(poster('Recent (2020)', 'recent', 9, 'r'))}</ul></section>"
    return page(
        f'<div class="profile-stats">{stats}</div><section id="favourites"><ul>{favorites}</ul></section>{recent}{histogram}',
        path="/ada_l/",
        classes="screen-member-profile",
        description=description,
    )


def test_a_profile_gives_favourites_only_from_their_own_section() -> None:
    inner = poster("Salt (2001)", "salt", 7, "q7Z").replace(
        'data-target-link="/film/', 'data-target-link="/ada_l/film/'
    )
    favorites = (
        f'<li class="posteritem favourite-production-poster-container">{inner}</li>'
        f'<li class="griditem"><div class="favourite-production-poster-container">{poster("Ash", "ash", 8, "z")}</div></li>'
    )
    profile = parse_profile(profile_page(favorites))
    assert [(film.slug, film.title, film.uid, film.lid) for film in profile.favorites] == [
        ("salt", "Salt", "film:7", "q7Z"),
        ("ash", "Ash", "film:8", "z"),
    ]
    assert (profile.films_count, profile.following_count, profile.followers_count) == (1367, 44, 50479)


def test_a_favourite_whose_poster_names_no_film_does_not_vanish() -> None:
    named = griditem(poster("Salt (2001)", "salt", 7, "q7Z"))
    nameless = named.replace("data-item-slug", "data-x").replace("data-item-link", "data-y")
    with pytest.raises(LayoutChangedError, match="does not name its film"):
        parse_profile(profile_page(named + nameless))


def test_a_profile_without_favourites_has_none() -> None:
    assert parse_profile(profile_page("")).favorites == ()


def test_announced_favourites_that_cannot_be_read_are_a_changed_layout() -> None:
    with pytest.raises(LayoutChangedError):
        parse_profile(profile_page("", description="Ada shares. 367 films watched. Favorites: Salt (2001)."))


def test_a_profile_without_owner_is_refused() -> None:
    with pytest.raises(WrongPageError):
        parse_profile(page("", path="/ada_l/", classes="profile", owner=None))


def diary_row(cells: str, *, viewing: str = 'data-viewing-id="501"') -> str:
    return f'<tr class="diary-entry-row viewing-poster-container" {viewing} data-owner="ada_l">{cells}</tr>'


def diary_page(rows: str, total: str = "81 films") -> bytes:
    return page(
        f'{heading(total)}<table id="diary-table"><thead><tr><th>Day</th></tr></thead><tbody>{rows}</tbody></table>',
        path="/ada_l/diary/",
        classes="diary films-diary",
    )


def test_a_diary_row_of_today_is_read() -> None:
    film = poster("Salt (2001)", "salt", 7, "q7Z").replace("/film/salt/", "/ada_l/film/salt/2/", 1)
    row = diary_row(
        '<td class="col-daydate"><a class="daydate" href="/ada_l/diary/films/for/2025/12/14/">14</a></td>'
        f'<td class="col-production">{film}</td><td class="col-releaseyear"><span>2001</span></td>'
        '<td class="col-rating"><div class="rating-green"><span class="rating rated-7"> ★★★½ </span></div></td>'
        '<td class="col-like"><span class="has-icon icon-liked"></span></td>'
        '<td class="col-rewatch"><span class="has-icon icon-rewatch"></span></td>'
        '<td class="col-review icon-status-off"></td>'
    )
    diary = parse_diary(diary_page(row))
    (viewing,) = diary.rows
    assert (diary.owner, diary.total) == ("Ada_L", 81)
    assert (viewing.viewing_id, viewing.watched_on) == ("501", date(2025, 12, 14))
    assert (viewing.film.slug, viewing.film.rating, viewing.film.liked) == ("salt", 3.5, True)
    assert (viewing.rewatch, viewing.has_review) == (True, False)


def test_a_diary_row_of_2023_and_an_undated_unrated_film_are_read() -> None:
    row = diary_row(
        '<td class="td-day"><a href="/ada_l/films/diary/for/2023/04/02/">2</a></td><td class="td-film-details">'
        '<div class="film-poster" data-film-slug="/film/ash/" data-film-id="8"><img alt="Ash"></div></td>'
        '<td class="td-released"></td><td class="td-rating rating-green"><span class="rating"></span></td>'
        '<td class="td-like icon-status-off"><span class="icon-liked"></span></td>'
        '<td class="td-rewatch icon-status-off"><span class="has-icon icon-rewatch"></span></td>'
        '<td class="td-review"><a class="has-icon icon-review" href="/ada_l/film/ash/"></a></td>',
        viewing='data-object-id="viewing:502"',
    )
    (viewing,) = parse_diary(diary_page(row)).rows
    assert (viewing.viewing_id, viewing.watched_on) == ("502", date(2023, 4, 2))
    assert (viewing.film.title, viewing.film.release_year, viewing.film.uid) == ("Ash", None, "film:8")
    assert (viewing.film.rating, viewing.film.liked, viewing.rewatch, viewing.has_review) == (
        None,
        False,
        False,
        True,
    )


MARK_CELLS = {
    "rating": '<td class="col-rating"><span class="rating rated-7"></span></td>',
    "like": '<td class="col-like"></td>',
    "rewatch": '<td class="col-rewatch icon-status-off"><span class="has-icon icon-rewatch"></span></td>',
    "review": '<td class="col-review"><a class="has-icon icon-review" href="/ada_l/film/salt/"></a></td>',
}


def marked_diary(**changed: str) -> bytes:
    film = f'<td class="col-production">{poster("Salt (2001)", "salt", 7, "q")}</td>'
    return diary_page(diary_row(film + "".join((MARK_CELLS | changed).values())))


@pytest.mark.parametrize("mark", MARK_CELLS)
def test_a_diary_row_that_lacks_the_cell_of_any_mark_is_not_counted_as_marked(mark: str) -> None:
    assert parse_diary(marked_diary()).marked_count == 1
    without = MARK_CELLS[mark].replace(f"col-{mark}", "col-else")
    assert parse_diary(marked_diary(**{mark: without})).marked_count == 0


@pytest.mark.parametrize("mark", ["rewatch", "review"])
def test_a_diary_cell_with_neither_an_icon_nor_one_switched_off_is_a_changed_layout(mark: str) -> None:
    with pytest.raises(LayoutChangedError, match="neither yes nor no"):
        parse_diary(marked_diary(**{mark: f'<td class="col-{mark}"></td>'}))


def test_the_owners_own_view_has_the_rating_in_a_slider() -> None:
    row = diary_row(
        f'<td class="col-production">{poster("Salt (2001)", "salt", 7, "q")}</td>'
        '<td class="col-rating"><input type="range" min="0" max="10" value="9"></td>'
    )
    assert parse_diary(diary_page(row)).rows[0].film.rating == 4.5


@pytest.mark.parametrize(
    "row",
    [
        '<tr class="diary-entry-row"><td>no film, no id</td></tr>',
        '<tr class="diary-entry-row" data-viewing-id="1"><td><a href="/x/diary/for/2025/02/30/">30</a>'
        '<a href="/x/film/salt/">Salt</a></td></tr>',
        "",
    ],
)
def test_a_diary_that_cannot_be_read_is_a_changed_layout(row: str) -> None:
    with pytest.raises(LayoutChangedError):
        parse_diary(diary_page(row))


def test_a_member_without_diary_has_no_rows() -> None:
    assert parse_diary(diary_page("", total="0 films")).rows == ()


def test_a_profile_with_a_strange_histogram_still_gives_its_favourites() -> None:
    histogram = '<div class="rating-histogram"><ul><li class="rating-histogram-bar">soon</li></ul></div>'
    favorite = griditem(poster("Salt (2001)", "salt", 7, "q7Z"))
    profile = parse_profile(profile_page(favorite, histogram=histogram))
    assert [film.slug for film in profile.favorites] == ["salt"]
    assert profile.rating_counts is None


def test_the_numbers_in_a_profiles_header_are_found_without_their_wrapping() -> None:
    body = (
        profile_page("").replace(b"profile-statistic statistic", b"stat").replace(b"profile-stats", b"stats")
    )
    header = b'<header class="profile-header"><a href="/ada_l/films/">Films</a>'
    profile = parse_profile(body.replace(b'<div class="stats">', header + b"<div>"))
    assert (profile.films_count, profile.followers_count) == (1367, 50479)
