"""Who is like whom in the terminal: members of a cohort, two members, two cohorts."""

from __future__ import annotations

import re

import psycopg
import pytest

from tests.cli.conftest import Almanac, Outcome


def blocks(outcome: Outcome) -> dict[str, list[list[str]]]:
    """The tables after each heading, their rows split at two blanks or more."""
    assert (outcome.code, outcome.err) == (0, ""), outcome
    found: dict[str, list[list[str]]] = {"": []}
    title = ""
    for before, line in zip(["", *outcome.lines], outcome.lines, strict=False):
        if not before and line and not line.startswith(" "):
            title = line.partition(" (")[0].strip()
            found.setdefault(title, [])
        elif line:
            found[title].append(re.split(r"\s{2,}", line.strip()))
    return found


def test_members_stand_with_their_habits_and_nearest(almanac: Almanac, circles: str) -> None:
    outcome = almanac("taste", "--cohort", "readers")
    assert (outcome.code, outcome.err) == (0, "")
    rows = {line.split()[0]: line.split() for line in outcome.lines[1:13]}
    assert set(rows) == {f"m{number}" for number in range(12)}
    with psycopg.connect(circles) as connection:
        for name, ratings, mean, strictness, nearest in connection.execute(
            """
            select a.username, ratings_count, average_rating, strictness, b.username
            from almanac.member_profiles join raw.users as a using (user_id)
            join raw.users as b on b.user_id = most_agreed_user_id where cohort = 'readers'
            """
        ):
            assert rows[name][1:4] == [str(ratings), f"{mean:.2f}", f"{strictness:+.2f}"]
            # Everybody of one parity gives the same stars.
            assert rows[name][6] == nearest
            assert int(nearest[1:]) % 2 == int(name[1:]) % 2
    assert outcome.lines[13].startswith("12 of 12 members")
    alike, unlike = (
        outcome.out.partition(f"{title} alike")[2].splitlines()[2:7] for title in ("Most", "Least")
    )
    most, least = ([float(line.split()[2]) for line in lines] for lines in (alike, unlike))
    assert most == sorted(most, reverse=True)
    assert least == sorted(least)
    assert max(least) < 0.3 < min(most)


def test_a_member_is_compared_with_everybody(almanac: Almanac, circles: str) -> None:
    outcome = almanac("taste", "-c", "critics", "--member", "M15")
    # m15 gives everything the same stars: nothing can be said, which is not 0.
    assert outcome.lines[-1].startswith("9 of 9 others · empty: fewer than five films in common")
    assert all(re.search(r"[+-]\d\.\d\d", line) is None for line in outcome.lines[1:-1])
    outcome = almanac("taste", "-c", "critics", "--member", "m6", "--limit", "1")
    assert len(outcome.lines) == 3
    assert "nobody" not in almanac("taste", "-c", "critics", "--member", "nobody").error


def test_two_members_are_compared_film_by_film(almanac: Almanac, circles: str) -> None:
    outcome = almanac("compare", "m0", "m1", "--cohort", "readers", "--limit", "3")
    found = blocks(outcome)
    assert outcome.lines[0].split() == ["readers", "m0", "m1"]
    for title in ("Loved by both", "Furthest apart", "Of m0, new to m1", "Of m1, new to m0"):
        assert title in found, title
        assert 1 < len(found[title]) <= 4
    for _, _, mine, theirs in found["Loved by both"][1:]:
        assert min(float(mine), float(theirs)) >= 4
    gaps = [abs(float(row[-1]) - float(row[-2])) for row in found["Furthest apart"][1:]]
    assert gaps == sorted(gaps, reverse=True)
    with psycopg.connect(circles) as connection:
        overlap, similarity = connection.execute(
            """
            select overlap, similarity from almanac.taste_similarity
            join raw.users as a on a.user_id = user_a join raw.users as b on b.user_id = user_b
            where cohort = 'readers' and a.username = 'm0' and b.username = 'm1'
            """
        ).fetchone() or (0, 0)
    assert f"alike {similarity:+.2f} over {overlap} films in common" in outcome.out


def test_the_order_of_two_members_only_changes_the_sides(almanac: Almanac, circles: str) -> None:
    there = almanac("compare", "m0", "m3", "-c", "readers").out
    back = almanac("compare", "m3", "m0", "-c", "readers").out
    pattern = r"alike .*"
    assert re.findall(pattern, there) == re.findall(pattern, back) != []


def test_a_film_that_was_only_logged_is_not_new(almanac: Almanac, circles: str) -> None:
    new = blocks(almanac("compare", "m0", "m1", "-c", "readers", "--limit", "1"))["Of m0, new to m1"][1][0]
    with psycopg.connect(circles) as connection:
        connection.execute(
            "insert into raw.diary_entries (user_id, film_id, source, source_key, film_title)"
            " select user_id, film_id, 'rss', 'k', title from raw.users, raw.films"
            " where username = 'm1' and title = %s",
            [new],
        )
    rows = blocks(almanac("compare", "m0", "m1", "-c", "readers", "--limit", "9"))["Of m0, new to m1"]
    assert new not in {row[0] for row in rows}


def test_two_cohorts_are_compared_by_places(almanac: Almanac, circles: str) -> None:
    outcome = almanac("compare", "readers", "critics", "--limit", "4")
    assert outcome.code == 0
    assert outcome.lines[0].split() == ["readers", "critics"]
    assert outcome.lines[1].split() == ["members", "12", "10"]
    with psycopg.connect(circles) as connection:
        common = connection.execute(
            "select count(*) from almanac.film_rankings as a join almanac.film_rankings as b"
            " using (strategy, film_id) where strategy = 'almanac' and a.cohort = 'readers'"
            " and b.cohort = 'critics' and a.eligible and b.eligible"
        ).fetchone()
    assert common
    assert f"{common[0]} films have a place in both: places alike " in outcome.out
    assert "Loved by both (stars, #place)" in outcome.out
    with psycopg.connect(circles) as connection:
        places = {
            title: (first, second)
            for title, first, second in connection.execute(
                """
                select title, rank() over (order by a.rank), rank() over (order by b.rank)
                from almanac.film_rankings as a
                join almanac.film_rankings as b using (strategy, film_id, title)
                where strategy = 'almanac' and a.cohort = 'readers' and b.cohort = 'critics'
                    and a.eligible and b.eligible
                """
            )
        }
    everything = blocks(almanac("compare", "readers", "critics", "--limit", "999"))
    apart = [abs(places[row[0]][0] - places[row[0]][1]) for row in everything["Furthest apart"][1:]]
    assert (len(apart), apart) == (len(places), sorted(apart, reverse=True))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("m0", "m0"), "Give two different members, or two different cohorts."),
        (
            ("m0", "m15"),
            "These are not two members of one cohort, nor two cohorts: "
            "`almanac cohort show SLUG` and `almanac cohort list` say who and what there is.",
        ),
        (("m6", "m7"), "Both are in several cohorts. Say which with --cohort: critics, readers."),
        (("m0", "readers"), "These are not two members of one cohort, nor two cohorts: "
         "`almanac cohort show SLUG` and `almanac cohort list` say who and what there is."),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_refused_without_names(
    arguments: tuple[str, str], message: str, almanac: Almanac, circles: str
) -> None:
    assert almanac("compare", *arguments).error == message


def test_too_little_in_common_is_said(almanac: Almanac, published: str) -> None:
    outcome = almanac("compare", "ann", "bob")
    assert "4 films in common: fewer than five films in common" in outcome.out
    outcome = almanac("taste")
    assert outcome.lines[-1].startswith("No two can be compared: fewer than five films in common")
