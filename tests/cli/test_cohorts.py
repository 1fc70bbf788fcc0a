"""Cohorts at the command line: which one is meant, how one is made, how they are shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from almanac_pipeline.cli.cohort import definition_of, read_usernames
from almanac_pipeline.errors import ConfigurationError
from almanac_pipeline.warehouse.cohorts import validated_definition
from tests.cli.conftest import Almanac

NEEDING_A_COHORT = [
    ("scrape",),
    ("enrich",),
    ("stats", "refresh"),
    ("rank", "compute"),
    ("rank", "show"),
    ("export", "csv"),
]


def add_cohort(url: str, slug: str, definition: dict[str, Any] | None = None) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(
            "insert into raw.cohorts (slug, label, definition) values (%s, %s, %s)",
            [slug, f"The {slug}", Jsonb(definition or {"kind": "usernames", "usernames": ["ann"]})],
        )


def cohorts(url: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute("select slug, label, definition from raw.cohorts order by slug").fetchall()


# -- which cohort is meant -----------------------------------------------------------------------


@pytest.mark.parametrize("command", NEEDING_A_COHORT, ids=" ".join)
def test_without_any_cohort_a_command_says_how_to_make_one(
    command: tuple[str, ...], almanac: Almanac, empty: str
) -> None:
    assert almanac(*command).error.startswith("There is no cohort yet: `almanac cohort build SLUG")


@pytest.mark.parametrize("command", NEEDING_A_COHORT, ids=" ".join)
def test_an_unknown_cohort_is_refused_with_those_that_are_known(
    command: tuple[str, ...], almanac: Almanac, empty: str
) -> None:
    add_cohort(empty, "friends")
    assert almanac(*command, "--cohort", "foes").error.startswith(
        "There is no cohort 'foes'. Known: friends. "
    )


NEEDING_ONE_COHORT = [command for command in NEEDING_A_COHORT if command != ("stats", "refresh")]


@pytest.mark.parametrize("command", NEEDING_ONE_COHORT, ids=" ".join)
def test_with_several_cohorts_one_has_to_be_named(
    command: tuple[str, ...], almanac: Almanac, empty: str
) -> None:
    add_cohort(empty, "friends")
    add_cohort(empty, "critics")
    assert almanac(*command).error == "Say which cohort with --cohort: critics, friends."


def test_the_only_cohort_need_not_be_named(almanac: Almanac, published: str) -> None:
    assert almanac("cohort", "show").lines[0] == "friends: 3 members"


# -- making one ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["friends"], "The cohort 'friends' is new: say who is in it with --seed, --followers, --member,"),
        (["friends", "--seed", "ann", "--member", "bob"], "Give either --seed or --member, not both."),
        (["friends", "--member", "ann", "--include-seed"], "--include-seed does not go with --member."),
        (["friends", "--depth", "2"], "--depth needs one of --seed, --followers, --member, --list, --film."),
        (["friends", "--followers", "ann", "--depth", "2"], "--depth does not go with --followers."),
        (["friends", "--seed", "ann", "--depth", "4"], "depth is a whole number from 1 to 3, not 4."),
        (["friends", "--list", "ann"], "--list is OWNER/SLUG, not 'ann'."),
        (["friends", "--film", "heat", "--relation", "owner"], "relation is one of fans, members"),
        (["friends", "--members-file", "nowhere.txt"], "nowhere.txt cannot be read: No such file"),
        (["My Friends", "--seed", "ann"], "'My Friends' cannot be a cohort's slug"),
        (["../friends", "--seed", "ann"], "'../friends' cannot be a cohort's slug"),
        (["friends", "--seed", "ann/films"], "seed: 'ann/films' is not a user name."),
        (["friends", "--member", "ann", "--member", "b ob"], "usernames: 'b ob' is not a user name."),
    ],
)
def test_a_cohort_that_cannot_be_is_not_created(
    arguments: list[str], message: str, almanac: Almanac, empty: str
) -> None:
    assert almanac("cohort", "build", *arguments).error.startswith(message)
    assert cohorts(empty) == []


@pytest.mark.parametrize(
    ("options", "definition"),
    [
        ({"--seed": "Ann"}, {"kind": "following", "seed": "ann", "depth": 1, "exclude": []}),
        ({"--followers": "ann"}, {"kind": "followers", "seed": "ann", "include_self": False}),
        ({"--list": "ann/list/best/"}, {"kind": "list", "owner": "ann", "list": "best", "relation": "owner"}),
        ({"--film": "heat"}, {"kind": "film", "film": "heat", "relation": "fans", "max_members": 100}),
        ({"--member": ["Bob", "ann"]}, {"kind": "usernames", "usernames": ["bob", "ann"]}),
    ],
)
def test_each_way_to_say_who_is_in_a_circle_is_a_kind(
    options: dict[str, Any], definition: dict[str, Any]
) -> None:
    meant = validated_definition(definition_of(options, {}) or {})
    assert meant == meant | definition


def test_a_curated_list_is_read_with_comments_headings_and_marks(tmp_path: Path) -> None:
    curated = tmp_path / "critics.csv"
    curated.write_bytes(b'\xef\xbb\xbfusername,why\r\nAnn,"sharp, fair"\r\n\r\n# former\r\n"bob" # kind\r\n')
    assert read_usernames(curated) == ["ann", "bob"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"ann\nhttps://example.org/bob\n", "line 2: 'https://example.org/bob' is not a user name"),
        (b"# nobody\n", "names nobody"),
        (b"\xff\xfe", "it is no UTF-8 text"),
    ],
)
def test_a_curated_list_that_is_none_is_refused_with_the_line(
    content: bytes, message: str, tmp_path: Path
) -> None:
    curated = tmp_path / "critics.txt"
    curated.write_bytes(content)
    with pytest.raises(ConfigurationError, match=message):
        read_usernames(curated)


def test_a_slug_does_not_change_its_meaning(almanac: Almanac, empty: str) -> None:
    add_cohort(empty, "friends")
    before = cohorts(empty)
    assert "exists with another definition" in almanac("cohort", "build", "friends", "--seed", "bob").error
    assert cohorts(empty) == before


# What Dagster warns of while it executes a run is its own affair.
@pytest.mark.filterwarnings("ignore")
def test_a_label_stays_until_another_is_given(
    almanac: Almanac, published: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The run ends at its first step: pages of this address may not be fetched.
    monkeypatch.setenv("ALMANAC_LETTERBOXD_URL", "https://pages.invalid")
    monkeypatch.setenv("DAGSTER_HOME", "is set by the command")
    labels = (
        (["--seed", "ann", "--label", "The critics"], "The critics"),
        (["--label", "Old foes"], "Old foes"),
    )
    for arguments, label in labels:
        outcome = almanac("cohort", "build", "critics", *arguments)
        assert outcome.code == 1
        assert "failed at raw__cohort_members: Fetching pages from pages.invalid is off." in outcome.err
        assert outcome.err.count("\n") == 1
        assert cohorts(published)[0][:2] == ("critics", label)


# -- showing them --------------------------------------------------------------------------------


def test_how_often_a_cohort_is_read_can_be_set_and_taken_back(almanac: Almanac, empty: str) -> None:
    def stored() -> Any:
        with psycopg.connect(empty) as connection:
            return connection.execute("select sync_every_hours from raw.cohorts").fetchone()

    add_cohort(empty, "circle")
    assert almanac("cohort", "set", "--every-hours", "6").lines == ["circle is read every 6 h"]
    assert stored() == (6,)
    assert almanac("cohort", "set", "circle", "--as-others").lines == ["circle is read every 24 h"]
    assert stored() == (None,)
    assert almanac("cohort", "set", "circle").error == "Give either --every-hours or --as-others."


def test_no_cohort_is_said_in_words(almanac: Almanac, empty: str) -> None:
    outcome = almanac("cohort", "list")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == "No cohort yet: `almanac cohort build SLUG --seed NAME`.\n"


def test_the_list_has_a_line_per_cohort(almanac: Almanac, published: str) -> None:
    add_cohort(published, "critics")
    outcome = almanac("cohort", "list")
    assert (outcome.code, outcome.err) == (0, "")
    header, critics, friends = outcome.lines
    assert header.split() == ["cohort", "label", "members", "films", "ratings", "published", "(UTC)"]
    assert critics.split() == ["critics", "The", "critics", "0", "0", "0", "never"]
    # The brackets of the label are no markup.
    assert friends.split()[:7] == ["friends", "My", "[best]", "friends", "3", "4", "11"]


def test_a_cohort_shows_its_members_and_how_far_they_are_read(almanac: Almanac, published: str) -> None:
    outcome = almanac("cohort", "show", "friends")
    assert (outcome.code, outcome.err) == (0, "")
    title, header, *members = outcome.lines
    assert title == "friends: 3 members"
    assert header.split()[:3] == ["member", "ratings", "likes"]
    assert [line.split()[:3] for line in members] == [["ann", "4", "1"], ["bob", "4", "0"], ["cat", "3", "1"]]
    assert all("never" in line and line.split()[-1] == "active" for line in members)


def test_an_unknown_cohort_is_not_shown(almanac: Almanac, published: str) -> None:
    assert almanac("cohort", "show", "foes").error.startswith("There is no cohort 'foes'.")
