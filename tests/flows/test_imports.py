"""Imports of exports against a real database: what is stored, what a repeat changes, what is refused."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from almanac_pipeline.errors import ConfigurationError, ImportFileError, WarehouseError
from almanac_pipeline.flows.imports import (
    FileReport,
    ImportReport,
    import_exports,
    import_inbox,
    list_inbox,
    look_at_inbox,
)
from almanac_pipeline.settings import Settings
from almanac_pipeline.warehouse.cohorts import create_cohort
from tests import exports
from tests.flows.conftest import Query

Import = Callable[..., FileReport]


@pytest.fixture
def import_files(database_url: str, settings: Settings, tmp_path: Path) -> Import:
    """Pack files into a ZIP of that name and import it."""

    def run(
        files: Mapping[str, str | bytes] | bytes, name: str = exports.FILE_NAME, **options: Any
    ) -> FileReport:
        path = tmp_path / name
        path.write_bytes(files if isinstance(files, bytes) else exports.pack(files))
        return import_exports(database_url, settings, [path], **options).files[0]

    return run


@pytest.fixture
def opinions(query: Query) -> Callable[..., dict[str, tuple[float | None, bool, bool]]]:
    """{lid: (rating, liked, favorite)} of a member's present opinions."""

    def read(username: str = "ada") -> dict[str, tuple[float | None, bool, bool]]:
        rows = query(
            """
            select films.lid, rating::float8 as rating, liked, favorite
            from raw.ratings join raw.users using (user_id) join raw.films using (film_id)
            where username = %s and removed_at is null
            """,
            username,
        )
        return {row["lid"]: (row["rating"], row["liked"], row["favorite"]) for row in rows}

    return read


@pytest.fixture
def stored(query: Query) -> Callable[[], dict[str, Any]]:
    """What the tables hold of members, and who wrote each row: even a row written anew differs."""

    def read() -> dict[str, Any]:
        tables = [
            "users",
            "ratings",
            "rating_events",
            "diary_entries",
            "watchlist_entries",
            "lists",
            "list_entries",
        ]
        return {
            name: query(
                f"select {name}.xmin::text as written_by, {name}::text as row from raw.{name} order by 2"
            )
            for name in tables
        }

    return read


def renamed(name: str, minute: int) -> str:
    return f"letterboxd-{name}-2026-05-01-12-{minute:02}-utc.zip"


# -- what is stored ----------------------------------------------------------------------------------


def test_every_part_of_an_export_is_stored(import_files: Import, opinions: Any, query: Query) -> None:
    report = import_files(exports.whole_export())

    assert report.outcome == "imported", report.error
    assert opinions() == {
        "L1": (0.5, True, True), "L2": (1.0, False, False), "L3": (1.5, False, False),
        "L4": (2.0, False, False), "L5": (2.5, False, False), "L6": (3.0, False, False),
        "L7": (None, True, False), "L30": (None, False, True),
    }  # fmt: skip
    [user] = query("select username, joined_on::text, status from raw.users")
    assert user == {"username": "ada", "joined_on": "2020-02-29", "status": "active"}
    assert {(r["rated_at"].isoformat(), r["rated_at_source"]) for r in query(
        "select rated_at at time zone 'UTC' as rated_at, rated_at_source from raw.ratings where rating > 0"
    )} == {("2026-04-01T00:00:00", "export")}  # fmt: skip
    assert query(
        """
        select source_key, lid, film_match, rating::float8 as rating, rewatch, has_review,
               watched_on::text, logged_on::text
        from raw.diary_entries left join raw.films using (film_id)
        where removed_at is null order by source_key
        """
    ) == [
        {"source_key": "eA", "lid": "L1", "film_match": "name_year", "rating": 4.0, "rewatch": False,
         "has_review": False, "watched_on": "2026-01-01", "logged_on": "2026-04-02"},
        {"source_key": "eB", "lid": "L1", "film_match": "name_year", "rating": None, "rewatch": True,
         "has_review": True, "watched_on": "2026-02-01", "logged_on": "2026-04-02"},
        {"source_key": "eC", "lid": "L8", "film_match": "name_year", "rating": None, "rewatch": False,
         "has_review": False, "watched_on": "2026-02-02", "logged_on": "2026-04-02"},
    ]  # fmt: skip
    assert query(
        "select lid, added_on::text from raw.watchlist_entries join raw.films using (film_id) order by lid"
    ) == [{"lid": lid, "added_on": "2026-04-01"} for lid in ("L20", "L21", "L22")]
    assert query(
        """
        select name, source_key, published_on::text, array_agg(lid order by list_position) as films
        from raw.lists join raw.list_entries using (list_id) join raw.films using (film_id)
        group by list_id
        """
    ) == [{"name": "The best", "source_key": "lA", "published_on": "2026-03-01", "films": ["L3", "L1", "L2"]}]
    # The rating of a viewing is not the opinion now, and deleted or orphaned rows are no viewings.
    assert opinions()["L1"][0] == 0.5


