"""What `rank show` finds under every filter, and what it says when that is nothing."""

from __future__ import annotations

import re
from typing import Any, get_args

import psycopg
import pytest
import typer
import yaml

from almanac_pipeline.cli import app, rank
from almanac_pipeline.settings import PROJECT_ROOT
from tests.cli.conftest import Almanac, Outcome

SHOW: Any = typer.main.get_command(app).commands["rank"].commands["show"]  # type: ignore[attr-defined]

# Each filter with what it asks of a film, in the words of the marts.
FILTERS = {
    "--min-year=1990": "directory.release_year >= 1990",
    "--max-year=1975": "directory.release_year <= 1975",
    "--decade=1980": "directory.release_decade = 1980",
    "--genre=Horror": "'Horror' = any(directory.genres)",
    "--director=Orson Welles": "'Orson Welles' = any(directory.directors)",
    "--country=France": "'France' = any(directory.countries)",
    "--min-raters=9": "stats.raters >= 9",
    "--max-raters=8": "stats.raters <= 8",
    "--min-watchers-percentile=50": "insights.watcher_percentile >= 50",
    "--max-watchers-percentile=50": "insights.watcher_percentile <= 50",
    "--min-score=2.8": "ranking.score >= 2.8",
    "--max-score=2.8": "ranking.score <= 2.8",
    "--min-liked-share=0.01": "stats.liked_share >= 0.01",
    "--max-liked-share=0": "stats.liked_share <= 0",
    "--min-divergence=-0.4": "insights.delta >= -0.4",
    "--max-divergence=-0.4": "insights.delta <= -0.4",
    "--label=steady performer": "insights.bucket = 'steady performer'",
    "--distribution=two camps": "insights.distribution_label = 'two camps'",
}


def titles(outcome: Outcome) -> list[str]:
    assert (outcome.code, outcome.err) == (0, ""), outcome
    return [found[0] for line in outcome.lines if (found := re.search(r"Reel \d+", line))]


def expected(url: str, condition: str, *, strategy: str = "almanac") -> list[str]:
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            f"""
            select ranking.title from almanac.film_rankings as ranking
            join almanac.cohort_film_stats as stats using (cohort, film_id)
            join almanac.ranking_insights as insights using (cohort, film_id)
            join almanac.film_directory as directory using (film_id)
            where cohort = 'readers' and strategy = '{strategy}' and eligible and {condition}
            order by ranking.rank
            """
        ).fetchall()
    return [title for (title,) in rows]


def show(almanac: Almanac, *arguments: str) -> Outcome:
    return almanac("rank", "show", "-c", "readers", "--limit", "99", *arguments)


def test_each_filter_alone_finds_what_the_marts_say(almanac: Almanac, circles: str) -> None:
    every = expected(circles, "true")
    for option, condition in FILTERS.items():
        wanted = expected(circles, condition)
        assert 0 < len(wanted) < len(every), option
        assert titles(show(almanac, option)) == wanted, option


def test_no_filter_is_left_untested() -> None:
    others = {"--cohort", "--strategy", "--limit", "--slice", "--as-of"}
    options = {parameter.opts[0] for parameter in SHOW.params}
    assert options - others == {option.partition("=")[0] for option in FILTERS}


def test_filters_together_find_what_fits_all(almanac: Almanac, circles: str) -> None:
    given = ("--min-year=1990", "--director=Orson Welles", "--max-score=2.8", "--min-raters=8")
    conditions = " and ".join(FILTERS.get(option, "stats.raters >= 8") for option in given)
    assert titles(show(almanac, *given, "--strategy", "bayesian")) == expected(
        circles, conditions, strategy="bayesian"
    )


def test_names_are_found_however_they_are_spelled(almanac: Almanac, circles: str) -> None:
    wanted = titles(show(almanac, "--genre=Horror", "--director=Agnès Varda"))
    assert wanted
    assert titles(show(almanac, "--genre", "horror", "--director", "AGNÈS VARDA")) == wanted


def test_the_place_is_the_one_among_all_films(almanac: Almanac, circles: str) -> None:
    rows = show(almanac, "--genre=Horror").lines
    with psycopg.connect(circles) as connection:
        ranks = connection.execute(
            "select rank from almanac.film_rankings join almanac.film_directory using (film_id)"
            " where cohort = 'readers' and strategy = 'almanac' and 'Horror' = any(genres) and eligible"
            " order by rank"
        ).fetchall()
    assert [int(line.split()[0]) for line in rows if "Reel" in line] == [rank for (rank,) in ranks]
    assert rows[-1].startswith(f"{len(ranks)} of {len(ranks)} films that fit · readers, almanac · published ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--genre", "horor"),
            "No film of readers fits: --genre 'horor' leaves out 40 of 40 films. Did you mean Horror?",
        ),
        (
            ("--min-year", "1970", "--decade", "2050"),
            "No film of readers fits: --decade 2050 leaves out 40 of 40 films. Leave it out or change it.",
        ),
        (
            ("--genre", "Horror", "--director", "Orson Welles"),
            "No film of readers fits: --genre 'Horror' leaves out 30 of 40 films, and the other filters the"
            " rest. Loosen one of them.",
        ),
        (("--decade", "1994"), "--decade is the first year of ten, such as 1990."),
        (("--min-score", "nan"), "--min-score is a number, not nan."),
        (("--max-divergence=-inf",), "--max-divergence is a number, not -inf."),
        (("--as-of", "May"), "--as-of is a day or a time such as 2026-01-31, not 'May'."),
        (
            ("--as-of", "2020-01-01", "--slice", "two_camps"),
            "--slice is known of today only: leave it or --as-of out.",
        ),
        (
            ("--as-of", "2020-01-01", "--label", "skip it"),
            "--label is known of today only: leave it or --as-of out.",
        ),
        (
            ("--as-of", "2020-01-01"),
            "Nothing that fits was published of readers by almanac before 2020-01-02 00:00 UTC: "
            "take a later --as-of, or fewer filters.",
        ),
        (
            ("--slice", "most_liked_unrated"),
            "No film of readers is in most_liked_unrated: `almanac rank buckets` shows the labels there are.",
        ),
    ],
)
def test_nothing_found_names_what_left_it_out(
    options: tuple[str, ...], message: str, almanac: Almanac, circles: str
) -> None:
    assert show(almanac, *options).error == message


