"""Every way in: exports, feeds, diaries, lists; who was renamed or forgotten; alerts and budgets.

Revision: 0003, after 0002
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

RAW = """
alter table raw.users add column feed_opted_in_at timestamptz;
comment on column raw.users.feed_opted_in_at is 'Since when the member lets us read their RSS feed; null: not at all.';
alter table raw.users
    add column listed_films_count integer, add column listed_likes_count integer, add column listed_at timestamptz;
comment on column raw.users.listed_likes_count is 'Films liked, as a following or followers page shows beside the name since listed_at.';

create table raw.user_aliases (
    username text primary key check (username = lower(username) and username <> ''),
    user_id bigint not null references raw.users on delete cascade,
    until timestamptz not null default now()
);
comment on table raw.user_aliases is 'Names that a member had before; the present one is in raw.users.';

alter table raw.rating_events add column as_of timestamptz not null default now();
update raw.rating_events set as_of = seen_at;
comment on column raw.rating_events.as_of is 'When the source said so: the time of an export or feed entry; seen_at is when we learned it.';

-- A rating has two parents. Checked row by row they cost more than the merge itself: see
-- docs/decisions/0006. The merge holds its member and its films; who deletes one is checked here.
alter table raw.ratings
    drop constraint ratings_user_id_fkey,
    drop constraint ratings_film_id_fkey,
    drop constraint ratings_diary_entry_id_fkey,
    drop constraint ratings_rating_check,
    add constraint ratings_rating_check
        check (rating = any ('{0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5}'::numeric[]));
alter table raw.rating_events
    drop constraint rating_events_user_id_fkey, drop constraint rating_events_film_id_fkey;
drop index raw.rating_events_member_film;
alter table raw.rating_events
    drop constraint rating_events_pkey, add primary key (user_id, film_id, rating_event_id);
create index rating_events_run on raw.rating_events using brin (scrape_run_id);
drop index raw.ratings_film;
create index films_slug_probe on raw.films using hash (slug); -- every item of every page looks here
create index films_name on raw.films (lower(btrim(title)), release_year);
create function raw.raters(a_film_id bigint) returns setof bigint language sql stable as $$
    select user_id from raw.users as member
    cross join lateral (
        select from raw.ratings where user_id = member.user_id and film_id = a_film_id
        offset 0 -- one probe of the primary key each
    ) as rating
$$;
comment on function raw.raters is 'Who has a row in raw.ratings for a film. An index by film would cost each merge more than these few calls do.';
create function raw.refuse_orphans() returns trigger language plpgsql as $$
declare
    has_children boolean;
begin
    if tg_table_name = 'users' then
        has_children := exists (select from raw.ratings where user_id = old.user_id)
            or exists (select from raw.rating_events where user_id = old.user_id);
    else
        -- Every event is of a film that has a row in raw.ratings, be it a removed one.
        has_children := exists (select from raw.raters(old.film_id));
    end if;
    if has_children then
        raise foreign_key_violation using message = format(
            'a row of raw.%I still has ratings: move or delete them first', tg_table_name
        );
    end if;
    return null;
end $$;
create trigger users_leave_no_ratings after delete on raw.users
    for each row execute function raw.refuse_orphans();
create trigger films_leave_no_ratings after delete on raw.films
    for each row execute function raw.refuse_orphans();

create function raw.source_rank(source text) returns integer language sql immutable as
    $$ select array_position(array['rss', 'pages', 'api', 'export'], source) $$;
comment on function raw.source_rank is 'Which source is believed of two that speak of the same moment: the higher.';

create function raw.ratings_as_of(moment timestamptz)
returns table (user_id bigint, film_id bigint, rating numeric, liked boolean, favorite boolean)
language sql stable as $$
    with latest as (
        select user_id, film_id,
               (array_agg(new_rating order by as_of desc, rating_event_id desc)
                   filter (where old_rating is distinct from new_rating))[1] as rating,
               (array_agg(new_liked order by as_of desc, rating_event_id desc)
                   filter (where coalesce(old_liked, false) <> coalesce(new_liked, false)))[1] as liked,
               (array_agg(new_favorite order by as_of desc, rating_event_id desc)
                   filter (where coalesce(old_favorite, false) <> coalesce(new_favorite, false)))[1] as favorite
        from raw.rating_events
        where as_of <= moment
        group by user_id, film_id
    )
    select user_id, film_id, rating, coalesce(liked, false), coalesce(favorite, false)
    from latest
    where rating is not null or liked or favorite
$$;
comment on function raw.ratings_as_of is 'What members thought at a moment, as far as it was known to any source: raw.ratings then, from raw.rating_events alone.';

alter table raw.diary_entries add column film_match text
    check (film_match in ('id', 'name_year', 'ambiguous', 'unknown'));
comment on column raw.diary_entries.film_match is 'How the film was found; ambiguous and unknown entries have none yet.';

