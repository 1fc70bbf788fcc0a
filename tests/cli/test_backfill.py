"""One run that builds several cohorts, as a backfill from the Dagster UI asks for."""

from __future__ import annotations

import dagster as dg
import psycopg
import pytest

from almanac_pipeline.settings import get_settings

# Dagster warns of its own beta features while it executes.
pytestmark = pytest.mark.filterwarnings("ignore")
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def test_a_run_over_two_cohorts_builds_both_and_holds_back_only_the_bad_one(published: str) -> None:
    # Imported here: dagster-dbt's own imports warn, which the mark above cannot forgive at collection.
    from almanac_pipeline.definitions import defs

    get_settings.cache_clear()
    with psycopg.connect(published, autocommit=True) as connection:
        connection.execute(
            "insert into raw.cohorts (slug, label, definition) values ('others', 'Others', '{}')"
        )
        connection.execute(
            "insert into raw.cohort_members (cohort_id, user_id) select c.cohort_id, u.user_id"
            " from raw.cohorts as c, raw.users as u where c.slug = 'others' and u.username <> 'cat'"
        )
        # A film that only cat has rated states a total that its buckets contradict.
        connection.execute(
            "with film as (insert into raw.films (slug, title) values ('odd', 'Odd') returning film_id),"
            " rated as (insert into raw.ratings (user_id, film_id, rating, source)"
            "   select user_id, film_id, 3, 'pages' from raw.users, film where username = 'cat')"
            " insert into raw.film_histograms (film_id, source, count_3_0, stated_ratings)"
            " select film_id, 'letterboxd', 90, 100 from film"
        )
        with dg.DagsterInstance.ephemeral() as instance:
            instance.add_dynamic_partitions("cohorts", ["friends", "others"])
            result = defs.resolve_job_def("statistics").execute_in_process(
                instance=instance,
                run_config=QUIET,
                raise_on_error=False,
                tags={
                    "dagster/asset_partition_range_start": "friends",
                    "dagster/asset_partition_range_end": "others",
                },
            )
        checks = {
            evaluation.check_name: evaluation
            for evaluation in result.get_asset_check_evaluations()
            if evaluation.asset_key == dg.AssetKey(["intermediate", "cohort_audits"])
            and evaluation.partition == "friends"
        }
        built = dict(
            connection.execute(
                "select cohort, count(*) from almanac.cohort_film_stats group by cohort"
            ).fetchall()
        )
        published_slugs = {
            slug
            for (slug,) in connection.execute(
                "select slug from ops.publications join raw.cohorts using (cohort_id)"
                " where dagster_run_id is not null"
            )
        }
    failed = [event.step_key for event in result.all_events if event.is_step_failure]
    assert failed == ["ops__publications"]
    assert checks["global_histogram_total"].passed is False
    assert "Odd" in str(checks["global_histogram_total"].description)
    assert checks["bucket_sums_equal_ratings"].passed is True
    # friends keeps its four films of before; others has what ann and bob rated.
    assert built == {"friends": 4, "others": 4}
    assert published_slugs == {"others"}
