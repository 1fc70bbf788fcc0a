"""Exports, parsed: every quirk that was seen, and every file that must be refused with one clear line."""

from __future__ import annotations

import io
import json
import random
import struct
import zipfile
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from almanac_pipeline.errors import ImportFileError
from almanac_pipeline.sources.export_zip import Export, parse_export
from tests import exports

MEGABYTE = 1_000_000


def parse(files: Mapping[str, str | bytes] | bytes, name: str = "", max_bytes: int = MEGABYTE) -> Export:
    return parse_export(files if isinstance(files, bytes) else exports.pack(files), name, max_bytes=max_bytes)


def stars(export: Export) -> dict[str, float | None]:
    return {film.identity: film.rating for film in export.ratings}


def refusal(files: Mapping[str, str | bytes] | bytes, max_bytes: int = MEGABYTE) -> str:
    """The message with which it is refused: one line that says what to do."""
    with pytest.raises(ImportFileError) as caught:
        parse(files, max_bytes=max_bytes)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    assert caught.value.__cause__ is None
    return message


def with_file(name: str, content: str | bytes) -> dict[str, str | bytes]:
    return exports.whole_export() | {name: content}


# -- what is read ------------------------------------------------------------------------------------


def test_every_part_is_read() -> None:
    export = parse(exports.whole_export())
    assert (export.username, export.joined_on) == ("ada", date(2020, 2, 29))
    assert stars(export) == {f"L{n}": n / 2 for n in range(1, 7)}
    assert [film.lid for film in export.likes or ()] == ["L1", "L7"]
    assert [film.lid for film in export.favorites or ()] == ["L1", "L30"]
    assert [film.lid for film in export.watchlist or ()] == ["L20", "L21", "L22"]
    assert len(export.watched or ()) == 8
    assert [(v.key, v.rating, v.rewatch, v.has_review) for v in export.diary or ()] == [
        ("eA", 4.0, False, False), ("eB", None, True, True), ("eC", None, False, False),
    ]  # fmt: skip
    [film_list] = export.lists or ()
    assert (film_list.key, film_list.name) == ("lA", "The best")
    assert [(film.lid, film.title, film.release_year) for film in film_list.films] == [
        ("L3", "Film 3", 1953), ("L1", "Film 1", 1951), ("L2", "Film 2", 1952),
    ]  # fmt: skip
    assert export.ratings[0].recorded_on == date(2026, 4, 1)
    assert export.repeated_rows_count == 0


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda text: text.replace("\n", "\r\n"), id="CR LF"),
        pytest.param(lambda text: "\ufeff" + text, id="byte order mark"),
        pytest.param(lambda text: text + "\n\n", id="blank lines at the end"),
        pytest.param(lambda text: text.rstrip("\n"), id="no last line end"),
        pytest.param(lambda text: text.replace("https://boxd.it", "http://www.boxd.it"), id="other links"),
    ],
)
def test_how_the_text_is_written_does_not_matter(change: object) -> None:
    assert callable(change)
    plain = exports.whole_export()
    changed = {name: change(text) if isinstance(text, str) else text for name, text in plain.items()}
    assert changed != plain
    assert parse(changed) == parse(plain)


@pytest.mark.parametrize(
    "rename",
    [
        str.upper,
        str.title,
        "letterboxd-ada/{}".format,
        "./{}".format,
        "Downloads/may/letterboxd-ada/{}".format,
    ],
)
def test_how_the_files_are_named_and_nested_does_not_matter(rename: object) -> None:
    assert callable(rename)
    plain = exports.whole_export()
    plain["lists/1.csv"] = plain.pop("lists/the-best.csv")
    assert parse({rename(name): text for name, text in plain.items()}) == parse(plain)


def test_the_order_of_columns_and_further_ones_do_not_matter() -> None:
    rows = [("x", 4.5, "https://boxd.it/L1", "", "Film 1", 1951, "2026-04-01")]
    header = ("Mood", "RATING", "Letterboxd URI", "Tags", " name ", "Year", "Date")
    export = parse(with_file("ratings.csv", exports.table(header, *rows)))
    assert stars(export) == {"L1": 4.5}


