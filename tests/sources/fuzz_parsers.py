"""Mutations of real and sandbox documents, and the fuzzer that feeds them to every parser.

Two families. A *drift* is a change that a site may make without meaning anything by it (order, quoting,
case, comments, nesting, other digits): the document must parse to the same values. A *damage* may do
anything: the parser must answer with values that can be stored, or with one of our own errors.

python -m tests.sources.fuzz_parsers --mutants 200000 [--saved ../shared/fixtures] [--seed 1]
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from almanac_pipeline.errors import AlmanacError
from almanac_pipeline.sandbox.generate import generate
from almanac_pipeline.sandbox.options import GeneratedWorld, Markup, SandboxOptions
from almanac_pipeline.sandbox.pages import Site
from almanac_pipeline.sandbox.routes import route
from almanac_pipeline.sources.pages.parsers import (
    parse_diary,
    parse_film_json,
    parse_film_page,
    parse_grid,
    parse_histogram,
    parse_people,
    parse_profile,
)
from almanac_pipeline.sources.parse_any import parse_any
from almanac_pipeline.sources.robots import parse_robots
from almanac_pipeline.sources.rss import parse_feed

PARSERS: tuple[Callable[[bytes], object], ...] = (
    parse_grid,
    parse_people,
    parse_profile,
    parse_film_page,
    parse_film_json,
    parse_histogram,
    parse_diary,
    parse_feed,
    parse_robots,
    parse_any,
)
MARKUPS: tuple[Markup, ...] = ("2023", "2024", "2025", "2026")
SAVED_SUFFIXES = (".html", ".xml", ".json", ".txt")
NOT_PAGES = ("tmdb", "http-headers", "export")

Drift = Callable[[str, random.Random], str]

_TAG = re.compile(r"<([a-zA-Z][a-zA-Z0-9-]*)((?:\s+[^\s=<>/\"']+=(?:\"[^\"]*\"|'[^']*'))+)(\s*/?)>")
_ANY_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9-]*)")
_ATTRIBUTE = re.compile(r"\s+([^\s=>/]+)=(\"[^\"]*\"|'[^']*')")
_ITEM = re.compile(
    r'(<li class="(?:tooltip )?(?:griditem|posteritem|poster-container)[^>]*>)(.*?)(</li>)', re.DOTALL
)
_LIST = re.compile(r'<ul class="(?:grid|poster-list)[^>]*>.*?</ul>', re.DOTALL)
_COUNTED = re.compile(r'(?<=title=")(?:[0-9]|Weighted average)[^"]*?(?:films|people|ratings?)\b[^"]*(?=")')
_CODE = re.compile(r"<script\b.*?</script>|<style\b.*?</style>|<!--.*?-->", re.DOTALL | re.IGNORECASE)
_OPTIONAL = re.compile(
    r"""\s(?:data-item-full-display-name|data-details-endpoint|data-poster-url|data-show-menu|data-likeable"""
    r"""|data-resolvable-poster-path|data-empty-poster-src|data-image-width)=(?:"[^"]*"|'[^']*')"""
)
_XML_ELEMENT = re.compile(r"<([\w:]+)\b[^>]*?(?:/>|>.*?</\1>)", re.DOTALL)
_OTHER_DIGITS = tuple({ord("0") + n: chr(zero + n) for n in range(10)} for zero in (0x660, 0x966, 0xFF10))
"""Arabic, Devanagari and full-width."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A document that parses, and what it parses to."""

    name: str
    body: bytes
    values: dict[str, Any]


def outside_code(change: Callable[[str], str], html: str) -> str:
    """Change everything but scripts, styles and comments, whose text only looks like markup."""
    parts, at = [], 0
    for code in _CODE.finditer(html):
        parts += [change(html[at : code.start()]), code[0]]
        at = code.end()
    return "".join([*parts, change(html[at:])])


