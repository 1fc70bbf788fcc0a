"""Which of TMDB's titles is meant by a title and a year. Pure: questions and scores, no requests.

A candidate's score says how well it fits by itself: its title's fit times its year's fit, 0 to 1.
A candidate is taken if it fits well enough and stands clear of the next one; how widely a film is
known counts only there. docs/matching.md has the measurements that the constants rest on.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator, Sequence
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
# A film of fewer votes may be the obscure namesake of the one meant: look at other years too.
FEW_VOTES = 20
MAX_CANDIDATES = 10
# Below this nobody would want to look at it.
CANDIDATE_FROM = 0.5
# How many candidates of another title are asked for their further titles.
MAX_FURTHER_TITLES = 3

YEAR_FITS = {0: 1.0, 1: 0.9, 2: 0.75}
FAR_YEAR_FIT = 0.5
UNDATED_FIT = 0.95
NO_YEAR_GIVEN_FIT = 0.93
NO_DATE_THERE_FIT = 0.85
# A part of a title with a part in brackets: the part before, and the one within.
MAIN_PART_FIT = 0.99
BRACKETED_FIT = 0.97
LOOSE_FIT = 0.94
NEAR_FIT = 0.89
HEAD_FIT = 0.85
# Similar titles are mostly other films: they are for a person to look at.
MAX_SIMILAR_FIT = 0.85
NEAR_RATIO = 0.93
NEAR_MIN_LETTERS = 12
SERIES_FIT = 0.6

_ARTICLES = frozenset(
    {
        *("the", "a", "an"),
        *("le", "la", "les", "l", "un", "une", "des"),
        *("der", "die", "das", "ein", "eine", "den", "det", "de", "het"),
        *("el", "los", "las", "una", "il", "lo", "i", "gli"),
        *("o", "os", "as", "um", "uma"),
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
# A bracket that says which part of several the film is, or its year, is no other name.
_NUMBERING = re.compile(r"^(?:part|pt|vol|volume|chapter|episode|season|series)\b|^\d+$", re.IGNORECASE)
_STATED_YEAR = re.compile(r"\s*\(\d{4}\)$")
_HEAD_END = re.compile(r"\s*(?::|\s[-–—]\s|\s\()")
# 8½ is 8 1/2, not 81/2.
_SEPARATE = re.compile("[¼-¾⅐-⅞]")
_LETTERS = str.maketrans(
    {"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "đ": "d", "ð": "d", "ł": "l", "þ": "th", "ı": "i"}
    | dict.fromkeys("'’‘ʼ`´.·", "")
    | dict.fromkeys("&+", " and ")
)
_WORDS_FROM_TWO = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_ROMAN_FROM_TWO = ("ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x", "xi", "xii", "xiii", "xiv", "xv")
_NUMBERS = {
    name: str(number) for names in (_WORDS_FROM_TWO, _ROMAN_FROM_TWO) for number, name in enumerate(names, 2)
}
_COUNTERS = frozenset({"part", "volume", "chapter", "episode"})
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
        return self.score + VOTES_WEIGHT * math.log10((self.title.vote_count or 0) + 10)


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
    found: dict[tuple[MediaType, int], TitleSummary] = {}
    further: dict[tuple[MediaType, int], tuple[str, ...]] = {}
    ranked: list[Candidate] = []
    taken: Candidate | None = None
    questions_count, is_more = 0, False
    for question, only_if_more in _questions(wanted):
        if only_if_more and not is_more:
            continue
        answer = search.search(question)
        questions_count += 1
        is_more = is_more or (question.year is None and answer.total_count > len(answer.titles))
        found |= {(title.media_type, title.tmdb_id): title for title in answer.titles}
        ranked = rank(wanted, list(found.values()))
        taken = decided(ranked, threshold)
        if taken is not None and (taken.title.vote_count or 0) >= FEW_VOTES:
            break
        if question.year is None and ranked and ranked[0].score >= threshold:
            break  # All years have been seen; more questions could only bring more rivals.
    else:
        for candidate in ranked[:MAX_FURTHER_TITLES]:
            if taken is None and _may_have_another_name(wanted, candidate):
                key = candidate.title.media_type, candidate.title.tmdb_id
                further[key] = search.further_titles(*key)
                questions_count += 1
                ranked = rank(wanted, list(found.values()), further)
                taken = decided(ranked, threshold)
    shown = [candidate for candidate in ranked if candidate.score >= CANDIDATE_FROM]
    return Match(taken, tuple(shown[:MAX_CANDIDATES]), questions_count)


def rank(
    wanted: Wanted,
    titles: Sequence[TitleSummary],
    further: dict[tuple[MediaType, int], tuple[str, ...]] | None = None,
) -> list[Candidate]:
    """The titles as candidates, the best first. `further` holds other names that some of them have."""
    known = further or {}
    candidates = [_score(wanted, title, known.get((title.media_type, title.tmdb_id), ())) for title in titles]
    return sorted(candidates, key=lambda candidate: (-candidate.standing, candidate.title.tmdb_id))


def decided(ranked: Sequence[Candidate], threshold: float = THRESHOLD) -> Candidate | None:
    """The candidate that fits well enough and stands clear of the next; None if a person should choose."""
    if not ranked or ranked[0].score < threshold:
        return None
    if len(ranked) > 1 and round(ranked[0].standing - ranked[1].standing, 6) < MARGIN:
        return None
    return ranked[0]


def _questions(wanted: Wanted) -> Iterator[tuple[Question, bool]]:
    """What to ask, in order, and whether only if the answers so far were not all there are."""
    year = wanted.release_year
    names = [name for name, _ in _names(wanted.title)]
    asked = set()
    # A name in brackets stands for itself; the whole with its brackets is what nobody calls the film.
    spoken = names[1:] + names[:1] if len(names) > 1 else names
    plan: list[tuple[MediaType, str, int | None, bool]] = [
        ("movie", spoken[0], year, False),
        ("movie", spoken[0], None, False),
        *(("movie", name, year, False) for name in spoken[1:]),
        ("movie", " ".join(_loose(spoken[0])), None, False),
        ("movie", _content(spoken[0]), year, False),
    ]
    if year is not None:
        plan += [("movie", spoken[0], year - 1, True), ("movie", spoken[0], year + 1, True)]
    # Letterboxd lists some series: as candidates for a person to choose.
    plan.append(("tv", spoken[0], year, False))
    for media_type, text, of_year, only_if_more in plan:
        question = Question(media_type, text, of_year)
        if text and (key := (media_type, text.casefold(), of_year)) not in asked:
            asked.add(key)
            yield question, only_if_more


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
                if part_fit < 1 and their_part_fit < 1:
                    continue  # Parts in common do not make one of two different titles.
                fit, how = _fit(name, their_name)
                if (fit := fit * min(part_fit, their_part_fit)) > best[0]:
                    best = (fit, f"{how} {label}")
    return best


@lru_cache(maxsize=100_000)
def _fit(one: str, other: str) -> tuple[float, str]:
    folded, other_folded = fold(one), fold(other)
    if folded == other_folded:
        return 1.0, "same"
    loose, other_loose = "".join(_loose(one)), "".join(_loose(other))
    if loose and loose == other_loose:
        return LOOSE_FIT, "same but for small words or numerals:"
    heads = {fold(_HEAD_END.split(name)[0]) for name in (one, other)}
    if len(heads) == 1 and heads & {folded, other_folded}:
        return HEAD_FIT, "the beginning of the"
    if re.findall(r"\d+", loose) != re.findall(r"\d+", other_loose):
        return 0.0, "differently numbered"
    matcher = SequenceMatcher(None, loose, other_loose, autojunk=False)
    if matcher.quick_ratio() < 0.5:
        return 0.0, "different"
    ratio = matcher.ratio()
    if ratio >= NEAR_RATIO and len(loose) >= NEAR_MIN_LETTERS and abs(len(loose) - len(other_loose)) <= 1:
        return NEAR_FIT, "nearly the same"
    return round(MAX_SIMILAR_FIT * ratio, 3), "similar"


@lru_cache(maxsize=100_000)
def _names(title: str) -> tuple[tuple[str, float], ...]:
    """What a title may be called, articles in front: the whole first, then the parts around brackets."""
    whole = _STATED_YEAR.sub("", title).strip() or title
    names = [(_article_first(whole), 1.0)]
    if (parts := _BRACKETED.match(whole)) and not _NUMBERING.match(parts["inner"]):
        names.append((_article_first(parts["main"]), MAIN_PART_FIT))
        inner = _ALSO_KNOWN.sub("", parts["inner"])
        names.append((_article_first(inner), BRACKETED_FIT))
    return tuple(names)


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
    text = unicodedata.normalize("NFKD", _SEPARATE.sub(r" \g<0>", title.casefold()))
    text = "".join(letter for letter in text if not unicodedata.combining(letter))
    words = re.findall(r"[^\W_]+", re.sub(r"\.{2,}", " ", text).translate(_LETTERS))
    return " ".join(words) or title.casefold().strip()


@lru_cache(maxsize=100_000)
def _loose(title: str) -> tuple[str, ...]:
    """The words of a title without articles and "and", with numbers as digits and no short forms."""
    words: list[str] = []
    for word in fold(title).split():
        word = _SHORT_FORMS.get(word, word)
        if word in ("i", "one") and words and words[-1] in _COUNTERS:
            word = "1"
        elif word in _ARTICLES or word == "and":
            continue
        words.append(_NUMBERS.get(word, word))
    return tuple(words) or tuple(fold(title).split())


def _content(title: str) -> str:
    """The words to search for if a title is spelt in another way there: no numbers, few short words."""
    words = [word for word in fold(title).split() if word.isalpha() and word not in _NUMBERS]
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
