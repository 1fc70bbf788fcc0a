"""The snapshot of ratings is kept in a table per cohort: the one table that held all of them goes.

Revision: 0019, after 0018. dbt makes it again, and as its SQL has changed, every cohort is built anew.
"""

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("drop table if exists intermediate.int_cohort_ratings")
