"""Metrics, alert rules, dashboards, the page about them and the runbook name the same things."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from almanac_pipeline.observability.metrics import OWN_GAUGES
from almanac_pipeline.settings import PROJECT_ROOT
from almanac_pipeline.warehouse.alert_rules import FAILURE_MINUTES, MOST_FAILURES
from almanac_pipeline.warehouse.alerts import KINDS
from almanac_pipeline.warehouse.telemetry import MEASURES

PROMETHEUS = PROJECT_ROOT / "docker" / "prometheus"
DASHBOARDS = sorted((PROJECT_ROOT / "docker" / "grafana" / "dashboards").glob("*.json"))
LABELS = {
    **{measure.name: set(measure.labels) for measure in MEASURES},
    **{name: set() for name in OWN_GAUGES},
}
# What Prometheus itself adds.
OF_PROMETHEUS = {"up", "job", "instance"}
# The words of PromQL in use: a new one is added here knowingly.
PROMQL = {
    *("and", "or", "by", "on", "sum", "count", "max", "avg", "time", "vector"),
    *("rate", "increase", "topk", "bottomk"),
}


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((PROMETHEUS / "rules.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def expressions() -> Iterator[tuple[str, str]]:
    """(where, PromQL) of every rule and every panel."""
    for rule in rules():
        yield rule.get("alert", rule.get("record")), rule["expr"]
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel["targets"]:
                yield f"{path.stem}: {panel['title']} {target['refId']}", target["expr"]


EXPRESSIONS = dict(expressions())
RECORDED = {rule["record"] for rule in rules() if "record" in rule}


@pytest.mark.parametrize("where", EXPRESSIONS)
def test_an_expression_names_only_what_metrics_serves(where: str) -> None:
    expression = EXPRESSIONS[where]
    for opening, closing in ("()", "{}", "[]"):
        assert expression.count(opening) == expression.count(closing)
    for name, matched in re.findall(r"(\balmanac_\w+)(?:\{([^}]*)\})?", expression):
        assert name in LABELS
        assert {part.partition("=")[0].strip("~!") for part in matched.split(",") if part} <= LABELS[name]
    for record in re.findall(r"\balmanac:[\w:]+", expression):
        assert record in RECORDED
    without = re.sub(r'"[^"]*"|\[[^]]*\]|\{[^}]*\}|\b(?:almanac[:_][\w:]+)', " ", expression)
    words = set(re.findall(r"[a-z_]+", re.sub(r"\d[\w.]*", " ", without)))
    labels = set().union(*LABELS.values())
    assert words <= PROMQL | labels | OF_PROMETHEUS


def test_every_metric_is_looked_at_by_somebody() -> None:
    text = "\n".join(EXPRESSIONS.values())
    assert [name for name in LABELS if not re.search(rf"\b{name}\b", text)] == []


def test_every_alert_says_what_happened_how_bad_it_is_and_which_page_helps() -> None:
    for rule in rules():
        if "alert" in rule:
            assert set(rule["annotations"]) == {"summary", "runbook"}, rule["alert"]
            assert rule["labels"]["severity"] in ("critical", "warning"), rule["alert"]
            assert (PROJECT_ROOT / rule["annotations"]["runbook"]).is_file(), rule["alert"]


def test_what_the_almanac_alerts_about_prometheus_does_too() -> None:
    pages = {Path(rule["annotations"]["runbook"]).stem for rule in rules() if "alert" in rule}
    assert {kind.runbook for kind in KINDS.values()} <= pages
    kinds = {kind for text in EXPRESSIONS.values() for kind in re.findall(r'\bkind="(\w+)"', text)}
    assert kinds <= set(KINDS)


def test_a_rule_holds_no_limit_that_the_settings_say_otherwise() -> None:
    limits = {rule["alert"]: set(re.findall(r"[<>=]=? *([\d.]+\w*)", rule["expr"])) for rule in rules()}
    repeated = limits.pop("RepeatedFailures")
    assert repeated == {str(MOST_FAILURES)}
    assert f"in_{FAILURE_MINUTES}_minutes > " in EXPRESSIONS["RepeatedFailures"]
    # Nothing, or is and is not.
    assert set().union(*limits.values()) == {"0", "1"}
    panels = "".join(path.read_text() for path in DASHBOARDS)
    assert "86400" not in panels


def test_every_alert_has_a_case_of_its_own_or_is_one_of_the_almanacs() -> None:
    cases = [
        case["alertname"]
        for path in PROMETHEUS.glob("*_test.yml")
        for test in yaml.safe_load(path.read_text())["tests"]
        for case in test.get("alert_rule_test", ())
        if case["exp_alerts"]
    ]
    untested = {
        rule["alert"]
        for rule in rules()
        if "alert" in rule and rule["alert"] not in cases and "almanac_open_alerts" not in rule["expr"]
    }
    assert untested == set()


def test_every_metric_has_its_line_in_the_documentation() -> None:
    text = (PROJECT_ROOT / "docs" / "observability.md").read_text()
    documented = re.findall(r"^\| `(almanac_\w+)` \| (\w+) \| ([\w, ]*) ?\| (.+) \|$", text, re.MULTILINE)
    expected = [(m.name, m.kind, ", ".join(m.labels), m.description) for m in MEASURES]
    expected += [(name, "gauge", "", description) for name, description in OWN_GAUGES.items()]
    assert [(name, kind, labels.strip(), said) for name, kind, labels, said in documented] == expected


def test_promtool_accepts_the_configuration_and_its_own_tests_pass() -> None:
    promtool = os.environ.get("ALMANAC_PROMTOOL") or shutil.which("promtool")
    if promtool is None:
        pytest.skip("needs promtool (Debian: the package prometheus) on PATH, or named by ALMANAC_PROMTOOL")
    tests = sorted(str(path) for path in PROMETHEUS.glob("*_test.yml"))
    for arguments in (["check", "config", str(PROMETHEUS / "prometheus.yml")], ["test", "rules", *tests]):
        outcome = subprocess.run([promtool, *arguments], capture_output=True, text=True, check=False)
        assert outcome.returncode == 0, outcome.stdout + outcome.stderr
