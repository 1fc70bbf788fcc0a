"""The SQL of all layers keeps to what PostgreSQL and Spark share.

Every model and data test is compiled twice, by dbt-postgres and by dbt-spark, and read by sqlglot in
that dialect. Nothing is executed: no Spark is needed, and no database.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from types import ModuleType

import pytest

from almanac_pipeline.warehouse import dbt

with warnings.catch_warnings():
    # dagster-dbt locks an accelerator that sqlglot calls outdated.
    warnings.simplefilter("ignore", DeprecationWarning)
    import sqlglot
    from sqlglot import ErrorLevel, exp

DIALECTS = ("postgres", "spark")
SPARK_PROFILE = """
cohort_almanac:
  target: spark
  outputs:
    spark: {type: spark, method: session, host: none, schema: intermediate, threads: 2}
"""
# Functions that sqlglot has no class for, and both engines have.
SHARED_FUNCTIONS = {"MOD"}
# Parsed without complaint, though only one of the engines, or neither in this form, has it.
NOT_SHARED = (
    exp.Lateral,
    exp.JSONExtract,
    exp.JSONExtractScalar,
    exp.JSONBExtract,
    exp.JSONBContains,
    exp.ILike,
    exp.Returning,
    exp.OnConflict,
    exp.Unnest,
    exp.GenerateSeries,
    exp.Qualify,
)

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """{dialect: {model or test: its SQL}}."""
    return {dialect: compile_for(dialect, tmp_path_factory.mktemp(dialect)) for dialect in DIALECTS}


def compile_for(dialect: str, folder: Path) -> dict[str, str]:
    from dbt.cli.main import dbtRunner

    profiles = dbt.PROJECT
    if dialect == "spark":
        profiles = folder
        (folder / "profiles.yml").write_text(SPARK_PROFILE)
    with pytest.MonkeyPatch.context() as patch:
        # dbt-spark asks whether it is there; only a connection would use it.
        patch.setitem(sys.modules, "pyspark", ModuleType("pyspark"))
        outcome = dbtRunner().invoke(
            [
                "--log-level", "none", "--log-path", str(folder), "--no-populate-cache",
                "compile", "--no-introspect",
                "--project-dir", str(dbt.PROJECT), "--profiles-dir", str(profiles),
                "--target-path", str(folder / "target"),
            ]
        )  # fmt: skip
    assert outcome.success, outcome.exception
    return {
        result.node.name: result.node.compiled_code
        for result in outcome.result.results
        if result.node.resource_type in ("model", "test")
    }


def require_shared(name: str, text: str, dialect: str) -> None:
    """Fail unless the dialect reads this query, and nothing in it is one engine's own."""
    tree = sqlglot.parse_one(text, dialect=dialect, error_level=ErrorLevel.RAISE)
    tree.sql(dialect=dialect, unsupported_level=ErrorLevel.RAISE)
    unknown = {function.name.upper() for function in tree.find_all(exp.Anonymous)} - SHARED_FUNCTIONS
    assert not unknown, f"{name}: do both engines know {unknown}?"
    assert (found := tree.find(*NOT_SHARED)) is None, f"{name}: {found}"
    assert not any(each.args.get("on") for each in tree.find_all(exp.Distinct)), f"{name}: distinct on"
    assert "::" not in text, f"{name}: write cast(… as …)"


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_model_and_test_is_read_in_both_dialects(
    compiled: dict[str, dict[str, str]], dialect: str
) -> None:
    assert len(compiled[dialect]) >= 50
    for name, text in compiled[dialect].items():
        require_shared(name, text, dialect)


def test_the_compilations_are_of_the_same_models_in_each_dialects_own_words(
    compiled: dict[str, dict[str, str]],
) -> None:
    assert set(compiled["postgres"]) == set(compiled["spark"])
    for name, text in compiled["postgres"].items():
        assert ("as double precision)" in text) == ("as double)" in compiled["spark"][name]), name
        assert ("array_agg(" in text) == ("collect_list(" in compiled["spark"][name]), name
    assert any("as double)" in text for text in compiled["spark"].values())
    assert any("collect_list(" in text for text in compiled["spark"].values())


def test_a_query_that_only_one_engine_reads_would_be_found() -> None:
    for text in (
        "select distinct on (a) a, b from t",
        "select a -> 'b' from t",
        "select jsonb_typeof(a) from t",
    ):
        with pytest.raises(AssertionError):
            require_shared("example", text, "postgres")
    with pytest.raises(sqlglot.ParseError):
        require_shared("example", "select from where", "spark")
