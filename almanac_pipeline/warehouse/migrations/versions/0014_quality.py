"""What was measured of a cohort at each publication, to tell how far its numbers move.

Revision: 0014, after 0013
"""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

QUALITY = """
create table ops.quality_measurements (
    publication_id bigint primary key references ops.publications on delete cascade,
    cohort_id bigint not null references raw.cohorts,
    measures jsonb not null,
    measured_at timestamptz not null default now()
);
create index quality_measurements_cohort on ops.quality_measurements (cohort_id, publication_id desc);
comment on table ops.quality_measurements is
    'How the numbers of a cohort were spread at a publication, by suite; the quality checks judge the last and compare it with the one before. Holds sums and shares of the whole cohort only, and goes with its statistics when a member is forgotten.';
"""


def upgrade() -> None:
    op.execute(QUALITY)