def test_a_run_and_the_content_are_recorded(import_files: Import, query: Query) -> None:
    import_files(exports.whole_export())

    [run] = query("select * from ops.scrape_runs")
    assert (run["subject"], run["status"], run["cohort_id"]) == ("import", "succeeded", None)
    assert (run["members_count"], run["requests_count"], run["failures_count"]) == (1, 0, 0)
    assert run["rows_changed"] == 8 + 3 + 3 + 1
    [member] = query("select outcome, rows_changed, rows_removed from ops.scrape_run_members")
    assert member == {"outcome": "full", "rows_changed": run["rows_changed"], "rows_removed": 0}
    [row] = query("select * from ops.imports")
    assert row["scrape_run_id"] == run["scrape_run_id"]
    assert row["as_of"].isoformat() == "2026-05-01T12:00:00+00:00"
    assert row["rows_by_file"]["ratings.csv"] == 6
    assert row["rows_by_file"]["lists"] == 3


def test_films_have_the_titles_and_years_of_the_export(import_files: Import, query: Query) -> None:
    import_files(exports.whole_export())

    titles = {row["lid"]: (row["title"], row["release_year"]) for row in query("select * from raw.films")}
    assert titles["L1"] == ("Film 1", 1951)
    assert titles["L22"] == ("Film 22", 1972)
    assert set(titles) == {f"L{n}" for n in (*range(1, 9), 20, 21, 22, 30)}


def test_a_diary_entry_that_fits_two_films_is_kept_without_a_film(import_files: Import, query: Query) -> None:
    twice = [exports.film(1, name="Twin", year=1896), exports.film(2, name="Twin", year=1896)]
    report = import_files(
        {
            "ratings.csv": exports.table(exports.RATING),
            "watched.csv": exports.table(exports.FILM, *twice),
            "diary.csv": exports.diary(
                exports.viewing(1, "eA", "2026-01-01", name="Twin", year=1896),
                exports.viewing(3, "eB", "2026-01-02", name="Nobody saw", year=""),
            ),
        }
    )

    assert (report.ambiguous_count, report.unknown_count, report.watched_only_count) == (1, 1, 2)
    rows = query(
        "select film_title, film_year, film_id, film_match from raw.diary_entries order by film_title"
    )
    assert rows == [
        {"film_title": "Nobody saw", "film_year": None, "film_id": None, "film_match": "unknown"},
        {"film_title": "Twin", "film_year": 1896, "film_id": None, "film_match": "ambiguous"},
    ]


# -- again, older, newer -----------------------------------------------------------------------------


def test_the_same_file_again_is_known_and_writes_nothing(
    import_files: Import, stored: Callable[[], Any]
) -> None:
    import_files(exports.whole_export())
    before = stored()

    assert import_files(exports.whole_export()).outcome == "known"
    assert stored() == before


def test_an_export_with_the_same_rows_in_another_zip_writes_nothing(
    import_files: Import, stored: Callable[[], Any]
) -> None:
    import_files(exports.whole_export())
    before = stored()

    report = import_files(
        exports.pack(exports.whole_export(), stamp=(2026, 5, 2, 0, 0, 0)), renamed("ada", 30)
    )
    assert report.outcome == "imported"
    assert report.total.total == 0
    assert stored() == before


