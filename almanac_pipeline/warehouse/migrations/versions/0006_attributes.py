"""A TMDB title that only the attributes of a page's body name, which a feed corrects.

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


def upgrade() -> None:
    op.execute(ATTRIBUTES)
