"""Keeping films up to date: what they lack, how old what is known may be, and what TMDB told of changes.

Revision: 0005, after 0004
"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

UPKEEP = """
create table ops.age_limits (
    subject text primary key check (subject in ('histogram', 'gap', 'title')),
    max_age interval not null
);
comment on table ops.age_limits is 'How old an answer may be. histogram: a global histogram, as the settings of the last run say; gap: an answer that left something open; title: a TMDB title, whose terms end after six months.';
insert into ops.age_limits (subject, max_age) values
    ('histogram', interval '30 days'), ('gap', interval '30 days'), ('title', interval '150 days');

alter table raw.people add column page_fetched_at timestamptz;
comment on column raw.people.page_fetched_at is 'When their own page was read for the TMDB id that no title of TMDB gave.';

create view ops.films_needing_enrichment as
with limits as (
    select
        max(max_age) filter (where subject = 'histogram') as histogram,
        max(max_age) filter (where subject = 'gap') as gap,
        max(max_age) filter (where subject = 'title') as title
    from ops.age_limits
),
films as (
    select
        film_id, status, next_attempt_at,
        slug is not null and page_fetched_at is null as lacks_page,
        tmdb_id is not null and coalesce(tmdb_fetched_at < now() - limits.title, true) as lacks_title,
        -- A film without histogram may get one, of which its page tells.
        coalesce(
            coalesce(histogram_fetched_at, case when histogram_url is null then page_fetched_at end)
                < now() - limits.histogram,
            true
        ) as lacks_histogram,
        array_remove(array[
            case when tmdb_id is null and status <> 'overridden' then 'tmdb_id' end,
            case when poster_url is null then 'poster' end,
            case when overview is null then 'overview' end,
            case when release_year is null then 'year' end,
            case when runtime_minutes is null then 'runtime' end,
            case when not exists (
                select from raw.film_people join raw.people using (person_id)
                where film_people.film_id = film.film_id and role = 'director'
                having bool_and(tmdb_person_id is not null)
            ) then 'director_id' end
        ], null) as gaps,
        slug, histogram_url, page_fetched_at < now() - limits.gap as is_page_old,
        tmdb_id is not null as has_title, tmdb_fetched_at < now() - limits.gap as is_title_old,
        num_nonnulls(
            tmdb_id, imdb_id, case when field_sources ->> 'title' is distinct from 'slug' then film.title end
        ) > 0 as is_findable
    from raw.films as film
    join ops.film_metadata_sync using (film_id)
    cross join limits
)
select
    film_id,
    array_remove(
        array[case when lacks_page then 'page' end, case when lacks_title then 'title' end]
        || gaps || array[case when lacks_histogram then 'histogram' end],
        null
    ) as reasons,
    status,
    next_attempt_at,
    lacks_page or coalesce(
        slug is not null and is_page_old and (gaps <> '{}' or (lacks_histogram and histogram_url is null)), false
    ) as is_page_due,
    case
        when status in ('fetched', 'overridden') and has_title
            then lacks_title or (gaps <> '{}' and is_title_old)
        else is_findable and status <> 'overridden'
    end as is_title_due,
    lacks_histogram and histogram_url is not null as is_histogram_due
from films
where lacks_page or lacks_title or lacks_histogram or gaps <> '{}';
comment on view ops.films_needing_enrichment is 'The films that lack something, and what: the queue of enrichment, the checks of coverage and `almanac films queue` read this. is_…_due: asking there may help, if the source may be asked and next_attempt_at has come.';
comment on column ops.films_needing_enrichment.reasons is 'page, title: not read yet, or too long ago; tmdb_id, poster, overview, year, runtime, director_id: missing; histogram: missing or too old.';

create table ops.tmdb_change_cursors (
    media_type text primary key check (media_type in ('movie', 'tv')),
    known_until date not null
);
comment on table ops.tmdb_change_cursors is 'Up to which day (UTC) TMDB''s lists of changes were read; that day itself may have had more.';
comment on column raw.tmdb_payloads.fresh_until is 'Until when TMDB itself calls the answer fresh. Null: TMDB says that the title has changed since.';

alter table ops.enrichment_runs drop constraint enrichment_runs_subject_check;
alter table ops.enrichment_runs add constraint enrichment_runs_subject_check
    check (subject in ('films', 'people', 'histograms', 'maintenance'));
alter table ops.enrichment_runs add column postponed_count integer not null default 0;
comment on column ops.enrichment_runs.postponed_count is 'Films that were due but left to a later run, so that the rankings need not wait.';
"""


def upgrade() -> None:
    op.execute(UPKEEP)