def test_what_a_newer_export_no_longer_holds_is_marked_as_removed(
    import_files: Import, opinions: Any, query: Query
) -> None:
    files = exports.whole_export()
    import_files(files)
    files |= {
        "ratings.csv": exports.ratings((1, 5), (2, 1), (3, 1.5), (4, 2)),
        "likes/films.csv": exports.films(7),
        "diary.csv": exports.diary(
            exports.viewing(1, "eA", "2026-01-01", "4.5"), exports.viewing(8, "eC", "2026-02-02")
        ),
        "watchlist.csv": exports.films(20, 21),
    }

    report = import_files(files, renamed("ada", 30))
    assert report.changes["diary"].changed == report.changes["diary"].removed == 1
    assert report.changes["watchlist"].removed == 1
    assert opinions() == {
        "L1": (5.0, False, True), "L2": (1.0, False, False), "L3": (1.5, False, False),
        "L4": (2.0, False, False), "L7": (None, True, False), "L30": (None, False, True),
    }  # fmt: skip
    kinds = query("select kind, source from raw.rating_events where scrape_run_id = 2 order by 1")
    assert kinds == [{"kind": k, "source": "export"} for k in ("changed", "removed", "removed")]
    assert query("select source_key from raw.diary_entries where removed_at is not null") == [
        {"source_key": "eB"}
    ]
    assert query("select count(*)::int as n from raw.watchlist_entries where removed_at is null") == [
        {"n": 2}
    ]


def test_what_comes_back_is_restored(import_files: Import, query: Query) -> None:
    files = exports.whole_export()
    import_files(files)
    fewer = {
        "diary.csv": exports.diary(*(exports.viewing(1, key, "2026-01-01") for key in ("eA", "eB"))),
        "watchlist.csv": exports.films(20, 21),
        "lists/other.csv": exports.film_list("Other", "lB", 1),
    }
    import_files({**files, **fewer}, renamed("ada", 10))

    report = import_files(exports.pack(files, stamp=(2026, 5, 2, 0, 0, 0)), renamed("ada", 20))
    assert report.changes["diary"].restored == report.changes["watchlist"].restored == 1
    assert report.changes["lists"].removed == 1
    assert query("select source_key from raw.lists where removed_at is not null") == [{"source_key": "lB"}]


def test_an_older_export_after_a_newer_one_changes_nothing(
    import_files: Import, opinions: Any, stored: Callable[[], Any]
) -> None:
    import_files(exports.whole_export(), renamed("ada", 30))
    before, known = stored(), opinions()

    older = exports.whole_export() | {
        "ratings.csv": exports.ratings((1, 1), (9, 4)),
        "watchlist.csv": exports.films(99),
        "diary.csv": exports.diary(exports.viewing(9, "eZ", "2026-01-09")),
    }
    report = import_files(older, renamed("ada", 10))
    assert report.outcome == "imported"
    assert report.is_outdated
    assert opinions() == known
    assert stored() == before


def test_files_that_are_missing_say_nothing(import_files: Import, opinions: Any, query: Query) -> None:
    import_files(exports.whole_export())

    report = import_files(
        {"ratings.csv": exports.ratings(*((n, 3) for n in range(1, 7)))}, renamed("ada", 30)
    )
    assert report.outcome == "imported"
    assert report.username == "ada"
    assert {lid for lid, (_, liked, _) in opinions().items() if liked} == {"L1", "L7"}
    assert {lid for lid, (_, _, favorite) in opinions().items() if favorite} == {"L1", "L30"}
    assert query(
        """
        select (select count(*) from raw.diary_entries where removed_at is null)
             + (select count(*) from raw.watchlist_entries where removed_at is null)
             + (select count(*) from raw.lists where removed_at is null) as n
        """
    ) == [{"n": 7}]


def large_export(**files: str) -> dict[str, str | bytes]:
    """Twenty of everything that a guard watches."""
    return exports.whole_export() | {
        "ratings.csv": exports.ratings(*((number, 3) for number in range(1, 21))),
        "likes/films.csv": exports.films(*range(1, 21)),
        "diary.csv": exports.diary(
            *(exports.viewing(number, f"e{number}", f"2026-01-{number:02}") for number in range(1, 21))
        ),
        "watchlist.csv": exports.films(*range(30, 50)),
        **files,
    }