@pytest.mark.parametrize(
    ("cell", "rating"), [("4", 4.0), ("4.0", 4.0), (" 4.5 ", 4.5), ("0.5", 0.5), ("5", 5.0)]
)
def test_ratings_are_read_however_they_are_written(cell: str, rating: float) -> None:
    assert stars(parse(with_file("ratings.csv", exports.ratings((1, cell))))) == {"L1": rating}


def test_films_can_be_named_by_full_links() -> None:
    row = exports.film(1, link="https://letterboxd.com/film/some-Film-1999/")
    export = parse({"ratings.csv": exports.table(exports.RATING, (*row, 3))})
    assert stars(export) == {"/film/some-film-1999/": 3.0}
    assert (export.ratings[0].slug, export.ratings[0].lid) == ("some-film-1999", None)


def test_a_film_that_is_named_by_both_kinds_of_link_is_one() -> None:
    slugged = exports.film(1, "2026-04-02", link="https://letterboxd.com/film/film-1/")
    files = exports.whole_export() | {
        "ratings.csv": exports.table(exports.RATING, (*exports.film(1), 2), (*slugged, 4)),
        "watchlist.csv": exports.table(exports.FILM, slugged),
        "diary.csv": exports.diary(exports.viewing(1, "", "2026-01-01", link=slugged[3])),
        "lists/the-best.csv": exports.film_list("The best", "lA", 1).replace(
            "https://boxd.it/L1", "letterboxd.com/film/film-1"
        ),
    }
    export = parse(files)
    assert stars(export) == {"L1": 4.0}
    assert [(film.lid, film.slug) for film in export.watchlist or ()] == [("L1", None)]
    assert [film.lid for film_list in export.lists or () for film in film_list.films] == ["L1"]
    [viewing] = export.diary or ()
    assert (viewing.film and viewing.film.identity, viewing.film_match) == ("L1", "id")


@pytest.mark.parametrize(
    ("slug", "others"),
    [("twin-1896-1", []), ("twin", ["boxd.it/L2"]), ("twin", ["letterboxd.com/film/twin-1896"])],
    ids=["numbered", "two short links", "two full links"],
)
def test_namesakes_with_both_kinds_of_link_stay_apart(slug: str, others: list[str]) -> None:
    links = ["boxd.it/L1", f"letterboxd.com/film/{slug}", *others]
    rows = [(*exports.film(1, name="Twin", year=1896, link=link), 3) for link in links]
    assert len(stars(parse({"ratings.csv": exports.table(exports.RATING, *rows)}))) == len(links)


def test_a_repeated_film_counts_with_its_newest_row() -> None:
    rows = [(*exports.film(1, day), rating) for day, rating in [
        ("2026-03-01", 2), ("2026-03-03", 4), ("2026-03-02", 3), ("2026-03-03", 5),
    ]]  # fmt: skip
    export = parse(with_file("ratings.csv", exports.table(exports.RATING, *rows)))
    assert (stars(export), export.repeated_rows_count) == ({"L1": 5.0}, 3)


def test_missing_files_are_none_and_empty_ones_are_empty() -> None:
    export = parse({"ratings.csv": exports.ratings(), "likes/films.csv": exports.films()})
    assert (export.ratings, export.likes) == ((), ())
    parts = (export.watched, export.watchlist, export.favorites, export.diary, export.lists, export.username)
    assert set(parts) == {None}


def test_of_the_profile_only_three_columns_are_kept() -> None:
    export = parse(exports.whole_export())
    assert not any(private in repr(export) for private in ("Adelheid", "Quellinger", "@", "Grauburg", "two"))


# -- the diary ---------------------------------------------------------------------------------------


def one_viewing(files: dict[str, str | bytes], **cells: Any) -> tuple[str | None, str]:
    rows = exports.diary(exports.viewing(1, "eA", "2026-01-01", **cells))
    [viewing] = parse(files | {"diary.csv": rows}).diary or ()
    return viewing.film.identity if viewing.film else None, viewing.film_match


