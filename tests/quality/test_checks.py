"""Great Expectations' verdicts, as a function and as Dagster's checks. One file: to import it takes 6 s."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from almanac_pipeline.errors import QualityError
from almanac_pipeline.flows.quality import PAGES_PER_SUITE, delete_pages, keep_page
from almanac_pipeline.quality.frames import Measurement, stability_index
from almanac_pipeline.quality.suites import HISTOGRAMS, RATINGS, SUITES, Rule, Suite
from almanac_pipeline.settings import get_settings
from almanac_pipeline.warehouse.cohorts import create_cohort
from almanac_pipeline.warehouse.quality import KEPT_PER_COHORT, measure, measurements, unmeasured
from tests.conftest import new_database

# What Dagster says about its own beta features is settled in almanac_pipeline/defs/__init__.py.
pytestmark = pytest.mark.filterwarnings("ignore")

INSIDE, ENOUGH = 1e-6, 100_000


def measures(suite: Suite, **changed: Any) -> dict[str, dict[str, Any]]:
    """What is measured of a cohort that no rule has anything against, but for what is `changed`."""
    plain: dict[str, Any] = {}
    for rule in suite.rules:
        plain[rule.needs[0]] = ENOUGH
        if rule.drift is None:
            plain[rule.name] = _between(rule)
        elif rule.drift == "psi":
            plain[str(rule.of)] = {"a": 50, "b": 50}
        else:
            plain.setdefault(str(rule.of), ENOUGH)
    return {suite.name: plain | changed}


def _between(rule: Rule) -> float:
    low = rule.low if rule.low is not None else float(rule.high or 0) - 1
    high = rule.high if rule.high is not None else low + 1
    return (low + high) / 2


def cases(suite: Suite, rule: Rule) -> Iterator[tuple[str, bool, Measurement]]:
    """Cohorts at both ends of the rule's band, inside and outside; their names begin with the rule's."""
    ends = [("low", rule.low, -INSIDE), ("high", rule.high, INSIDE)]
    for end, limit, outwards in ends:
        if limit is None:
            continue
        yield _case(suite, rule, f"{rule.name} {end} inside", limit - outwards, holds=True)
        yield _case(suite, rule, f"{rule.name} {end} outside", limit + outwards, holds=False)
        few = {rule.needs[0]: rule.needs[1] - 1}
        if rule.of != rule.needs[0]:
            yield _case(suite, rule, f"{rule.name} {end} of few", limit + outwards, holds=True, **few)


def _case(
    suite: Suite, rule: Rule, name: str, value: float, *, holds: bool, **changed: Any
) -> tuple[str, bool, Measurement]:
    if rule.drift is None:
        now, before = measures(suite, **{rule.name: value}, **changed), None
    elif rule.drift == "psi":
        moved = {"a": 50 + _moved(value), "b": 50 - _moved(value)}
        now, before = measures(suite, **{str(rule.of): moved}, **changed), measures(suite)
    else:
        base = measures(suite)[suite.name][str(rule.of)]
        new = base * (1 + value) if rule.drift == "growth" else base + value
        now, before = measures(suite, **{str(rule.of): new}, **changed), measures(suite)
        if rule.drift == "shift":
            # Where it moved to is another rule's matter.
            half = {str(rule.of): base + value / 2}, {str(rule.of): base - value / 2}
            now, before = measures(suite, **half[0], **changed), measures(suite, **half[1])
    return name, holds, Measurement(name, now, before)


def _moved(index: float) -> float:
    """By how much of 100 two halves must part for a stability index, by bisection."""
    low, high = 0.0, 49.9
    for _ in range(60):
        middle = (low + high) / 2
        found = stability_index({"a": 50 + middle, "b": 50 - middle}, {"a": 50, "b": 50}) or 0
        low, high = (middle, high) if found < index else (low, middle)
    return low


@pytest.mark.parametrize("suite", SUITES.values(), ids=lambda suite: suite.name)
def test_every_rule_fails_outside_its_band_alone_and_holds_inside_and_of_few(suite: Suite) -> None:
    from almanac_pipeline.quality.judging import judge

    given = [case for rule in suite.rules for case in cases(suite, rule)]
    silent = Measurement("silent", {}, None)
    judgement = judge(suite, [*(measurement for _, _, measurement in given), silent])
    for name, holds, _ in given:
        failing = [each.rule.name for each in judgement.outcomes[name] if not each.holds]
        assert failing == ([] if holds else [name.split()[0]]), name
    # A measure in which nothing was found says nothing.
    assert all(each.holds and each.observed is None for each in judgement.outcomes["silent"])


def test_a_verdict_says_rule_observed_and_expected_and_the_film_to_look_at() -> None:
    from almanac_pipeline.quality.judging import judge

    odd = measures(HISTOGRAMS, lopsided_histograms_share=0.25, lopsided_film="solaris", gapped_film="other")
    judgement = judge(HISTOGRAMS, [Measurement("friends", odd, None)])
    [failed] = [each for each in judgement.outcomes["friends"] if not each.holds]
    assert failed.words == "lopsided_histograms_share is 0.25, expected at most 0.02, look at solaris"


def test_the_page_names_rule_cohort_and_film_and_fetches_nothing() -> None:
    from almanac_pipeline.quality.judging import judge

    odd = measures(HISTOGRAMS, lopsided_histograms_share=0.25, lopsided_film="solaris", gapped_film="<b>")
    page = judge(HISTOGRAMS, [Measurement("friends", odd, None)]).page
    for word in ("lopsided_histograms_share", "friends", "solaris", "0.25", HISTOGRAMS.rules[2].failing):
        assert word in page
    assert "<b>" not in page
    assert "&lt;b&gt;" in page
    for fetching in ("http:", "https:", "<script", "<link", "<img", "src="):
        assert fetching not in page, fetching


def test_what_cannot_be_evaluated_is_an_error_and_no_verdict() -> None:
    from almanac_pipeline.quality.judging import judge

    with pytest.raises(QualityError, match="mean_stars"):
        judge(RATINGS, [Measurement("friends", measures(RATINGS, mean_stars="many"), None)])


def test_judging_asks_nobody_and_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from almanac_pipeline.quality.judging import judge

    def refuse(*_: object) -> None:
        raise AssertionError("a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    judge(RATINGS, [Measurement("friends", measures(RATINGS), None)])
    assert list(tmp_path.rglob("*")) == []


# -- pages ---------------------------------------------------------------------------------------


def test_pages_are_their_owners_only_and_the_oldest_go(tmp_path: Path) -> None:
    folder = tmp_path / "data_docs" / "ratings"
    folder.mkdir(parents=True)
    for number in range(PAGES_PER_SUITE):
        (folder / f"20200101T0000{number:02}Z-old.html").touch()
    page = keep_page(folder, "0123456789", "<p>new</p>")
    assert page is not None
    assert page.read_text() == "<p>new</p>"
    assert page.stat().st_mode & 0o077 == 0
    left = sorted(each.name for each in folder.iterdir())
    assert len(left) == PAGES_PER_SUITE
    assert left[0] == "20200101T000001Z-old.html"
    assert delete_pages(tmp_path / "data_docs") == PAGES_PER_SUITE
    assert list(folder.iterdir()) == []


def test_a_page_that_cannot_be_written_takes_no_verdict_with_it(tmp_path: Path) -> None:
    (tmp_path / "ratings").write_text("no folder")
    assert keep_page(tmp_path / "ratings", "0123456789", "page") is None


# -- the job -------------------------------------------------------------------------------------

STARS = ["0_5", "1_0", "1_5", "2_0", "2_5", "3_0", "3_5", "4_0", "4_5", "5_0"]
USUAL, ALL_FIVES = (0, 0, 0, 1, 1, 2, 3, 2, 1, 0), (0, 0, 0, 0, 0, 0, 0, 0, 0, 10)


@pytest.fixture
def published(
    server_url: str,
    ready_template: str,
    tmp_path: Path,
    clean_settings: None,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[psycopg.Connection]:
    """Three cohorts, two of them published twice with the same 60 films; the odd one gave all fives then."""
    with new_database(server_url, ready_template) as url, psycopg.connect(url, autocommit=True) as connection:
        for slug in ("even", "odd", "unpublished"):
            create_cohort(connection, slug, slug, {"kind": "usernames", "usernames": ["ann"]})
        for slug in ("even", "odd"):
            show(connection, slug, USUAL)
            publish(connection, slug)
        assert measure(connection, ["even", "odd", "unpublished"]) == ["even", "odd"]
        assert unmeasured(connection) == {}
        connection.execute("delete from almanac.cohort_film_stats where cohort = 'odd'")
        show(connection, "odd", ALL_FIVES)
        for slug in ("even", "odd"):
            publish(connection, slug)
        monkeypatch.setenv("ALMANAC_DATABASE_URL", url)
        monkeypatch.setenv("ALMANAC_HOME", str(tmp_path))
        get_settings.cache_clear()
        yield connection


def show(connection: psycopg.Connection, cohort: str, counts: tuple[int, ...]) -> None:
    """60 films that ten members rated alike, as the mart has them."""
    stars = sum(count * (half + 1) / 2 for half, count in enumerate(counts))
    columns = ", ".join(f"count_{name}" for name in STARS)
    connection.execute(
        f"""
        insert into almanac.cohort_film_stats (cohort, film_id, title, watchers, raters, rating_sum,
            liked_count, favorite_count, is_shareable, {columns})
        select %s, number, 'Film ' || number, 10, 10, %s, 3, 0, true, {", ".join(map(str, counts))}
        from generate_series(1, 60) as number
        """,
        [cohort, stars],
    )


def publish(connection: psycopg.Connection, cohort: str) -> None:
    connection.execute(
        """
        insert into ops.publications (cohort_id, input_version, members_count, films_count, ratings_count)
        select cohort_id, 'any', 10, 60, 600 from raw.cohorts where slug = %s
        """,
        [cohort],
    )


def test_one_run_judges_many_cohorts_and_names_the_odd_one(
    published: psycopg.Connection, tmp_path: Path
) -> None:
    from dagster import AssetCheckKey, AssetKey, DagsterInstance, build_sensor_context

    from almanac_pipeline.definitions import defs
    from almanac_pipeline.defs.quality.sensors import published_cohorts
    from almanac_pipeline.defs.resources import Almanac

    with DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("cohorts", ["even", "odd", "unpublished"])

        def asked() -> list[Any]:
            context = build_sensor_context(instance=instance, resources={"almanac": Almanac()})
            return list(published_cohorts(context))  # type: ignore[call-overload]

        [request] = asked()
        assert request.tags["almanac/cohorts"] == "even,odd"
        result = defs.resolve_job_def("quality").execute_in_process(
            instance=instance,
            partition_key=request.partition_key,
            tags={**request.tags, "almanac/cohorts": "even,odd,unpublished"},
        )
        assert asked() == []
        found = {(each.check_name, each.partition): each for each in result.get_asset_check_evaluations()}
        assert {name for name, _ in found} == set(SUITES)
        assert {cohort for _, cohort in found} == {"even", "odd", "unpublished"}
        key = AssetKey(["ops", "quality_measurements"])
        stored = instance.event_log_storage.get_asset_check_execution_history(
            AssetCheckKey(key, "ratings"), limit=9
        )
        assert {each.partition: each.status.value for each in stored} == {
            "even": "SUCCEEDED",
            "odd": "FAILED",
            "unpublished": "FAILED",
        }
    assert {each.severity.value for each in found.values()} == {"WARN"}
    assert not any(each.blocking for each in found.values())
    assert all(each.passed for (_, cohort), each in found.items() if cohort == "even")
    assert not any(each.passed for (_, cohort), each in found.items() if cohort == "unpublished")
    odd = found["ratings", "odd"]
    for words in ("mean_stars is 5, expected 2 to 4.5", "mean_stars_shift is 1.65", "top_star_share is 1,"):
        assert words in str(odd.description)
    metadata = {name: value.value for name, value in odd.metadata.items()}
    assert metadata["rows"] == 600
    assert metadata["observed"]["half_star_share"] == 0
    assert metadata["expected"]["half_star_share"] == "0.01 to 0.8"
    assert "| mean_stars | 2 to 4.5 | 5 | NO | Stars are far lower" in metadata["rules"]
    page = Path(str(metadata["data_docs"]))
    assert page.is_relative_to(tmp_path / "data_docs" / "ratings")
    assert "odd" in page.read_text()


def test_measuring_again_compares_with_the_publication_before_and_keeps_the_last(
    published: psycopg.Connection,
) -> None:
    measure(published, ["odd"])
    measure(published, ["odd"])
    [stored] = measurements(published, ["odd", "unpublished"])
    assert stored.before is not None
    assert (stored.now["ratings"]["mean_stars"], stored.before["ratings"]["mean_stars"]) == (5, 3.35)
    for _ in range(KEPT_PER_COHORT):
        publish(published, "odd")
        measure(published, ["odd"])
    kept = published.execute(
        "select slug, count(*) from ops.quality_measurements join raw.cohorts using (cohort_id) group by 1"
    ).fetchall()
    assert dict(kept) == {"even": 1, "odd": KEPT_PER_COHORT}
    # What a forgetting withdrew has nothing that could be judged.
    published.execute(
        "insert into ops.publications (cohort_id, input_version, members_count, films_count, ratings_count)"
        " select cohort_id, 'withdrawn', 0, 0, 0 from raw.cohorts where slug = 'odd'"
    )
    assert measure(published, ["odd"]) == []
    assert unmeasured(published).keys() == {"even"}