def rewrite_attributes(html: str, chance: random.Random) -> str:
    """Every tag's attributes in another order, and in another quoting."""

    def rewrite(match: re.Match[str]) -> str:
        attributes = _ATTRIBUTE.findall(match[2])
        chance.shuffle(attributes)
        written = []
        for name, quoted in attributes:
            value = quoted[1:-1]
            if quoted[0] == "'" and chance.random() < 0.5:
                quoted = '"' + value.replace('"', "&quot;") + '"'
            elif quoted[0] == '"' and "'" not in value and chance.random() < 0.5:
                quoted = f"'{value}'"
            elif re.fullmatch(r"[\w.:/-]+", value) and chance.random() < 0.3:
                quoted = value + " "
            written.append(f"\n{name} = {quoted}")
        return f"<{match[1]}{''.join(written)}{match[3]}>"

    return outside_code(lambda text: _TAG.sub(rewrite, text), html)


def upper_case_tags(html: str, chance: random.Random) -> str:
    return outside_code(lambda text: _ANY_TAG.sub(lambda m: f"<{m[1]}{m[2].upper()}", text), html)


def upper_case_attributes(html: str, chance: random.Random) -> str:
    def rewrite(match: re.Match[str]) -> str:
        written = "".join(f" {name.upper()}={quoted}" for name, quoted in _ATTRIBUTE.findall(match[2]))
        return f"<{match[1]}{written}{match[3]}>"

    return outside_code(lambda text: _TAG.sub(rewrite, text), html)


def comments_between(html: str, chance: random.Random) -> str:
    junk = '<!-- <li class="griditem"><div data-item-slug="not-there"></div></li> -->'
    return outside_code(lambda text: re.sub(r"(</?(?:li|p|div)\b[^>]*>)", rf"\1{junk}", text), html)


def scripts_between(html: str, chance: random.Random) -> str:
    junk = '<script>const a = \'<li class="griditem"><div data-item-slug="x"></div></li>\';</script>'
    return outside_code(lambda text: re.sub(r"(</li>)", rf"\1{junk}", text), html)


def other_entities(html: str, chance: random.Random) -> str:
    """Quotes in attributes by number instead of by name."""
    return outside_code(lambda text: text.replace("&quot;", chance.choice(("&#34;", "&#x22;"))), html)


def saved_after_scripts(html: str, chance: random.Random) -> str:
    return re.sub(r'\stitle="([^"]*)"', r' title="" data-original-title="\1"', html)


def wider_spaces(html: str, chance: random.Random) -> str:
    html = re.sub(r'class="([^"]*)"', lambda match: f'class="  {"  ".join(match[1].split())}\n"', html)
    return outside_code(lambda text: re.sub(r">(\s*)<(?=li|p|div|ul|table|tr|td)", r">\n\t \1 <", text), html)


def windows_lines(html: str, chance: random.Random) -> str:
    return "\ufeff" + html.replace("\r\n", "\n").replace("\n", "\r\n")


def nested_items(html: str, chance: random.Random) -> str:
    return _ITEM.sub(r"\1<div><section>\2</section></div>\3", html)


def nested_lists(html: str, chance: random.Random) -> str:
    return _LIST.sub(r'<div class="wrapper"><section>\g<0></section></div>', html)


def more_classes_and_attributes(html: str, chance: random.Random) -> str:
    html = re.sub(r'<(li|div|p|span|a) class="', r'<\1 data-test-id="7" class="-new js-x ', html)
    return re.sub(r"<(ul|table|section) ", r'<\1 aria-busy="false" ', html)


def without_optional_attributes(html: str, chance: random.Random) -> str:
    return _OPTIONAL.sub("", html)


def other_digits(html: str, chance: random.Random) -> str:
    table = chance.choice(_OTHER_DIGITS)
    return _COUNTED.sub(lambda match: match[0].translate(table), html)


def other_separators(html: str, chance: random.Random) -> str:
    mark = chance.choice((".", "\u00a0", "\u2009", "\u202f", "’", " ", "٬"))
    return _COUNTED.sub(lambda match: re.sub(r"(?<=[0-9]),(?=[0-9]{3})", mark, match[0]), html)


def xml_prefixes(xml: str, chance: random.Random) -> str:
    """Other prefixes for the same namespaces."""
    xml = re.sub(r"(</?|xmlns:)letterboxd\b", r"\1lb", xml)
    return re.sub(r"(</?|xmlns:)tmdb\b", r"\1db", xml)