def test_a_viewing_joins_the_only_film_of_its_name_and_year() -> None:
    twins = [exports.film(n, name="Twin", year=1896) for n in (1, 2)]
    undated = exports.film(3, name="Undated", year="")
    files: dict[str, str | bytes] = {
        "ratings.csv": exports.ratings(),
        "watched.csv": exports.table(exports.FILM, *twins, undated, exports.film(4, name="Twin", year=1897)),
    }
    assert one_viewing(files, name="Twin", year=1896) == (None, "ambiguous")
    assert one_viewing(files, name="Twin", year=1897) == ("L4", "name_year")
    assert one_viewing(files, name="Twin", year="") == (None, "unknown")
    assert one_viewing(files, name="Undated", year="") == ("L3", "name_year")
    assert one_viewing(files, name="Undated", year=2000) == (None, "unknown")


def test_a_viewing_with_a_link_to_its_film_needs_no_name() -> None:
    twins = [exports.film(n, name="Twin", year=1896) for n in (1, 2)]
    files: dict[str, str | bytes] = {
        "ratings.csv": exports.ratings(), "watched.csv": exports.table(exports.FILM, *twins),
    }  # fmt: skip
    assert one_viewing(files, name="Twin", year=1896, link="https://boxd.it/L2") == ("L2", "id")
    link = "https://letterboxd.com/ada/film/twin-1896/1/"
    assert one_viewing(files, name="Twin", year=1896, link=link) == ("/film/twin-1896/", "id")


def test_two_viewings_of_a_day_under_the_films_own_link_are_two() -> None:
    rows = [exports.viewing(1, "L1", "2026-01-01", rating) for rating in (3, 4)]
    export = parse(with_file("diary.csv", exports.diary(*rows)))
    assert [viewing.rating for viewing in export.diary or ()] == [3.0, 4.0]
    keys = {viewing.key for viewing in export.diary or ()}
    assert len(keys) == 2
    assert max(map(len, keys)) < 40


@pytest.mark.parametrize(("cell", "rewatch"), [("Yes", True), ("yes", True), ("No", False), ("", False)])
def test_rewatches(cell: str, rewatch: bool) -> None:
    rows = exports.diary(exports.viewing(1, "eA", "2026-01-01", rewatch=cell))
    assert [viewing.rewatch for viewing in parse(with_file("diary.csv", rows)).diary or ()] == [rewatch]


# -- when and whose ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "as_of"),
    [
        (exports.FILE_NAME, datetime(2026, 5, 1, 12, 0, tzinfo=UTC)),
        ("letterboxd-ada-2026-06-07-08-09-utc (1).zip", datetime(2026, 6, 7, 8, 9, tzinfo=UTC)),
        ("letterboxd-ada-2026-13-07-08-09-utc.zip", datetime(2026, 5, 1, 12, 0, tzinfo=UTC)),
        ("mine.zip", datetime(2026, 5, 1, 12, 0, tzinfo=UTC)),
        # The newest row is of 2 April.
        ("letterboxd-ada-2026-01-01-00-00-utc.zip", datetime(2026, 4, 2, tzinfo=UTC)),
    ],
)
def test_an_export_is_as_old_as_its_name_else_its_files_say_but_not_older_than_its_rows(
    name: str, as_of: datetime
) -> None:
    assert parse(exports.whole_export(), name).as_of == as_of


def test_whose_it_is_stands_in_the_profile_else_in_the_name_of_the_file() -> None:
    files = exports.whole_export()
    assert parse(files, "letterboxd-bea-2026-01-01-00-00-utc.zip").username == "ada"
    del files["profile.csv"]
    assert parse(files, "letterboxd-bea-b_2-2026-01-01-00-00-utc.zip").username == "bea-b_2"
    assert parse(files, "letterboxd-bea.zip").username is None


# -- what is refused ---------------------------------------------------------------------------------

HUGE = (*exports.film(1), "", "", "x" * 600_000, "", "")


def one_film(**cells: Any) -> str:
    return exports.table(exports.FILM, exports.film(1, **cells))


