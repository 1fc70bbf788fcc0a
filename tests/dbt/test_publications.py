"""Publications: of cohorts of every odd kind, of some while others fail, and of what moved since the last."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from almanac_pipeline.errors import DbtError, HeldBackError
from almanac_pipeline.flows.publication import (
    MARTS_SELECTION,
    StaleCohort,
    changed_cohorts,
    compute_waiting,
    mark_marts,
    marts_to_build,
    publish,
)
from almanac_pipeline.warehouse import dbt, forgetting
from almanac_pipeline.warehouse.changes import changed_since, empty_queues
from almanac_pipeline.warehouse.statistics_tables import PUBLISHED
from tests.dbt.world import NewWarehouse, Warehouse

TABLES = ("cohort_film_stats", "ranking_insights", "member_profiles", "watchlist_overlap", "person_rankings")
MARTS = (*TABLES, "film_histograms", "film_rankings", "taste_similarity", "rank_history")
STRATEGIES = {
    "almanac", "forecast", "bayesian", "wilson", "discovery", "recency", "hybrid", "engagement", "consensus",
    "loved",
}  # fmt: skip

# cohort -> member -> {film: stars}; None is a heart without stars.
CORNERS: dict[str, dict[str, dict[int, float | None]]] = {
    "one_member": {"solo": {1: 5, 2: 3, 3: 4.5, 4: 0.5}},
    "one_film": {"one_a": {1: 4}, "one_b": {1: 3}, "one_c": {1: 4.5}},
    "all_fives": {name: dict.fromkeys(range(1, 7), 5.0) for name in ("five_a", "five_b", "five_c")},
    "no_likes": {"cold_a": {1: 2, 2: 4, 3: 3}, "cold_b": {1: 2.5, 2: 5, 3: 1}, "cold_c": {2: 4, 3: 3.5}},
    "only_likes": {"warm_a": {1: None, 2: None}, "warm_b": {1: None}, "warm_c": {1: None, 3: None}},
    "ties": {name: {1: 4, 2: 4, 3: 2, 4: 2} for name in ("tie_a", "tie_b")},
    "emptied": {"gone_a": {1: 4, 2: 2}, "gone_b": {1: 3, 2: 5}},
    "left_by_one": {"stay_a": {1: 4, 2: 2, 3: 3}, "stay_b": {1: 5, 2: 1, 3: 3}, "leaver": {1: 1, 4: 5}},
}


def run(warehouse: Warehouse, *slugs: str, force: bool = False) -> list[dbt.NodeResult]:
    """What a run of the job `statistics` does with these cohorts, up to the publication."""
    connection = warehouse.connection
    changed = changed_cohorts(connection, slugs, force=force).values()
    nodes = build(warehouse, "tag:before_statistics", [each for each in changed if each.stage == "data"])
    compute_waiting(connection, slugs, force=force)
    due = marts_to_build(connection, slugs, force=force)
    for stage, select in MARTS_SELECTION.items():
        mark_marts(connection, due[stage], built=False)
        nodes += build(warehouse, select, due[stage])
        mark_marts(connection, due[stage], built=True)
    return nodes


def build(warehouse: Warehouse, select: str, cohorts: list[StaleCohort]) -> list[dbt.NodeResult]:
    versions = {cohort.cohort_id: str(cohort.wanted.data) for cohort in cohorts}
    if not versions:
        return []
    return dbt.build(warehouse.url, select=select, cohorts=versions, settings=warehouse.settings)


@pytest.fixture(scope="module")
def corners_template(new_warehouse: NewWarehouse) -> Iterator[str]:
    """Name of a database with all CORNERS built and published at once."""
    with new_warehouse() as warehouse:
        films = {number: warehouse.film(number) for number in range(1, 7)}
        for slug, circle in CORNERS.items():
            members = {name: warehouse.member(name) for name in circle}
            for name, taste in circle.items():
                for number, stars in taste.items():
                    warehouse.rate(members[name], films[number], stars, liked=stars is None or stars == 5)
            warehouse.cohort(slug, list(members.values()))
        nodes = run(warehouse, *CORNERS)
        # One invocation of dbt per stage, however many cohorts: no node ran twice.
        assert len({node.unique_id for node in nodes}) == len(nodes)
        # And every test of the project, those of views too.
        manifest = json.loads(dbt.MANIFEST.read_text())
        tests = {name for name, node in manifest["nodes"].items() if node["resource_type"] == "test"}
        assert tests == {node.unique_id for node in nodes if node.resource_type == "test"}
        published = publish(warehouse.connection, CORNERS, run_id="first")
        assert {each.cohort_id for each in published} == {warehouse.cohort_id(slug) for slug in CORNERS}
        warehouse.connection.close()
        yield warehouse.name


@pytest.fixture(scope="module")
def built(new_warehouse: NewWarehouse, corners_template: str) -> Iterator[Warehouse]:
    """The corner cohorts, for tests that only look."""
    with new_warehouse(corners_template) as warehouse:
        yield warehouse


@pytest.fixture
def corners(new_warehouse: NewWarehouse, corners_template: str) -> Iterator[Warehouse]:
    """The corner cohorts, for one test."""
    with new_warehouse(corners_template) as warehouse:
        yield warehouse


def contents(warehouse: Warehouse, cohort: str) -> dict[str, list[Any]]:
    """All mart rows of a cohort; of tables with their place on disk: equal only if nobody wrote."""
    return {
        mart: warehouse.rows(
            f"select {'ctid::text, xmin::text,' if mart in TABLES else ''} * from almanac.{mart}"
            " where cohort = %s order by 1, 2, 3, 4",
            cohort,
        )
        for mart in MARTS
    }


def ranks(warehouse: Warehouse, cohort: str, strategy: str = "almanac") -> dict[str, int | None]:
    rows = warehouse.rows(
        "select title, rank from almanac.film_rankings where cohort = %s and strategy = %s", cohort, strategy
    )
    return {row["title"]: row["rank"] for row in rows}


def as_of(warehouse: Warehouse, cohort: str, moment: datetime, strategy: str = "almanac") -> dict[str, int]:
    rows = warehouse.rows(
        "select title, rank from almanac.rank_history where cohort = %s and strategy = %s"
        " and published_at <= %s and (until_at > %s or until_at is null)",
        *(cohort, strategy, moment, moment),
    )
    assert len({row["title"] for row in rows}) == len(rows)
    return {row["title"]: row["rank"] for row in rows}


# -- odd cohorts -------------------------------------------------------------------------------


def test_one_member_is_ranked_by_their_own_ratings(built: Warehouse) -> None:
    # Nobody has two raters to be eligible, so all are seen by few; the order is that of the stars.
    rows = built.rows(
        "select title, score, rank from almanac.film_rankings"
        " where cohort = 'one_member' and strategy = 'almanac' order by score desc"
    )
    assert [row["title"] for row in rows] == ["Film 1", "Film 3", "Film 2", "Film 4"]
    assert {row["rank"] for row in rows} == {None}
    [profile] = built.rows("select * from almanac.member_profiles where cohort = 'one_member'")
    assert (profile["ratings_count"], profile["strictness"], profile["compared_members_count"]) == (4, 0, 0)
    assert profile["most_agreed_user_id"] is None
    assert contents(built, "one_member")["taste_similarity"] == []


def test_one_film_is_the_first_of_one(built: Warehouse) -> None:
    [stats] = built.rows("select * from almanac.cohort_film_stats where cohort = 'one_film'")
    assert (stats["raters"], float(stats["rating_sum"]), stats["is_shareable"]) == (3, 11.5, True)
    assert ranks(built, "one_film") == {"Film 1": 1}
    [insights] = built.rows("select * from almanac.ranking_insights where cohort = 'one_film'")
    assert (insights["score_percentile"], insights["score_z"]) == (50, None)


def test_all_fives_are_five_and_nobody_can_be_compared(built: Warehouse) -> None:
    rows = built.rows(
        "select * from almanac.film_rankings where cohort = 'all_fives' and strategy = 'almanac'"
    )
    assert {round(row["estimate"], 9) for row in rows} == {5}
    assert sorted(row["rank"] for row in rows) == [1, 2, 3, 4, 5, 6]
    pairs = built.rows("select * from almanac.taste_similarity where cohort = 'all_fives'")
    assert {(row["overlap"], row["similarity"], row["star_gap"]) for row in pairs} == {(6, None, 0)}


def test_without_likes_only_the_shares_of_likes_are_zero(built: Warehouse) -> None:
    assert ranks(built, "no_likes").keys() == {"Film 1", "Film 2", "Film 3"}
    shares = built.rows(
        "select distinct liked_share from almanac.cohort_film_stats where cohort = 'no_likes'"
    )
    assert {row["liked_share"] for row in shares} <= {0, 1 / 3}


def test_likes_alone_are_ranked_by_loved_and_by_nothing_else(built: Warehouse) -> None:
    strategies = built.rows("select distinct strategy from almanac.film_rankings where cohort = 'only_likes'")
    assert {row["strategy"] for row in strategies} == {"loved"}
    assert ranks(built, "only_likes", "loved") == {"Film 1": 1, "Film 2": None, "Film 3": None}
    labels = built.rows(
        "select distribution_label, bucket from almanac.ranking_insights where cohort = 'only_likes'"
    )
    assert {row["distribution_label"] for row in labels} == {"likes only"}
    assert "most liked, unrated" in {row["bucket"] for row in labels}
    assert {row["average_rating"] for row in contents(built, "only_likes")["member_profiles"]} == {None}


def test_ties_are_broken_by_title(built: Warehouse) -> None:
    assert ranks(built, "ties") == {"Film 1": 1, "Film 2": 2, "Film 3": 3, "Film 4": 4}


def test_every_cohort_with_ratings_has_every_strategy_it_can_have(built: Warehouse) -> None:
    found = built.rows(
        "select cohort, array_agg(distinct strategy) as names from almanac.film_rankings group by cohort"
    )
    for row in found:
        assert set(row["names"]) <= STRATEGIES
        if row["cohort"] != "only_likes":
            assert {"almanac", "bayesian", "wilson", "recency", "hybrid", "engagement", "consensus"} <= set(
                row["names"]
            ), row


# -- what moves --------------------------------------------------------------------------------


def test_a_cohort_that_is_emptied_and_one_that_a_member_leaves_and_the_others_untouched(
    corners: Warehouse,
) -> None:
    others = [slug for slug in CORNERS if slug not in ("emptied", "left_by_one")]
    # With the crowd being all members, a member who leaves is missed by everybody: the others are not asked.
    before = {slug: contents(corners, slug) for slug in others}
    old = ranks(corners, "left_by_one")
    corners.execute(
        "update raw.cohort_members set until = now() where cohort_id = %s", corners.cohort_id("emptied")
    )
    corners.execute(
        "update raw.cohort_members set until = now() where user_id ="
        " (select user_id from raw.users where username = 'leaver')"
    )
    run(corners, "emptied", "left_by_one")
    emptied, left = publish(corners.connection, ["emptied", "left_by_one"], run_id="second")
    assert (emptied.members_count, emptied.films_count, emptied.ratings_count) == (0, 0, 0)
    now = contents(corners, "emptied")
    assert {mart: rows for mart, rows in now.items() if rows and mart != "rank_history"} == {}
    assert as_of(corners, "emptied", emptied.published_at) == {}

    assert (left.members_count, left.ratings_count) == (2, 6)
    leaver = corners.scalar("select user_id from raw.users where username = 'leaver'")
    assert leaver not in {row["user_id"] for row in contents(corners, "left_by_one")["member_profiles"]}
    new = ranks(corners, "left_by_one")
    assert "Film 4" in old
    assert "Film 4" not in new
    assert {slug: contents(corners, slug) for slug in others} == before


def test_history_answers_as_of_any_date_and_grows_by_what_moved(corners: Warehouse) -> None:
    slug = "no_likes"
    cohort_id = corners.cohort_id(slug)
    seen: list[tuple[datetime, dict[str, dict[str, int]]]] = []

    def note() -> None:
        at = corners.scalar("select max(published_at) from ops.publications where cohort_id = %s", cohort_id)
        now = {
            name: {film: rank for film, rank in ranks(corners, slug, name).items() if rank}
            for name in STRATEGIES
        }
        seen.append((at, now))

    note()
    first = corners.scalar("select count(*) from almanac.rank_history where cohort = %s", slug)
    assert first == sum(map(len, seen[0][1].values()))
    for stars in (0.5, 5, 5, 2):
        # The one change that everything hangs on: what all think of film 1.
        corners.execute(
            "update raw.ratings set rating = %s where film_id = %s and user_id in"
            " (select user_id from raw.users where username like 'cold%%')",
            *(stars, corners.film_id(1)),
        )
        run(corners, slug)
        publish(corners.connection, [slug], run_id="again")
        note()
    for at, rankings in seen:
        assert {name: as_of(corners, slug, at, name) for name in STRATEGIES} == rankings
    assert seen[0][1]["almanac"] != seen[2][1]["almanac"]

    moved = corners.rows(
        "select published_at, count(*) as rows, bool_and(rank is distinct from previous_rank) as moved"
        " from almanac.rank_history where cohort = %s group by 1 order by 1",
        slug,
    )
    assert all(row["moved"] for row in moved)
    by_time = dict(seen)
    times = sorted(by_time)
    for earlier, later in itertools.pairwise(times):
        expected = sum(
            by_time[earlier][name].get(film) != rank
            for name, films in by_time[later].items()
            for film, rank in films.items()
        )
        assert sum(row["rows"] for row in moved if row["published_at"] == later) == expected


def test_publishing_the_same_again_moves_nothing(corners: Warehouse) -> None:
    before = corners.rows("select * from almanac.rank_history order by cohort, strategy, film_id")
    assert publish(corners.connection, CORNERS, run_id="x") == []
    assert len(publish(corners.connection, CORNERS, run_id="x", force=True)) == len(CORNERS)
    assert corners.rows("select * from almanac.rank_history order by cohort, strategy, film_id") == before


# -- failures ----------------------------------------------------------------------------------


def test_parameters_that_are_not_understood_hold_back_their_cohort_and_no_other(corners: Warehouse) -> None:
    good = contents(corners, "ties")
    corners.execute("update raw.cohorts set ranking_parameters = '{\"tau\": 1}' where slug = 'ties'")
    corners.execute("update raw.ratings set rating = 1 where rating = 2")
    run(corners, "ties", "no_likes")
    with pytest.raises(HeldBackError, match=r"^ties: Unknown ranking parameters: tau") as held_back:
        publish(corners.connection, ["ties", "no_likes"], run_id="batch")
    assert "no_likes" not in str(held_back.value)
    assert contents(corners, "ties") == good
    row = corners.rows("select * from almanac.cohort_freshness where cohort = 'no_likes'")[0]
    assert (row["dagster_run_id"], row["publications_count"]) == ("batch", 2)


def test_a_cohort_is_held_back_in_later_runs_too_until_it_is_mended(corners: Warehouse) -> None:
    cohorts = ["all_fives", "ties"]
    corners.execute(
        "insert into raw.film_histograms (film_id, source, count_5_0, stated_ratings) values"
        " (%s, 'letterboxd', 9, 99)",
        corners.film_id(5),
    )
    run(corners, "all_fives")
    # Another run, in which the bad cohort is as it was and another has news.
    corners.execute("update raw.ratings set rating = 1 where rating = 2")
    run(corners, *cohorts)
    why = r"^all_fives: not published, because global_histogram_total: expected 0.*, observed 1"
    with pytest.raises(HeldBackError, match=why):
        publish(corners.connection, cohorts, run_id="second")
    query = "select cohort, publications_count from almanac.cohort_freshness where cohort = any(%s)"
    counts = {row["cohort"]: row["publications_count"] for row in corners.rows(query, cohorts)}
    assert counts == {"all_fives": 1, "ties": 2}
    corners.execute("update raw.film_histograms set count_5_0 = 99")
    run(corners, *cohorts)
    [mended] = publish(corners.connection, cohorts, run_id="third")
    assert mended.cohort_id == corners.cohort_id("all_fives")


def test_a_run_between_whose_steps_the_server_crashed_has_its_cohort_built_again(corners: Warehouse) -> None:
    before = contents(corners, "ties")
    corners.execute("update raw.ratings set rating = 1 where rating = 2")
    empty_queues(corners.connection)
    [[seen]] = corners.connection.execute("select max(change_number) from ops.cohort_changes").fetchall()
    build(corners, "tag:before_statistics", list(changed_cohorts(corners.connection, ["ties"]).values()))
    unlogged = corners.rows(
        "select oid::regclass::text as name from pg_class where relpersistence = 'u' and relkind = 'r'"
    )
    corners.execute(f"truncate {', '.join(row['name'] for row in unlogged)}")
    # What goes on with the run begins after the snapshot.
    assert compute_waiting(corners.connection, ["ties"]) == []
    with pytest.raises(HeldBackError, match="ties: not published, because its snapshot is gone"):
        publish(corners.connection, ["ties"], run_id="resumed")
    assert contents(corners, "ties") == before
    empty_queues(corners.connection)
    assert "ties" in {cohort.slug for cohort in changed_since(corners.connection, seen)}
    run(corners, "ties")
    assert len(publish(corners.connection, ["ties"], run_id="new")) == 1


def test_freshness_says_who_is_held_back_and_since_when_the_marts_stand(corners: Warehouse) -> None:
    corners.execute(
        "insert into raw.film_histograms (film_id, source, count_5_0, stated_ratings) values"
        " (%s, 'letterboxd', 9, 99)",
        corners.film_id(5),
    )
    corners.execute(
        "insert into ops.user_scrape_state (user_id, subject, last_success_at)"
        " select user_id, 'ratings', '2026-01-02T03:00Z' from raw.users where username = 'five_a'"
    )
    run(corners, "all_fives")
    with pytest.raises(HeldBackError, match="global_histogram_total"):
        publish(corners.connection, ["all_fives"], run_id="second")
    corners.cohort("young", [])
    fresh = {row["cohort"]: row for row in corners.rows("select * from almanac.cohort_freshness")}
    assert set(fresh) == {*CORNERS, "young"}
    held = fresh["all_fives"]
    assert (held["publication_state"], held["failed_audits"]) == ("held back", ["global_histogram_total"])
    assert (held["dagster_run_id"], held["publications_count"], held["films_count"]) == ("first", 1, 6)
    assert (held["current_members_count"], held["read_members_count"]) == (3, 1)
    assert (
        held["oldest_read_at"] == held["newest_read_at"] == datetime.fromisoformat("2026-01-02T03:00+00:00")
    )
    assert fresh["ties"]["publication_state"] == "published"
    assert fresh["ties"]["inputs"]["opinions"]["ratings"] == 8
    assert (fresh["young"]["publication_state"], fresh["young"]["published_at"]) == ("never published", None)


def test_freshness_says_when_the_pipeline_last_got_through_and_what_failed(corners: Warehouse) -> None:
    corners.execute(
        """
        insert into ops.scrape_runs (cohort_id, subject, status, started_at, finished_at, rows_changed)
        select cohort_id, 'ratings', runs.status, now() - age, now() - age, changed
        from raw.cohorts, (values
            ('succeeded', interval '30 hours', 0),
            ('succeeded', interval '0', 7),
            ('failed', interval '1 hour', 0)
        ) as runs (status, age, changed)
        where slug = 'ties'
        """
    )
    query = (
        "select * from almanac.cohort_freshness where cohort in ('ties', 'all_fives') order by cohort desc"
    )
    ties, other = corners.rows(query)
    # What was read last is not published yet.
    assert 29.9 < ties["success_age_hours"] < 30.1
    assert (ties["failed_runs_count"], ties["open_failures_count"]) == (1, 0)
    assert (other["last_success_at"], other["success_age_hours"], other["failed_runs_count"]) == (
        None,
        None,
        0,
    )
    corners.execute("update ops.publications set published_at = clock_timestamp()")
    assert corners.rows(query)[0]["success_age_hours"] < 0.1
    lowest = corners.rows(
        "select min(observed) from intermediate.cohort_audits where rule ~ '^coverage' and cohort = 'ties'"
    )
    assert ties["coverage_share"] == pytest.approx(float(lowest[0]["min"]))


def test_readers_see_nothing_of_a_computation_until_it_is_published(corners: Warehouse) -> None:
    before = contents(corners, "ties")
    corners.execute("update raw.ratings set rating = 1 where rating = 2")
    # Three runs that die after the numpy step, each with another computation.
    for parameter in (400, 500, 600):
        corners.execute(
            "update raw.cohorts set ranking_parameters = %s where slug = 'ties'",
            json.dumps({"recency_tau_days": parameter}),
        )
        connection = corners.connection
        build(corners, "tag:before_statistics", list(changed_cohorts(connection, ["ties"]).values()))
        assert len(compute_waiting(connection, ["ties"])) == 1
        assert contents(corners, "ties") == before
    # One that dies before it publishes, then one that is held back.
    run(corners, "ties")
    corners.execute("update intermediate.cohort_audits set passed = false where blocking")
    with pytest.raises(HeldBackError, match="ties"):
        publish(corners.connection, ["ties"], run_id="second")
    shown = contents(corners, "ties")
    for mart in ("film_rankings", "taste_similarity", "rank_history"):
        assert shown[mart] == before[mart]
    corners.execute("update intermediate.cohort_audits set passed = true")
    publish(corners.connection, ["ties"], run_id="third")
    [tau] = corners.rows(
        "select distinct params ->> 'tau_days' as days from almanac.film_rankings"
        " where cohort = 'ties' and strategy = 'recency'"
    )
    assert tau["days"] == "600"
    for table in PUBLISHED:
        query = f"select count(distinct computation) from intermediate.{table} where cohort_id = %s"
        assert corners.rows(query, corners.cohort_id("ties")) == [{"count": 1}]


def test_a_data_test_that_fails_fails_the_build_and_is_told_with_what_ran(corners: Warehouse) -> None:
    corners.execute("update intermediate.strategy_scores set tier = null where eligible")
    corners.execute("update intermediate.cohort_stages set marts_version = 'old'")
    with pytest.raises(
        DbtError, match=r"rows_of_film_rankings_hold: places_of_the_eligible \(\d+ rows\)"
    ) as failed:
        run(corners, "ties")
    states = {node.name: node.status for node in failed.value.nodes if node.resource_type == "test"}
    assert [name for name, state in states.items() if state == "fail"] == ["rows_of_film_rankings_hold"]
    assert "pass" in states.values()


def test_forgetting_withdraws_only_cohorts_whose_numbers_hold_the_person(corners: Warehouse) -> None:
    # All are compared with the ratings of all members; warm_c has hearts, and no rating.
    before = {slug: contents(corners, slug) for slug in CORNERS if slug != "only_likes"}
    forgetting.forget(corners.connection, "warm_c")
    assert forgetting.withdrawn_cohorts(corners.connection) == ["only_likes"]
    assert {slug: contents(corners, slug) for slug in before} == before
    # Of the others each knows a film that solo rated.
    forgetting.forget(corners.connection, "solo")
    assert forgetting.withdrawn_cohorts(corners.connection) == sorted(CORNERS)


# -- parameters --------------------------------------------------------------------------------


def test_a_parameter_rebuilds_what_depends_on_it_and_stands_with_the_rows(corners: Warehouse) -> None:
    before = {slug: contents(corners, slug) for slug in ("no_likes", "ties")}
    snapshot = "select ctid::text, xmin::text from intermediate.int_cohort_ratings order by 1"
    ratings = corners.rows(snapshot)
    corners.execute(
        "update raw.cohorts set ranking_parameters = '{\"hybrid_watchers_weight\": 9}'"
        " where slug = 'no_likes'"
    )
    assert run(corners, "no_likes", "ties") == []  # nothing for dbt to do
    [publication] = publish(corners.connection, ["no_likes", "ties"], run_id="second")
    now = contents(corners, "no_likes")
    assert {mart for mart in MARTS if now[mart] != before["no_likes"][mart]} <= {
        "film_rankings",
        "rank_history",
    }
    strategies = {
        row["strategy"]
        for row, old in zip(now["film_rankings"], before["no_likes"]["film_rankings"], strict=True)
        if {**row, "computed_at": 0} != {**old, "computed_at": 0}
    }
    assert strategies == {"hybrid"}
    assert {
        row["params"]["watchers_weight"] for row in now["film_rankings"] if row["strategy"] == "hybrid"
    } == {9}
    assert publication.inputs["chosen_parameters"] == {"hybrid_watchers_weight": 9}
    assert contents(corners, "ties") == before["ties"]
    assert ratings == corners.rows(snapshot)


def test_a_parameter_of_the_places_rebuilds_the_labels_that_read_them(corners: Warehouse) -> None:
    corners.execute(
        "update raw.cohorts set ranking_parameters = '{\"min_raters\": 3}' where slug = 'no_likes'"
    )
    built = {node.name for node in run(corners, "no_likes") if node.resource_type == "model"}
    assert "ranking_insights" in built
    assert "int_cohort_ratings" not in built
    publish(corners.connection, ["no_likes"], run_id="second")
    assert ranks(corners, "no_likes") == {"Film 1": None, "Film 2": 1, "Film 3": 2}
