"""Which title is meant: spellings, years, namesakes and traps; and the measured targets on real titles."""

from __future__ import annotations

from pathlib import Path

import pytest

from almanac_pipeline.sources.records import MediaType
from almanac_pipeline.tmdb.matching import (
    FEW_VOTES,
    MARGIN,
    MAX_CANDIDATES,
    Match,
    Question,
    Wanted,
    decided,
    match,
    rank,
)
from almanac_pipeline.tmdb.titles import TitleSummaries, TitleSummary
from bench import match_titles


def title(
    name: str,
    year: int | None = 2000,
    tmdb_id: int = 1,
    *,
    original: str | None = None,
    votes: int = 100,
    media_type: MediaType = "movie",
) -> TitleSummary:
    return TitleSummary(media_type, tmdb_id, name, original, year, votes)


class Shelf:
    """Answers every question with the titles of its kind and year; remembers what was asked."""

    def __init__(self, *titles: TitleSummary, more: int = 0, further: tuple[str, ...] = ()) -> None:
        self.titles, self.more, self.further = titles, more, further
        self.asked: list[Question] = []
        self.asked_further: list[int] = []

    def search(self, question: Question) -> TitleSummaries:
        self.asked.append(question)
        found = tuple(
            title
            for title in self.titles
            if title.media_type == question.media_type and question.year in (None, title.release_year)
        )
        return TitleSummaries(found, len(found) + (self.more if question.year is None else 0))

    def further_titles(self, media_type: MediaType, tmdb_id: int) -> tuple[str, ...]:
        self.asked_further.append(tmdb_id)
        return self.further


def score(wanted: str, found: str, *, original: str | None = None) -> float:
    """How well a title of the same year fits."""
    [candidate] = rank(Wanted(wanted, 2000), [title(found, original=original)])
    return candidate.score


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("THE MATRIX", "The Matrix"),
        ("Matrix, The", "The Matrix"),
        ("Avventura, L'", "L'Avventura"),
        ("Amelie", "Amélie"),
        ("Schindlers List", "Schindler’s List"),
        ("Lilo and Stitch", "Lilo & Stitch"),
        ("Romeo + Juliet", "Romeo and Juliet"),
        ("8 1/2", "8½"),
        ("Mission: Impossible - Fallout", "Mission: Impossible – Fallout"),
        ("tick, tick...BOOM!", "tick, tick... BOOM!"),
        ("Weiss", "Weiß"),
        ("ET the Extra-Terrestrial", "E.T. the Extra-Terrestrial"),
        ("The Matrix (1999)", "The Matrix"),
        ("千と千尋の神隠し", "千と千尋の神隠し"),
    ],
)
def test_case_accents_punctuation_and_the_place_of_the_article_make_no_difference(
    wanted: str, found: str
) -> None:
    assert score(wanted, found) == 1.0


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("Matrix", "The Matrix"),
        ("Rocky 2", "Rocky II"),
        ("Twelve Monkeys", "12 Monkeys"),
        ("Kill Bill: Vol. 1", "Kill Bill Volume One"),
        ("Spiderman", "Spider-Man"),
        ("Mister Nobody", "Mr. Nobody"),
    ],
)
def test_articles_numerals_and_short_forms_cost_a_little(wanted: str, found: str) -> None:
    assert score(wanted, found) == 0.94


@pytest.mark.parametrize(
    ("wanted", "found", "expected"),
    [
        ("Postman, The (Postino, Il)", "The Postman", 0.99),
        ("Postman, The (Postino, Il)", "Il postino", 0.97),
        ("Seven (a.k.a. Se7en)", "Se7en", 0.97),
        ("Birdman", "Birdman (or the Unexpected Virtue of Ignorance)", 0.99),
        ("Fast Five (Fast and the Furious 5, The)", "Fast Five", 0.99),
    ],
)
def test_parts_in_brackets_are_other_names(wanted: str, found: str, expected: float) -> None:
    assert score(wanted, found) == expected


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("Kill Bill: Vol. 1", "Kill Bill: Vol. 2"),
        ("Che (Part 1)", "Che (Part 2)"),
        ("Toy Story 2", "Toy Story"),
        ("The Matrix", "The Making of The Matrix"),
        ("Star Wars", "Star Wars: The Force Awakens"),
        ("Ava", "Avatar"),
        ("Northern Night (Milk)", "Northern Night (Patience)"),
        ("Wooden Station (Mercy)", "Blind Tunnel (Mercy)"),
        ("The Lodger", "The Lodgers"),
        ("", "The Matrix"),
        ("!!!", "???"),
    ],
)
def test_similar_titles_are_never_good_enough(wanted: str, found: str) -> None:
    assert decided(rank(Wanted(wanted, 2000), [title(found)])) is None


def test_the_original_title_counts_like_the_title() -> None:
    assert score("Il postino", "The Postman", original="Il postino") == 1.0


def test_a_year_off_by_one_is_taken_and_one_off_by_two_is_not() -> None:
    found = [title("Nomadland", 2021)]
    assert decided(rank(Wanted("Nomadland", 2021), found)) is not None
    assert decided(rank(Wanted("Nomadland", 2020), found)) is not None
    assert decided(rank(Wanted("Nomadland", 2019), found)) is None


def test_one_of_the_very_year_is_taken_before_its_equal_of_the_next() -> None:
    found = [title("Dawn", 2001, 1), title("Dawn", 2000, 2)]
    taken = decided(rank(Wanted("Dawn", 2000), found))
    assert taken is not None
    assert taken.title.tmdb_id == 2


