"""Reads a member's data export: bytes of the ZIP in, frozen records out, no I/O.

What is read: ratings, watched, likes/films, diary, watchlist, lists; of reviews only that there is
one; of profile.csv only the user name, the join date and the favourites. All else is never looked
at, and `deleted/` and `orphaned/` are ignored. A message never repeats a cell, nor what a list's file
is called: they may be private.
The safe opening of the ZIP is in `archives`, what the rows change in `flows.imports`.
"""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from itertools import islice
from operator import itemgetter
from pathlib import PurePosixPath
from typing import Literal, NoReturn

from almanac_pipeline.errors import ImportFileError
from almanac_pipeline.sources.archives import Archive, open_archive

FilmMatch = Literal["id", "name_year", "ambiguous", "unknown"]


@dataclass(frozen=True, slots=True)
class ExportFilm:
    """A film as the export names it, in one of its files."""

    lid: str | None
    slug: str | None
    """Only where the file holds full links instead of short ones. One of the two is there."""
    title: str | None = None
    release_year: int | None = None
    recorded_on: date | None = None
    """When the member rated, liked or added it, by their calendar."""
    rating: float | None = None

    @property
    def identity(self) -> str:
        """The same for two rows of one film."""
        return self.lid or f"/film/{self.slug}/"


@dataclass(frozen=True, slots=True)
class ExportViewing:
    """A row of diary.csv: the rating is the one given at that viewing."""

    key: str
    """The entry's short id; where there is none, a hash of title, year and day."""
    title: str
    release_year: int | None
    film: ExportFilm | None
    film_match: FilmMatch
    watched_on: date | None
    logged_on: date | None
    rating: float | None
    rewatch: bool
    has_review: bool | None
    """None: the export has no reviews.csv."""


@dataclass(frozen=True, slots=True)
class ExportList:
    """A list that the member made, in its order."""

    key: str
    """The list's short id or slug; where its link has none, a hash of what its file is called."""
    name: str
    published_on: date | None
    films: tuple[ExportFilm, ...]


@dataclass(frozen=True, slots=True)
class Export:
    """All that is read of an export. None: the export has no such file, so that it says nothing of it."""

    username: str | None
    """In lower case; from profile.csv, else from the name that the site gave the file."""
    joined_on: date | None
    as_of: datetime
    """When the export was made (UTC); never before the newest row in it."""
    ratings: tuple[ExportFilm, ...]
    watched: tuple[ExportFilm, ...] | None
    likes: tuple[ExportFilm, ...] | None
    watchlist: tuple[ExportFilm, ...] | None
    favorites: tuple[ExportFilm, ...] | None
    diary: tuple[ExportViewing, ...] | None
    lists: tuple[ExportList, ...] | None
    rows_by_file: dict[str, int]
    """Rows below the header, as the files hold them."""
    repeated_rows_count: int
    """Rows of a film or entry that has a newer row in the same file."""


FILM_COLUMNS = ("Date", "Name", "Year", "Letterboxd URI")
RATING_COLUMNS = (*FILM_COLUMNS, "Rating")
DIARY_COLUMNS = (*RATING_COLUMNS, "Rewatch", "Watched Date")
REVIEW_COLUMNS = ("Name", "Year", "Letterboxd URI", "Watched Date")
PROFILE_COLUMNS = ("Username", "Date Joined", "Favorite Films")
LIST_COLUMNS = ("Date", "Name", "URL")
LIST_ENTRY_COLUMNS = ("Name", "Year", "URL")
LIST_BANNER = "letterboxd list export v"

MAX_NAME_CHARACTERS = 500
"""Of a film or a list: more than any has, and few enough to be found by an index."""
MAX_CELL_CHARACTERS = 500_000
"""Of a review, say, which is read only to be dropped."""
MAX_COMMAS_PER_ROW = 100_000
"""Those inside of cells count: each may be one more cell in memory."""

