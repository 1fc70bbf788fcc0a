"""The schemas raw and ops, and the reader role.

Revision: 0001, after nothing
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

RAW = """
create table raw.users (
    user_id bigint generated always as identity primary key,
    username text not null unique check (username = lower(username) and username <> ''),
    lid text unique,
    joined_on date,
    status text not null default 'active'
        check (status in ('active', 'private', 'renamed', 'deleted', 'forgotten')),
    renamed_to text,
    stated_ratings_count integer,
    stated_likes_count integer,
    first_seen_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
comment on table raw.users is 'People whose taste is read. Public user names only: no display name, e-mail or bio is ever stored.';

create table raw.films (
    film_id bigint generated always as identity primary key,
    lid text unique,
    uid text unique,
    slug text unique,
    title text not null,
    original_title text,
    release_year smallint check (release_year between 1870 and 2200),
    release_date date,
    runtime_minutes integer check (runtime_minutes > 0),
    overview text,
    poster_url text,
    tmdb_media_type text check (tmdb_media_type in ('movie', 'tv')),
    tmdb_id bigint,
    imdb_id text,
    tmdb_vote_average numeric(5, 3),
    tmdb_vote_count integer,
    stated_average numeric(4, 2),
    stated_ratings bigint,
    field_sources jsonb not null default '{}',
    first_seen_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    check (lid is not null or uid is not null or slug is not null),
    check ((tmdb_media_type is null) = (tmdb_id is null))
);
create index films_tmdb on raw.films (tmdb_media_type, tmdb_id);
create index films_imdb on raw.films (imdb_id);
comment on table raw.films is 'One row per film. lid joins pages, exports and API; uid is the numeric id with its kind (film:123); slug is the present one, earlier ones are in film_aliases.';

create table raw.film_aliases (
    kind text not null check (kind in ('slug', 'lid', 'uid', 'tmdb', 'imdb')),
    value text not null,
    film_id bigint not null references raw.films on delete cascade,
    first_seen_at timestamptz not null default now(),
    primary key (kind, value, film_id)
);
create unique index film_aliases_identity on raw.film_aliases (kind, value) where kind in ('slug', 'lid', 'uid');
create index film_aliases_film on raw.film_aliases (film_id);
comment on table raw.film_aliases is 'Every slug and id a film has had. Two films may share a TMDB or IMDb id; a slug, lid or uid names one.';

create table raw.people (
    person_id bigint generated always as identity primary key,
    tmdb_person_id bigint unique,
    letterboxd_slug text unique,
    name text not null,
    profile_url text,
    updated_at timestamptz not null default now()
);
create table raw.film_people (
    film_id bigint not null references raw.films on delete cascade,
    person_id bigint not null references raw.people,
    role text not null check (role in ('director', 'writer', 'actor')),
    credit_order smallint not null,
    character_name text,
    primary key (film_id, person_id, role)
);
create index film_people_person on raw.film_people (person_id);

create table raw.genres (genre_id bigint generated always as identity primary key, name text not null unique);
create table raw.film_genres (
    film_id bigint not null references raw.films on delete cascade,
    genre_id bigint not null references raw.genres,
    primary key (film_id, genre_id)
);
create table raw.countries (
    country_id bigint generated always as identity primary key,
    iso_code text unique,
    name text not null unique
);
create table raw.film_countries (
    film_id bigint not null references raw.films on delete cascade,
    country_id bigint not null references raw.countries,
    primary key (film_id, country_id)
);

create table raw.diary_entries (
    diary_entry_id bigint generated always as identity primary key,
    user_id bigint not null references raw.users,
    film_id bigint references raw.films,
    source text not null check (source in ('export', 'api', 'pages', 'rss')),
    source_key text not null,
    film_title text not null,
    film_year smallint,
    watched_on date,
    logged_on date,
    rating numeric(2, 1) check (rating between 0.5 and 5 and rating * 2 = floor(rating * 2)),
    liked boolean,
    rewatch boolean not null default false,
    has_review boolean not null default false,
    first_seen_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    removed_at timestamptz,
    unique (user_id, source, source_key)
);
create index diary_entries_film on raw.diary_entries (film_id);
comment on table raw.diary_entries is 'One row per viewing: the rating at that viewing, never the opinion now. film_id is null while the film is ambiguous.';

create table raw.ratings (
    user_id bigint not null references raw.users,
    film_id bigint not null references raw.films,
    rating numeric(2, 1) check (rating between 0.5 and 5 and rating * 2 = floor(rating * 2)),
    liked boolean not null default false,
    favorite boolean not null default false,
    rated_at timestamptz,
    rated_at_source text check (rated_at_source in ('observed', 'feed', 'diary', 'export', 'api')),
    diary_entry_id bigint references raw.diary_entries on delete set null,
    source text not null check (source in ('export', 'api', 'pages', 'rss')),
    first_seen_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    removed_at timestamptz,
    primary key (user_id, film_id),
    check ((rated_at is null) = (rated_at_source is null))
);
create index ratings_film on raw.ratings (film_id);
comment on table raw.ratings is 'What a member thinks of a film now. rating null: liked or favourite without stars. removed_at: no longer on the member''s pages.';

create table raw.rating_events (
    rating_event_id bigint generated always as identity primary key,
    user_id bigint not null references raw.users,
    film_id bigint not null references raw.films,
    kind text not null check (kind in ('added', 'changed', 'removed', 'restored')),
    old_rating numeric(2, 1),
    new_rating numeric(2, 1),
    old_liked boolean,
    new_liked boolean,
    old_favorite boolean,
    new_favorite boolean,
    seen_at timestamptz not null default now(),
    source text not null,
    scrape_run_id bigint
);
create index rating_events_member_film on raw.rating_events (user_id, film_id, seen_at);
comment on table raw.rating_events is 'Append-only history of every change of raw.ratings.';

create table raw.watchlist_entries (
    user_id bigint not null references raw.users,
    film_id bigint not null references raw.films,
    added_on date,
    source text not null check (source in ('export', 'api', 'pages', 'rss')),
    first_seen_at timestamptz not null default now(),
    removed_at timestamptz,
    primary key (user_id, film_id)
);

create table raw.cohorts (
    cohort_id bigint generated always as identity primary key,
    slug text not null unique check (slug ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
    label text not null,
    seed_user_id bigint references raw.users,
    definition jsonb not null,
    ranking_parameters jsonb not null default '{}',
    status text not null default 'active' check (status in ('active', 'paused', 'archived')),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
create function raw.refuse_slug_change() returns trigger language plpgsql as $$
begin
    raise exception 'cohort slugs are immutable: % stays %; create a new cohort instead', old.slug, old.slug;
end $$;
create trigger cohort_slug_is_immutable before update of slug on raw.cohorts
    for each row when (old.slug is distinct from new.slug) execute function raw.refuse_slug_change();

create table raw.cohort_members (
    cohort_id bigint not null references raw.cohorts,
    user_id bigint not null references raw.users,
    depth smallint not null default 1 check (depth >= 0),
    since timestamptz not null default now(),
    until timestamptz check (until >= since),
    primary key (cohort_id, user_id, since)
);
create unique index cohort_members_current on raw.cohort_members (cohort_id, user_id) where until is null;
create index cohort_members_user on raw.cohort_members (user_id);

create table raw.follows (
    follower_id bigint not null references raw.users,
    followed_id bigint not null references raw.users,
    since timestamptz not null default now(),
    until timestamptz check (until >= since),
    primary key (follower_id, followed_id, since)
);
create unique index follows_current on raw.follows (follower_id, followed_id) where until is null;

create table raw.film_histograms (
    film_id bigint not null references raw.films on delete cascade,
    source text not null check (source in ('letterboxd', 'tmdb')),
    count_0_5 bigint not null default 0,
    count_1_0 bigint not null default 0,
    count_1_5 bigint not null default 0,
    count_2_0 bigint not null default 0,
    count_2_5 bigint not null default 0,
    count_3_0 bigint not null default 0,
    count_3_5 bigint not null default 0,
    count_4_0 bigint not null default 0,
    count_4_5 bigint not null default 0,
    count_5_0 bigint not null default 0,
    stated_ratings bigint,
    stated_average numeric(4, 2),
    fans text,
    fetched_at timestamptz not null default now(),
    primary key (film_id, source)
);
comment on table raw.film_histograms is 'How the whole site rated a film: ten half-star buckets, beside the total and the weighted average that the page states.';

create table raw.tmdb_payloads (
    media_type text not null check (media_type in ('movie', 'tv')),
    tmdb_id bigint not null,
    payload json,
    status integer not null,
    etag text,
    fetched_at timestamptz not null default now(),
    fresh_until timestamptz,
    expires_at timestamptz not null,
    primary key (media_type, tmdb_id),
    check (expires_at <= fetched_at + interval '6 months')
);
comment on table raw.tmdb_payloads is 'TMDB''s answers, verbatim, kept for at most six months. This product uses TMDB and the TMDB APIs but is not endorsed, certified, or otherwise approved by TMDB.';
"""

OPS = """
create table ops.scrape_runs (
    scrape_run_id bigint generated always as identity primary key,
    dagster_run_id text,
    cohort_id bigint references raw.cohorts,
    subject text not null check (subject in ('members', 'ratings', 'likes', 'import')),
    status text not null default 'running' check (status in ('running', 'succeeded', 'failed')),
    started_at timestamptz not null default now(),
    finished_at timestamptz,
    members_count integer not null default 0,
    pages_count integer not null default 0,
    requests_count integer not null default 0,
    rows_seen integer not null default 0,
    rows_changed integer not null default 0,
    rows_removed integer not null default 0,
    failures_count integer not null default 0,
    error_sample text
);
create table ops.enrichment_runs (
    enrichment_run_id bigint generated always as identity primary key,
    dagster_run_id text,
    cohort_id bigint references raw.cohorts,
    subject text not null check (subject in ('films', 'histograms')),
    status text not null default 'running' check (status in ('running', 'succeeded', 'failed')),
    started_at timestamptz not null default now(),
    finished_at timestamptz,
    films_count integer not null default 0,
    requests_count integer not null default 0,
    cache_hits_count integer not null default 0,
    failures_count integer not null default 0,
    error_sample text
);
create table ops.scrape_failures (
    scrape_failure_id bigint generated always as identity primary key,
    scrape_run_id bigint references ops.scrape_runs on delete cascade,
    enrichment_run_id bigint references ops.enrichment_runs on delete cascade,
    user_id bigint references raw.users,
    film_id bigint references raw.films on delete cascade,
    page_kind text not null,
    error_kind text not null,
    message text not null,
    failed_at timestamptz not null default now(),
    resolved_at timestamptz
);
create index scrape_failures_open on ops.scrape_failures (page_kind, user_id, film_id) where resolved_at is null;
create table ops.user_scrape_state (
    user_id bigint not null references raw.users,
    subject text not null check (subject in ('following', 'profile', 'ratings', 'likes')),
    mode text check (mode in ('full', 'incremental')),
    next_page integer,
    stated_total integer,
    stated_surplus integer not null default 0,
    pages_started_at timestamptz,
    last_success_at timestamptz,
    last_full_at timestamptz,
    suspicious_at timestamptz,
    primary key (user_id, subject)
);
comment on table ops.user_scrape_state is 'Checkpoint per member and subject: where an unfinished read goes on (next_page), and when the last one succeeded. stated_surplus: by how much the site''s total exceeded the films it showed when all were read.';

create table ops.staged_items (
    user_id bigint not null references raw.users,
    subject text not null check (subject in ('ratings', 'likes')),
    page_number integer not null,
    position integer not null,
    slug text not null,
    title text,
    release_year smallint,
    uid text,
    lid text,
    rating numeric(2, 1),
    liked boolean not null,
    primary key (user_id, subject, page_number, position)
);
comment on table ops.staged_items is 'Pages read but not yet merged: survives kill -9, so that a member is resumed at the next page.';

create table ops.film_metadata_sync (
    film_id bigint primary key references raw.films on delete cascade,
    status text not null default 'pending'
        check (status in ('pending', 'fetched', 'ambiguous', 'not_found', 'failed', 'overridden')),
    attempts integer not null default 0,
    next_attempt_at timestamptz not null default now(),
    page_fetched_at timestamptz,
    histogram_url text,
    histogram_fetched_at timestamptz,
    tmdb_fetched_at timestamptz,
    tmdb_matched_by text,
    last_error text,
    updated_at timestamptz not null default now()
);
create table ops.http_requests (
    http_request_id bigint generated always as identity primary key,
    requested_at timestamptz not null default now(),
    run_id text,
    host text not null,
    path_class text not null,
    status integer,
    milliseconds integer not null,
    bytes integer not null default 0,
    cache_hit boolean not null default false,
    attempt smallint not null default 1
);
create index http_requests_time on ops.http_requests (requested_at);
create index http_requests_run on ops.http_requests (run_id);
comment on table ops.http_requests is 'One row per request. path_class names the kind of page; no member names.';

create table ops.http_hosts (
    host text primary key,
    robots_txt text,
    robots_fetched_at timestamptz,
    blocked_at timestamptz,
    blocked_reason text,
    retry_not_before timestamptz
);
create table ops.switches (
    name text primary key,
    enabled boolean not null,
    changed_at timestamptz not null default now()
);
insert into ops.switches (name, enabled) values ('fetching', true);
comment on table ops.switches is 'fetching = false is the kill switch: almanac pause.';

create table ops.cohort_build_requests (
    cohort_id bigint primary key references raw.cohorts,
    input_version text not null,
    dagster_run_id text,
    requested_at timestamptz not null default now()
);
comment on table ops.cohort_build_requests is 'The control table of dbt: the cohorts that the running invocation builds. Emptied and filled under an advisory lock.';

create table ops.publications (
    publication_id bigint generated always as identity primary key,
    cohort_id bigint not null references raw.cohorts,
    published_at timestamptz not null default now(),
    dagster_run_id text,
    input_version text not null,
    members_count integer not null,
    films_count integer not null,
    ratings_count integer not null,
    inputs jsonb not null default '{}'
);
create index publications_cohort on ops.publications (cohort_id, published_at desc);
"""

READER = """
do $$
begin
    if not exists (select from pg_roles where rolname = 'almanac_reader') then
        create role almanac_reader nologin;
    end if;
exception when insufficient_privilege then
    raise exception 'the database user may not create the role almanac_reader'
        using hint = 'Ask an administrator for: create role almanac_reader nologin;';
end $$;
create schema if not exists almanac;
grant usage on schema almanac to almanac_reader;
alter default privileges in schema almanac grant select on tables to almanac_reader;
revoke all on schema public from public;
"""


def upgrade() -> None:
    op.execute("create schema if not exists raw")
    op.execute(RAW)
    op.execute(OPS)
    op.execute(READER)
