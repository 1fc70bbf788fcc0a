"""Lets Great Expectations judge a frame, and gives its verdict per cohort and rule, and as a page.

The only module that imports Great Expectations, which takes six seconds: import it where it is needed.
Nothing is written and nobody is told: the context lives in memory, and its analytics are off.
"""

from __future__ import annotations

import functools
import html
import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jinja2

from almanac_pipeline.errors import QualityError
from almanac_pipeline.quality.frames import Measurement, frame
from almanac_pipeline.quality.suites import Rule, Suite

with warnings.catch_warnings():
    # It still imports modules of Python that are on their way out.
    warnings.simplefilter("ignore", DeprecationWarning)
    import great_expectations as gx
    from great_expectations.data_context.types.base import (
        DataContextConfig,
        InMemoryStoreBackendDefaults,
        ProgressBarsConfig,
    )
    from great_expectations.expectations.core.expect_column_values_to_be_between import (
        ExpectColumnValuesToBeBetween,
    )
    from great_expectations.expectations.metadata_types import FailureSeverity
    from great_expectations.expectations.row_conditions import Column
    from great_expectations.render.renderer.page_renderer import ValidationResultsPageRenderer
    from great_expectations.render.view.view import DefaultJinjaPageView

if TYPE_CHECKING:
    import pandas as pd
    from great_expectations.core import ExpectationSuiteValidationResult