@pytest.mark.parametrize(
    ("name", "content", "subject", "part"),
    [
        ("ratings.csv", exports.ratings((1, 5)), "ratings", "opinions"),
        ("likes/films.csv", exports.films(), "likes", "opinions"),
        ("diary.csv", exports.diary(), "diary", "diary"),
        ("watchlist.csv", exports.films(30), "watchlist", "watchlist"),
    ],
)
def test_a_strongly_shrunken_part_is_left_out_with_an_alert_and_the_rest_is_taken(
    import_files: Import,
    opinions: Any,
    query: Query,
    stored: Callable[[], Any],
    name: str,
    content: str,
    subject: str,
    part: str,
) -> None:
    import_files(large_export())
    before = stored()

    report = import_files(large_export(**{name: content}), renamed("ada", 30))
    [doubt] = report.doubts
    assert (report.outcome, "ALMANAC_SHRINK_GUARD_SHARE" in doubt, "ada" in doubt) == (
        "imported",
        True,
        False,
    )
    assert stored() == before
    [alert] = query("select kind, message from ops.alerts where resolved_at is null")
    assert alert["kind"] == "suspicious"
    assert "ada" not in alert["message"]
    doubted = query("select subject from ops.user_scrape_state where suspicious_at is not null")
    assert doubted == [{"subject": subject}]
    [failed] = query("select error_kind, message from ops.scrape_failures where resolved_at is null")
    assert failed == {"error_kind": "ShrunkenError", "message": doubt}
    # The file before is no reason to be at ease.
    import_files(large_export())
    assert len(query("select 1 from ops.alerts where resolved_at is null")) == 1

    news = large_export(**{name: content, "lists/new.csv": exports.film_list("New", "lN", 1)})
    if part != "opinions":
        news["ratings.csv"] = exports.ratings(*((number, 5) for number in range(1, 21)))
    report = import_files(news, renamed("ada", 40))
    assert (len(report.doubts), report.changes["lists"].added) == (1, 1)
    assert report.total.changed == (20 if part != "opinions" else 0)
    assert report.total.removed == 0


def test_a_few_rows_that_were_taken_back_are_believed_however_few_there_were(
    import_files: Import, opinions: Any, query: Query
) -> None:
    import_files(exports.whole_export())
    report = import_files(
        exports.whole_export()
        | {
            "profile.csv": exports.profile(),
            "ratings.csv": exports.ratings((1, 5), (2, 1)),
            "likes/films.csv": exports.films(),
            "watchlist.csv": exports.films(),
        },
        renamed("ada", 30),
    )
    assert (report.outcome, report.doubts) == ("imported", ())
    assert opinions() == {"L1": (5.0, False, False), "L2": (1.0, False, False)}
    assert query("select 1 from raw.watchlist_entries where removed_at is null") == []


def test_a_shrunken_export_is_believed_with_a_lower_guard(
    import_files: Import, database_url: str, tmp_path: Path, opinions: Any, query: Query
) -> None:
    import_files(large_export())
    import_files(large_export(**{"ratings.csv": exports.ratings((1, 5))}), renamed("ada", 30))

    trusting = Settings(_env_file=None, shrink_guard_share=0)  # type: ignore[call-arg]
    report = import_exports(database_url, trusting, [tmp_path / renamed("ada", 30)])
    assert (report.failures_count, report.doubted_count) == (0, 0)
    assert {lid for lid, (rating, _, _) in opinions().items() if rating is not None} == {"L1"}
    assert query("select 1 from ops.alerts where resolved_at is null") == []
    assert query("select 1 from ops.imports where refusal is not null") == []


# -- refusals ----------------------------------------------------------------------------------------


def test_nothing_of_a_bad_file_is_imported_and_the_others_go_on(
    database_url: str, settings: Settings, tmp_path: Path, query: Query
) -> None:
    bad = exports.whole_export() | {
        "profile.csv": exports.profile("bea"),
        "watchlist.csv": exports.films(5) + "2026-01-01,Half a ro",
    }
    contents = {
        "a.zip": exports.whole_export(), "b.zip": bad,
        "c.zip": exports.whole_export() | {"profile.csv": exports.profile("cat")},
    }  # fmt: skip
    for name, files in contents.items():
        (tmp_path / name).write_bytes(exports.pack(files))

    report = import_exports(database_url, settings, [tmp_path / name for name in (*contents, "none.zip")])
    assert [file.outcome for file in report.files] == ["imported", "refused", "imported", "refused"]
    assert "watchlist.csv, row 3:" in report.files[1].error
    assert report.files[3].error == "The file cannot be read: No such file or directory. Check its path."
    assert query("select username from raw.users order by 1") == [{"username": "ada"}, {"username": "cat"}]
    [run] = query("select status, members_count, failures_count from ops.scrape_runs")
    assert run == {"status": "succeeded", "members_count": 2, "failures_count": 2}


