"""What happens by itself: how often a cohort is synced, and which cohorts' inputs have changed.

Revision: 0010, after 0009
"""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

CADENCE = """
alter table raw.cohorts add column sync_every_hours integer check (sync_every_hours between 1 and 8760);
comment on column raw.cohorts.sync_every_hours is 'How often the schedule reads what is new of this cohort; null: as often as the settings say.';
create index scrape_runs_cohort on ops.scrape_runs (cohort_id, subject, started_at desc);
"""

QUEUES = """
create table ops.changed_members (user_id bigint not null);
create table ops.changed_films (film_id bigint not null);
create table ops.changed_cohorts (cohort_id bigint not null);
comment on table ops.changed_members is 'Members of whom something changed that a cohort is built from. Written by triggers within the transaction of the change, so that none is missed that is committed late; emptied by the sensor that asks for builds, as are ops.changed_films and ops.changed_cohorts. Without keys: whoever writes waits for nobody.';

create sequence ops.change_numbers;
create table ops.cohort_changes (
    cohort_id bigint primary key references raw.cohorts on delete cascade,
    change_number bigint not null,
    changed_at timestamptz not null,
    waiting_since timestamptz
);
create index cohort_changes_number on ops.cohort_changes (change_number);
comment on table ops.cohort_changes is 'When an input of the cohort was last found changed. The sensor that asks for builds remembers up to which number it has asked. waiting_since: since when it holds back, because a run has the cohort in hand.';

create function ops.note_changes() returns trigger language plpgsql as $$
begin
    -- Arguments: the queue, and the query that finds what belongs into it.
    execute format('insert into ops.%I %s', tg_argv[0], tg_argv[1]);
    return null;
end $$;
"""

ROWS = {"insert": "new table as changed", "update": "new table as changed", "delete": "old table as changed"}

# Tables whose every row is an input: the queue, and the column that tells what has changed.
WHOLE_ROWS = {
    "ratings": ("changed_members", "user_id"),
    "diary_entries": ("changed_members", "user_id"),
    "watchlist_entries": ("changed_members", "user_id"),
    "cohort_members": ("changed_cohorts", "cohort_id"),
    "film_aliases": ("changed_films", "film_id"),
    "film_people": ("changed_films", "film_id"),
    "film_genres": ("changed_films", "film_id"),
    "film_countries": ("changed_films", "film_id"),
}

# Tables with columns that nothing is built from: the primary key, the columns that count, and the rest as above.
# A film or member that is new is an input only once there is a rating.
COLUMNS = {
    "users": (
        "user_id",
        "username status renamed_to stated_ratings_count stated_likes_count",
        ("changed_members", "user_id"),
    ),
    "cohorts": ("cohort_id", "label status ranking_parameters", ("changed_cohorts", "cohort_id")),
    "films": (
        "film_id",
        "lid uid slug title original_title release_year release_date runtime_minutes poster_url"
        " tmdb_media_type tmdb_id imdb_id tmdb_vote_average tmdb_vote_count",
        ("changed_films", "film_id"),
    ),
    "film_histograms": (
        "film_id, source",
        "count_0_5 count_1_0 count_1_5 count_2_0 count_2_5 count_3_0 count_3_5 count_4_0 count_4_5 count_5_0"
        " stated_ratings",
        ("changed_films", "film_id"),
    ),
    "people": ("person_id", "name letterboxd_slug tmdb_person_id", ("changed_films", "film_id")),
    "genres": ("genre_id", "name", ("changed_films", "film_id")),
    "countries": ("country_id", "iso_code name", ("changed_films", "film_id")),
}
FILMS_OF = {
    "people": "join raw.film_people using (person_id)",
    "genres": "join raw.film_genres using (genre_id)",
    "countries": "join raw.film_countries using (country_id)",
}
NEW_AND_GONE = {"cohorts": ("insert",), "film_histograms": ("insert", "delete")}


def upgrade() -> None:
    op.execute(CADENCE)
    op.execute(QUEUES)
    for table, (queue, column) in WHOLE_ROWS.items():
        for event, rows in ROWS.items():
            _watch(table, event, rows, queue, f"select distinct {column} from changed")
    for table, (key, columns, (queue, column)) in COLUMNS.items():
        for event in NEW_AND_GONE.get(table, ()):
            _watch(table, event, ROWS[event], queue, f"select distinct {column} from changed")
        now, before = (
            f"row({', '.join(f'{name}.{each}' for each in columns.split())})"
            for name in ("changed", "before")
        )
        query = (
            f"select distinct {column} from changed join before using ({key}) {FILMS_OF.get(table, '')}"
            f" where {now} is distinct from {before}"
        )
        _watch(table, "update", "old table as before new table as changed", queue, query)
    op.execute("insert into ops.changed_cohorts select cohort_id from raw.cohorts")


def _watch(table: str, event: str, rows: str, queue: str, query: str) -> None:
    op.execute(
        f"create trigger note_{event} after {event} on raw.{table} referencing {rows}"
        f" for each statement execute function ops.note_changes('{queue}', '{query}')"
    )
