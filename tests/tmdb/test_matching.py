"""Which title is meant: spellings, years, namesakes and traps; and the measured targets on real titles."""

from __future__ import annotations

from pathlib import Path

import pytest

from almanac_pipeline.sources.records import MediaType
from almanac_pipeline.tmdb.matching import (
    FEW_VOTES,
    MAX_CANDIDATES,
    MOST_SERIES_VOTES,
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


def taken_of(wanted: Wanted, *titles: TitleSummary) -> TitleSummary | None:
    """Which of these is taken."""
    taken = decided(wanted, rank(wanted, titles))
    return None if taken is None else taken.title


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
        ("がく", "か\u3099く"),
        ("…", "..."),
        ("10.000 BC", "10,000 BC"),
        ("10000 BC", "10 000 BC"),
        ("9.99", "9,99"),
        ("-1", "Minus 1"),
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
        ("Kill Bill: Vol.2", "Kill Bill: Volume 2"),
        ("Spiderman", "Spider-Man"),
        ("Mister Nobody", "Mr. Nobody"),
    ],
)
def test_articles_numerals_and_short_forms_cost_a_little(wanted: str, found: str) -> None:
    assert score(wanted, found) == 0.9


@pytest.mark.parametrize(
    ("wanted", "found", "expected"),
    [
        ("Postman, The (Postino, Il)", "The Postman", 0.99),
        ("Postman, The (Postino, Il)", "Il postino", 0.86),
        ("Seven (a.k.a. Se7en)", "Se7en", 0.97),
        ("Cell 211 (Celda 211)", "Cell 211", 0.99),
        ("Cell 211 (a.k.a. Prisoner 3)", "Cell 211", 0.99),
        # What stands in brackets there, and what a number or a remark of ours names, needs another sign.
        ("Birdman", "Birdman (or the Unexpected Virtue of Ignorance)", 0.86),
        ("Gantz (II)", "Gantz", 0.86),
        ("Titanic (Making Of)", "Titanic", 0.86),
        ("3 Women (Three Women)", "3 Women", 0.99),
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
    assert taken_of(Wanted(wanted, 2000), title(found)) is None


def test_the_original_title_counts_like_the_title() -> None:
    assert score("Il postino", "The Postman", original="Il postino") == 1.0


def test_a_name_in_brackets_needs_another_sign_such_as_an_alternative_title() -> None:
    remark = Shelf(title("Special Edition"), further=("Edición especial",))
    assert match(Wanted("Aliens (Special Edition)", 2000), remark).taken is None
    name = Shelf(title("Il postino"), further=("The Postman",))
    assert match(Wanted("Postman, The (Postino, Il)", 2000), name).taken is not None


def test_a_bracket_that_may_be_a_numbering_is_believed_if_the_film_bears_both_names() -> None:
    wanted = Wanted("Road Warrior, The (Mad Max 2)", 2000)
    both = match(wanted, Shelf(title("Mad Max 2"), further=("The Road Warrior",)))
    assert both.taken is not None
    assert both.taken.reasons == ("both names of the title", "same year")
    one = match(wanted, Shelf(title("The Road Warrior")))
    assert one.taken is None
    assert [candidate.score for candidate in one.candidates] == [0.86]


def test_a_year_off_by_one_is_taken_and_one_off_by_two_is_not() -> None:
    found = title("Nomadland", 2021)
    assert taken_of(Wanted("Nomadland", 2021), found) == found
    assert taken_of(Wanted("Nomadland", 2020), found) == found
    assert taken_of(Wanted("Nomadland", 2019), found) is None


def test_one_of_the_very_year_is_taken_before_its_equal_of_the_next_if_it_is_known_more_widely() -> None:
    def taken(votes: int) -> TitleSummary | None:
        return taken_of(
            Wanted("Dawn", 2000), title("Dawn", 2001, 1, votes=500), title("Dawn", 2000, 2, votes=votes)
        )

    assert taken(100) is None
    assert taken(500) is None
    assert taken(2100) is not None
    assert taken(2100) == title("Dawn", 2000, 2, votes=2100)


def test_of_two_that_fit_alike_only_one_known_far_more_widely_is_taken() -> None:
    def taken(votes: int, other: int, year: int | None = 2000) -> bool:
        wanted = Wanted("Dawn", year)
        one, two = title("Dawn", 2000, 1, votes=votes), title("Dawn", 2000, 2, votes=other)
        return taken_of(wanted, one, two) is not None

    assert taken(18_000, 2)
    assert not taken(11_500, 40)
    assert not taken(100, 100)
    # Without a year the obscure one may be meant as well.
    assert not taken(18_000, 2, year=None)


def test_a_series_is_never_taken_but_offered() -> None:
    series = title("Fargo", 1996, 9, media_type="tv", votes=9000)
    found = match(Wanted("Fargo", 1996), Shelf(series))
    assert found.taken is None
    assert [candidate.title for candidate in found.candidates] == [series]
    assert "a series" in found.candidates[0].reasons
    low = match(Wanted("Fargo", 1996), Shelf(series), threshold=0.5)
    assert low.taken is None


def test_a_film_is_taken_beside_a_series_of_its_name_unless_hardly_anybody_knows_the_film() -> None:
    def taken(film_votes: int, series_votes: int, series_year: int = 2019) -> bool:
        film = title("Chernobyl", 2019, 1, votes=film_votes)
        series = title("Chernobyl", series_year, 87_108, votes=series_votes, media_type="tv")
        return match(Wanted("Chernobyl", 2019), Shelf(film, series)).taken is not None

    assert not taken(30, 6000)
    assert taken(30, 600)
    assert not taken(60, 7000)
    assert not taken(240, MOST_SERIES_VOTES)
    assert taken(250, MOST_SERIES_VOTES)
    assert taken(8000, 9000)
    assert taken(30, 6000, series_year=1990)
    assert taken_of(Wanted("Dawn", None), title("Dawn"), title("Dawn", media_type="tv")) is not None
    assert taken_of(Wanted("Dawn", None), title("Dawn"), title("Dawn", votes=90_000, media_type="tv")) is None


def test_a_series_of_the_very_year_is_in_the_way_of_a_well_known_film_of_the_next() -> None:
    def taken(film_votes: int, series_votes: int) -> bool:
        film = title("Chernobyl", 2020, 1, votes=film_votes)
        series = title("Chernobyl", 2019, 87_108, votes=series_votes, media_type="tv")
        return match(Wanted("Chernobyl", 2019), Shelf(film, series)).taken is not None

    assert not taken(3000, 20_000)
    assert taken(20_000, 3000)


def test_a_film_of_the_very_title_is_taken_before_one_with_an_article() -> None:
    girl, the_girl = title("Girl", 2000, 1), title("The Girl", 2000, 2)
    assert taken_of(Wanted("Girl", 2000), girl, the_girl) == girl
    assert taken_of(Wanted("The Girl", 2000), girl, the_girl) == the_girl


def test_without_a_year_only_the_single_bearer_of_the_name_is_taken() -> None:
    one, other = title("Titanic", 1997, 1), title("Titanic", 1953, 2)
    assert match(Wanted("Titanic", None), Shelf(one)).taken is not None
    assert match(Wanted("Titanic", None), Shelf(one, other)).taken is None


def test_an_undated_entry_of_a_dated_film_is_offered_only() -> None:
    found = match(Wanted("Dawn", 2000), Shelf(title("Dawn", None)))
    assert found.taken is None
    assert found.candidates[0].reasons == ("same title", "undated at TMDB")
    assert match(Wanted("Dawn", None), Shelf(title("Dawn", None))).taken is not None


def test_a_well_known_film_of_the_very_year_costs_one_question_and_others_a_look_at_series() -> None:
    known = Shelf(title("Dawn", votes=250))
    assert match(Wanted("Dawn", 2000), known).questions_count == 1
    # Of all years: a better known namesake of the next year is seen, too.
    assert known.asked == [Question("movie", "Dawn", None)]
    for wanted, votes in (
        (Wanted("Dawn", 2000), 240),
        (Wanted("Dawn", 1999), 20_000),
        (Wanted("Dawn", None), 20_000),
    ):
        other = Shelf(title("Dawn", votes=votes))
        assert match(wanted, other).taken is not None
        assert other.asked[1:] == [Question("tv", "Dawn", None)]


def test_an_obscure_film_of_the_very_year_is_not_taken_before_a_famous_one_of_the_next() -> None:
    shelf = Shelf(title("Nomadland", 2020, 1, votes=20), title("Nomadland", 2021, 2, votes=3000))
    assert match(Wanted("Nomadland", 2020), shelf).taken is None


def test_more_results_than_a_page_are_narrowed_to_the_year_and_those_beside() -> None:
    shelf = Shelf(title("Home", 2000, votes=1), more=500)
    match(Wanted("Home", 2000), shelf)
    years = [question.year for question in shelf.asked if question.media_type == "movie"]
    assert years == [None, 2000, 1999, 2001]

    def movie_questions_count(year: int) -> int:
        shelf = Shelf(title("Home", year, votes=FEW_VOTES), more=500)
        match(Wanted("Home", 2000), shelf)
        return sum(question.media_type == "movie" for question in shelf.asked)

    assert movie_questions_count(2000) == 1
    assert movie_questions_count(2001) == 2


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
    assert match(Wanted("Dawn", 2000), Shelf(title("Quite Else", 1960))) == Match(None, (), 2)


# -- measured ------------------------------------------------------------------------------------


@pytest.mark.parametrize("trap", [pytest.param(trap, id=trap.name) for trap in match_titles.TRAPS])
def test_no_trap_is_fallen_into(trap: match_titles.Trap) -> None:
    assert match_titles.spring(trap).startswith("ok")


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
    assert off_by_one["precision"] >= 0.995, off_by_one
    assert off_by_one["recall"] >= 0.95, off_by_one
    absent = match_titles.measure(index, match_titles.absent_cases(pairs))
    assert absent["wrong"] == 0, absent