# Jinja escapes what goes into a template that is called so.
TEMPLATE = "almanac.html"
# Great Expectations' own page fetches styles, scripts and a logo from several hosts and offers a newsletter.
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Quality of {{ suite.name }}</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 76em; margin: 2em auto; padding: 0 1em; color: #222; }
h1 { font-size: 1.5em; margin: 0; }
table { border-collapse: collapse; margin: .5em 0; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .3em .6em; border-bottom: 1px solid #ddd; }
ul, ol { padding-left: 1.2em; }
pre, code { font: 13px/1.4 ui-monospace, monospace; white-space: pre-wrap; }
.text-danger { color: #a40000; }
.text-success { color: #1a7f37; }
/* What are icons where their font is loaded. */
i { font-style: normal; white-space: nowrap; }
i.text-success::before { content: "holds"; }
i.text-danger::before { content: "does not hold"; }
h5 { font-size: 1.1em; margin: 1.5em 0 0; }
</style>
</head>
<body>
<h1>Quality of {{ suite.name }}</h1>
<p>{{ suite.description }} Judged on {{ now().strftime("%Y-%m-%d at %H:%M UTC") }}.</p>
<table>
<tr><th>rule</th><th>expected</th><th>does not hold for</th><th>what that means</th></tr>
{% for rule, failing in verdicts %}
<tr>
<td>{{ rule.name }}</td><td>{{ rule.expected }}</td><td>{{ failing or "–" }}</td><td>{{ rule.failing }}</td>
</tr>
{% endfor %}
</table>
{% for section in sections %}{% set section_loop = loop %}{% include 'section.j2' %}{% endfor %}
</body>
</html>
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether a rule holds for a cohort, and what it looked at."""

    rule: Rule
    holds: bool
    observed: float | None
    """None: there is too little to say anything."""
    example: str | None
    """Slug of the film to look at first, if the rule fails and knows one."""

    @property
    def words(self) -> str:
        """Rule, observed and expected in one line, with the film to look at."""
        observed = "unknown" if self.observed is None else f"{self.observed:.4g}"
        film = f", look at {self.example}" if self.example else ""
        return f"{self.rule.name} is {observed}, expected {self.rule.expected}{film}"


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict of a suite on the cohorts of a run."""

    outcomes: dict[str, list[Outcome]]
    """{cohort: outcomes in the order of the rules}."""
    page: str
    """Great Expectations' own page of the validation (its Data Docs), as HTML that needs nothing else."""


def judge(suite: Suite, measurements: Sequence[Measurement]) -> Judgement:
    """Judge measurements of different cohorts, one at least, by a suite.

    Raises:
        QualityError: an expectation could not be evaluated.
    """
    judged = frame(suite, measurements)
    result = _validate(suite, judged)
    failing = [_failing_cohorts(rule, each) for rule, each in zip(suite.rules, result.results, strict=True)]
    rows = judged.astype(object).where(judged.notna(), None).to_dict("records")
    outcomes = {
        row["cohort"]: [
            _outcome(rule, row, holds=row["cohort"] not in cohorts)
            for rule, cohorts in zip(suite.rules, failing, strict=True)
        ]
        for row in rows
    }
    return Judgement(outcomes, _page(suite, result, failing))


def _outcome(rule: Rule, row: dict[Any, Any], *, holds: bool) -> Outcome:
    needed, enough = rule.needs
    observed = row[rule.name] if row[needed] >= enough else None
    example = row[rule.example] if rule.example is not None and not holds else None
    return Outcome(rule, holds, observed, example)


def _validate(suite: Suite, judged: pd.DataFrame) -> ExpectationSuiteValidationResult:
    films = [rule.example for rule in suite.rules if rule.example is not None]
    # Its pages show values as they are. What cohorts may be called is limited, slugs of films are the site's.
    shown = judged.assign(**{film: judged[film].map(html.escape, na_action="ignore") for film in films})
    asset = _context().data_sources.pandas_default.add_dataframe_asset(suite.name)
    batch = asset.add_batch_definition_whole_dataframe("cohorts").get_batch({"dataframe": shown})
    result: ExpectationSuiteValidationResult = batch.validate(
        gx.ExpectationSuite(name=suite.name, expectations=[_expectation(rule) for rule in suite.rules]),
        result_format={
            "result_format": "COMPLETE",
            "unexpected_index_column_names": ["cohort", *films],
            "return_unexpected_index_query": False,
        },
    )
    return result


def _expectation(rule: Rule) -> ExpectColumnValuesToBeBetween:
    needed, enough = rule.needs
    return ExpectColumnValuesToBeBetween(
        column=rule.name,
        min_value=rule.low,
        max_value=rule.high,
        row_condition=Column(needed) >= enough,
        notes=rule.failing,
        severity=FailureSeverity.WARNING,
    )


def _context() -> Any:
    """A new context in memory: no project folder, no analytics, no progress bars."""
    return gx.get_context(
        mode="ephemeral",
        project_config=DataContextConfig(
            store_backend_defaults=InMemoryStoreBackendDefaults(),
            analytics_enabled=False,
            progress_bars=ProgressBarsConfig(globally=False),
        ),
    )


def _failing_cohorts(rule: Rule, result: Any) -> set[str]:
    raised = result.exception_info
    # Of an expectation that could not be evaluated the information is one per metric.
    if result.result.get("element_count") is None or raised.get("raised_exception"):
        raise QualityError(f"The rule {rule.name} could not be evaluated by Great Expectations: {raised}")
    return {row["cohort"] for row in result.result.get("unexpected_index_list") or ()}


@functools.cache
def _view() -> Any:
    view: Any = DefaultJinjaPageView()
    view.env.loader = jinja2.ChoiceLoader([jinja2.DictLoader({TEMPLATE: PAGE}), view.env.loader])
    return view


def _page(suite: Suite, result: ExpectationSuiteValidationResult, failing: Sequence[Collection[str]]) -> str:
    document = ValidationResultsPageRenderer(run_info_at_end=True).render(result)
    # The first section links to pages that are not written, the last is about the process.
    document.sections = document.sections[1:-1]
    verdicts = [
        (rule, ", ".join(sorted(cohorts))) for rule, cohorts in zip(suite.rules, failing, strict=True)
    ]
    page: str = _view().render(document, template=TEMPLATE, suite=suite, verdicts=verdicts)
    return page
