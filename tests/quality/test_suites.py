"""The rules as data: the arithmetic of drift, and that each rule stands in one of the three systems only."""

from __future__ import annotations

import math
import re
from itertools import combinations
from typing import get_args

import pytest
import yaml

from almanac_pipeline.quality.frames import Measurement, drifted, frame, stability_index
from almanac_pipeline.quality.suites import RATINGS, SUITES, Rule
from almanac_pipeline.settings import PROJECT_ROOT
from almanac_pipeline.warehouse.upkeep import Field

MODELS = PROJECT_ROOT / "dbt_project" / "models"
PAGE = PROJECT_ROOT / "docs" / "quality.md"
RULES = [(suite, rule) for suite in SUITES.values() for rule in suite.rules]
AUDITS = re.findall(r"'(\w+)' as rule", (MODELS / "intermediate" / "cohort_audits.sql").read_text()) + [
    f"coverage_{name}" for name in ("tmdb_id", "like_flag", "rating")
]


def test_a_stability_index_is_what_the_formula_says() -> None:
    # (1/2 - 3/4) ln(2/3) + (1/2 - 1/4) ln 2 = ln(3) / 4
    now, before = {"a": 5, "b": 5}, {"a": 30, "b": 10}
    assert stability_index(now, before) == pytest.approx(math.log(3) / 4)
    assert stability_index(before, now) == pytest.approx(math.log(3) / 4)
    assert stability_index(before, {"a": 3, "b": 1}) == 0


def test_a_class_that_appears_or_goes_counts_and_nothing_is_nothing() -> None:
    # 1 % that was not there before: (0.01 - 0.001) ln(10), and what the other class lost.
    index = stability_index({"a": 99, "b": 1}, {"a": 100})
    assert index == pytest.approx(0.009 * math.log(10) + 0.01 * -math.log(0.99))
    assert stability_index({"a": 0}, {"a": 1}) is None
    assert stability_index({"a": 1}, {}) is None


@pytest.mark.parametrize(
    ("kind", "now", "before", "moved"),
    [("growth", 120, 80, 0.5), ("shift", 3.5, 3.75, -0.25), ("growth", 1, 0, None), ("shift", None, 3, None)],
)
def test_a_measure_moves_by_share_or_by_difference(
    kind: str, now: float | None, before: float, moved: float | None
) -> None:
    rule = Rule(name="r", of="m", drift=kind, needs=("n", 10), failing="")  # type: ignore[arg-type]
    assert drifted(rule, {"m": now, "n": 10}, {"m": before, "n": 10}) == moved
    assert drifted(rule, {"m": now, "n": 10}, {"m": before, "n": 9}) is None
    assert drifted(rule, {"m": now, "n": 10}, None) is None


def test_a_frame_has_a_row_per_cohort_whatever_was_measured() -> None:
    rows = frame(RATINGS, [Measurement("full", {"ratings": {"mean_stars": 3, "ratings_count": 7}}, None)] * 2)
    assert list(rows["mean_stars"]) == [3, 3]
    assert list(rows["ratings_count"]) == [7, 7]
    empty = frame(RATINGS, [Measurement("empty", {}, None)])
    assert empty.loc[0, "ratings_count"] == 0
    assert empty.loc[0, "mean_stars"] is None


@pytest.mark.parametrize(("suite", "rule"), RULES, ids=lambda each: each.name)
def test_a_rule_can_fail_and_says_what_that_means(suite: object, rule: Rule) -> None:
    assert rule.low is not None or rule.high is not None
    assert (rule.low or -math.inf) < (rule.high or math.inf)
    assert (rule.drift is None) == (rule.of is None)
    assert rule.needs[1] > 0
    assert rule.failing[-1] in ".?"


def test_no_rule_stands_twice_in_dbt_audits_coverage_and_great_expectations() -> None:
    systems = {
        "dbt": dbt_rules(),
        "audits": set(AUDITS),
        "coverage": {f"coverage_{field}" for field in get_args(Field)} - set(AUDITS),
        "great expectations": {rule.name for _, rule in RULES},
    }
    assert all(systems.values())
    assert len(systems["great expectations"]) == len(RULES)
    for (one, names), (other, others) in combinations(systems.items(), 2):
        assert not names & others, f"{one} and {other}"
    # How many films lack a field is coverage; that of a column dbt knows row by row is a row rule.
    fields = {field.removesuffix("_id") for field in get_args(Field)}
    assert not {f"without_{field}_share" for field in fields} & systems["great expectations"]
    columns = set(re.findall(r"\w+", " ".join(systems["dbt"])))
    assert not columns & systems["great expectations"]


def dbt_rules() -> set[str]:
    """What the data tests of the models say: conditions, keys, accepted values, and the names of queries."""
    rules = {path.stem for path in (PROJECT_ROOT / "dbt_project" / "tests").glob("*.sql")}
    for path in MODELS.rglob("*.yml"):
        for model in yaml.safe_load(path.read_text()).get("models", ()):
            tests = [(model["name"], test) for test in model.get("data_tests", ())]
            tests += [
                (f"{model['name']}.{column['name']}", test)
                for column in model.get("columns", ())
                for test in column.get("data_tests", ())
            ]
            described = [f"{where} {test}" for where, test in tests]
            assert len(set(described)) == len(described)
            rules.update(described)
    return rules


# -- the page that explains them -----------------------------------------------------------------


def test_the_page_holds_every_rule_as_it_is() -> None:
    text = PAGE.read_text()
    expected = [
        f"| `{rule.name}` | {rule.expected} | {rule.needs[1]:,} `{rule.needs[0]}` | {rule.failing} |"
        for _, rule in RULES
    ]
    found = [line for line in text.splitlines() if re.match(r"\| `\w+` \|.* `\w+_count` \|", line)]
    assert found == expected
    for name in AUDITS:
        assert text.count(f"| `{name}` |") == 1, name