def test_of_two_that_fit_alike_only_one_known_far_more_widely_is_taken() -> None:
    def taken(votes: int, other: int) -> bool:
        found = [title("Dawn", 2000, 1, votes=votes), title("Dawn", 2000, 2, votes=other)]
        return decided(rank(Wanted("Dawn", 2000), found)) is not None

    assert taken(18_000, 2)
    assert not taken(11_500, 40)
    assert not taken(100, 100)


def test_a_series_is_never_taken_but_offered() -> None:
    series = title("Fargo", 1996, 9, media_type="tv", votes=9000)
    found = match(Wanted("Fargo", 1996), Shelf(series))
    assert found.taken is None
    assert [candidate.title for candidate in found.candidates] == [series]
    assert "a series" in found.candidates[0].reasons
    film = title("Fargo", 1996, 9, votes=30)
    beside = match(Wanted("Fargo", 1996), Shelf(series, film))
    assert beside.taken is not None
    assert beside.taken.title == film


def test_without_a_year_only_the_single_bearer_of_the_name_is_taken() -> None:
    one, other = title("Titanic", 1997, 1), title("Titanic", 1953, 2)
    assert match(Wanted("Titanic", None), Shelf(one)).taken is not None
    assert match(Wanted("Titanic", None), Shelf(one, other)).taken is None


def test_an_undated_entry_of_a_dated_film_is_offered_only() -> None:
    found = match(Wanted("Dawn", 2000), Shelf(title("Dawn", None)))
    assert found.taken is None
    assert found.candidates[0].reasons == ("same title", "undated at TMDB")
    assert match(Wanted("Dawn", None), Shelf(title("Dawn", None))).taken is not None


def test_a_well_known_film_costs_one_question_and_an_obscure_one_a_look_at_other_years() -> None:
    known = Shelf(title("Dawn", votes=FEW_VOTES))
    assert match(Wanted("Dawn", 2000), known).questions_count == 1
    assert known.asked == [Question("movie", "Dawn", 2000)]
    obscure = Shelf(title("Dawn", 2000, 1, votes=0), title("Dawn", 2001, 2, votes=5000))
    assert match(Wanted("Dawn", 2000), obscure).taken is None
    assert obscure.asked[1] == Question("movie", "Dawn", None)


def test_more_results_than_a_page_are_narrowed_to_the_years_beside() -> None:
    shelf = Shelf(title("Home", 1990), more=500)
    match(Wanted("Home", 2000), shelf)
    assert {question.year for question in shelf.asked} >= {None, 1999, 2000, 2001}
    assert {q.year for q in _asked(Shelf(title("Home", 1990)))} == {None, 2000}


def _asked(shelf: Shelf) -> list[Question]:
    match(Wanted("Home", 2000), shelf)
    return shelf.asked


def test_a_title_found_under_another_name_is_asked_for_its_names() -> None:
    mirror = Shelf(title("Mirror", 2000, 5, original="Зеркало"), further=("Zerkalo", "The Mirror"))
    found = match(Wanted("Zerkalo", 2000), mirror)
    assert found.taken is not None
    assert found.taken.reasons == ("same another title", "same year")
    assert mirror.asked_further == [5]
    # One of another time is not the film, whatever else it is called.
    old = Shelf(title("Mirror", 1950, 5), further=("Zerkalo",))
    assert match(Wanted("Zerkalo", 2000), old).taken is None
    assert old.asked_further == []


def test_the_best_candidates_come_first_and_are_few() -> None:
    many = [title("Dawn", 1900 + number, number + 1) for number in range(30)]
    found = match(Wanted("Dawn", 2000), Shelf(*many, title("Dawn", 2002, 99), title("Else", 2000, 98)))
    assert found.taken is None
    assert len(found.candidates) == MAX_CANDIDATES
    assert found.candidates[0].title.tmdb_id == 99
    standings = [candidate.standing for candidate in found.candidates]
    assert standings == sorted(standings, reverse=True)


def test_nothing_like_it_leaves_no_candidates() -> None:
    assert match(Wanted("Dawn", 2000), Shelf(title("Quite Else", 1960))) == Match(None, (), 3)


def test_the_margin_is_what_a_year_costs() -> None:
    """Else of two namesakes in a row neither could ever be taken, or an obscure one always would."""
    here, beside = rank(Wanted("Dawn", 2000), [title("Dawn", 2000, 1), title("Dawn", 2001, 2)])
    assert here.standing - beside.standing == pytest.approx(MARGIN)


# -- measured ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name, *_ in match_titles.TRAPS])
def test_no_trap_is_fallen_into(name: str) -> None:
    assert match_titles.traps()[name].startswith("ok")


@pytest.mark.shared
def test_real_titles_are_matched_with_the_precision_and_recall_that_are_promised(shared_dir: Path) -> None:
    pairs = match_titles.read_pairs(shared_dir / "data" / "film-level" / match_titles.PAIRS.name)[::4]
    films = [match_titles.film(p.title, p.year, p.tmdb_id, p.original_title) for p in pairs]
    index = match_titles.Index([*films, *match_titles.noise(pairs)])
    spelt = match_titles.variants(pairs)
    sets = [
        match_titles.as_given(pairs)[::2],
        *(spelt[name] for name in ("original_titles", "without_accents")),
    ]
    for result in [match_titles.measure(index, cases[:400]) for cases in sets]:
        assert result["precision"] >= 0.995, result
        assert result["recall"] >= 0.97, result
    off_by_one = match_titles.measure(index, [*spelt["year_before"], *spelt["year_after"]])
    assert off_by_one["precision"] >= 0.99, off_by_one
    assert off_by_one["recall"] >= 0.95, off_by_one
    absent = match_titles.measure(index, match_titles.absent_cases(pairs))
    assert absent["wrong"] <= 1, absent