BAD_ROWS: dict[str, tuple[str, str | bytes, str]] = {
    "no number": ("ratings.csv", exports.ratings((1, 3), (2, "not-a-number")), "ratings.csv, row 3:"),
    "no half": ("ratings.csv", exports.ratings((1, 4.3)), "ratings.csv, row 2:"),
    "too high": ("ratings.csv", exports.ratings((1, 5.5)), "ratings.csv, row 2:"),
    "zero": ("ratings.csv", exports.ratings((1, 0)), "ratings.csv, row 2:"),
    "other digits": ("ratings.csv", exports.ratings((1, "٣")), "ratings.csv, row 2:"),
    "no rating": ("ratings.csv", exports.ratings((1, "")), "ratings.csv, row 2:"),
    "no such day": ("watched.csv", exports.films(1, day="2026-02-30"), "watched.csv, row 2:"),
    "no date": ("watched.csv", exports.films(1, day="yesterday"), "watched.csv, row 2:"),
    "another date": ("watched.csv", exports.films(1, day="01/02/2026"), "watched.csv, row 2:"),
    "no year": ("watchlist.csv", one_film(year="MCM"), "watchlist.csv, row 2:"),
    "no film's year": ("watchlist.csv", one_film(year=99), "watchlist.csv, row 2:"),
    "no link": ("watchlist.csv", one_film(link=""), "watchlist.csv, row 2:"),
    "other link": (
        "watchlist.csv", one_film(link="https://example.org/film/x"),
        "watchlist.csv, row 2:",
    ),
    "short row": ("likes/films.csv", exports.films(1) + "2026-01-01,Half a", "likes/films.csv, row 3:"),
    "long row": ("likes/films.csv", exports.films(1) + "a,b,c,d,e\n", "likes/films.csv, row 3:"),
    "open quote": ("likes/films.csv", exports.films(1) + '2026-01-01,"Half', "likes/films.csv, row 3:"),
    "huge cell": ("reviews.csv", exports.table(exports.REVIEW, HUGE), "row 2:"),
    "not UTF-8": ("watched.csv", exports.films(1).encode() + b"2026-01-01,\xff\n", "watched.csv, line 3:"),
    "UTF-16": ("watched.csv", exports.films(1).encode("utf-16"), "line 1: the text is not UTF-8"),
    "NUL bytes": ("watched.csv", exports.films(1).encode() + b"\0\0\0", "watched.csv, line 3:"),
    "all NUL bytes": ("lists/the-best.csv", b"\0" * 400, "file 1 of 1 in lists/ (by name), line 1:"),
    "no header": ("watched.csv", "", "watched.csv is empty"),
    "other columns": ("ratings.csv", "userId,movieId,rating,timestamp\n1,2,3,4\n", "ratings.csv, row 1:"),
    "a column twice": ("watched.csv", exports.table((*exports.FILM, "Year")), "watched.csv, row 1:"),
    "rewatch": (
        "diary.csv", exports.diary(exports.viewing(1, "eA", "2026-01-01", rewatch="maybe")),
        "diary.csv, row 2:",
    ),
    "nameless": (
        "diary.csv", exports.diary(exports.viewing(1, "eA", "2026-01-01", name="")), "diary.csv, row 2:",
    ),
    "two profiles": ("profile.csv", exports.profile() + exports.profile(), "profile.csv has"),
    "endless name": (
        "ratings.csv", exports.table(exports.RATING, (*exports.film(1, name="x" * 501), 3)),
        "ratings.csv, row 2: a name has more than 500",
    ),
    "endless slug": (
        "ratings.csv",
        exports.table(exports.RATING, (*exports.film(1, link=f"letterboxd.com/film/{'x' * 301}/"), 3)),
        "ratings.csv, row 2: the link",
    ),
    "endless list": ("lists/x.csv", exports.film_list("x" * 501, "lB"), "in lists/ (by name), row 3:"),
    "endless file name": (
        f"lists/{'x' * 501}.csv", exports.film_list("", "lB"), "in lists/ (by name), row 3:",
    ),
    "endless row": ("reviews.csv", exports.table(exports.REVIEW) + "," * 100_001, "reviews.csv, row 2:"),
    "no user name": ("profile.csv", exports.profile("no name!"), "profile.csv, row 2:"),
    "no list": ("lists/x.csv", exports.films(1), "file 2 of 2 in lists/ (by name), row 1:"),
    "list without films": ("lists/x.csv", "Letterboxd list export v7\n", "in lists/ (by name) ends"),
    "the same list": ("lists/x.csv", exports.film_list("Again", "lA", 1), "in lists/ (by name), row 3:"),
    "film of a list": (
        "lists/x.csv", exports.film_list("Again", "lB", 1).replace("/L1", "/film?"),
        "in lists/ (by name), row 6:",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_ROWS)
def test_a_bad_row_is_named_by_file_and_row_and_none_of_its_cells_is_repeated(case: str) -> None:
    name, content, where = BAD_ROWS[case]
    message = refusal(with_file(name, content))
    assert where in message
    assert not any(cell in message for cell in ("not-a-number", "no name!", "MCM", "maybe", "yesterday"))


def test_an_error_in_the_profile_repeats_nothing_of_it() -> None:
    profile = exports.profile().replace("2020-02-29", "ada@quelle.example")
    assert "quelle" not in refusal(with_file("profile.csv", profile)).lower()


def test_what_is_no_export_is_told_apart() -> None:
    assert "empty" in refusal(b"")
    assert "NUL bytes" in refusal(b"\0" * 5000)
    assert "no ZIP" in refusal(b"Date,Name,Year\n")
    assert "truncated" in refusal(exports.pack(exports.whole_export())[:-30])
    assert "no Letterboxd export" in refusal({"letter.txt": "hello"})
    assert "no Letterboxd export" in refusal({})
    assert "another ZIP" in refusal({"letterboxd-ada.zip": exports.pack(exports.whole_export())})
    assert "more than one export" in refusal({"a/ratings.csv": "x", "b/ratings.csv": "x"})
    assert "more than one export" in refusal({"a/ratings.csv": "x", "b/c/ratings.csv": "x"})
    files = exports.whole_export()
    del files["ratings.csv"]
    assert "no ratings.csv" in refusal(files)
    assert "no ratings.csv" in refusal({**files, "deleted/ratings.csv": exports.ratings((1, 2))})


def zipped(*entries: tuple[zipfile.ZipInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for info, content in entries:
            archive.writestr(info, content)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "name", ["../ratings.csv", "/ratings.csv", "a/../../b.csv", "C:/x.csv", "a\\..\\b.csv"]
)
def test_names_that_lead_out_of_the_archive_are_refused(name: str) -> None:
    assert "outside" in refusal(with_file(name, "x"))


def test_links_are_refused() -> None:
    link = zipfile.ZipInfo("profile.csv")
    link.create_system, link.external_attr = 3, 0o120777 << 16
    ratings = (zipfile.ZipInfo("ratings.csv"), exports.ratings().encode())
    assert "link" in refusal(zipped(ratings, (link, b"/etc/passwd")))


def test_two_files_of_one_name_are_refused() -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        body = zipped(*((zipfile.ZipInfo("ratings.csv"), exports.ratings((1, n)).encode()) for n in (1, 2)))
    assert "same name" in refusal(body)
    assert "same name" in refusal({"ratings.csv": exports.ratings(), "RATINGS.CSV": exports.ratings((1, 1))})


def test_a_password_is_said_to_be_one() -> None:
    body = bytearray(exports.pack({"ratings.csv": exports.ratings()}))
    body[6] |= 1
    body[body.rindex(b"PK\x01\x02") + 8] |= 1
    assert "password" in refusal(bytes(body))


def test_a_method_that_exports_do_not_use_is_refused() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("ratings.csv", exports.ratings())
    assert "method" in refusal(buffer.getvalue())


def test_a_wrong_check_sum_is_named_by_file() -> None:
    body = bytearray(zipped((zipfile.ZipInfo("ratings.csv"), exports.ratings((1, 3)).encode())))
    place = body.index(b"Film 1")
    body[place] ^= 1
    assert "ratings.csv is damaged" in refusal(bytes(body))


def test_bombs_are_refused_by_size_by_ratio_by_number_and_by_what_they_unpack_to() -> None:
    many = exports.pack({f"lists/{n}.csv": "" for n in range(10_001)})
    assert "10,000 files" in refusal(many)
    text = exports.films(*range(30_000))
    assert "ALMANAC_IMPORT_MAX_MEGABYTES" in refusal(with_file("watched.csv", text))
    assert len(parse(with_file("watched.csv", text), max_bytes=2 * MEGABYTE).watched or ()) == 30_000
    zeros = with_file("comments.csv", "0" * 5 * MEGABYTE)
    assert "200 times" in refusal(zeros, max_bytes=10 * MEGABYTE)

    # A directory that understates the size: what is unpacked is counted.
    body = bytearray(exports.pack({"ratings.csv": exports.ratings(*((n, 3) for n in range(30_000)))}))
    entry = body.rindex(b"PK\x01\x02")
    struct.pack_into("<I", body, entry + 24, 1000)
    assert "damaged" in refusal(bytes(body))


def test_a_bomb_cannot_hide_behind_a_file_that_packs_badly() -> None:
    files = with_file("comments.csv", "0" * 5 * MEGABYTE)
    ballast = random.Random(1).randbytes(100_000)
    assert "200 times" in refusal(files | {"ballast": ballast}, max_bytes=10 * MEGABYTE)


def test_a_long_review_is_dropped_like_any_other() -> None:
    review = (*exports.film(1, link="https://boxd.it/eB"), "", "Yes", "x, " * 60_000, "", "2026-02-01")
    export = parse(with_file("reviews.csv", exports.table(exports.REVIEW, review)))
    assert export == parse(exports.whole_export())


def test_the_files_that_a_mac_adds_are_not_read() -> None:
    litter = {"._ratings.csv": b"\0", "lists/._the-best.csv": b"\0", "__MACOSX/._ratings.csv": b"\0"}
    assert parse(exports.whole_export() | litter) == parse(exports.whole_export())


def test_what_a_refused_list_is_called_is_not_repeated() -> None:
    name = "lists/for-quirin.csv"
    damaged = exports.pack(with_file(name, exports.film_list("For Quirin", "lB", 1)))
    at = damaged.index(name.encode()) + len(name)
    broken = damaged[:at] + b"\xff" * 9 + damaged[at + 9 :]
    for files in (with_file(name, b"\xff"), with_file(name, 'a"b\n"'), broken):
        assert "quirin" not in refusal(files)


def test_files_that_share_bytes_are_refused() -> None:
    files = {"ratings.csv": exports.ratings(), "watched.csv": exports.films(1), "lists/a.csv": "x"}
    body = bytearray(exports.pack(files))
    first = body.index(b"PK\x01\x02")
    second = body.index(b"PK\x01\x02", first + 4)
    # The second file's entry points at the first file's data, under its own name.
    body[second + 42 : second + 46] = body[first + 42 : first + 46]
    assert "overlap" in refusal(bytes(body))


def test_a_file_without_a_name_is_refused() -> None:
    body = bytearray(exports.pack({"ratings.csv": exports.ratings(), "a": ""}))
    # The name's one letter becomes an extra field.
    struct.pack_into("<HH", body, body.rindex(b"PK\x01\x02") + 28, 0, 1)
    assert "The ZIP is damaged" in refusal(bytes(body))


def test_a_directory_of_the_64_bit_kind_is_refused_before_it_is_read() -> None:
    body = exports.pack(exports.whole_export())
    end = body.rindex(b"PK\x05\x06")
    assert "10,000 files" in refusal(body[:end] + b"PK\x06\x07" + bytes(16) + body[end:])


# -- anything at all -----------------------------------------------------------------------------------

WHOLE = exports.pack(exports.whole_export())


@settings(max_examples=150, deadline=None)
@given(body=st.binary(max_size=300), prefix=st.sampled_from([b"", b"PK\x03\x04", WHOLE[:200]]))
def test_any_bytes_are_refused_by_an_error_of_ours(body: bytes, prefix: bytes) -> None:
    with pytest.raises(ImportFileError):
        parse(prefix + body)


@settings(max_examples=150, deadline=None)
@given(content=st.text() | st.binary(), name=st.sampled_from(sorted(exports.whole_export())))
def test_any_content_of_any_file_is_read_or_refused(content: str | bytes, name: str) -> None:
    with suppress(ImportFileError):
        parse(with_file(name, content.encode("utf-8", "replace") if isinstance(content, str) else content))


def test_mutated_archives_are_read_or_refused_and_never_differ_silently() -> None:
    chance = random.Random(11)
    whole, outcomes = parse(WHOLE), Counter[str]()
    for _ in range(4000):
        body = bytearray(WHOLE)
        for _ in range(chance.choice([1, 1, 2, 8])):
            # The directory at the end is small, and where an archive says most about itself.
            place = chance.randrange(chance.choice([0, len(body) - 900]), len(body))
            kind = chance.randrange(4)
            if kind == 0:
                body[place] = chance.randrange(256)
            elif kind == 1:
                del body[place : place + chance.randrange(1, 40)]
            elif kind == 2:
                body[place:place] = bytes(chance.randrange(1, 9))
            else:
                body[place] ^= 1 << chance.randrange(8)
        try:
            export = parse(bytes(body))
        except ImportFileError:
            outcomes["refused"] += 1
            continue
        outcomes["read"] += 1
        # A check sum stands behind every cell; time stamps and the names of files have none.
        assert export.ratings == whole.ratings
        for part in ("watched", "likes", "watchlist", "favorites"):
            assert getattr(export, part) in (None, getattr(whole, part))
    assert min(outcomes["refused"], outcomes["read"]) > 50


def test_mutated_rows_are_read_or_refused() -> None:
    chance = random.Random(12)
    plain = {name: text for name, text in exports.whole_export().items() if isinstance(text, str)}
    alphabet = ',"\n\r\t\0 5-/.:x\u0663\ufeff\u2028é'
    outcomes = Counter[bool]()
    for _ in range(1500):
        name = chance.choice(sorted(plain))
        text = plain[name]
        for _ in range(chance.choice([1, 1, 3])):
            place = chance.randrange(len(text) + 1)
            text = text[:place] + chance.choice(alphabet) + text[place + chance.randrange(3) :]
        try:
            parse({**plain, name: text})
        except ImportFileError:
            outcomes[False] += 1
        else:
            outcomes[True] += 1
    assert min(outcomes.values()) > 100


# -- a real one ----------------------------------------------------------------------------------------


@pytest.mark.shared
def test_a_real_export_is_read_to_the_row(shared_dir: Path) -> None:
    expected = json.loads((shared_dir / "fixtures" / "expected.json").read_text())
    for path in sorted((shared_dir / "fixtures" / "export").glob("*.zip")):
        counts = expected[f"export/{path.name}"]
        export = parse(path.read_bytes(), max_bytes=10 * MEGABYTE)
        diary, now = export.diary or (), stars(export)
        rows = export.rows_by_file
        assert len(export.watched or ()) == rows["watched.csv"] == counts["watched"]
        assert len(export.ratings) == counts["ratings"]
        assert len(diary) == counts["diary"]
        assert sum(bool(viewing.has_review) for viewing in diary) == rows["reviews.csv"] == counts["reviews"]
        assert len(export.watchlist or ()) == counts["watchlist"]
        assert len(export.likes or ()) == counts["likes_films"]
        rated = [(v.rating, now.get(v.film.identity)) for v in diary if v.film and v.rating]
        differing = counts["diary_rating_differs_from_ratings_csv"]
        assert sum(opinion not in (None, rating) for rating, opinion in rated) == differing
        assert sum(opinion is None for _, opinion in rated) == counts["diary_rated_without_current_rating"]
