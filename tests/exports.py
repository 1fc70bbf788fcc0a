"""Writes data exports for tests: ZIPs of CSV files with whatever a test wants in them."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterable, Mapping, Sequence

FILM = ("Date", "Name", "Year", "Letterboxd URI")
RATING = (*FILM, "Rating")
DIARY = (*FILM, "Rating", "Rewatch", "Tags", "Watched Date")
REVIEW = (*FILM, "Rating", "Rewatch", "Review", "Tags", "Watched Date")
PROFILE = (
    "Date Joined", "Username", "Given Name", "Family Name", "Email Address", "Location", "Website", "Bio",
    "Pronoun", "Favorite Films",
)  # fmt: skip
STAMP = (2026, 5, 1, 12, 0, 0)
FILE_NAME = "letterboxd-ada-2026-05-01-12-00-utc.zip"

Cells = Sequence[object]


def table(header: Cells, *rows: Cells, ending: str = "\n") -> str:
    """A CSV file."""
    text = io.StringIO()
    csv.writer(text, lineterminator=ending).writerows([header, *rows])
    return text.getvalue()


def film(number: int, day: str = "2026-04-01", **changes: object) -> tuple[object, ...]:
    """The cells of film so-and-so in any file; change them by `name`, `year` and `link`."""
    cells = {"name": f"Film {number}", "year": 1950 + number % 70, "link": f"https://boxd.it/L{number}"}
    cells |= changes
    return day, cells["name"], cells["year"], cells["link"]


def ratings(*rated: tuple[int, object], day: str = "2026-04-01") -> str:
    """ratings.csv of (film, rating)."""
    return table(RATING, *((*film(number, day), stars) for number, stars in rated))


def films(*numbers: int, day: str = "2026-04-01") -> str:
    """watched.csv, watchlist.csv or likes/films.csv."""
    return table(FILM, *(film(number, day) for number in numbers))


def viewing(
    number: int, key: str, watched: str, rating: object = "", rewatch: str = "", **changes: object
) -> tuple[object, ...]:
    """A row of diary.csv."""
    cells = film(number, "2026-04-02", **{"link": f"https://boxd.it/{key}", **changes})
    return (*cells, rating, rewatch, "", watched)


def diary(*rows: Cells) -> str:
    return table(DIARY, *rows)


def film_list(name: str, key: str, *numbers: int) -> str:
    """A file of lists/."""
    head = table(["Letterboxd list export v7"], ("Date", "Name", "Tags", "URL", "Description"))
    head += table(("2026-03-01", name, "", f"https://boxd.it/{key}", "")) + "\n"
    rows = ((n, *film(number)[1:], "") for n, number in enumerate(numbers, start=1))
    return head + table(("Position", "Name", "Year", "URL", "Description"), *rows)


def profile(username: str = "Ada", favorites: Iterable[int] = ()) -> str:
    """profile.csv, its private cells filled."""
    links = ", ".join(f"https://boxd.it/L{number}" for number in favorites)
    private = (
        "Adelheid",
        "Quellinger",
        "ada@quelle.example",
        "Grauburg",
        "quelle.example",
        "two\nlines",
        "she",
    )
    return table(PROFILE, ("2020-02-29", username, *private, links))


def pack(files: Mapping[str, str | bytes], *, stamp: tuple[int, int, int, int, int, int] = STAMP) -> bytes:
    """The ZIP of these files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, stamp), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def whole_export() -> dict[str, str | bytes]:
    """Every file: films 1 to 6 rated, 1 and 7 liked, 1 and 30 favourites, two viewings of film 1."""
    return {
        "profile.csv": profile(favorites=[1, 30]),
        "ratings.csv": ratings(*((number, number / 2) for number in range(1, 7))),
        "watched.csv": films(*range(1, 9)),
        "likes/films.csv": films(1, 7),
        "diary.csv": diary(
            viewing(1, "eA", "2026-01-01", "4.0"), viewing(1, "eB", "2026-02-01", "", "Yes"),
            viewing(8, "eC", "2026-02-02"),
        ),
        "reviews.csv": table(
            REVIEW, (*film(1, link="https://boxd.it/eB"), "", "Yes", "a secret\nthought", "", "2026-02-01")
        ),
        "watchlist.csv": films(20, 21, 22),
        "lists/the-best.csv": film_list("The best", "lA", 3, 1, 2),
        "comments.csv": table(("Date", "Content", "Comment"), ("2026-01-01", "x", "a secret word")),
        "deleted/diary.csv": diary(viewing(40, "eX", "2026-02-02")),
        "orphaned/diary.csv": diary(viewing(41, "", "2026-02-02", link="")),
    }  # fmt: skip