def test_an_export_of_another_member_than_was_said_is_refused(import_files: Import, query: Query) -> None:
    report = import_files(exports.whole_export(), username="bea")
    assert "--member" in report.error
    assert query("select 1 from raw.users") == query("select 1 from ops.imports") == []
    assert import_files(exports.whole_export(), username="ADA").outcome == "imported"


def test_whose_an_export_without_a_profile_is_has_to_be_said(import_files: Import) -> None:
    files: Mapping[str, str | bytes] = {"ratings.csv": exports.ratings((1, 3))}
    report = import_files(files, "export.zip")
    assert report.outcome == "refused"
    assert "--member NAME" in report.error
    assert import_files(files, "export.zip", username="Ada").username == "ada"


def test_a_forgotten_member_is_refused_and_leaves_no_trace(
    import_files: Import, database_url: str, query: Query
) -> None:
    from almanac_pipeline.warehouse.forgetting import forget

    import_files(exports.whole_export())
    with psycopg.connect(database_url, autocommit=True) as connection:
        forget(connection, "ada")

    report = import_files(exports.whole_export(), renamed("ada", 30))
    assert report.outcome == "refused"
    assert "forgotten" in report.error
    assert query("select 1 from raw.users") == query("select 1 from raw.ratings") == []


def test_of_a_forgotten_member_no_hash_of_an_export_is_left_of_which_a_part_was_left_out(
    import_files: Import, database_url: str, query: Query
) -> None:
    from almanac_pipeline.warehouse.forgetting import forget

    import_files(large_export())
    assert import_files(large_export(**{"watchlist.csv": exports.films(30)}), renamed("ada", 30)).doubts
    assert len(query("select 1 from ops.imports")) == 2
    with psycopg.connect(database_url, autocommit=True) as connection:
        forget(connection, "ada")
    assert query("select 1 from ops.imports") == []


PRIVATE = [
    "quell", "adelheid", "@", "grauburg", "two\nlines", "secret", "diary-tag", "a thought", "she/",
]  # fmt: skip


@pytest.mark.parametrize("is_good", [True, False])
def test_nothing_private_reaches_a_table_a_message_or_a_log(
    import_files: Import, query: Query, caplog: pytest.LogCaptureFixture, capfd: Any, is_good: bool
) -> None:
    files = exports.whole_export()
    files["diary.csv"] = exports.diary(
        (*exports.viewing(1, "eA", "2026-01-01")[:6], "diary-tag", "2026-01-01")
    )
    if not is_good:
        files["profile.csv"] = str(files["profile.csv"]).replace("L1,", "secret-of-ada@quelle.example,")
    caplog.set_level("DEBUG")

    report = import_files(files)
    assert report.outcome == ("imported" if is_good else "refused")
    columns = query(
        """
        select table_schema || '.' || table_name as name, column_name as "column"
        from information_schema.columns
        join information_schema.tables using (table_schema, table_name)
        where table_schema in ('raw', 'ops') and table_type = 'BASE TABLE'
          and (data_type in ('text', 'jsonb', 'json', 'ARRAY') or data_type like 'character%%')
        """
    )
    assert len(columns) > 50
    stored = "\n".join(
        str(row["value"]).lower()
        for each in columns
        for row in query(f'select "{each["column"]}"::text as value from {each["name"]}')
    )
    captured = capfd.readouterr()
    said = f"{report} {caplog.text} {captured.out} {captured.err}".lower()
    for private in PRIVATE:
        assert private not in stored, private
        assert private not in said, private
    # The tables know the member's name in one place only.
    assert stored.count("ada") == is_good


# -- cohorts -----------------------------------------------------------------------------------------


def members_of(query: Query, slug: str) -> list[str]:
    rows = query(
        """
        select username from raw.cohort_members
        join raw.users using (user_id) join raw.cohorts using (cohort_id)
        where slug = %s and until is null order by username
        """,
        slug,
    )
    return [row["username"] for row in rows]


def test_imported_members_make_up_a_cohort_which_grows(import_files: Import, query: Query) -> None:
    assert import_files(exports.whole_export(), cohort_slug="friends").joined_cohort
    assert not import_files(exports.whole_export(), cohort_slug="friends").joined_cohort
    bea = exports.whole_export() | {"profile.csv": exports.profile("Bea")}
    assert import_files(bea, "b.zip", cohort_slug="friends").joined_cohort

    assert members_of(query, "friends") == ["ada", "bea"]
    [cohort] = query("select definition from raw.cohorts")
    assert cohort["definition"] == {"kind": "usernames", "usernames": ["ada", "bea"]}


