"""Who of a circle rates most and least like each member: known where all pairs are in memory.

Revision: 0016, after 0015
"""

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

COMPANIONS = """
alter table intermediate.circle_members
    add column compared_members_count integer,
    add column most_agreed_user_id bigint,
    add column most_agreed_similarity double precision,
    add column least_agreed_user_id bigint,
    add column least_agreed_similarity double precision;
comment on table intermediate.circle_members is
    'How each member uses the stars: strictness (stars above the circle), spread, noise; and who rates most and least like them. A cohort''s rows go together, so that nobody is named who was forgotten.';
comment on column intermediate.circle_members.compared_members_count is
    'Members with whom a similarity is known. Null in rows of before 0016, which the next build replaces.';
"""


def upgrade() -> None:
    op.execute(COMPANIONS)
