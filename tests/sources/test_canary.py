"""The canary: chance gaps pass, gaps that chance does not explain stop the run before anything is merged."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from almanac_pipeline.errors import LayoutDriftError, PermanentError
from almanac_pipeline.sources.pages.canary import MAX_CHANCE, Canary, Watched, chance_of_gap
from almanac_pipeline.sources.pages.parsers import (
    parse_diary,
    parse_film_page,
    parse_grid,
    parse_people,
    parse_profile,
)
from almanac_pipeline.sources.records import FilmGrid, FilmItem, PeoplePage, PersonSummary
from tests.sources.fuzz_parsers import sandbox_samples

ITEM = FilmItem("glass-harbour", "Glass Harbour", 1999, "film:11", "aB1", 4.5, True)


def grid(*items: FilmItem, kind: str = "films", path: str = "/ada/films/rated/.5-5/") -> FilmGrid:
    return FilmGrid(
        page=kind,  # type: ignore[arg-type] - the tests name the kind as the record does
        owner="ada",
        canonical_url=f"https://letterboxd.com{path}",
        items=items,
        next_page=None,
        last_page=None,
        total=len(items),
        marked_count=len(items),
        hearted_count=len(items),
    )


def films(count: int, lacking: int = 0, **lack: object) -> list[FilmItem]:
    return [ITEM._replace(**lack) if n < lacking else ITEM for n in range(count)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "lack",
    [
        {"title": None},
        {"uid": None},
        {"lid": None},
        {"rating": None},
        {"title": "Glass Harbour [1999]", "release_year": None},
    ],
)
def test_one_item_of_a_page_may_lack_a_field_and_five_may_not(lack: dict[str, None]) -> None:
    Canary().check(grid(*films(72, 1, **lack)), b"")
    with pytest.raises(LayoutDriftError, match=r"on 67 of 72 items of films pages"):
        Canary().check(grid(*films(72, 5, **lack)), b"")


def test_a_few_gaps_on_every_page_are_noticed_over_the_run() -> None:
    canary = Canary()
    page = grid(*films(72, 2, lid=None))
    canary.check(page, b"")
    with pytest.raises(LayoutDriftError, match=r"LID on .* so far"):
        all(canary.check(page, b"") is None for _ in range(20))


def test_a_change_late_in_a_long_run_is_noticed_on_its_first_page() -> None:
    canary = Canary()
    for _ in range(500):
        canary.check(grid(*films(72)), b"")
    with pytest.raises(LayoutDriftError, match="LID on 0 of 72 items of films pages on one page"):
        canary.check(grid(*films(72, 72, lid=None)), b"")
    with pytest.raises(LayoutDriftError, match="release year on 0 of 72"):
        canary.check(replace(grid(*films(72, 72, release_year=None)), next_page=2), b"")


def test_undated_films_may_come_together_on_the_last_page() -> None:
    canary = Canary()
    for _ in range(50):
        canary.check(replace(grid(*films(72)), next_page=2), b"")
    canary.check(grid(*films(14, 14, release_year=None)), b"")


def test_a_page_of_one_film_without_an_id_is_not_taken_for_chance() -> None:
    with pytest.raises(LayoutDriftError, match="id on 0 of 1 items"):
        Canary().check(grid(*films(1, 1, uid=None)), b"")


@pytest.mark.parametrize("undated", [1, 2, 3])
def test_a_short_page_may_hold_undated_films_only(undated: int) -> None:
    Canary().check(grid(*films(undated, undated, release_year=None)), b"")


def test_a_circle_may_like_undated_films_for_years() -> None:
    canary = Canary()
    for _ in range(300):
        canary.check(grid(*films(72, 3, release_year=None)), b"")


def people(read: int, unread: int) -> PeoplePage:
    persons = tuple(PersonSummary(f"member{number}") for number in range(read))
    return PeoplePage("following", "ada", None, persons, None, None, unread_count=unread)


def test_rows_of_people_that_name_nobody_are_noticed() -> None:
    canary = Canary()
    canary.check(people(25, 0), b"")
    with pytest.raises(LayoutDriftError, match="member on 38 of 50 items of following pages"):
        canary.check(people(13, 12), b"")


@pytest.mark.parametrize("kind", ["watchlist", "list", "person"])
def test_undated_films_are_ordinary_where_films_are_announced(kind: str) -> None:
    page = grid(*films(68, 20, release_year=None), kind=kind, path="/x/y/")
    Canary().check(page, b"")
    with pytest.raises(LayoutDriftError, match="release year"):
        Canary().check(grid(*films(68, 68, release_year=None), kind=kind, path="/x/y/"), b"")


def test_lost_places_for_opinions_are_noticed() -> None:
    with pytest.raises(LayoutDriftError, match="place for every mark on 0 of 72"):
        Canary().check(replace(grid(*films(72)), marked_count=0), b"")


def test_hearts_that_can_no_longer_be_read_show_on_pages_of_likes() -> None:
    likes = grid(*films(72), kind="likes", path="/ada/likes/films/")
    Canary().check(likes, b"")
    with pytest.raises(LayoutDriftError, match="heart on 0 of 72 items of likes pages"):
        Canary().check(replace(likes, hearted_count=0), b"")


def test_unrated_films_are_ordinary_on_pages_that_show_all_films() -> None:
    for path in ("/ada/films/", "/ada/films/rated/none/", "/ada/likes/films/rated/none/"):
        Canary().check(grid(*films(72, 72, rating=None), path=path), b"")


def test_old_markup_named_neither_years_nor_lids() -> None:
    page = replace(grid(*films(72, 72, release_year=None, lid=None)), is_old_markup=True)
    Canary().check(page, b"")
    with pytest.raises(LayoutDriftError, match="title"):
        Canary().check(replace(page, items=tuple(films(72, 72, title=None))), b"")


def test_empty_pages_say_nothing() -> None:
    Canary().check(grid(), b"")


def test_favourites_without_ids_are_noticed() -> None:
    [sample] = [s for s in sandbox_samples() if s.values["page"] == "profile"][:1]
    profile = parse_profile(sample.body)
    assert profile.favorites
    nameless = tuple(film._replace(uid=None) for film in profile.favorites)
    with pytest.raises(LayoutDriftError, match="id on 0 of"):
        Canary().check(replace(profile, favorites=nameless), b"")


def test_the_page_is_kept_and_named_and_the_error_stops_more_than_one_member(tmp_path: Path) -> None:
    def keep(kind: str, body: bytes) -> Path:
        kept = tmp_path / f"{kind}.html"
        kept.write_bytes(body)
        return kept

    with pytest.raises(LayoutDriftError, match=r"films\.html") as raised:
        Canary(keep).check(grid(*films(72, 72, title=None)), b"<html>the page</html>")
    assert (tmp_path / "films.html").read_bytes() == b"<html>the page</html>"
    # Flows go on with the next member after a PermanentError, and a retry would read the same page.
    assert not isinstance(raised.value, PermanentError)
    assert not raised.value.retriable
    assert "ada" not in str(raised.value)


def test_threads_count_together() -> None:
    canary = Canary()
    page = grid(*films(72, 1, lid=None))

    def check(_: int) -> bool:
        try:
            canary.check(page, b"")
        except LayoutDriftError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(check, range(200)))
    # 1.4 % missing is no chance in the long run, however the pages were spread over threads.
    assert not all(answers)
    assert sum(canary.counts("films", "LID")) == 200 * (71 + 72)


def test_no_page_of_the_sandbox_in_any_era_alarms_the_canary() -> None:
    parsers: dict[str, Callable[[bytes], Watched]] = {
        "film": parse_film_page, "profile": parse_profile, "diary": parse_diary,
        "following": parse_people, "followers": parse_people, "members": parse_people,
    }  # fmt: skip
    canary, checked = Canary(), 0
    for sample in sandbox_samples():
        kind = sample.values["page"]
        if kind in ("films", "likes", "watchlist", "list", "person", *parsers):
            canary.check(parsers.get(kind, parse_grid)(sample.body), sample.body)
            checked += 1
    assert checked == 4 * 11


@pytest.mark.shared
def test_no_saved_page_alarms_the_canary(shared_dir: Path) -> None:
    canary = Canary()
    for folder in ("films-grid", "likes-films", "watchlist", "list", "person-page"):
        for path in sorted((shared_dir / "fixtures" / folder).glob("*.html")):
            canary.check(parse_grid(path.read_bytes()), b"")
    for path in sorted((shared_dir / "fixtures/diary").glob("*.html")):
        canary.check(parse_diary(path.read_bytes()), b"")
    for path in sorted((shared_dir / "fixtures/film-page").glob("*.html")):
        canary.check(parse_film_page(path.read_bytes()), b"")


def test_the_bound_is_never_below_the_exact_chance() -> None:
    for item_count in (1, 8, 25, 72, 300):
        exact = 1.0
        term = 0.99**item_count  # of exactly `missing` items, exactly
        for missing in range(min(item_count, 12) + 1):
            assert chance_of_gap(missing, item_count, 0.01) >= exact - 1e-9
            exact -= term
            term *= (item_count - missing) / (missing + 1) * 0.01 / 0.99
    assert chance_of_gap(5, 72, 0.01) < MAX_CHANCE < chance_of_gap(4, 72, 0.01)
