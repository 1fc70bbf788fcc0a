"""Which of TMDB's titles is meant by a title and a year. Pure: questions and scores, no requests.

A candidate's score says how well it fits by itself: its title's fit times its year's fit, 0 to 1.
A candidate is taken if it fits well enough and stands clear of the next one; how widely a film is
known counts only there. docs/matching.md has the measurements that the constants rest on.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import lru_cache
from typing import Protocol

from almanac_pipeline.sources.records import MediaType
from almanac_pipeline.tmdb.titles import TitleSummaries, TitleSummary

THRESHOLD = 0.88
MARGIN = 0.1
# What ten times as many votes are worth against a better fit.
VOTES_WEIGHT = 0.035
# A film of fewer votes may be an obscure namesake of what is meant: look for films of the years beside,
# where not all could be seen.
FEW_VOTES = 50
# About what the best known series has: a film that stands clear of such a one needs no look at series.
MOST_SERIES_VOTES = 25_000
MAX_CANDIDATES = 10
# Below this nobody would want to look at it.
CANDIDATE_FROM = 0.5
# How many candidates of another title are asked for their further titles.
MAX_FURTHER_TITLES = 3

YEAR_FITS = {0: 1.0, 1: 0.92, 2: 0.75}
FAR_YEAR_FIT = 0.5
UNDATED_FIT = 0.95
NO_YEAR_GIVEN_FIT = 0.93
NO_DATE_THERE_FIT = 0.85
# Parts of a title with brackets: before them, within them after "a.k.a.", and whatever may be no name, so
# that something else must speak for it.
MAIN_PART_FIT = 0.99
KNOWN_AS_FIT = 0.97
BRACKETED_FIT = 0.86
LOOSE_FIT = 0.9
HEAD_FIT = 0.85
# Similar titles are mostly other films: they are for a person to look at.
MAX_SIMILAR_FIT = 0.85
# A series is in the way of a film of its year that has less than a hundredth of its votes.
SERIES_FIT = 0.83

# Those that another site may leave out. Not i, o, as, os, die, den, des, de, which are other words too.
_ARTICLES = frozenset(
    {
        *("the", "a", "an"),
        *("le", "la", "les", "un", "une"),
        *("der", "das", "ein", "eine", "det", "het"),
        *("el", "los", "las", "una", "il", "lo", "gli", "um", "uma"),
    }
)
# Those that stand behind a comma at the end, as in "Matrix, The".
_TRAILING_ARTICLE = re.compile(
    r"^(?P<rest>.+), (?P<article>the|an?|l'|l’|le|la|les|un|une|der|die|das|ein|eine|el|los|las|una|il|lo|gli"
    r"|os?|as|um|uma|de|het|den|det)$",
    re.IGNORECASE,
)
_BRACKETED = re.compile(r"^(?P<main>.+?)\s*\((?P<inner>[^()]+)\)$")
_ALSO_KNOWN = re.compile(r"^a\.?k\.?a\.?:?\s+", re.IGNORECASE)
# A bracket with one of these words, as with a number, may say which part or what kind of film it is.
_REMARK_WORDS = frozenset(
    {
        *("part", "volume", "chapter", "episode", "book", "season", "series", "teil", "partie", "parte"),
        *("making", "documentary", "short", "fan", "trailer", "scenes"),
        *("sequel", "edition", "cut", "version"),
    }
)
_STATED_YEAR = re.compile(r"\s*\(\d{4}\)$")
_HEAD_END = re.compile(r"\s*(?::|\s[-–—]\s|\s\()")
# 8½ is 8 1/2, not 81/2; 10.000, 10,000 and 10 000 are 10000; 1.1 is not 11, nor -1 the same as 1.
_FRACTION = re.compile("[¼-¾⅐-⅞]")
_THOUSANDS = re.compile(r"(?<=\d)[., ](?=\d{3}(?!\d))")
_MINUS = re.compile(r"(?<!\S)[-−–](?=\d)")
_POINT = re.compile(r"\.(?=\d)")
_NUMBER = re.compile(r"\d+|[一二三四五六七八九十]")
_ACCENTS = re.compile("[\u0300-\u036f]")
_DOTS = re.compile(r"\.{2,}")
_LETTERS = str.maketrans(
    {"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "đ": "d", "ð": "d", "ł": "l", "þ": "th", "ı": "i"}
    | dict.fromkeys("'’‘ʼ`´.·", "")
    | dict.fromkeys("&+", " and ")
)
_WORDS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_WORD_NUMBERS = {name: str(number) for number, name in enumerate(_WORDS, 2)}
_ROMAN = ("ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "xi", "xii", "xiii", "xiv", "xv")
_ROMAN_NUMBERS = dict(zip(_ROMAN, map(str, (*range(2, 10), *range(11, 16))), strict=True))
# Behind "part" and the like these are numbers as well; elsewhere x is a letter and i a person.
_COUNTED_NUMBERS = {"i": "1", "one": "1", "x": "10"} | _WORD_NUMBERS | _ROMAN_NUMBERS
_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
_ALL_NUMBERS = (
    {name: str(number) for number, name in enumerate(_ORDINALS, 1)}
    | _WORD_NUMBERS
    | _ROMAN_NUMBERS
    | {"one": "1"}
)
_COUNTERS = frozenset({"part", "volume", "chapter", "episode", "book"})
_SHORT_FORMS = {
    "vol": "volume", "pt": "part", "ep": "episode", "vs": "versus", "dr": "doctor", "mr": "mister",
    "st": "saint",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Wanted:
    """The film that is looked for, as its source names it. A series is never taken for one."""

    title: str
    release_year: int | None


@dataclass(frozen=True, slots=True)
class Question:
    """One search."""

    media_type: MediaType
    text: str
    year: int | None


class Search(Protocol):
    """Who answers questions: TMDB, or a stand-in."""

    def search(self, question: Question) -> TitleSummaries:
        """The first page of answers."""
        ...

    def further_titles(self, media_type: MediaType, tmdb_id: int) -> tuple[str, ...]:
        """What else a title is called."""
        ...


@dataclass(frozen=True, slots=True)
class Candidate:
    """A title that may be meant."""

    title: TitleSummary
    score: float
    """How well it fits by itself, 0 to 1."""
    reasons: tuple[str, ...]

    @property
    def standing(self) -> float:
        """The score, plus what being known to many is worth."""
        return _standing(self.score, self.title.vote_count or 0)


def _standing(score: float, votes_count: int) -> float:
    return score + VOTES_WEIGHT * math.log10(votes_count + 10)


@dataclass(frozen=True, slots=True)
class Match:
    """What a search came to."""

    taken: Candidate | None
    candidates: tuple[Candidate, ...]
    """The best first, `taken` among them; at most ten."""
    questions_count: int
    """Requests that it took."""


def match(wanted: Wanted, search: Search, *, threshold: float = THRESHOLD) -> Match:
    """Ask until one title is certain enough or nothing is left to ask.

    Raises whatever `search` raises.
    """
    asking = _Asking(wanted, search, threshold)
    year, names = wanted.release_year, _spoken_names(wanted.title)
    for name in names:
        is_more = asking.ask("movie", name, None)
        # Of a common name one page does not show all films: look at this year, then at the years beside.
        if is_more and year is not None:
            if not (asking.is_known_widely and asking.is_of_year):
                asking.ask("movie", name, year)
            for beside in (year - 1, year + 1):
                if not asking.is_known_widely:
                    asking.ask("movie", name, beside)
        if asking.is_named:
            break
    else:
        for text, of_year in _last_texts(names, year):
            asking.ask("movie", text, of_year)
    # Letterboxd lists some series: one may be meant, and is offered to a person.
    if names and not asking.is_clear_of_series:
        asking.ask("tv", names[0], None)
    asking.ask_for_further_titles()
    shown = [candidate for candidate in asking.ranked if candidate.score >= CANDIDATE_FROM]
    return Match(asking.taken, tuple(shown[:MAX_CANDIDATES]), asking.questions_count)


class _Asking:
    """What has been asked for one film so far, and what that came to."""

    def __init__(self, wanted: Wanted, search: Search, threshold: float) -> None:
        self.ranked: list[Candidate] = []
        self.taken: Candidate | None = None
        self.questions_count = 0
        self._wanted, self._search, self._threshold = wanted, search, threshold
        self._is_more: dict[tuple[MediaType, str, int | None], bool] = {}
        self._found: dict[tuple[MediaType, int], TitleSummary] = {}
        self._further: dict[tuple[MediaType, int], tuple[str, ...]] = {}

    @property
    def is_named(self) -> bool:
        """Whether some film fits well enough, be it not the only one."""
        return bool(self.ranked) and self.ranked[0].score >= self._threshold

    @property
    def is_known_widely(self) -> bool:
        """Whether a title is taken that many know."""
        return self._taken_votes >= FEW_VOTES

    @property
    def is_of_year(self) -> bool:
        """Whether a title of the very year is taken."""
        year = self._wanted.release_year
        return self.taken is not None and year is not None and self.taken.title.release_year == year

    @property
    def is_clear_of_series(self) -> bool:
        """Whether a title is taken that no series can be in the way of, not even the best known."""
        return self.taken is not None and (
            self.taken.standing - _standing(SERIES_FIT, MOST_SERIES_VOTES) >= MARGIN
        )

    @property
    def _taken_votes(self) -> int:
        return 0 if self.taken is None else self.taken.title.vote_count or 0

    def ask(self, media_type: MediaType, text: str, year: int | None) -> bool:
        """Ask, but for nothing twice. Whether there are more titles than the answer shows."""
        key, of_all_years = ((media_type, text.casefold(), of_year) for of_year in (year, None))
        if not text or key in self._is_more or self._is_more.get(of_all_years) is False:
            return False
        self.questions_count += 1
        answer = self._search.search(Question(media_type, text, year))
        self._is_more[key] = answer.total_count > len(answer.titles)
        self._found |= {(title.media_type, title.tmdb_id): title for title in answer.titles}
        self._decide()
        return self._is_more[key]

    def ask_for_further_titles(self) -> None:
        """Ask what films of the right year are called elsewhere, while none is taken."""
        for candidate in self.ranked[:MAX_FURTHER_TITLES]:
            if self.taken is None and _may_have_another_name(self._wanted, candidate):
                key = candidate.title.media_type, candidate.title.tmdb_id
                self.questions_count += 1
                self._further[key] = self._search.further_titles(*key)
                self._decide()

    def _decide(self) -> None:
        self.ranked = rank(self._wanted, list(self._found.values()), self._further)
        self.taken = decided(self._wanted, self.ranked, self._threshold)


def rank(
    wanted: Wanted,
    titles: Sequence[TitleSummary],
    further: dict[tuple[MediaType, int], tuple[str, ...]] | None = None,
) -> list[Candidate]:
    """The titles as candidates, the best first. `further` holds other names that some of them have."""
    known = further or {}
    candidates = [_score(wanted, title, known.get((title.media_type, title.tmdb_id), ())) for title in titles]
    return sorted(candidates, key=lambda candidate: (-candidate.standing, candidate.title.tmdb_id))


def decided(wanted: Wanted, ranked: Sequence[Candidate], threshold: float = THRESHOLD) -> Candidate | None:
    """The film that fits well enough and stands clear of the next; None if a person should choose.

    Without a year its votes tell nothing: it must fit better by itself as well.
    """
    best = ranked[0] if ranked else None
    if best is None or best.score < threshold or best.title.media_type != "movie":
        return None
    leads = [best.standing - other.standing for other in ranked[1:]]
    if wanted.release_year is None:
        leads += [best.score - other.score for other in ranked[1:]]
    return best if all(round(lead, 6) >= MARGIN for lead in leads) else None


def _spoken_names(title: str) -> list[str]:
    """What to search for. The whole title with its brackets is what nobody calls a film: that goes last."""
    names = [name for name, _ in _names(title) if name]
    return names[1:] + names[:1]


def _last_texts(names: Sequence[str], year: int | None) -> Iterator[tuple[str, int | None]]:
    """What else to search for, and of which year, where a name led to nothing."""
    if names:
        for spelling in _loose(names[0])[1:]:
            yield " ".join(spelling), None
        yield _content(names[0]), year


def _score(wanted: Wanted, title: TitleSummary, further: tuple[str, ...]) -> Candidate:
    fit, reason = _title_fit(wanted.title, title, further)
    year_fit, year_reason = _year_fit(wanted.release_year, title.release_year)
    score, reasons = fit * year_fit, [reason, year_reason]
    if title.media_type == "tv":
        score *= SERIES_FIT
        reasons.append("a series")
    return Candidate(title, round(score, 3), tuple(reasons))


def _year_fit(wanted: int | None, found: int | None) -> tuple[float, str]:
    if wanted is None and found is None:
        return UNDATED_FIT, "both undated"
    if wanted is None:
        return NO_YEAR_GIVEN_FIT, "no year to compare"
    if found is None:
        return NO_DATE_THERE_FIT, "undated at TMDB"
    distance = abs(wanted - found)
    words = "same year" if not distance else f"{distance} year{'s' if distance > 1 else ''} apart"
    return YEAR_FITS.get(distance, FAR_YEAR_FIT), words


def _title_fit(wanted: str, title: TitleSummary, further: tuple[str, ...]) -> tuple[float, str]:
    """The best fit of any name of the one with any name of the other, and why."""
    theirs = [("title", title.title), ("original title", title.original_title)]
    theirs += [("another title", name) for name in further]
    best = (0.0, "another title")
    for name, part_fit in _names(wanted):
        for label, their_title in theirs:
            for their_name, their_part_fit in _names(their_title) if their_title else ():
                is_part = their_part_fit < 1
                if part_fit < 1 and is_part:
                    continue  # Parts in common do not make one of two different titles.
                fit, how = _fit(name, their_name)
                if (fit := fit * (BRACKETED_FIT if is_part else part_fit)) > best[0]:
                    best = (fit, f"{how} {label}")
    _, *parts = _names(wanted)
    their_names = {fold(name) for _, name in theirs if name}
    if parts and best[0] < KNOWN_AS_FIT and all(fold(name) in their_names for name, _ in parts):
        return KNOWN_AS_FIT, "both names of the title"
    return best


@lru_cache(maxsize=100_000)
def _fit(one: str, other: str) -> tuple[float, str]:
    folded, other_folded = fold(one), fold(other)
    if folded == other_folded:
        return 1.0, "same"
    if _is_loosely_same(one, other):
        return LOOSE_FIT, "same but for small words or numerals:"
    heads = {fold(_HEAD_END.split(name)[0]) for name in (one, other)}
    if len(heads) == 1 and heads & {folded, other_folded}:
        return HEAD_FIT, "the beginning of the"
    if _numbers(folded) != _numbers(other_folded):
        return 0.0, "differently numbered"
    matcher = SequenceMatcher(None, folded, other_folded, autojunk=False)
    if matcher.quick_ratio() < 0.5:
        return 0.0, "different"
    return round(MAX_SIMILAR_FIT * matcher.ratio(), 3), "similar"


def _is_loosely_same(one: str, other: str) -> bool:
    """Whether only blanks, an article in front, "and", short forms and the script of numbers differ.

    The girl is not a girl: of two articles neither is left out.
    """
    article, *spellings = _loose(one)
    other_article, *other_spellings = _loose(other)
    return not (article and other_article and article != other_article) and any(
        _run_together(spelling) == _run_together(other_spelling)
        for spelling, other_spelling in zip(spellings, other_spellings, strict=True)
    )


def _run_together(words: Sequence[str]) -> str:
    """Without blanks but for those that keep two numbers apart."""
    return re.sub(r"(?<!\d) | (?!\d)", "", " ".join(words))


@lru_cache(maxsize=100_000)
def _names(title: str) -> tuple[tuple[str, float], ...]:
    """What a title may be called, articles in front: the whole first, then the parts around brackets."""
    whole = _STATED_YEAR.sub("", title).strip() or title
    names = [(_article_first(whole), 1.0)]
    if parts := _BRACKETED.match(whole):
        main, inner = _article_first(parts["main"]), _ALSO_KNOWN.sub("", parts["inner"])
        is_known_as = inner != parts["inner"]
        main_fit = BRACKETED_FIT if _is_remark(main, inner) and not is_known_as else MAIN_PART_FIT
        names.append((main, main_fit))
        names.append((_article_first(inner), KNOWN_AS_FIT if is_known_as else BRACKETED_FIT))
    return tuple(names)


def _is_remark(main: str, inner: str) -> bool:
    """Whether a bracket may tell which part or what kind of film it is: by a word, or a number of its own."""
    words = fold(inner)
    own = set(_numbers(words)) - set(_numbers(fold(main)))
    return bool(own or _REMARK_WORDS & set(words.split()))


def _article_first(name: str) -> str:
    found = _TRAILING_ARTICLE.match(name.strip())
    if not found:
        return name.strip()
    article = found["article"]
    return article + ("" if article.endswith(("'", "’")) else " ") + found["rest"]


@lru_cache(maxsize=100_000)
def fold(title: str) -> str:
    """A title as words in lower case without accents and punctuation, in any script.

    One that is punctuation only stays as it is.
    """
    text = unicodedata.normalize("NFKD", _FRACTION.sub(r" \g<0>", title.casefold()))
    # What else combines with letters, as in Hindi or Japanese, makes other letters of them.
    text = unicodedata.normalize("NFC", _ACCENTS.sub("", text))
    text = _THOUSANDS.sub("", _DOTS.sub(" ", text))
    text = _POINT.sub(" ", _MINUS.sub("minus ", text)).translate(_LETTERS)
    words = "".join(letter if _is_of_word(letter) else " " for letter in text)
    return " ".join(words.split()) or unicodedata.normalize("NFKC", title).strip()


def _is_of_word(letter: str) -> bool:
    return letter.isalnum() or unicodedata.category(letter).startswith("M")


@lru_cache(maxsize=100_000)
def _loose(title: str) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """The article in front of a title, and its other words in two spellings, without "and" and short forms.

    Numbers are digits: in the first spelling those in words, in the second those in Roman numerals. A
    title that is nothing but a number stays as it is.
    """
    words = [_SHORT_FORMS.get(word, word) for word in fold(title).split()]
    article = words.pop(0) if len(words) > 1 and words[0] in _ARTICLES else ""
    words = [word for place, word in enumerate(words) if word != "and" or place in (0, len(words) - 1)]
    if len(words) == 1:
        return article, (words[0],), (words[0],)
    return article, _in_digits(words, _WORD_NUMBERS), _in_digits(words, _ROMAN_NUMBERS)


def _in_digits(words: Sequence[str], numbers: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(
        (_COUNTED_NUMBERS if before in _COUNTERS else numbers).get(word, word)
        for before, word in zip(["", *words], words, strict=False)
    )


def _numbers(folded: str) -> list[str]:
    """The numbers in a title, as digits or Chinese numerals."""
    words = folded.split()
    if len(words) == 1:
        words = ["part", *words]
    return _NUMBER.findall(" ".join(_in_digits(words, _ALL_NUMBERS)))


def _content(title: str) -> str:
    """The words to search for if a title is spelt in another way there: none that has another spelling, few
    short ones."""
    varying = _COUNTED_NUMBERS.keys() | _COUNTERS | _SHORT_FORMS.keys() | set(_SHORT_FORMS.values())
    words = [word for word in fold(title).split() if not (word.isdigit() or word in varying)]
    return " ".join([word for word in words if len(word) > 3] or words)


def _may_have_another_name(wanted: Wanted, candidate: Candidate) -> bool:
    """Whether all but the title speaks for it: found under this title, of this year, not of this name."""
    year = candidate.title.release_year
    return (
        candidate.title.media_type == "movie"
        and candidate.score < THRESHOLD
        and wanted.release_year is not None
        and year is not None
        and abs(year - wanted.release_year) <= 1
    )
