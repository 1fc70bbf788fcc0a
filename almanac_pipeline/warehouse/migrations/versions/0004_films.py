"""Films: which TMDB title is meant, what waits for a person to say so, and the moves of a film's state.

Revision: 0004, after 0003
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

MATCHES = """
alter table ops.film_metadata_sync add constraint film_metadata_sync_matched_by_check
    check (tmdb_matched_by in ('page', 'feed', 'imdb', 'search', 'person'));
comment on column ops.film_metadata_sync.tmdb_matched_by is 'Who said which TMDB title is meant. person, with no TMDB id in raw.films: there is none.';
comment on column ops.film_metadata_sync.attempts is 'How often in a row it came to the present status, or failed since it was fetched or chosen.';
create index film_metadata_sync_waiting on ops.film_metadata_sync (status) where status in ('ambiguous', 'not_found');

create table ops.film_match_candidates (
    film_id bigint not null references raw.films on delete cascade,
    place smallint not null check (place > 0),
    media_type text not null check (media_type in ('movie', 'tv')),
    tmdb_id bigint not null,
    title text not null,
    original_title text,
    release_year smallint,
    vote_count integer,
    score numeric(4, 3) not null check (score between 0 and 1),
    reasons text[] not null,
    primary key (film_id, media_type, tmdb_id)
);
comment on table ops.film_match_candidates is 'Titles of TMDB that may be meant by a film, the best first, as its last search found them.';

create function ops.refuse_status_move() returns trigger language plpgsql as $$
begin
    -- docs/matching.md has the same table in words.
    if (old.status, new.status) not in (
        ('pending', 'fetched'), ('pending', 'ambiguous'), ('pending', 'not_found'), ('pending', 'failed'),
        ('pending', 'overridden'),
        ('fetched', 'pending'), ('fetched', 'ambiguous'), ('fetched', 'not_found'), ('fetched', 'overridden'),
        ('ambiguous', 'pending'), ('ambiguous', 'fetched'), ('ambiguous', 'not_found'), ('ambiguous', 'failed'),
        ('ambiguous', 'overridden'),
        ('not_found', 'pending'), ('not_found', 'fetched'), ('not_found', 'ambiguous'), ('not_found', 'failed'),
        ('not_found', 'overridden'),
        ('failed', 'pending'), ('failed', 'fetched'), ('failed', 'ambiguous'), ('failed', 'not_found'),
        ('failed', 'overridden')
    ) then
        raise check_violation using message = format(
            'the state of film %s cannot go from %s to %s', new.film_id, old.status, new.status
        );
    end if;
    return new;
end $$;
create trigger status_moves before update of status on ops.film_metadata_sync
    for each row when (old.status <> new.status) execute function ops.refuse_status_move();

create function ops.forget_title(a_film_id bigint) returns void language sql as $$
    delete from raw.film_genres as part using raw.films as film
    where film.film_id = a_film_id and part.film_id = film.film_id and field_sources ->> 'genres' = 'tmdb';
    delete from raw.film_countries as part using raw.films as film
    where film.film_id = a_film_id and part.film_id = film.film_id and field_sources ->> 'countries' = 'tmdb';
    delete from raw.film_people as part using raw.films as film
    where film.film_id = a_film_id and part.film_id = film.film_id
      and field_sources ->> (part.role || 's') = 'tmdb';
    delete from raw.film_aliases as alias using raw.films as film
    where film.film_id = a_film_id and alias.film_id = film.film_id
      and (alias.kind = 'tmdb' or alias.kind = 'imdb' and field_sources ->> 'imdb_id' = 'tmdb');
    update raw.films
    set original_title = case when field_sources ->> 'original_title' = 'tmdb' then null else original_title end,
        release_year = case when field_sources ->> 'release_year' = 'tmdb' then null else release_year end,
        release_date = null,
        runtime_minutes = case when field_sources ->> 'runtime_minutes' = 'tmdb' then null else runtime_minutes end,
        overview = case when field_sources ->> 'overview' = 'tmdb' then null else overview end,
        poster_url = case when field_sources ->> 'poster_url' = 'tmdb' then null else poster_url end,
        imdb_id = case when field_sources ->> 'imdb_id' = 'tmdb' then null else imdb_id end,
        tmdb_vote_average = null, tmdb_vote_count = null,
        field_sources = field_sources - array(
            select key from jsonb_each_text(field_sources) as source where source.value = 'tmdb'
        ),
        tmdb_media_type = null, tmdb_id = null, updated_at = now()
    where film_id = a_film_id;
$$;
comment on function ops.forget_title is 'Take back what TMDB said of a film, because it was about another title.';

create function ops.choose_title(a_film_id bigint, a_media_type text, a_tmdb_id bigint) returns void
language plpgsql as $$
declare
    is_other boolean;
begin
    select (tmdb_media_type, tmdb_id) is distinct from (a_media_type, a_tmdb_id) into strict is_other
    from raw.films where film_id = a_film_id for update;
    if is_other then
        perform ops.forget_title(a_film_id);
        update raw.films set tmdb_media_type = a_media_type, tmdb_id = a_tmdb_id where film_id = a_film_id;
        insert into raw.film_aliases (kind, value, film_id)
        select 'tmdb', a_media_type || '/' || a_tmdb_id, a_film_id where a_tmdb_id is not null
        on conflict (kind, value, film_id) do nothing;
    end if;
    update ops.film_metadata_sync
    set status = 'overridden', tmdb_matched_by = 'person', attempts = 0, next_attempt_at = now(),
        -- What the page says of what TMDB had said is to be read again.
        page_fetched_at = case when is_other then null else page_fetched_at end,
        tmdb_fetched_at = case when is_other then null else tmdb_fetched_at end,
        last_error = null, updated_at = now()
    where film_id = a_film_id;
end $$;
comment on function ops.choose_title is 'A person''s word on which TMDB title a film is; null, null: it is none. Nothing else may change it.';
"""


def upgrade() -> None:
    op.execute(MATCHES)