def test_a_known_file_still_joins_the_cohort(import_files: Import, query: Query) -> None:
    import_files(exports.whole_export())
    report = import_files(exports.whole_export(), cohort_slug="friends")
    assert report.outcome == "known"
    assert report.joined_cohort
    assert members_of(query, "friends") == ["ada"]


def test_a_cohort_made_from_followings_takes_no_strangers(
    import_files: Import, connection: psycopg.Connection, query: Query
) -> None:
    create_cohort(connection, "circle", "The circle", {"kind": "following", "seed": "seed"})
    connection.commit()
    report = import_files(exports.whole_export(), cohort_slug="circle")
    assert report.outcome == "refused"
    assert query("select 1 from raw.ratings") == query("select 1 from ops.imports") == []
    assert query("select 1 from raw.users where username = 'ada'") == []

    connection.execute("insert into raw.users (username) values ('ada') on conflict do nothing")
    connection.execute(
        "insert into raw.cohort_members (cohort_id, user_id) select 1, user_id from raw.users"
        " where username = 'ada'"
    )
    connection.commit()
    assert import_files(exports.whole_export(), cohort_slug="circle").outcome == "imported"


def test_members_imported_at_the_same_time_all_join_the_new_cohort(
    database_url: str, settings: Settings, tmp_path: Path, query: Query
) -> None:
    names = [f"ann{number}" for number in range(8)]
    for name in names:
        files = exports.whole_export() | {"profile.csv": exports.profile(name)}
        (tmp_path / f"{name}.zip").write_bytes(exports.pack(files))

    def run(name: str) -> ImportReport:
        return import_exports(database_url, settings, [tmp_path / f"{name}.zip"], cohort_slug="friends")

    with ThreadPoolExecutor(max_workers=8) as threads:
        reports = list(threads.map(run, names))
    assert [report.failures for report in reports] == [()] * 8
    assert members_of(query, "friends") == names
    assert query("select count(*)::int as n, count(distinct lid)::int as films from raw.films") == [
        {"n": 11, "films": 11}
    ]


def test_imports_of_one_new_member_at_once_that_are_all_refused_say_why_and_leave_nobody(
    database_url: str, settings: Settings, tmp_path: Path, connection: psycopg.Connection, query: Query
) -> None:
    create_cohort(connection, "circle", "The circle", {"kind": "following", "seed": "seed"})
    connection.commit()
    file = tmp_path / exports.FILE_NAME
    file.write_bytes(exports.pack(exports.whole_export()))

    def run(_: int) -> str:
        return import_exports(database_url, settings, [file], cohort_slug="circle").files[0].error

    with ThreadPoolExecutor(max_workers=5) as threads:
        [error] = set(threads.map(run, range(5)))
    assert error.startswith("The members of circle are not found by names")
    assert query("select username from raw.users where username = 'ada'") == []


def test_a_slug_that_cannot_be_one_stops_everything_at_once(import_files: Import, query: Query) -> None:
    with pytest.raises(ConfigurationError, match="slug"):
        import_files(exports.whole_export(), cohort_slug="My friends")
    assert query("select 1 from raw.users") == []


# -- when the database fails ---------------------------------------------------------------------------