def xml_cdata(xml: str, chance: random.Random) -> str:
    """Texts as CDATA instead of escaped."""
    return re.sub(r"<((?:letterboxd|tmdb):\w+|link)>([^<>&]*)</\1>", r"<\1><![CDATA[\2]]></\1>", xml)


def xml_order(xml: str, chance: random.Random) -> str:
    """The elements of each item in another order."""

    def rewrite(match: re.Match[str]) -> str:
        elements = [found[0] for found in _XML_ELEMENT.finditer(match[1])]
        chance.shuffle(elements)
        return f"<item>\n{'<!-- between -->'.join(elements)}\n</item>"

    return re.sub(r"<item>(.*?)</item>", rewrite, xml, flags=re.DOTALL)


def xml_spaces(xml: str, chance: random.Random) -> str:
    return re.sub(r"<((?:letterboxd|tmdb):\w+|link)>([^<>]*)</", r"<\1 >\n  \2\n</", xml)


FEED_DRIFTS: tuple[Drift, ...] = (xml_prefixes, xml_cdata, xml_order, xml_spaces, windows_lines)
DRIFTS: tuple[Drift, ...] = (
    rewrite_attributes,
    upper_case_tags,
    upper_case_attributes,
    comments_between,
    scripts_between,
    other_entities,
    saved_after_scripts,
    wider_spaces,
    windows_lines,
    nested_items,
    nested_lists,
    more_classes_and_attributes,
    without_optional_attributes,
    other_digits,
    other_separators,
)

_JUNK_WORDS = """
    < > " ' & = / <li> </li> <ul> </ul> <table> <tr> <template> <svg> </body> </html> <script> <!-- -->
    <![CDATA[ ]]> <!DOCTYPE {} [] null -1 NaN 1e999 &#0; &#xD800; &quot; {"uid":[1],"lid":{}} ½★ ٣ Ⅷ ²
    /page/0/ ?page=99999999999 https://[ // %ff /film/ film: rated-11 rated- letterboxd-watch-1
"""
_JUNK = (
    *(word.encode() for word in _JUNK_WORDS.split()),
    *(b"", b"\x00", b"\xff", b"\xed\xa0\x80", b"\xef\xbf\xbe", b"\r", "\u202e".encode()),
    *(b"<p>" * 300, b"9" * 400, b"[" * 5000),
)
_PIECE = re.compile(rb"<[^<>]{0,4000}>|\"[^\"<>]{0,400}\"|[0-9]+|=")


def damage(body: bytes, chance: random.Random, other: bytes) -> bytes:
    """One to four accidents: bytes, tags, values and whole stretches replaced, moved, cut or doubled."""
    for _ in range(chance.choice((1, 1, 2, 4))):
        at = chance.randrange(len(body) + 1)
        match chance.randrange(8):
            case 0:
                body = body[:at]
            case 1:
                body = body[at:]
            case 2:
                body = body[:at] + chance.choice(_JUNK) + body[at + chance.randrange(12) :]
            case 3:
                start = chance.randrange(len(other) + 1)
                body = body[:at] + other[start : start + chance.randrange(3_000)] + body[at:]
            case 4:
                end = at + chance.randrange(2_000)
                body = body[:end] + body[at:]
            case 5:
                body = body[:at] + body[at + chance.randrange(2_000) :]
            case _:
                piece = _PIECE.search(body, at)
                if piece is not None:
                    junk = chance.choice(_JUNK)
                    quoted = piece[0][:1] == b'"'
                    body = body[: piece.start()] + (b'"%b"' % junk if quoted else junk) + body[piece.end() :]
    return body


def sandbox_samples() -> list[Sample]:
    """One document of each kind in each era, of a very small world."""
    world = generate(GeneratedWorld(seed=5, members=4, films=60, ratings=14))
    someone = max(world.members.values(), key=lambda member: len(member.opinions))
    film = max((film for film in world.films.values() if film.directors), key=lambda film: film.ratings)
    author = next(member for member in world.members.values() if member.lists)
    paths = [
        *(
            f"/{someone.key}/{path}"
            for path in ("", "films/", "films/rated/.5-5/", "likes/films/", "watchlist/")
        ),
        *(f"/{someone.key}/{path}" for path in ("diary/", "rss/", "following/", "followers/")),
        f"/{author.key}/list/{author.lists[0].slug}/",
        *(f"/film/{film.slug}/", f"/film/{film.slug}/json/", f"/director/{film.directors[0].slug}/"),
    ]
    samples = []
    for markup in MARKUPS:
        site = Site(world, SandboxOptions(markup=markup))
        fragment = "rating-histogram" if markup == "2026" else "ratings-summary"
        for path in (*paths, f"/csi/film/{film.slug}/{fragment}/"):
            page = site.show(route(path), "https://letterboxd.com")
            samples.append(Sample(f"{markup}{path}", page.body, parse_any(page.body, path)))
    return samples