# By these a folder of the ZIP is known to be the root of an export.
_ROOT_FILES = {
    "ratings.csv", "watched.csv", "diary.csv", "watchlist.csv", "profile.csv", "reviews.csv", "comments.csv",
}  # fmt: skip
_OTHER_FOLDERS = {"deleted", "orphaned", "likes", "lists", "__macosx"}

_FILM_LINK = re.compile(
    r"(?:(?i:https?://)?(?i:www\.)?(?i:boxd\.it)/(?P<lid>[A-Za-z0-9]{1,20})"
    r"|(?i:https?://)?(?i:www\.)?(?i:letterboxd\.com)/(?:[\w-]+/)?film/(?P<slug>[\w:-]{1,300})(?:/\d+)?)/?",
    re.ASCII,
)
_LIST_LINK = re.compile(
    r"(?i:https?://)?(?i:www\.)?(?:(?i:boxd\.it)/|(?i:letterboxd\.com)/[\w-]+/list/)(?P<key>[\w-]{1,200})/?",
    re.ASCII,
)
_USERNAME = re.compile(r"[a-z0-9_-]{1,64}")
_FILE_NAME = re.compile(
    r"letterboxd-(?P<name>[a-z0-9_-]{1,64}?)-(?P<time>\d{4}-\d\d-\d\d-\d\d-\d\d)-utc",
    re.IGNORECASE | re.ASCII,
)
_NUMBERED = re.compile(r"-\d{4}-\d+\Z", re.ASCII)
_YEAR = re.compile(r"\d{4}", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_STARS = {spelling: half / 2 for half in range(1, 11) for spelling in (f"{half / 2:g}", f"{half / 2:.1f}")}
_YES = {"": False, "no": False, "yes": True}


def parse_export(body: bytes, file_name: str = "", *, max_bytes: int) -> Export:
    """What the export in `body` says. Of the file's name only the time and the member in it are used.

    Raises:
        ImportFileError: the ZIP or a file in it cannot be read; the message names file and row. It
            names neither the ZIP nor the member.
    """
    # The limit is the whole process's; nobody else reads CSV from strangers.
    csv.field_size_limit(MAX_CELL_CHARACTERS)
    with open_archive(body, max_bytes=max_bytes) as archive:
        return _Reader(archive, file_name).read()


class _Reader:
    """Reads the files of one archive and counts on the way."""

    def __init__(self, archive: Archive, file_name: str) -> None:
        self._archive = archive
        self._named = _FILE_NAME.match(PurePosixPath(file_name).name)
        self._paths = _files_of_the_export(archive.paths)
        self._rows: dict[str, int] = {}
        self._repeated = 0
        self._newest = date.min
        self._dates: dict[str, date | None] = {"": None}
        self._years: dict[str, int | None] = {"": None}

    def read(self) -> Export:
        if "ratings.csv" not in self._paths:
            raise ImportFileError(
                "The ZIP holds no ratings.csv, which every export has: it is incomplete. "
                "Download the export again and give it as it is."
            )
        username, joined_on, favorites = self._profile()
        ratings = self._films("ratings.csv", RATING_COLUMNS)
        watched = self._films("watched.csv")
        likes = self._films("likes/films.csv")
        watchlist = self._films("watchlist.csv")
        lists = self._lists()
        parts = (ratings, watched, likes, watchlist, *(film_list.films for film_list in lists or ()))
        lids = _short_links([film for part in parts for film in part or ()])
        if lids:
            ratings, watched, likes, watchlist, favorites = (
                _newest(_with_short_link(film, lids) for film in part) if part is not None else None
                for part in (ratings, watched, likes, watchlist, favorites)
            )
            lists = lists and tuple(
                replace(one, films=tuple(_with_short_link(film, lids) for film in one.films)) for one in lists
            )
        assert ratings is not None
        diary = self._diary([*ratings, *(watched or ()), *(likes or ())], lids)
        return Export(
            username=username,
            joined_on=joined_on,
            as_of=self._made_at(),
            ratings=ratings,
            watched=watched,
            likes=likes,
            watchlist=watchlist,
            favorites=favorites,
            diary=diary,
            lists=lists,
            rows_by_file=self._rows,
            repeated_rows_count=self._repeated,
        )

    def _made_at(self) -> datetime:
        newest = datetime(self._newest.year, self._newest.month, self._newest.day, tzinfo=UTC)
        made_at = self._archive.newest_at
        if self._named is not None:
            # Digits that are no time: the file was renamed.
            with suppress(ValueError):
                made_at = datetime.strptime(self._named["time"], "%Y-%m-%d-%H-%M").replace(tzinfo=UTC)
        return max(newest, made_at) if made_at is not None else newest

    # -- files -------------------------------------------------------------------------------------

    def _films(self, name: str, columns: tuple[str, ...] = FILM_COLUMNS) -> tuple[ExportFilm, ...] | None:
        """The films of a file, one row each: the newest, and of the same day the last."""
        if name not in self._paths:
            return None
        rows = []
        for row, (day, title, year, link, *stars) in self._table(name, columns):
            recorded_on = self._recorded_on(name, row, day)
            rating = None
            if stars:
                rating = _stars(name, row, stars[0])
                if rating is None:
                    _refuse(name, row, "there is no rating")
            lid, slug = _film_link(name, row, link)
            named = _name(name, row, title) or None
            rows.append(ExportFilm(lid, slug, named, self._year(name, row, year), recorded_on, rating))
        films = _newest(rows)
        self._rows[name] = len(rows)
        self._repeated += len(rows) - len(films)
        return films

    def _diary(self, seen: Iterable[ExportFilm], lids: Mapping[str, str]) -> tuple[ExportViewing, ...] | None:
        name = "diary.csv"
        reviewed = self._reviewed()
        if name not in self._paths:
            return None
        by_identity = {film.identity: film for film in seen}
        by_name: defaultdict[tuple[str | None, int | None], list[ExportFilm]] = defaultdict(list)
        for film in by_identity.values():
            by_name[film.title, film.release_year].append(film)
        for slug, lid in lids.items():
            if lid in by_identity:
                by_identity[ExportFilm(None, slug).identity] = by_identity[lid]
        viewings: dict[str, ExportViewing] = {}
        same_day: Counter[tuple[str, int | None, date | None]] = Counter()
        count = 0
        for row, (day, cell, year_cell, link_cell, stars, again, watched) in self._table(name, DIARY_COLUMNS):
            count += 1
            title, year = _name(name, row, cell), self._year(name, row, year_cell)
            if not title:
                _refuse(name, row, "there is no film's name")
            watched_on, logged_on = self._date(name, row, watched), self._recorded_on(name, row, day)
            link = ExportFilm(*_film_link(name, row, link_cell)) if link_cell.strip() else None
            seen_film, match = _film_of_entry(link, title, year, by_identity, by_name)
            has_own_link = link is not None and link.lid is not None and match != "id"
            if link is not None and has_own_link:
                key = link.identity
            else:
                # The nth viewing of a day is known by being the nth.
                same_day[title, year, watched_on] += 1
                nth = same_day[title, year, watched_on]
                key = _own_key(f"{title} ({year or ''}) {watched_on or ''} #{nth}")
            rewatch = _YES.get(again.strip().lower())
            if rewatch is None:
                _refuse(name, row, "Rewatch is neither Yes nor empty")
            viewing = ExportViewing(
                key=key,
                title=title,
                release_year=year,
                film=_with_short_link(seen_film, lids) if seen_film is not None else None,
                film_match=match,
                watched_on=watched_on,
                logged_on=logged_on,
                rating=_stars(name, row, stars),
                rewatch=rewatch,
                has_review=(
                    (link_cell.strip() if has_own_link else (title, year, watched_on)) in reviewed
                    if reviewed is not None
                    else None
                ),
            )
            known = viewings.get(key)
            if known is None or (known.logged_on or date.min) <= (logged_on or date.min):
                viewings[key] = viewing
        self._rows[name] = count
        self._repeated += count - len(viewings)
        return tuple(viewings.values())

    def _reviewed(self) -> set[object] | None:
        """By what a diary entry with a review is known: its link, or title, year and day."""
        name = "reviews.csv"
        if name not in self._paths:
            return None
        reviewed: set[object] = set()
        count = 0
        for row, (title, year, link, watched) in self._table(name, REVIEW_COLUMNS):
            count += 1
            reviewed.add(link.strip())
            reviewed.add((title.strip(), self._year(name, row, year), self._date(name, row, watched)))
        self._rows[name] = count
        return reviewed

    def _profile(self) -> tuple[str | None, date | None, tuple[ExportFilm, ...] | None]:
        name, named = "profile.csv", self._named["name"].lower() if self._named else None
        if name not in self._paths:
            return named, None, None
        rows = list(islice(self._table(name, PROFILE_COLUMNS), 2))
        if len(rows) != 1:
            found = "several rows" if rows else "no row"
            raise ImportFileError(f"{name} has {found} where one is expected. Download the export again.")
        row, (username, joined, favorites) = rows[0]
        self._rows[name] = 1
        username = username.strip().lower()
        if not _USERNAME.fullmatch(username):
            _refuse(name, row, "the user name is missing or not one")
        links = [link for link in favorites.split(",") if link.strip()]
        films = (ExportFilm(*_film_link(name, row, link)) for link in links)
        by_identity = {film.identity: film for film in films}
        return username, self._date(name, row, joined), tuple(by_identity.values())

    def _lists(self) -> tuple[ExportList, ...] | None:
        names = sorted(name for name in self._paths if name.startswith("lists/") and name.endswith(".csv"))
        if not names:
            return None
        lists: dict[str, ExportList] = {}
        for number, name in enumerate(names, start=1):
            # What the file is called is the list's title, which may name somebody.
            called = f"file {number} of {len(names)} in lists/ (by name)"
            film_list = self._list(name, called)
            if film_list.key in lists:
                _refuse(called, 3, "another file is the same list")
            lists[film_list.key] = film_list
        return tuple(lists.values())

    def _list(self, name: str, called: str) -> ExportList:
        rows = ((row, cells) for row, cells in self._records(name, called) if any(cells))
        head = list(islice(rows, 4))
        if not head or not head[0][1][0].lower().startswith(LIST_BANNER):
            _refuse(called, 1, "it does not begin with 'Letterboxd list export v7'")
        if len(head) < 4:
            raise ImportFileError(f"{called} ends before its films begin. Download the export again.")
        described = _columns(called, *head[1], LIST_COLUMNS)
        row, cells = head[2]
        _require_width(called, row, cells, head[1][1])
        day, title, link = described(cells)
        of_entry = _columns(called, *head[3], LIST_ENTRY_COLUMNS)
        films = []
        for entry_row, entry in rows:
            _require_width(called, entry_row, entry, head[3][1])
            film_title, year, film_link = of_entry(entry)
            lid, slug = _film_link(called, entry_row, film_link)
            named = _name(called, entry_row, film_title) or None
            films.append(ExportFilm(lid, slug, named, self._year(called, entry_row, year)))
        self._rows[name] = len(films)
        found = _LIST_LINK.fullmatch(link.strip())
        stem = PurePosixPath(name).stem
        return ExportList(
            key=found["key"] if found else _own_key(stem),
            name=_name(called, row, title) or _name(called, row, stem),
            published_on=self._recorded_on(called, row, day),
            films=tuple(films),
        )

    # -- rows and cells ----------------------------------------------------------------------------

    def _table(self, name: str, columns: tuple[str, ...]) -> Iterator[tuple[int, tuple[str, ...]]]:
        """Row numbers, as a spreadsheet shows them, and the cells of these columns. Blank rows are none.

        Raises:
            ImportFileError: a column is missing, a row has another width, or it is no CSV in UTF-8.
        """
        records = self._records(name)
        row, header = next(records, (1, []))
        if not header:
            raise ImportFileError(f"{name} is empty: not even a header. Download the export again.")
        pick, width = _columns(name, row, header, columns), len(header)
        for row, cells in records:
            if len(cells) != width:
                if not cells:
                    continue
                _require_width(name, row, cells, header)
            yield row, pick(cells)

    def _records(self, name: str, called: str = "") -> Iterator[tuple[int, list[str]]]:
        """Row numbers and all cells. Messages say `called` in place of the name."""
        called = called or name
        data = self._archive.read(self._paths[name], called)
        if b"\0" in data and not data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            row = data.count(b"\n", 0, data.index(b"\0")) + 1
            raise ImportFileError(
                f"{called}, line {row}: there are NUL bytes, a sign of a damaged copy. "
                "Download the export again."
            )
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            row = data.count(b"\n", 0, error.start) + 1
            # Without the cause: it holds the whole file.
            raise ImportFileError(
                f"{called}, line {row}: the text is not UTF-8. Give the export as it was downloaded, "
                "not as another program saved it."
            ) from None
        row = commas = 0

        def lines() -> Iterator[str]:
            nonlocal commas
            for line in io.StringIO(text, newline=""):
                commas += line.count(",")
                if commas > MAX_COMMAS_PER_ROW:
                    _refuse(called, row + 1, "it has more cells than any export")
                yield line

        try:
            # Strict, or a quote that never ends would swallow the rest of the file.
            for cells in csv.reader(lines(), strict=True):
                row += 1
                commas = 0
                yield row, cells
        except csv.Error as error:
            reason = (
                "a cell is too long" if "field larger" in str(error) else "a quoted cell does not end well"
            )
            raise ImportFileError(
                f"{called}, row {row + 1}: {reason}, the file is damaged. Download the export again."
            ) from None

    def _recorded_on(self, name: str, row: int, cell: str) -> date | None:
        day = self._date(name, row, cell)
        if day is not None and day > self._newest:
            self._newest = day
        return day

    def _date(self, name: str, row: int, cell: str) -> date | None:
        cell = cell.strip()
        if cell not in self._dates:
            try:
                self._dates[cell] = date.fromisoformat(cell) if _DATE.fullmatch(cell) else None
            except ValueError:
                _refuse(name, row, "there is no such day")
            if self._dates[cell] is None:
                del self._dates[cell]
                _refuse(name, row, "a date is not of the form 2026-01-31")
        return self._dates[cell]

    def _year(self, name: str, row: int, cell: str) -> int | None:
        cell = cell.strip()
        if cell not in self._years:
            if not _YEAR.fullmatch(cell) or not 1870 <= int(cell) <= 2200:
                _refuse(name, row, "the year is not one of a film")
            self._years[cell] = int(cell)
        return self._years[cell]


def _files_of_the_export(paths: Sequence[str]) -> dict[str, str]:
    """The files by their lower-case paths inside the export; it may lie in folders of the ZIP."""
    # macOS puts a file of its own, ._NAME, beside each.
    paths = [path for path in paths if not PurePosixPath(path).name.startswith("._")]
    roots = set[tuple[str, ...]]()
    for path in paths:
        *folders, name = path.lower().split("/")
        if name in _ROOT_FILES and not _OTHER_FOLDERS & set(folders):
            roots.add(tuple(folders))
    # What lies inside of an export is something else that the member keeps there.
    roots = {root for root in roots if not any(root[:depth] in roots for depth in range(len(root)))}
    if len(roots) > 1:
        raise ImportFileError("The ZIP holds more than one export. Give each as it was downloaded.")
    if not roots:
        if any(path.lower().endswith(".zip") for path in paths):
            raise ImportFileError(
                "The ZIP holds another ZIP and no export. Unpack it and give the inner one."
            )
        raise ImportFileError(
            "The ZIP is no Letterboxd export: it holds no ratings.csv. "
            "Give the ZIP as letterboxd.com/settings/data hands it out."
        )
    root = "".join(f"{folder}/" for folder in roots.pop())
    return {path.lower().removeprefix(root): path for path in paths if path.lower().startswith(root)}


def _newest(rows: Iterable[ExportFilm]) -> tuple[ExportFilm, ...]:
    """Of each film the newest row, and of the same day the last."""
    films: dict[str, ExportFilm] = {}
    for film in rows:
        known = films.setdefault(film.identity, film)
        if (known.recorded_on or date.min) <= (film.recorded_on or date.min):
            films[film.identity] = film
    return tuple(films.values())


def _short_links(films: Sequence[ExportFilm]) -> dict[str, str]:
    """The lids of films that other rows of the export name by their slugs, by these.

    They are one film where one of each has the title and year, unless the slug is numbered: the site
    does that to namesakes.
    """
    slugs: defaultdict[tuple[str, int], set[str]] = defaultdict(set)
    lids: defaultdict[tuple[str, int], set[str]] = defaultdict(set)
    for film in films if any(film.slug for film in films) else ():
        if film.title is not None and film.release_year is not None:
            found = slugs if film.slug is not None else lids
            found[film.title.lower(), film.release_year].add(film.slug or film.lid or "")
    return {
        slug: next(iter(lids[name]))
        for name, (slug, *others) in slugs.items()
        if not others and len(lids[name]) == 1 and not _NUMBERED.search(slug)
    }


def _with_short_link(film: ExportFilm, lids: Mapping[str, str]) -> ExportFilm:
    lid = lids.get(film.slug or "")
    return replace(film, lid=lid, slug=None) if lid is not None else film


def _film_of_entry(
    link: ExportFilm | None,
    title: str,
    year: int | None,
    by_identity: Mapping[str, ExportFilm],
    by_name: Mapping[tuple[str | None, int | None], Sequence[ExportFilm]],
) -> tuple[ExportFilm | None, FilmMatch]:
    """The film of a diary entry: by its link if that is a film's, else the only one of that title and year.

    Short links of entries look like those of films; only the other files tell which of them is a film's.
    """
    if link is not None and link.identity in by_identity:
        return by_identity[link.identity], "id"
    namesakes = by_name.get((title or None, year), ())
    if len(namesakes) == 1:
        return namesakes[0], "name_year"
    if link is not None and link.slug is not None:
        return replace(link, title=title or None, release_year=year), "id"
    return None, "ambiguous" if namesakes else "unknown"


def _columns(
    name: str, row: int, header: list[str], columns: tuple[str, ...]
) -> Callable[[list[str]], tuple[str, ...]]:
    """Picks the cells of these columns out of a row, whatever order and other columns there are."""
    found = [cell.strip().lower() for cell in header]
    missing = [column for column in columns if found.count(column.lower()) != 1]
    if missing:
        _refuse(
            name, row, f"the columns {', '.join(missing)} are not there once each; is it a Letterboxd export?"
        )
    places = [found.index(column.lower()) for column in columns]
    return itemgetter(*places)


def _require_width(name: str, row: int, cells: list[str], header: list[str]) -> None:
    if len(cells) != len(header):
        _refuse(name, row, f"it has {len(cells)} cells where the header has {len(header)}")


def _film_link(name: str, row: int, cell: str) -> tuple[str | None, str | None]:
    found = _FILM_LINK.fullmatch(cell.strip())
    if found is None:
        _refuse(name, row, "the link leads to no film on boxd.it or letterboxd.com")
    slug = found["slug"]
    return found["lid"], slug.lower() if slug else None


def _name(name: str, row: int, cell: str) -> str:
    """The name of a film or list in this cell."""
    cell = cell.strip()
    if len(cell) > MAX_NAME_CHARACTERS:
        _refuse(name, row, f"a name has more than {MAX_NAME_CHARACTERS} characters")
    return cell


def _own_key(text: str) -> str:
    """A key for what has no id of its own: short however long the text, and never an id of the site."""
    return f"own:{hashlib.sha256(text.encode()).hexdigest()[:32]}"


def _stars(name: str, row: int, cell: str) -> float | None:
    cell = cell.strip()
    if not cell:
        return None
    if cell not in _STARS:
        _refuse(name, row, "the rating is no number from 0.5 to 5 in steps of a half")
    return _STARS[cell]


def _refuse(name: str, row: int, reason: str) -> NoReturn:
    raise ImportFileError(f"{name}, row {row}: {reason}. Correct it or download the export again.")
