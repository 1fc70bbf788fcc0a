"""Cohorts beside each other: what a build touches, what holds a cohort back, what makes it stale."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest

from almanac_pipeline.errors import ConfigurationError, DbtError, HeldBackError, NotFoundError, WarehouseError
from almanac_pipeline.flows.circle import compute_circle
from almanac_pipeline.flows.publication import (
    MARTS_SELECTION,
    changed_cohorts,
    mark_marts,
    marts_to_build,
    publish,
)
from almanac_pipeline.warehouse import dbt, publications
from tests.dbt.world import NewWarehouse, Warehouse

MARTS = ("cohort_film_stats", "film_histograms", "film_rankings", "ranking_insights")
VIEWS = ("film_histograms", "film_rankings")


@pytest.fixture(scope="module")
def two_cohorts(new_warehouse: NewWarehouse) -> Iterator[str]:
    """Name of a database with `left` (ann, bob, cat) and `right` (cat, dan), both built once."""
    with new_warehouse() as warehouse:
        ann, bob, cat, dan = (warehouse.member(name) for name in ("ann", "bob", "cat", "dan"))
        films = [warehouse.film(number) for number in (1, 2, 3)]
        for user_id, stars in ((ann, [5, 4, 1]), (bob, [4.5, 3, 2]), (cat, [5, 2.5, None]), (dan, [1, 2, 3])):
            for film_id, value in zip(films, stars, strict=True):
                if value is not None:
                    warehouse.rate(user_id, film_id, value)
        warehouse.cohort("left", [ann, bob, cat])
        warehouse.cohort("right", [cat, dan])
        warehouse.build("left", "right")
        # A database that is copied must have no connection.
        warehouse.connection.close()
        yield warehouse.name


@pytest.fixture
def two(new_warehouse: NewWarehouse, two_cohorts: str) -> Iterator[Warehouse]:
    """A copy of the built `left` and `right` that only this test uses."""
    with new_warehouse(two_cohorts) as warehouse:
        yield warehouse


def contents(warehouse: Warehouse, cohort: str) -> dict[str, list[Any]]:
    """All mart rows of a cohort; of tables, with their place on disk: equal only if nobody touched them."""
    return {
        mart: warehouse.rows(
            f"select {'' if mart in VIEWS else 'ctid::text, xmin::text,'} * from almanac.{mart}"
            " where cohort = %s order by 1, 2, 3",
            cohort,
        )
        for mart in MARTS
    }


def counts(warehouse: Warehouse, cohort: str) -> list[int]:
    return [
        warehouse.scalar(f"select count(*) from almanac.{mart} where cohort = %s", cohort) for mart in MARTS
    ]


def test_building_one_cohort_leaves_the_other_ones_rows_where_they_are(two: Warehouse) -> None:
    before = contents(two, "left")
    two.execute("update raw.ratings set rating = 4 where rating = 1")
    two.build("right")
    assert contents(two, "left") == before
    assert all(before.values())
    assert (
        two.scalar(
            "select rating_sum from almanac.cohort_film_stats where cohort = 'right' and slug = 'film-1'"
        )
        == 9
    )


def test_building_again_gives_the_same_rows_once(two: Warehouse) -> None:
    query = (
        "select cohort, strategy, film_id, score, rank, rank_high from almanac.film_rankings order by 1, 2, 3"
    )
    first, sizes = two.rows(query), counts(two, "left")
    two.build("left")
    assert two.rows(query) == first
    assert counts(two, "left") == sizes == [3, 30, 29, 3]


def test_a_cohort_that_became_empty_leaves_no_rows(two: Warehouse) -> None:
    two.execute("update raw.cohort_members set until = now() where cohort_id = %s", two.cohort_id("left"))
    report = two.build("left")["left"]
    assert (report.members, report.films, report.ratings, report.overall_mean) == (0, 0, 0, None)
    assert counts(two, "left") == [0, 0, 0, 0]
    assert counts(two, "right") == [3, 30, 27, 3]
    published = publications.record_publication(two.connection, two.cohort_id("left"))
    assert (published.members_count, published.films_count, published.ratings_count) == (0, 0, 0)


def test_members_who_are_deleted_or_forgotten_leave_every_table(two: Warehouse) -> None:
    two.execute("update raw.users set status = 'forgotten' where username = 'ann'")
    two.execute("update raw.users set status = 'deleted' where username = 'bob'")
    two.build("left")
    cat = two.scalar("select user_id from raw.users where username = 'cat'")
    for table in ("int_cohort_members", "int_cohort_ratings", "circle_members"):
        assert two.rows(
            f"select distinct user_id from intermediate.{table} where cohort_id = %s", two.cohort_id("left")
        ) == [{"user_id": cat}]
    assert {row["raters"] for row in two.by_film("cohort_film_stats", "left").values()} == {1}


def test_a_member_known_under_two_names_counts_once(two: Warehouse) -> None:
    old = two.member("anna", status="renamed", renamed_to="ann")
    two.rate(old, two.film_id(1), 0.5)
    two.execute(
        "insert into raw.cohort_members (cohort_id, user_id) values (%s, %s)", two.cohort_id("left"), old
    )
    assert two.build("left")["left"].members == 3


def spoil_with_a_twin(two: Warehouse) -> str:
    """Film 1 stored twice, once without its id, and rated by ann under both."""
    twin = two.film(0, "Film 1 again", uid=None, slug="film-one")
    ann = two.scalar("select user_id from raw.users where username = 'ann'")
    two.alias("film-one", two.film_id(1))
    two.rate(ann, twin, 5)
    return "no_duplicate_member_film"


def spoil_with_a_histogram(two: Warehouse) -> str:
    """The histogram of film 3, which only the left cohort rated, misses two per cent of its ratings."""
    two.execute("delete from raw.ratings where rating = 3 and film_id = %s", two.film_id(3))
    two.histogram(two.film_id(3), [0, 0, 0, 0, 0, 0, 0, 0, 0, 98], stated=100)
    return "global_histogram_total"


def spoil_with_an_orphan(two: Warehouse) -> str:
    """Ann rated a film that is not there: no foreign key of raw.ratings refuses that."""
    two.rate(two.scalar("select user_id from raw.users where username = 'ann'"), 999_999, 5)
    return "bucket_sums_equal_ratings"


@pytest.mark.parametrize("spoil", [spoil_with_a_twin, spoil_with_a_histogram, spoil_with_an_orphan])
def test_a_failing_audit_holds_back_that_cohort_and_no_other(
    two: Warehouse, spoil: Callable[[Warehouse], str]
) -> None:
    good = contents(two, "left")
    rule = spoil(two)
    two.execute("update raw.ratings set rating = 3.5 where rating = 2.5")  # cat's, who is in both
    two.build("left", "right")

    assert contents(two, "left") == good
    assert (
        two.scalar(
            "select max(rating_sum) from almanac.cohort_film_stats where cohort = 'right' and slug = 'film-2'"
        )
        == 5.5
    )
    failed = [
        audit for audit in publications.audits(two.connection, two.cohort_id("left")) if not audit.passed
    ]
    assert [audit.rule for audit in failed if audit.blocking] == [rule]
    with pytest.raises(HeldBackError, match=rule):
        publications.record_publication(two.connection, two.cohort_id("left"))
    publications.record_publication(two.connection, two.cohort_id("right"))


def test_a_histogram_within_one_per_cent_passes(two: Warehouse) -> None:
    two.histogram(two.film_id(3), [0, 0, 0, 0, 0, 0, 0, 0, 0, 99], stated=100)
    two.build("left")
    publications.require_passed(two.connection, two.cohort_id("left"))


def test_a_slug_that_another_film_has_inherited_is_no_duplicate(two: Warehouse) -> None:
    # Film 2 was once called film-1; the site has since given that name to film 1. Their ids differ.
    two.alias("film-1", two.film_id(2))
    two.build("left")
    publications.require_passed(two.connection, two.cohort_id("left"))


def test_a_rebuild_by_another_run_in_between_publishes_nothing_under_the_old_version(two: Warehouse) -> None:
    good = contents(two, "left")
    left = two.cohort_id("left")
    due = marts_to_build(two.connection, ["left"], force=True)["marts"]
    mark_marts(two.connection, due, built=False)
    dbt.build(two.url, select="tag:before_statistics", cohorts={left: "newer"}, settings=two.settings)
    dbt.build(two.url, select="tag:after_statistics", cohorts={left: "older"}, settings=two.settings)
    mark_marts(two.connection, due, built=True)
    assert contents(two, "left") == good
    with pytest.raises(HeldBackError, match="do not show its latest input"):
        publications.record_publication(two.connection, left)


def test_a_cohort_without_global_averages_is_compared_with_all_members(two: Warehouse) -> None:
    row = two.rows("select * from almanac.cohort_film_stats where cohort = 'left' and slug = 'film-1'")[0]
    # ann, bob, cat and dan of the other cohort: 5, 4.5, 5 and 1.
    assert (row["global_source"], row["global_average"], row["global_ratings"]) == ("members", 3.875, 4)


def test_tmdb_votes_are_used_when_histograms_cover_too_little(two: Warehouse) -> None:
    two.execute("update raw.films set tmdb_vote_average = 7.5, tmdb_vote_count = 10 where slug <> 'film-3'")
    two.histogram(two.film_id(1), [0] * 9 + [10])
    two.build("left")
    rows = two.rows("select * from almanac.cohort_film_stats where cohort = 'left' order by slug")
    assert [(row["global_source"], row["global_average"]) for row in rows] == [
        ("tmdb", 3.75),
        ("tmdb", 3.75),
        (None, None),
    ]


def test_parameters_of_a_cohort_are_used_and_shown(two: Warehouse) -> None:
    two.execute("update raw.cohorts set ranking_parameters = %s", """{"min_raters": 3, "bayesian_m": 10}""")
    two.build("left")
    rows = two.rows(
        "select * from almanac.film_rankings where (cohort, strategy, slug) = ('left', 'bayesian', 'film-3')"
    )
    assert (rows[0]["params"]["prior_weight"], rows[0]["params"]["min_raters"], rows[0]["eligible"]) == (
        10,
        3,
        False,
    )
    # (2 ratings of mean 1.5 + 10 of the overall mean 27 / 8) / 12
    assert rows[0]["score"] == pytest.approx((3 + 10 * 27 / 8) / 12)


@pytest.mark.parametrize(
    "parameters", ['{"min_rater": 3}', '{"min_raters": 0}', '{"min_raters": 2.5}', '{"bayesian_m": "7"}']
)
def test_parameters_that_are_not_understood_are_refused(two: Warehouse, parameters: str) -> None:
    two.execute("update raw.cohorts set ranking_parameters = %s where slug = 'left'", parameters)
    with pytest.raises(ConfigurationError, match="parameter"):
        compute_circle(two.connection, "left")


def test_a_cohort_that_does_not_exist_is_named(warehouse: Warehouse) -> None:
    with pytest.raises(NotFoundError, match="nowhere"):
        compute_circle(warehouse.connection, "nowhere")


# -- what a change makes stale -----------------------------------------------------------------


CHANGES = {
    "a re-rating": ("data", "update raw.ratings set rating = 2 where rating = 1"),
    "a removed rating": ("data", "update raw.ratings set removed_at = now() where rating = 1"),
    "a like": ("data", "update raw.ratings set liked = true where rating = 1"),
    "a renamed film": ("data", "update raw.films set title = 'Other' where slug = 'film-1'"),
    "a member who leaves": ("data", "update raw.cohort_members set until = now()"),
    "a forgotten member": ("data", "update raw.users set status = 'forgotten' where username = 'ann'"),
    "a histogram": (
        "data",
        "insert into raw.film_histograms (film_id, source, count_4_0)"
        " select film_id, 'letterboxd', 9 from raw.films where slug = 'film-1'",
    ),
    "a viewing": (
        "data",
        "insert into raw.diary_entries (user_id, film_id, source, source_key, film_title)"
        " select user_id, film_id, 'rss', '1', 'x' from raw.users, raw.films"
        " where username = 'cat' and slug = 'film-3'",
    ),
    "another cohort's rating, while it is the crowd": (
        "data",
        "update raw.ratings set rating = 4.5 where rating = 2",
    ),
    "a parameter": ("statistics", """update raw.cohorts set ranking_parameters = '{"min_raters": 3}'"""),
    "a running time": ("marts", "update raw.films set runtime_minutes = 90 where slug = 'film-1'"),
    "a film on a watchlist": (
        "marts",
        "insert into raw.watchlist_entries (user_id, film_id, source)"
        " select user_id, film_id, 'rss' from raw.users, raw.films"
        " where username = 'ann' and slug = 'film-3'",
    ),
}


@pytest.fixture(scope="module")
def built(new_warehouse: NewWarehouse, two_cohorts: str) -> Iterator[Warehouse]:
    """A copy of the built `left` and `right` that tests leave as it is."""
    with new_warehouse(two_cohorts) as warehouse:
        assert changed_cohorts(warehouse.connection, ["left", "right"]) == {}
        yield warehouse


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_makes_stale_what_reads_it_and_what_follows(built: Warehouse, change: str) -> None:
    stage, statement = CHANGES[change]
    with built.connection.transaction(force_rollback=True):
        built.execute(statement)
        assert changed_cohorts(built.connection, ["left"])["left"].stage == stage


def test_a_parameter_of_one_cohort_makes_no_other_stale(built: Warehouse) -> None:
    with built.connection.transaction(force_rollback=True):
        built.execute(
            "update raw.cohorts set ranking_parameters = %s where slug = 'left'", '{"min_raters": 3}'
        )
        assert list(changed_cohorts(built.connection, ["left", "right"])) == ["left"]


def test_reading_the_same_again_makes_nothing_stale(built: Warehouse) -> None:
    with built.connection.transaction(force_rollback=True):
        built.execute("update raw.ratings set updated_at = now() + interval '1 hour'")
        built.execute("update raw.films set updated_at = now() + interval '1 hour', overview = 'new'")
        built.member("stranger")
        assert changed_cohorts(built.connection, ["left", "right"]) == {}


TEXTS = {
    "a threshold": ("labels", "seeds/label_thresholds.csv", "score_percentile,90", "score_percentile,91"),
    "how labels are given": ("labels", "models/marts/ranking_insights.sql", "'skip it'", "'skip that'"),
    "a mart": ("marts", "models/marts/cohort_film_stats.sql", "film_id", "film_number"),
    "a snapshot": ("data", "models/intermediate/int_cohort_films.sql", ">= 3", ">= 4"),
    "a variable": ("data", "dbt_project.yml", "share: 0.5", "share: 0.6"),
    "a variable of marts": ("marts", "dbt_project.yml", "person_min_films: 3", "person_min_films: 4"),
    "a comment in SQL": (None, "models/intermediate/int_cohort_films.sql", "-- Sums of", "-- The sums of"),
    "a comment in yml": (None, "dbt_project.yml", "# Models by tag", "# Models by their tag"),
    "a description": (None, "models/marts/_marts__models.yml", "Title of the film", "The film's title"),
}


def test_a_new_release_makes_stale_what_its_code_decides_and_its_documentation_nothing(
    built: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "dbt_project"
    shutil.copytree(dbt.PROJECT, project, ignore=shutil.ignore_patterns("target", "logs"))
    monkeypatch.setattr(publications, "PROJECT", project)
    found, expected = {}, {}
    for change, (stage, name, old, new) in TEXTS.items():
        text = (project / name).read_text()
        assert old in text, change
        (project / name).write_text(text.replace(old, new))
        publications.forget_code()
        stale = changed_cohorts(built.connection, ["left", "right"])
        expected[change] = {slug: stage for slug in ("left", "right") if stage}
        found[change] = {slug: cohort.stage for slug, cohort in stale.items()}
        (project / name).write_text(text)
    monkeypatch.undo()
    publications.forget_code()
    assert found == expected


def test_new_thresholds_give_new_labels_and_touch_nothing_else(two: Warehouse) -> None:
    good = contents(two, "left")
    circle = two.rows("select xmin::text, * from intermediate.circle_films order by cohort_id, film_id")
    two.execute(
        "update intermediate.label_thresholds set threshold = 0"
        " where label = 'crowd pleaser' and criterion like 'min%%'"
    )
    two.execute("update intermediate.cohort_stages set labels_version = 'other thresholds'")
    # Not even the ratings are there any more.
    two.execute("truncate intermediate.int_cohort_ratings")
    due = marts_to_build(two.connection, ["left", "right"])
    assert {stage: [cohort.slug for cohort in cohorts] for stage, cohorts in due.items()} == {
        "marts": [],
        "labels": ["left", "right"],
    }
    versions = {cohort.cohort_id: str(cohort.wanted.data) for cohort in due["labels"]}
    nodes = dbt.build(two.url, select=MARTS_SELECTION["labels"], cohorts=versions, settings=two.settings)
    assert "cohort_film_stats" not in {node.name for node in nodes}
    mark_marts(two.connection, due["labels"], built=True)

    assert changed_cohorts(two.connection, ["left", "right"]) == {}
    now = contents(two, "left")
    assert {mart for mart in MARTS if now[mart] != good[mart]} == {"ranking_insights"}
    labels = {
        row["bucket"] for cohort in ("left", "right") for row in contents(two, cohort)["ranking_insights"]
    }
    assert labels == {"crowd pleaser"}
    assert circle == two.rows(
        "select xmin::text, * from intermediate.circle_films order by cohort_id, film_id"
    )


def test_a_build_that_died_is_taken_up_where_it_was(two: Warehouse) -> None:
    due = marts_to_build(two.connection, ["left"], force=True)["marts"]
    mark_marts(two.connection, due, built=False)
    assert changed_cohorts(two.connection, ["left", "right"])["left"].stage == "marts"
    # A crash of the server empties the snapshot, the audits with it.
    two.execute("truncate intermediate.cohort_audits, intermediate.int_cohort_ratings")
    assert changed_cohorts(two.connection, ["left"])["left"].stage == "data"
    assert marts_to_build(two.connection, ["left"], force=True) == {"marts": [], "labels": []}


def test_the_snapshot_and_its_audits_are_lost_together_in_a_crash(two: Warehouse) -> None:
    kinds = two.rows(
        "select relname, relpersistence::text as kind from pg_class"
        " where relnamespace = 'intermediate'::regnamespace and relkind = 'r'"
        " and (relname like 'int%%' or relname = 'cohort_audits')"
    )
    ratings = {f"int_cohort_ratings_{two.cohort_id(slug)}" for slug in ("left", "right")}
    assert ratings < {row["relname"] for row in kinds}
    assert len(kinds) == 5 + len(ratings)
    assert {row["kind"] for row in kinds} == {"u"}


def test_a_snapshot_that_somebody_reads_is_not_emptied_under_them(two: Warehouse) -> None:
    cohort_id = two.cohort_id("left")
    tables = "select oid, relfilenode from pg_class where relname ~ 'int_cohort_ratings_' order by oid"

    def rebuild() -> None:
        dbt.build(two.url, select="tag:before_statistics", cohorts={cohort_id: "v"}, settings=two.settings)

    before = two.rows(tables)
    with psycopg.connect(two.url) as reader:
        reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        count = "select count(*) from intermediate.int_cohort_ratings where cohort_id = %s"
        assert reader.execute(count, [cohort_id]).fetchone() == (8,)
        rebuild()
        assert reader.execute(count, [cohort_id]).fetchone() == (8,)
    assert two.rows(tables) == before
    assert two.scalar(f"select count(*) from intermediate.int_cohort_ratings_{cohort_id}") == 8
    # Nobody reads: its file is another one, the other cohort's is not.
    rebuild()
    assert [row["relfilenode"] for row in before] != [row["relfilenode"] for row in two.rows(tables)]
    assert (
        len({tuple(row.values()) for row in before} & {tuple(row.values()) for row in two.rows(tables)}) == 1
    )
    assert two.scalar(f"select count(*) from intermediate.int_cohort_ratings_{cohort_id}") == 8


def test_the_last_publication_is_the_one_to_compare_with(two: Warehouse) -> None:
    left = two.cohort_id("left")
    assert publications.last_publication(two.connection, left) is None
    [first] = publish(two.connection, ["left"], run_id="r1")
    assert (first.members_count, first.films_count, first.ratings_count) == (3, 3, 8)
    assert publications.last_publication(two.connection, left) == first
    assert publish(two.connection, ["left"], run_id="r2") == []
    assert len(publish(two.connection, ["left"], run_id="r3", force=True)) == 1


def test_a_publication_says_what_it_rests_on(two: Warehouse) -> None:
    [publication] = publish(two.connection, ["left"], run_id="r1")
    inputs = publication.inputs
    assert publications.StageVersions(**inputs["stages"]) == publications.built_versions(
        two.connection, two.cohort_id("left")
    )
    assert inputs["opinions"] == {"opinions": 8, "ratings": 8, "likes": 0, "favorites": 0, "logged": 0}
    assert inputs["global_averages"] == {"members": 3}
    assert inputs["parameters"]["bayesian"]["min_raters"] == 2
    assert inputs["chosen_parameters"] == {}
    assert inputs["label_thresholds"]["skip it: min_raters"] == 5
    assert re.fullmatch("[0-9a-f]{64}", inputs["code"])


def test_an_input_version_needs_the_views_of_dbt(connection: psycopg.Connection) -> None:
    with pytest.raises(WarehouseError, match="bootstrap"):
        publications.snapshot_version(connection, 1)


# -- the runner ------------------------------------------------------------------------------


def test_a_bootstrapped_database_is_left_alone(warehouse: Warehouse) -> None:
    assert dbt.bootstrap(warehouse.url, settings=warehouse.settings) is False


def test_another_release_of_the_project_replaces_the_views_and_keeps_what_is_published(
    two: Warehouse,
) -> None:
    good = contents(two, "left")
    two.execute("update ops.dbt_bootstraps set project_checksum = 'an earlier release'")
    two.execute("drop view intermediate.int_publishable_cohorts")
    assert dbt.bootstrap(two.url, settings=two.settings)
    assert contents(two, "left") == good
    assert two.rows("select * from intermediate.int_publishable_cohorts") == []


def test_two_builds_at_once_take_turns(two: Warehouse) -> None:
    def stage_one(slug: str) -> list[dbt.NodeResult]:
        cohorts = {ids[slug]: "v"}
        return dbt.build(two.url, select="tag:before_statistics", cohorts=cohorts, settings=two.settings)

    ids = {slug: two.cohort_id(slug) for slug in ("left", "right")}
    with ThreadPoolExecutor() as pool:
        list(pool.map(stage_one, ids))
    counted = two.rows(
        "select cohort_id, count(*) from intermediate.int_cohort_ratings group by 1 order by 1"
    )
    assert counted == [{"cohort_id": ids["left"], "count": 8}, {"cohort_id": ids["right"], "count": 5}]


def test_a_build_reports_its_nodes_and_empties_its_requests(two: Warehouse) -> None:
    nodes = dbt.build(
        two.url, select="tag:before_statistics", cohorts={two.cohort_id("left"): "v"}, settings=two.settings
    )
    by_name = {node.name: node for node in nodes}
    ratings = by_name["int_cohort_ratings"]
    assert (ratings.status, ratings.rows_affected, ratings.relation) == (
        "success",
        8,
        "intermediate.int_cohort_ratings",
    )
    assert {node.status for node in nodes if node.resource_type == "test"} == {"pass"}
    assert two.scalar("select count(*) from ops.cohort_build_requests") == 0


def test_a_failing_model_is_named_and_its_requests_are_emptied(two: Warehouse) -> None:
    two.execute(
        "alter table intermediate.cohort_audits drop column detail cascade, add column detail integer"
    )
    with pytest.raises(DbtError, match=r"cohort_audits: .*detail"):
        two.build("left")
    assert two.scalar("select count(*) from ops.cohort_build_requests") == 0


def test_the_reader_sees_the_marts_and_nothing_else(two: Warehouse) -> None:
    two.execute("set role almanac_reader")
    assert counts(two, "left") == [3, 30, 29, 3]
    for table in (
        "raw.ratings",
        "staging.stg_raw__ratings",
        "intermediate.int_cohort_ratings",
        "ops.publications",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            two.execute(f"select from {table}")
    two.execute("reset role")


def test_every_mart_column_says_what_it_is(warehouse: Warehouse) -> None:
    silent = warehouse.rows(
        """
        select c.relname, a.attname from pg_class as c
        join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
        where c.relnamespace = 'almanac'::regnamespace and c.relkind in ('r', 'v')
            and (col_description(c.oid, a.attnum) is null or obj_description(c.oid) is null)
        """
    )
    assert silent == []


def test_the_documentation_is_one_page_and_no_log_holds_the_password(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    page = dbt.generate_docs(warehouse.url, tmp_path / "docs", settings=warehouse.settings)
    assert page == tmp_path / "docs" / "index.html"
    text = page.read_text()
    assert "cohort_film_stats" in text
    password = re.search(r":([^:@/]+)@", warehouse.url)
    assert password is not None
    assert password[1] not in text
    assert all(password[1] not in log.read_text() for log in (warehouse.settings.home / "logs").iterdir())