def saved_samples(folder: Path) -> list[Sample]:
    """The documents in a folder that we read."""
    samples = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.suffix in SAVED_SUFFIXES and not name.startswith((*NOT_PAGES, "errors", "expected")):
            samples.append(Sample(name, path.read_bytes(), parse_any(path.read_bytes(), name)))
    return samples


@dataclass(frozen=True, slots=True)
class Fault:
    """A mutant that a parser answered wrongly."""

    sample: str
    number: int
    reason: str
    body: bytes


def find_faults(samples: list[Sample], mutants: int, seed: int) -> Iterator[Fault]:
    """Mutate and parse; yields what was answered neither rightly nor by an error of ours."""
    chance = random.Random(seed)
    for number in range(mutants):
        sample = chance.choice(samples)
        possible = drifts_of(sample)
        if number % 4 == 0 and possible:
            drifts = chance.sample(possible, chance.choice((1, 1, 2, 3)))
            text = sample.body.decode()
            for drift in drifts:
                text = drift(text, chance)
            reason = fault_of_drift(sample, text.encode())
            if reason:
                names = ", ".join(drift.__name__ for drift in drifts)
                yield Fault(sample.name, number, f"{names}: {reason}", text.encode())
            continue
        body = damage(sample.body, chance, chance.choice(samples).body)
        reason = fault_of_damage(body, chance.choice(PARSERS))
        if reason:
            yield Fault(sample.name, number, reason, body)


def drifts_of(sample: Sample) -> tuple[Drift, ...]:
    """What may happen to a document without meaning anything."""
    kind = sample.values["page"]
    return FEED_DRIFTS if kind == "rss" else () if kind in ("robots", "film_json") else DRIFTS


def fault_of_drift(sample: Sample, body: bytes) -> str | None:
    """Why a drifted document is not read as before; None where it is."""
    try:
        values = parse_any(body, sample.name)
    except Exception:
        return traceback.format_exc()
    changed = [name for name, value in sample.values.items() if values.get(name) != value]
    return f"reads otherwise: {', '.join(changed)}" if changed else None


def fault_of_damage(body: bytes, parser: Callable[[bytes], object]) -> str | None:
    """Why a damaged document is not answered rightly; None where it is."""
    try:
        json.dumps(parse_any(body), ensure_ascii=False, allow_nan=False).encode().index(b"page")
        parser(body)
    except AlmanacError:
        return None
    except Exception:
        return traceback.format_exc()
    return None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--mutants", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--saved", type=Path, help="folder of saved documents to mutate as well")
    parser.add_argument("--keep", type=Path, help="folder to put the first mutants at fault into")
    arguments = parser.parse_args()
    samples = sandbox_samples() + (saved_samples(arguments.saved) if arguments.saved else [])
    started, reasons = time.monotonic(), Counter[str]()
    for fault in find_faults(samples, arguments.mutants, arguments.seed):
        reason = fault.reason.strip().splitlines()
        key = f"{fault.sample}: {reason[0]}" if len(reason) == 1 else "\n".join(reason[-3:])
        reasons[key] += 1
        if reasons[key] == 1:
            print(f"{fault.sample} mutant {fault.number}:\n{fault.reason}", file=sys.stderr)
            if arguments.keep:
                arguments.keep.mkdir(parents=True, exist_ok=True)
                (arguments.keep / f"{len(reasons)}.bin").write_bytes(fault.body)
    seconds, faults = time.monotonic() - started, reasons.total()
    print(f"{arguments.mutants} mutants of {len(samples)} documents, {faults} at fault, {seconds:.0f} s")
    return 1 if reasons else 0


if __name__ == "__main__":
    raise SystemExit(main())
