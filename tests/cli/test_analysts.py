"""docs/analysts.md: its queries answer, and what it says of the marts is so."""

from __future__ import annotations

import re

import psycopg
import pytest

from almanac_pipeline.settings import PROJECT_ROOT

PAGE = (PROJECT_ROOT / "docs" / "analysts.md").read_text()
QUERIES = re.findall(r"^### (\d+)\. [^\n]*\n.*?^```sql\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
COHORT = "readers"


def run(url: str, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        connection.execute("set role almanac_reader")
        return connection.execute(query.replace(":'cohort'", f"'{COHORT}'")).fetchall()


def test_the_page_has_ten_queries() -> None:
    assert [int(number) for number, _ in QUERIES] == list(range(1, 11))


def test_every_query_answers_to_a_reader_of_the_marts_alone(circles: str) -> None:
    counts = {int(number): len(run(circles, query)) for number, query in QUERIES}
    assert [number for number, count in counts.items() if count == 0] == []


def test_shares_made_from_counts_are_those_of_all_ratings(circles: str) -> None:
    """Query 8 adds up to the cohort, which a mean of means would not."""
    rows = run(circles, dict(QUERIES)["8"])
    with psycopg.connect(circles) as connection:
        truth = connection.execute(
            """
            select count(rating), sum(rating) from raw.ratings
            join raw.cohort_members using (user_id) join raw.cohorts using (cohort_id) where slug = %s
            """,
            [COHORT],
        ).fetchone()
    assert truth
    ratings = sum(int(str(row[2])) for row in rows)
    assert ratings == truth[0]
    mean = sum(int(str(row[2])) * float(str(row[3])) for row in rows) / ratings
    assert mean == pytest.approx(float(truth[1]) / ratings, abs=0.01)


def test_every_mart_and_slice_is_named(circles: str) -> None:
    with psycopg.connect(circles) as connection:
        rows = connection.execute(
            "select table_name from information_schema.tables where table_schema = 'almanac'"
        ).fetchall()
    assert [name for (name,) in rows if f"`{name}`" not in PAGE] == []


def test_the_diagram_names_columns_that_the_marts_have(circles: str) -> None:
    diagram = PAGE.partition("```mermaid")[2].partition("```")[0]
    drawn = {
        (mart, column)
        for mart, body in re.findall(r"^    (\w+) \{\n(.*?)^    \}", diagram, re.MULTILINE | re.DOTALL)
        for column in re.findall(r"^        \w+ (\w+)", body, re.MULTILINE)
    }
    with psycopg.connect(circles) as connection:
        known = set(
            connection.execute(
                "select table_name::text, column_name::text from information_schema.columns"
                " where table_schema = 'almanac'"
            )
        )
    assert len(drawn) > 20
    assert drawn - known == set()