@contextmanager
def failing_database(url: str, how: str) -> Iterator[None]:
    """Have the database do so when opinions are stored."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            f"create function fail() returns trigger language plpgsql as 'begin {how}; return null; end'"
        )
        connection.execute("create trigger fail after insert on raw.ratings execute function fail()")
        yield
        connection.execute("drop function fail cascade")


DISK_FULL = "raise exception using errcode = ''53100'', message = ''could not write ada''"
KILLED = "perform pg_terminate_backend(pg_backend_pid())"


def test_a_lost_connection_is_one_line_and_its_new_member_is_gone_after_the_next_import(
    import_files: Import, database_url: str, query: Query
) -> None:
    import_files(exports.whole_export() | {"profile.csv": exports.profile("Bea")}, "b.zip")
    with (
        failing_database(database_url, KILLED),
        pytest.raises(WarehouseError, match="The database went away") as raised,
    ):
        import_files(exports.whole_export())
    assert "ada" not in str(raised.value)
    assert query("select count(*)::int as n from raw.users") == [{"n": 2}]

    import_files(exports.whole_export() | {"profile.csv": exports.profile("Cy")}, "c.zip")
    assert query("select username from raw.users order by 1") == [{"username": "bea"}, {"username": "cy"}]
    assert query("select 1 from ops.scrape_run_members where outcome = 'started'") == []


def put(path: Path, content: bytes, changed_at: float = 0) -> None:
    path.write_bytes(content)
    os.utime(path, (0, changed_at))


# -- the inbox ---------------------------------------------------------------------------------------


@pytest.fixture
def ticks(database_url: str, tmp_path: Path) -> Callable[[float], str | None]:
    """Look into the inbox so many seconds after the first of January 1970; returns the key of the run."""
    settings = Settings(_env_file=None, inbox=tmp_path)  # type: ignore[call-arg]
    cursor: str | None = None

    def tick(now: float) -> str | None:
        nonlocal cursor
        key, cursor = look_at_inbox(database_url, settings, cursor, now)
        assert "ada" not in cursor
        return key

    return tick


def test_a_file_that_no_run_has_come_to_terms_with_is_due_again_ever_more_rarely(
    ticks: Any, tmp_path: Path
) -> None:
    put(tmp_path / exports.FILE_NAME, b"PK")
    keys = [ticks(100 + 60 * minute) for minute in (0, 9, 10, 29, 30, 69, 70)]
    assert keys[0::2] == list(dict.fromkeys(keys))
    assert (keys[1::2], None in keys) == (keys[0:-1:2], False)
    put(tmp_path / "another.zip", b"PK2")
    assert ticks(4_400) not in keys


def test_a_file_still_being_written_waits_for_the_next_tick(ticks: Any, tmp_path: Path) -> None:
    put(tmp_path / "a.zip", b"PK", changed_at=95)
    assert ticks(100) is None
    assert ticks(130) is not None


def test_what_was_imported_or_refused_is_not_due_however_it_lies_there(
    ticks: Any, database_url: str, tmp_path: Path
) -> None:
    settings = Settings(_env_file=None, inbox=tmp_path)  # type: ignore[call-arg]
    good, path = exports.pack(exports.whole_export()), tmp_path / exports.FILE_NAME
    put(path, good)
    put(tmp_path / "bad.zip", b"no ZIP")
    key = ticks(100)
    import_inbox(database_url, settings)
    assert ticks(130) is None
    path.unlink()
    assert ticks(160) is None
    put(tmp_path / "copy.zip", good, changed_at=150)
    assert ticks(190) is None
    put(tmp_path / "bad.zip", b"no ZIP either")
    assert ticks(220) not in (None, key)


def test_an_import_that_the_database_broke_off_is_due_again(
    ticks: Any, database_url: str, tmp_path: Path, query: Query
) -> None:
    settings = Settings(_env_file=None, inbox=tmp_path)  # type: ignore[call-arg]
    put(tmp_path / exports.FILE_NAME, exports.pack(exports.whole_export()))
    with (
        failing_database(database_url, DISK_FULL),
        pytest.raises(WarehouseError, match="disk is full: free some space"),
    ):
        import_inbox(database_url, settings)
    assert query("select 1 from ops.imports") == []
    assert ticks(100) is not None
    assert import_inbox(database_url, settings).imported_count == 1
    assert ticks(130) is None


def test_the_inbox_lists_zips_and_nothing_else(tmp_path: Path) -> None:
    for name in ("a.zip", "B.ZIP", ".hidden.zip", "c.zip.part", "d.txt"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "folder.zip").mkdir()
    assert [file.name for file in list_inbox(tmp_path)] == ["B.ZIP", "a.zip"]
    assert list_inbox(tmp_path / "none") == []


def test_the_inbox_imports_what_is_new_and_tries_a_bad_file_once(
    database_url: str, tmp_path: Path, query: Query
) -> None:
    settings = Settings(_env_file=None, inbox=tmp_path)  # type: ignore[call-arg]

    def drop(name: str, content: bytes, seconds_ago: float = 60) -> None:
        (tmp_path / name).write_bytes(content)
        os.utime(tmp_path / name, (0, time.time() - seconds_ago))

    def tick() -> ImportReport:
        return import_inbox(database_url, settings)

    good = exports.pack(exports.whole_export())
    drop(exports.FILE_NAME, good)
    drop("bad.zip", b"PK\x03\x04 this goes no further")
    drop("growing.zip", b"PK", seconds_ago=0)

    first = tick()
    assert (first.imported_count, first.failures_count, first.files_count) == (1, 1, 2)
    assert "truncated" in first.failures[0]
    assert not any(name in str(first.failures) for name in ("ada", "bad.zip"))
    assert tick().files_count == 0

    drop("worse.zip", b"no ZIP at all")
    with pytest.raises(ImportFileError, match="Every new file was refused"):
        tick()
    assert tick().files_count == 0

    drop("bad.zip", exports.pack({**exports.whole_export(), "profile.csv": exports.profile("bea")}))
    assert tick().imported_count == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "bad.zip",
        "growing.zip",
        exports.FILE_NAME,
        "worse.zip",
    ]
    refusals = query("select refusal from ops.imports where refusal is not null order by import_id")
    assert ["truncated" in refusals[0]["refusal"], "no ZIP" in refusals[1]["refusal"]] == [True, True]


def test_a_file_that_cannot_be_read_is_refused_alone_and_tried_again(
    database_url: str, tmp_path: Path, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(_env_file=None, inbox=tmp_path)  # type: ignore[call-arg]
    for name, files in {"quirin.zip": exports.whole_export(), "z.zip": exports.whole_export()}.items():
        user = exports.profile(name.removesuffix(".zip"))
        (tmp_path / name).write_bytes(exports.pack(files | {"profile.csv": user}))
        os.utime(tmp_path / name, (0, 0))
    read_bytes = Path.read_bytes

    def locked(path: Path) -> bytes:
        if path.name == "quirin.zip":
            raise PermissionError(13, "Permission denied", str(path))
        return read_bytes(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", locked)
        report = import_inbox(database_url, settings)
    assert (report.imported_count, report.failures_count) == (1, 1)
    assert "quirin" not in str(report.failures)
    assert import_inbox(database_url, settings).imported_count == 1


def test_a_file_that_is_too_large_is_refused_once(database_url: str, tmp_path: Path) -> None:
    settings = Settings(_env_file=None, inbox=tmp_path, import_max_megabytes=1)  # type: ignore[call-arg]
    with (tmp_path / "quirin.zip").open("wb") as file:
        file.truncate(2_000_000)
    os.utime(tmp_path / "quirin.zip", (0, 0))
    with pytest.raises(ImportFileError, match="ALMANAC_IMPORT_MAX_MEGABYTES"):
        import_inbox(database_url, settings)
    assert import_inbox(database_url, settings).files_count == 0


def test_what_the_database_cannot_store_is_that_files_fault_alone(
    database_url: str, settings: Settings, tmp_path: Path, query: Query, connection: psycopg.Connection
) -> None:
    connection.execute(
        "alter table raw.lists add check (name <> 'Quirin')",
    )
    connection.commit()
    for name, title in {"ann": "Quirin", "bea": "Fine"}.items():
        files = exports.whole_export() | {
            "profile.csv": exports.profile(name),
            "lists/the-best.csv": exports.film_list(title, "lA", 1),
        }
        (tmp_path / f"{name}.zip").write_bytes(exports.pack(files))
    report = import_exports(database_url, settings, [tmp_path / "ann.zip", tmp_path / "bea.zip"])
    assert [file.outcome for file in report.files] == ["refused", "imported"]
    [refused] = query("select refusal from ops.imports where refusal is not null")
    assert "CheckViolation" in refused["refusal"]
    assert "Quirin" not in refused["refusal"]
    # A member of whom nothing could be imported is none.
    assert query("select username from raw.users") == [{"username": "bea"}]


def test_the_longest_names_that_are_read_can_be_stored(import_files: Import) -> None:
    name = "".join(chr(0x1F300 + number) for number in range(500))
    files = exports.whole_export() | {
        "ratings.csv": exports.table(exports.RATING, (*exports.film(1, name=name), 3)),
        "diary.csv": exports.diary(exports.viewing(1, "", "2026-01-01", link="", name=name)),
        "lists/the-best.csv": exports.film_list(name, "?"),
    }
    report = import_files(files)
    assert (report.outcome, report.error) == ("imported", "")
