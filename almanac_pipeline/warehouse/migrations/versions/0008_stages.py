"""What each stage of a cohort was last built from.

Revision: 0008, after 0007
"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

STAGES = """
create table intermediate.cohort_stages (
    cohort_id bigint primary key references raw.cohorts,
    statistics_version text,
    statistics_rows text,
    marts_version text,
    labels_version text
);
comment on table intermediate.cohort_stages is
    'The version of its input that each stage of a cohort shows; null while it is being built. The version of the data stage stands beside its audits.';
comment on column intermediate.cohort_stages.statistics_rows is
    'Hash of those rows of the statistics that marts are made from: new parameters that leave them as they are rebuild no mart.';
"""


def upgrade() -> None:
    op.execute(STAGES)
