"""Rankings in the terminal and marts as files."""

from __future__ import annotations

import io

import psycopg
import pytest
from rich.console import Console

from almanac_pipeline.cli.tables import hanging, ranking_table
from almanac_pipeline.warehouse.rankings import RankedFilm
from tests.cli.conftest import Almanac

MARTS = ["cohort_film_stats", "film_histograms", "film_rankings", "ranking_insights"]


def ranked(rank: int | None, title: str, **changes: object) -> RankedFilm:
    values = {
        "rank_low": 1, "rank_high": 9, "tier": 1, "slug": "film", "release_year": 1999,
        "score": 4.2, "estimate": 4.5, "average_rating": 4.75, "raters": 12, "watchers": 14,
        "liked_share": 0.5, "label": "most liked, unrated", "fitting_count": 40,
    }  # fmt: skip
    return RankedFilm(rank=rank, title=title, **{**values, **changes})  # type: ignore[arg-type]


def rendered(width: int, *rows: RankedFilm) -> list[str]:
    stream = io.StringIO()
    Console(file=stream, width=width).print(ranking_table(rows))
    return stream.getvalue().splitlines()


# -- rank show -----------------------------------------------------------------------------------


def test_the_best_films_come_first_with_interval_and_means(almanac: Almanac, published: str) -> None:
    outcome = almanac("rank", "show", "--limit", "2")
    assert (outcome.code, outcome.err) == (0, "")
    header, first, second, footer = outcome.lines
    assert header.split() == ["#", "90", "%", "sure", "film", "year", "stars", "mean", "raters", "label"]
    rank, interval, *_ = first.split()
    assert rank == "1"
    assert interval.startswith("1–")
    assert "Night and Day" in first
    assert {"1991", "4.83", "3"} <= set(first.split())
    # Brackets in a title are no markup.
    assert "The [Long] Way Home" in second
    assert footer.startswith("2 of 4 ranked films · friends, almanac · published 20")


def test_another_strategy_ranks_by_its_own_scores(almanac: Almanac, published: str) -> None:
    outcome = almanac("rank", "show", "-c", "friends", "--strategy", "bayesian", "--limit", "50")
    assert outcome.code == 0
    assert len(outcome.lines) == 6


def test_an_unknown_strategy_is_answered_with_the_known_ones(almanac: Almanac, published: str) -> None:
    outcome = almanac("rank", "show", "--strategy", "popular")
    assert (outcome.code, outcome.out) == (2, "")
    assert "bayesian" in outcome.err


@pytest.mark.parametrize("command", [("rank", "show"), ("rank", "buckets"), ("export", "csv")])
def test_a_cohort_that_was_never_published_says_what_does_it(
    command: tuple[str, str], almanac: Almanac, empty: str
) -> None:
    with psycopg.connect(empty) as connection:
        connection.execute("insert into raw.cohorts (slug, label, definition) values ('new', 'New', '{}')")
    assert almanac(*command).error == "new is not published yet: `almanac cohort build new` runs the chain."


def test_a_ranking_of_a_cohort_that_is_held_back_says_so_and_where_the_reason_stands(
    almanac: Almanac, published: str
) -> None:
    with psycopg.connect(published) as connection:
        connection.execute(
            "update intermediate.cohort_audits set passed = false where rule = 'bucket_sums_equal_ratings'"
        )
    outcome = almanac("rank", "show")
    assert outcome.code == 0
    assert "friends is held back: its last build failed bucket_sums_equal_ratings." in outcome.err
    assert "`almanac stats refresh --cohort friends` says what" in outcome.err
    with psycopg.connect(published) as connection:
        connection.execute("delete from intermediate.cohort_audits")
        connection.execute("update raw.cohorts set ranking_parameters = '{\"tau\": 1}'")
    assert "held back: Unknown ranking parameters: tau" in almanac("rank", "buckets").err


def test_a_cohort_that_became_empty_has_no_labels_and_says_so(almanac: Almanac, published: str) -> None:
    with psycopg.connect(published) as connection:
        connection.execute("delete from almanac.ranking_insights")
    assert almanac("rank", "buckets").error == (
        "friends was published without films: `almanac cohort show friends` says who is in it."
    )


def test_places_by_hearts_say_nothing_where_there_are_none(almanac: Almanac, published: str) -> None:
    with psycopg.connect(published) as connection:
        connection.execute("update almanac.cohort_film_stats set liked_share = 0.4 where slug = 'film-1'")
    outcome = almanac("rank", "show", "--strategy", "loved")
    assert "hearts" in outcome.lines[0]
    assert any("0.40" in line for line in outcome.lines[1:]), "the share itself, not the interval's centre"
    assert "None of these has a heart" not in outcome.out
    with psycopg.connect(published) as connection:
        connection.execute("update almanac.cohort_film_stats set liked_share = 0")
    assert "None of these has a heart" in almanac("rank", "show", "--strategy", "loved").out


def test_no_number_of_films_is_a_usage_error(almanac: Almanac, published: str) -> None:
    assert almanac("rank", "show", "--limit", "0").code == 2


@pytest.mark.parametrize("width", [80, 120])
def test_a_row_is_one_line_and_only_the_title_gives_way(width: int) -> None:
    rows = [
        ranked(1, "A title that is so long that it fits into no terminal of this width, however wide"),
        ranked(1234, "Short", rank_low=1100, rank_high=1612, raters=12345, release_year=None, label=""),
    ]
    header, long, short = rendered(width, *rows)
    assert "…" in long
    assert long.rstrip().endswith("1999   4.50  4.75      12  most liked, unrated")
    assert short.split() == ["1234", "1100–1612", "Short", "4.50", "4.75", "12345"]
    assert max(len(line) for line in (header, long, short)) <= width


def test_tiers_are_set_apart() -> None:
    lines = rendered(120, ranked(1, "One"), ranked(2, "Two"), ranked(3, "Three", tier=2))
    assert len(lines) == 4


def test_a_long_text_hangs_below_itself_in_a_terminal_and_is_one_line_elsewhere() -> None:
    text = "word " * 30 + "end"
    for terminal in (True, False):
        stream = io.StringIO()
        console = Console(file=stream, width=60, force_terminal=terminal, color_system=None)
        hanging(console, "- head ", text)
        lines = stream.getvalue().splitlines()
        assert lines[0].startswith("- head word")
        assert (len(lines) > 1) == terminal
        assert all(line.startswith("       word") or "end" in line for line in lines[1:])
