"""TMDB titles that only the attributes of a page name; who told of a viewing; whose a doubted export is;
and films whose TMDB title is gone are needing.

Revision: 0006, after 0005
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

ATTRIBUTES = """
alter table ops.film_metadata_sync
    drop constraint film_metadata_sync_matched_by_check,
    add constraint film_metadata_sync_matched_by_check
        check (tmdb_matched_by in ('page', 'feed', 'attributes', 'imdb', 'search', 'person'));
comment on column ops.enrichment_runs.postponed_count is
    'Films that were due but left to a later run, because a host asked for a long pause.';
"""

VIEWINGS = """
alter table raw.diary_entries
    add column told_as_of timestamptz,
    add column told_by text check (told_by in ('export', 'api', 'pages', 'rss')),
    add column film_told_by text check (film_told_by in ('export', 'api', 'pages', 'rss'));
-- When an export was made is not kept per viewing: whatever comes next counts, as it did before.
update raw.diary_entries set told_as_of = updated_at, told_by = source where source <> 'export';
comment on column raw.diary_entries.told_as_of is
    'When what the row says was said, or its removal; what is older only fills in what nobody told. Null: unknown.';
comment on column raw.diary_entries.told_by is
    'Who said that, which need not be the source that the row and its key are from.';
comment on column raw.diary_entries.film_told_by is 'Who named the film, if not the source of the row.';
"""

IMPORTS = """
alter table ops.imports
    drop constraint imports_check,
    add constraint imports_check
        check ((refusal is null) = (as_of is not null) and (refusal is not null or user_id is not null));
comment on column ops.imports.user_id is
    'Whose export it is; of one that was refused whole, null. Where a part was left out, refusal says why.';
"""


# As before, but that no film drops out that failed or of which TMDB has no title any more.
NEEDING = """
create or replace view ops.films_needing_enrichment as
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
        tmdb_id is not null
            and (status = 'failed' or coalesce(tmdb_fetched_at < now() - limits.title, true)) as lacks_title,
        -- A film without histogram may get one, of which its page tells.
        coalesce(
            coalesce(histogram_fetched_at, case when histogram_url is null then page_fetched_at end)
                < now() - limits.histogram,
            true
        ) as lacks_histogram,
        array_remove(array[
            -- A film that is not found may have the number of a title that TMDB has dropped.
            case when status = 'not_found' or tmdb_id is null and status <> 'overridden' then 'tmdb_id' end,
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
"""


def upgrade() -> None:
    op.execute(ATTRIBUTES)
    op.execute(VIEWINGS)
    op.execute(IMPORTS)
    op.execute(NEEDING)