create table raw.lists (
    list_id bigint generated always as identity primary key,
    user_id bigint not null references raw.users,
    source text not null check (source in ('export', 'api', 'pages', 'rss')),
    source_key text not null,
    name text not null,
    published_on date,
    is_ranked boolean not null default false,
    first_seen_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    removed_at timestamptz,
    unique (user_id, source_key)
);
comment on table raw.lists is 'Lists of films that a member made. source_key is the list''s short id, else its slug.';
create table raw.list_entries (
    list_id bigint not null references raw.lists on delete cascade,
    film_id bigint not null references raw.films,
    list_position integer not null check (list_position > 0),
    primary key (list_id, list_position)
);
create index list_entries_film on raw.list_entries (film_id);
"""

OPS = """
alter table ops.user_scrape_state drop constraint user_scrape_state_subject_check;
alter table ops.user_scrape_state add constraint user_scrape_state_subject_check
    check (subject in ('following', 'followers', 'profile', 'ratings', 'likes', 'diary', 'watchlist', 'lists', 'feed'));
alter table ops.user_scrape_state
    add column known_as_of timestamptz,
    add column known_source text check (known_source in ('export', 'api', 'pages', 'rss')),
    add column listed_count integer;
comment on column ops.user_scrape_state.known_as_of is 'Up to when all of the subject is known, by any source: what is older changes nothing.';
comment on column ops.user_scrape_state.listed_count is 'raw.users.listed_likes_count when the subject was last read: another count now is a sign of news.';

alter table ops.staged_items drop constraint staged_items_subject_check;
alter table ops.staged_items add constraint staged_items_subject_check
    check (subject in ('ratings', 'likes', 'diary', 'watchlist'));
alter table ops.staged_items
    drop constraint staged_items_user_id_fkey, -- the checkpoint of the same transaction has it
    add column viewing_id text,
    add column watched_on date,
    add column rewatch boolean,
    add column has_review boolean;

alter table ops.scrape_runs drop constraint scrape_runs_subject_check;
alter table ops.scrape_runs add constraint scrape_runs_subject_check
    check (subject in ('members', 'ratings', 'likes', 'diary', 'watchlist', 'feed', 'import'));

create table ops.scrape_run_members (
    scrape_run_id bigint not null references ops.scrape_runs on delete cascade,
    user_id bigint not null references raw.users on delete cascade,
    outcome text not null,
    pages_count integer not null default 0,
    requests_count integer not null default 0,
    rows_seen integer not null default 0,
    rows_changed integer not null default 0,
    rows_removed integer not null default 0,
    milliseconds integer not null default 0,
    error_sample text,
    primary key (scrape_run_id, user_id)
);
comment on table ops.scrape_run_members is 'What a run did for each member.';

create table ops.alerts (
    alert_id bigint generated always as identity primary key,
    kind text not null,
    subject text not null,
    message text not null,
    cohort_id bigint references raw.cohorts on delete cascade,
    user_id bigint references raw.users on delete cascade,
    raised_at timestamptz not null default now(),
    last_seen_at timestamptz not null default now(),
    times_seen integer not null default 1,
    resolved_at timestamptz
);
create unique index alerts_open on ops.alerts (kind, subject) where resolved_at is null;
comment on table ops.alerts is 'What an operator should know: one open row per kind and subject. No member names: user_id.';
create function ops.raise_alert(
    a_kind text, a_subject text, a_message text, a_cohort_id bigint default null, a_user_id bigint default null
) returns void language sql as $$
    insert into ops.alerts (kind, subject, message, cohort_id, user_id)
    values (a_kind, a_subject, a_message, a_cohort_id, a_user_id)
    on conflict (kind, subject) where resolved_at is null do update
        set message = excluded.message, last_seen_at = now(), times_seen = alerts.times_seen + 1
$$;
comment on function ops.raise_alert is 'The one way to raise an alert, for Python of any room and for SQL.';

create table ops.imports (
    import_id bigint generated always as identity primary key,
    content_sha256 bytea not null,
    user_id bigint references raw.users on delete cascade,
    scrape_run_id bigint references ops.scrape_runs on delete set null,
    as_of timestamptz,
    imported_at timestamptz not null default now(),
    rows_by_file jsonb not null default '{}',
    refusal text,
    unique nulls not distinct (content_sha256, user_id),
    check ((user_id is null) = (refusal is not null) and (user_id is null) = (as_of is null))
);
comment on table ops.imports is 'Export files by the hash of their content: imported for a member, or refused and why. No file names: they hold the member''s.';

alter table ops.http_hosts
    add column budget_day date,
    add column requests_of_day integer not null default 0;
comment on column ops.http_hosts.requests_of_day is 'Requests made on budget_day (UTC).';

create table ops.forgotten_members (
    identity_hash bytea primary key,
    forgotten_at timestamptz not null default now()
);
comment on table ops.forgotten_members is 'Who asked to be forgotten: salted hashes of user names and ids, so that they stay out and cannot be read here.';
create table ops.salts (name text primary key, salt bytea not null);
insert into ops.salts values ('forgotten', sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())));
create function ops.identity_hash(kind text, value text) returns bytea language sql stable as $$
    select sha256(salt || convert_to(kind || ':' || value, 'UTF8')) from ops.salts where name = 'forgotten'
$$;
comment on function ops.identity_hash is 'What ops.forgotten_members holds of a lower-case user name (kind username) or an id (kind lid).';
"""


def upgrade() -> None:
    op.execute(RAW)
    op.execute(OPS)