def test_a_slice_comes_in_its_own_order_with_places_of_the_ranking(almanac: Almanac, circles: str) -> None:
    with psycopg.connect(circles) as connection:
        connection.execute(
            "update almanac.ranking_insights set bucket = case when title in ('Reel 3', 'Reel 4', 'Reel 8')"
            " then 'divisive vs the crowd' else 'steady performer' end"
        )
        wanted = connection.execute(
            "select title from almanac.divisive_vs_the_crowd where cohort = 'readers' order by place"
        ).fetchall()
    outcome = show(almanac, "--slice", "divisive_vs_the_crowd")
    assert titles(outcome) == [title for (title,) in wanted]
    assert outcome.lines[-1].startswith("3 of 3 divisive_vs_the_crowd · readers, almanac")


def test_a_date_shows_the_places_of_then_beside_those_of_now(almanac: Almanac, circles: str) -> None:
    with psycopg.connect(circles) as connection:
        connection.execute("update ops.rank_stretches set published_at = '2026-01-10 12:00+0'")
        connection.execute(
            "update ops.rank_stretches as old set until_at = '2026-02-01 00:00+0' from raw.films"
            " where films.film_id = old.film_id and slug = 'film-104'"
        )
        connection.execute(
            "insert into ops.rank_stretches"
            " (cohort_id, strategy, film_id, publication_id, published_at, rank, previous_rank, score,"
            " raters)"
            " select cohort_id, strategy, film_id, 999, until_at, 77, rank, 1, 2"
            " from ops.rank_stretches where until_at is not null"
        )
    for day, place in (("2026-01-10", None), ("2026-01-31", None), ("2026-02-01", "77")):
        outcome = show(almanac, "--as-of", day, "--genre", "Horror")
        [row] = [line.split() for line in outcome.lines if re.search(r"Reel 4\b", line)]
        assert row[1] == "77"
        assert (row[0] == "77") == (place == "77"), day
    assert "before 2026-01-10 12:00 UTC" in show(almanac, "--as-of", "2026-01-10T12:00").error
    assert "before 2026-01-10 10:00:07 UTC" in show(almanac, "--as-of", "2026-01-10T12:00:07+02:00").error


def test_the_choices_of_the_command_line_are_those_of_the_marts() -> None:
    accepted = (PROJECT_ROOT / "dbt_project/models/marts/_marts__models.yml").read_text()
    slices = {path.stem for path in (PROJECT_ROOT / "dbt_project/models/marts/slices").glob("*.sql")}
    assert set(get_args(rank.Slice)) == slices - {"by_director"}
    lists = [
        set(re.findall(r"'([^']+)'", condition))
        for model in yaml.safe_load(accepted)["models"]
        for test in model.get("data_tests", ())
        for condition in test.get("holds", {}).get("arguments", {}).get("rules", {}).values()
    ]
    for choices in (rank.Strategy, rank.Label, rank.Distribution):
        assert set(get_args(choices)) in lists


def test_labels_are_counted_with_their_rules(almanac: Almanac, circles: str) -> None:
    lines = almanac("rank", "buckets", "-c", "readers").lines
    assert lines[0].split() == ["label", "films", "when", "the", "best", "of", "them"]
    counts = {line.split("  ")[0]: line for line in lines[1:]}
    with psycopg.connect(circles) as connection:
        rows = connection.execute(
            "select bucket, count(*) from almanac.ranking_insights where cohort = 'readers' group by 1"
        ).fetchall()
    assert {label: f" {count} " in counts[label] for label, count in rows} == {
        label: True for label, _ in rows
    }
    assert "none of the others fits" in counts["steady performer"]
    spread = almanac("rank", "buckets", "-c", "readers", "--distribution")
    assert "agreement < 0.2, end share ≥ 0.2" in next(
        line for line in spread.lines if line.startswith("two camps")
    )


# -- rank compute ----------------------------------------------------------------------------------


def test_computing_shows_the_strategy_that_was_asked_for(
    almanac: Almanac, circles: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = []
    # A run of Dagster takes ten seconds, and is tested with `stats refresh`.
    monkeypatch.setattr(rank, "run", lambda job, *cohorts, tags: runs.append((job, cohorts, tags)))
    assert almanac("rank", "compute", "-c", "readers").out == ""
    outcome = almanac("rank", "compute", "-c", "readers", "--strategy", "wilson")
    assert titles(outcome) == expected(circles, "true", strategy="wilson")[:10]
    assert outcome.lines[0].split()[6] == "centre"
    assert runs == [("statistics", ("readers",), {"almanac/force": "true"})] * 2
