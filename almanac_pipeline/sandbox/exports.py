"""A member's data export as the site hands it out: a ZIP of CSV files.

Film links are short links with the film's LID; links of diary entries and reviews are of their own.
The private columns of profile.csv are filled with invented values, so that tests can see them dropped.
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterable

from almanac_pipeline.sandbox.world import Film, FilmList, Member, Viewing, World, moment, short_id, stars

Cell = str | int
FILM_COLUMNS = ("Date", "Name", "Year", "Letterboxd URI")
DIARY_COLUMNS = (*FILM_COLUMNS, "Rating", "Rewatch", "Tags", "Watched Date")
REVIEW_COLUMNS = (*FILM_COLUMNS, "Rating", "Rewatch", "Review", "Tags", "Watched Date")
COMMENT_COLUMNS = ("Date", "Content", "Comment")
PROFILE_COLUMNS = (
    "Date Joined",
    "Username",
    "Given Name",
    "Family Name",
    "Email Address",
    "Location",
    "Website",
    "Bio",
    "Pronoun",
    "Favorite Films",
)
LIST_BANNER = "Letterboxd list export v7"


def export_zip(world: World, member: Member, *, crlf: bool = False) -> bytes:
    """The export of one member, byte for byte the same for the same world."""
    ending = "\r\n" if crlf else "\n"
    files = {name: _csv(rows, ending) for name, rows in _tables(world, member).items()}
    for film_list in member.lists:
        files[f"lists/{film_list.slug}.csv"] = _csv(_list_rows(world, film_list), ending)
    buffer = io.BytesIO()
    stamp = moment(world.now).timetuple()[:6]
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name, stamp), text.encode(), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _tables(world: World, member: Member) -> dict[str, list[Iterable[Cell]]]:
    films, opinions = world.films, member.opinions
    # The export lists what was recorded first first.
    recorded = sorted(opinions, key=lambda number: (opinions[number].seen_at, number))
    rated = [(n, o) for n in recorded if (o := opinions[n]).rating is not None]
    liked = sorted((o.liked_at, n) for n in recorded if (o := opinions[n]).liked_at is not None)
    wanted = sorted((at, number) for number, at in member.watchlist.items())
    viewings = sorted(member.diary, key=lambda viewing: viewing.number)
    return {
        "profile.csv": [PROFILE_COLUMNS, _profile_row(world, member)],
        "ratings.csv": [
            (*FILM_COLUMNS, "Rating"),
            *((*_film_cells(films[n], o.rated_at or o.seen_at), _rating(o.rating)) for n, o in rated),
        ],
        "watched.csv": [FILM_COLUMNS, *(_film_cells(films[n], opinions[n].seen_at) for n in recorded)],
        "watchlist.csv": [FILM_COLUMNS, *(_film_cells(films[n], at) for at, n in wanted)],
        "likes/films.csv": [FILM_COLUMNS, *(_film_cells(films[n], at or 0) for at, n in liked)],
        "likes/lists.csv": [("Date", "Content")],
        "likes/reviews.csv": [("Date", "Content")],
        "diary.csv": [DIARY_COLUMNS, *(_diary_row(films[v.film], v) for v in viewings)],
        "reviews.csv": [REVIEW_COLUMNS, *(_review_row(films[v.film], v) for v in viewings if v.review)],
        "comments.csv": [COMMENT_COLUMNS],
        "deleted/comments.csv": [COMMENT_COLUMNS],
        "deleted/diary.csv": [DIARY_COLUMNS],
        "deleted/reviews.csv": [REVIEW_COLUMNS],
        "orphaned/comments.csv": [COMMENT_COLUMNS],
        "orphaned/diary.csv": [DIARY_COLUMNS],
        "orphaned/reviews.csv": [REVIEW_COLUMNS],
    }


def _film_cells(film: Film, at: int) -> tuple[Cell, ...]:
    return _day(at), film.title, film.year or "", f"https://boxd.it/{film.lid}"


def _entry_cells(film: Film, viewing: Viewing) -> tuple[Cell, ...]:
    link = f"https://boxd.it/{short_id(viewing.number)}"
    rewatch = "Yes" if viewing.rewatch else ""
    return _day(viewing.logged_at), film.title, film.year or "", link, _rating(viewing.rating), rewatch


def _diary_row(film: Film, viewing: Viewing) -> tuple[Cell, ...]:
    return *_entry_cells(film, viewing), "", viewing.watched_on.isoformat()


def _review_row(film: Film, viewing: Viewing) -> tuple[Cell, ...]:
    return *_entry_cells(film, viewing), viewing.review or "", "", viewing.watched_on.isoformat()


def _profile_row(world: World, member: Member) -> tuple[Cell, ...]:
    given, _, family = member.display_name.partition(" ")
    favorites = ", ".join(f"https://boxd.it/{world.films[number].lid}" for number in member.favorites)
    bio = f'First line, with a comma\nSecond line with "quotes" by {given}'
    mail = f"{member.key}@example.org"
    return (
        _day(member.joined_at),
        member.username,
        given,
        family,
        mail,
        "Nowhere",
        "",
        bio,
        "They / them",
        favorites,
    )


def _list_rows(world: World, film_list: FilmList) -> list[Iterable[Cell]]:
    link = f"https://boxd.it/{short_id(film_list.number)}"
    rows: list[Iterable[Cell]] = [
        (LIST_BANNER,),
        ("Date", "Name", "Tags", "URL", "Description"),
        (_day(film_list.published_at), film_list.name, "", link, ""),
        (),
        ("Position", "Name", "Year", "URL", "Description"),
    ]
    for position, number in enumerate(film_list.films, start=1):
        film = world.films[number]
        rows.append((position, film.title, film.year or "", f"https://boxd.it/{film.lid}", ""))
    return rows


def _csv(rows: Iterable[Iterable[Cell]], ending: str) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    # Line ends inside quoted fields follow suit, as in real exports.
    return text.getvalue().replace("\n", ending)


def _day(seconds: int) -> str:
    return moment(seconds).date().isoformat()


def _rating(half_stars: int | None) -> str:
    return "" if half_stars is None else f"{stars(half_stars):g}"
