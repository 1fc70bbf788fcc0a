"""TMDB titles that only the attributes of a page name; who told of a viewing; whose a doubted export is.

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


def upgrade() -> None:
    op.execute(ATTRIBUTES)
    op.execute(VIEWINGS)
    op.execute(IMPORTS)
