"""Which place a film held from which publication to which, so that a ranking as of any date can be told.

Revision: 0009, after 0008
"""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

HISTORY = """
create table ops.rank_stretches (
    cohort_id bigint not null,
    strategy text not null,
    film_id bigint not null,
    publication_id bigint not null,
    published_at timestamptz not null,
    until_at timestamptz,
    rank integer not null,
    previous_rank integer,
    score double precision not null,
    raters integer not null,
    primary key (cohort_id, strategy, film_id, publication_id),
    check (until_at >= published_at),
    check (rank is distinct from previous_rank)
);
comment on table ops.rank_stretches is
    'One row per stretch of time in which a film held one place under one strategy: begun by a publication (published_at) and ended by another (until_at, null: it still holds). A film that keeps its place gets no row. Without foreign keys: rows are many, and films may be joined.';
create index rank_stretches_now on ops.rank_stretches (cohort_id, strategy, film_id)
    where until_at is null;
"""


def upgrade() -> None:
    op.execute(HISTORY)
