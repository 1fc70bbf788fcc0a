"""Reading numbers, stars, titles, links and small JSON out of strings.

Pure helpers that every parser shares; nothing here knows HTML nodes. A helper answers None
where the string does not hold what is looked for, and never guesses.
"""

from __future__ import annotations

import html
import json
import re
import unicodedata
from typing import Any
from urllib.parse import unquote, urlsplit

# What stands between groups of three digits somewhere in the world: stop, comma, Arabic separator, thin and
# unbreakable spaces, apostrophes; a plain space only before exactly three digits.
_GROUPING = r"(?:[.,\u066c\u00a0\u2009\u202f'\u2019]| (?=[0-9]{3}(?![0-9])))"
_NUMBER = re.compile(rf"[0-9](?:(?:[0-9]|{_GROUPING})*[0-9])?(?:\s?[KkMm]\b)?")
# Bare digits or groups of three behind a separator; at most 15 digits, so that int() takes any of them.
_COUNT = re.compile(rf"[0-9]{{1,15}}|[0-9]{{1,3}}(?:{_GROUPING}[0-9]{{3}}){{1,4}}")
_WHOLE_NUMBER = re.compile(r"[0-9]{1,15}")
_SEPARATORS = re.compile(r"[^0-9]")
_PAGE_NUMBER = re.compile(r"(?:/page/|[?&]page=)([0-9]{1,9})(?=[/?&#]|$)")
_FILM_PATH = re.compile(r"(?:^|/)film/([^/?#]+)")
_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")


def clean(value: str) -> str:
    """`value` stripped, and without NULs and lone surrogates, which neither UTF-8 nor PostgreSQL can hold."""
    return value.strip() if value.isprintable() else _UNSTORABLE.sub("", value).strip()


def ascii_digits(value: str) -> str:
    """`value` with the decimal digits of any script written as 0 to 9."""
    if value.isascii():
        return value
    return "".join(str(unicodedata.decimal(c)) if c.isdecimal() else c for c in value)


def read_count(value: str | None) -> int | None:
    """The first number of a text if it is a whole one: "1,615,704 people" is 1615704, "23.4K" is None."""
    if not value:
        return None
    if value.isdecimal() and len(value) < 16:
        return int(value)
    match = _NUMBER.search(ascii_digits(value))
    return int(_SEPARATORS.sub("", match[0])) if match and _COUNT.fullmatch(match[0]) else None


def split_title(name: str) -> tuple[str, int | None]:
    """A display name without its trailing year: "Birds of Prey (and more) (2020)" keeps the first bracket."""
    name = name.strip() if name.isprintable() else clean(name)
    if name[-1:] == ")" and name[-6:-5] == "(":
        before, year = name[:-6], name[-5:-1]
        title = before.rstrip()
        if year.isdecimal() and title and title != before:
            return title, int(year)
    return name, None


def read_stars(value: str) -> float | None:
    """Stars written as glyphs: "★★★½" is 3.5, "half-★" is 0.5."""
    if "half-★" in value:
        return 0.5
    stars = value.count("★") + 0.5 * value.count("½")
    return stars if 0.5 <= stars <= 5.0 else None


def half_stars(value: int) -> float | None:
    """Half stars 1 to 10 as stars; 0 means unrated.

    Raises:
        ValueError: the number is on no scale that we know.
    """
    if not 0 <= value <= 10:
        raise ValueError(value)
    return value / 2 if value else None


def rated_class(class_names: list[str]) -> int | None:
    """N of a class `rated-N`, in half stars."""
    for name in class_names:
        if name.startswith("rated-"):
            number = int_of(name[6:])
            if number is not None:
                return number
    return None


def page_number(url: str) -> int | None:
    """The page that a link leads to; None for a link without a page number."""
    match = _PAGE_NUMBER.search(url)
    return int(match[1]) if match else None


def film_slug(value: str | None) -> str | None:
    """The slug in a bare slug, a path "/film/x/", a member's "/user/film/x/2/", or a whole URL."""
    if not value:
        return None
    value = value.strip() if value.isprintable() else clean(value)
    if "/" not in value:
        return value or None
    match = _FILM_PATH.search(value)
    return match[1] if match else None


def path_segments(url: str | None) -> list[str]:
    """The decoded parts of a URL's path, without empty ones: [] for the front page."""
    if not url:
        return []
    try:
        path = urlsplit(url.strip()).path
    except ValueError:
        return []
    return [unquote(part) for part in path.split("/") if part]


def read_json(value: str | None) -> Any:
    """A JSON value, also from an attribute whose quotes were escaped once too often; None if it is none."""
    if not value:
        return None
    for text in (value, html.unescape(value)):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            continue
    return None


def text_of(value: object) -> str | None:
    """A JSON string, entities decoded and cleaned; None for anything else and for nothing."""
    return clean(html.unescape(value)) or None if isinstance(value, str) else None


def int_of(value: object) -> int | None:
    """A JSON whole number, also where it was written as a string; None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    value = ascii_digits(value) if isinstance(value, str) else ""
    return int(value) if _WHOLE_NUMBER.fullmatch(value) else None
